"""Who did what: observers between the callbacks of a recipe, which tell the run what each of them did.

After every callback stands a witness. It compares the learning rate, `stop_training`, the files in the attempt's folder
and, at the end, the weights with what they were before that callback's turn, so it knows who acted: also where the
callback is the user's own. Where a callback keeps a list `notes`, sentences in it become events too.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from string import Formatter
from typing import Any

import keras
import numpy as np

from pipelines.records import CallbackActed, TrialSpec
from pipelines.training.base import Emit
from pipelines.training.values import movable_rate_of

MOST_EVENTS = 1000
"""Of one callback in one training; what it does beyond that is counted only."""
BATCH_BEGINS = ("on_batch_begin", "on_train_batch_begin")
EarlyStopping, ModelCheckpoint = keras.callbacks.EarlyStopping, keras.callbacks.ModelCheckpoint
_KNOWN = (
    EarlyStopping,
    ModelCheckpoint,
    keras.callbacks.LearningRateScheduler,
    keras.callbacks.ReduceLROnPlateau,
    keras.callbacks.SwapEMAWeights,
    keras.callbacks.TerminateOnNaN,
)
"""Of these it is known what they may do, so that less must be looked at."""


def witnessed(
    callbacks: Mapping[str, keras.callbacks.Callback], spec: TrialSpec, emit: Emit, folder: Path
) -> list[keras.callbacks.Callback]:
    """The callbacks for `fit`, in their order, with a witness after each.

    Args:
        callbacks: By their label in the recipe.
        spec: The attempt that events are about.
        emit: Takes each `CallbackActed`.
        folder: Where callbacks write files.
    """
    scene = _Scene(spec, emit, folder)
    opening, found = _Opening(scene), []
    for label, callback in callbacks.items():
        witness = (_BatchWitness if acts_in_batches(callback) else _Witness)(label, callback, scene)
        scene.witnesses.append(witness)
        found += [callback, witness]
    return [opening, *found] if found else []


class _Scene:
    """How things were when the last witness looked."""

    def __init__(self, spec: TrialSpec, emit: Emit, folder: Path) -> None:
        self.spec, self.emit, self.folder = spec, emit, folder
        self.witnesses: list[_Witness] = []
        self.epoch = 0
        self.stopped = False
        self.rate: float | None = None
        self.weights: list[np.ndarray] = []
        self.writers: dict[
            str, _Witness
        ] = {}  # by file and by folder, who of those that act in batches wrote there last
        self._files: dict[str, tuple[int, int]] = {}

    def new_files(self) -> list[str]:
        """Files that came or changed since the last look, by their path in the folder."""
        now = {}
        for path in self.folder.rglob("*") if self.folder.is_dir() else ():
            if path.is_file():
                status = path.stat()
                now[path.relative_to(self.folder).as_posix()] = (status.st_mtime_ns, status.st_size)
        changed = sorted(name for name, status in now.items() if self._files.get(name) != status)
        self._files = now
        return changed


class _Opening(keras.callbacks.Callback):  # type: ignore[misc]
    """Stands before all callbacks, and notes how things are when the turn of the first begins."""

    def __init__(self, scene: _Scene) -> None:
        super().__init__()
        self._scene = scene

    def get_state(self) -> dict[str, Any]:
        """What all witnesses remember from one epoch to the next."""
        scene = self._scene
        return {
            "epoch": scene.epoch,
            "said": {witness.label: witness.said for witness in scene.witnesses},
            "writers": {name: witness.label for name, witness in scene.writers.items()},
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Has the witnesses remember what those of an earlier attempt did."""
        scene, by_label = self._scene, {witness.label: witness for witness in self._scene.witnesses}
        scene.epoch = state["epoch"]
        scene.writers = {name: by_label[label] for name, label in state["writers"].items()}
        for label, said in state["said"].items():
            by_label[label].said = said

    def on_train_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        self._scene.new_files()
        self._note()

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        self._scene.epoch = epoch
        self._note()

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        self._files_of_batches()
        self._note()

    def on_train_end(self, logs: Mapping[str, Any] | None = None) -> None:
        self._note()
        if any(witness.may_change_weights for witness in self._scene.witnesses):
            self._scene.weights = self.model.get_weights()

    def _note(self) -> None:
        self._scene.rate, self._scene.stopped = movable_rate_of(self.model), bool(self.model.stop_training)

    def _files_of_batches(self) -> None:
        """What was written within the epoch. Of several who might have, the one who did so before is taken for it."""
        scene = self._scene
        writers = [witness for witness in scene.witnesses if witness.writes and isinstance(witness, _BatchWitness)]
        for name in scene.new_files() if writers else ():
            named = [one for one in writers if one.template and one.template.fullmatch(str(scene.folder / name))]
            likely = named or [one for one in writers if one.template is None] or writers
            before = scene.writers.get(name, scene.writers.get(str(Path(name).parent)))
            (before if before in likely else likely[0]).wrote(name)


class _Witness(keras.callbacks.Callback):  # type: ignore[misc]
    """Stands after one callback and tells what it did in its turn."""

    def __init__(self, label: str, callback: Any, scene: _Scene) -> None:
        super().__init__()
        ours = type(callback).__module__.startswith("pipelines.")
        self.own = type(callback) not in _KNOWN and not ours
        self.writes = self.own or isinstance(callback, ModelCheckpoint)
        self.template = _template(callback.filepath) if isinstance(callback, ModelCheckpoint) else None
        restores = isinstance(callback, EarlyStopping) and callback.restore_best_weights
        self.begins_batches = any(overrides(callback, hook) for hook in BATCH_BEGINS)
        self.may_change_weights = restores or (self.own and overrides(callback, "on_train_end"))
        self.label = label
        self._callback = callback
        self._scene = scene
        self.said = 0
        self._wrote: list[str] = []
        self._moved: list[float] = []  # rates that it set within the epoch

    def on_train_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        self._look()

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        self._look()

    def on_test_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        self._look_within_epoch()

    def on_test_end(self, logs: Mapping[str, Any] | None = None) -> None:
        self._look_within_epoch()

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        if self._moved:
            times = "" if len(self._moved) == 1 else f" {len(self._moved)} times in the epoch, lastly"
            self._say("moved", f"set the learning rate{times} to {self._moved[-1]:.4g}", self._moved[-1])
            self._moved = []
        self._look()

    def on_train_end(self, logs: Mapping[str, Any] | None = None) -> None:
        self._look()
        if self.may_change_weights:
            self._look_at_weights()
        if self.said > MOST_EVENTS:
            self._emit("note", f"did {self.said - MOST_EVENTS} more things, which are not listed")

    def wrote(self, name: str) -> None:
        """Takes down that the callback wrote a file."""
        self._wrote.append(name)

    def _look(self) -> None:
        """All that may have changed in the callback's turn."""
        rate, before = movable_rate_of(self.model), self._scene.rate
        self._scene.rate = rate
        if rate is not None and before is not None and rate != before:
            self._say("reduced" if rate < before else "raised", self._change_of_rate(before, rate), rate)
        for name in self._scene.new_files() if self.writes else ():
            self.wrote(name)
        if self._wrote:
            more = f" and {len(self._wrote) - 3} more" if len(self._wrote) > 3 else ""
            self._say("saved", f"saved {', '.join(self._wrote[:3])}{more}", float(len(self._wrote)))
            self._wrote = []
        notes = getattr(self._callback, "notes", None)
        if isinstance(notes, list):
            for note in notes:
                self._say("note", str(note))
            notes.clear()
        self._look_at_stop()

    def _look_within_epoch(self) -> None:
        """What an own callback may do between the ends of epochs, a learning rate that moves all the time included."""
        if self.own:
            rate = movable_rate_of(self.model)
            if rate is not None and rate != self._scene.rate:
                self._moved.append(rate)
                self._scene.rate = rate
        self._look_at_stop()

    def _look_at_stop(self, why: str = "") -> None:
        if self._scene.stopped or not self.model.stop_training:
            return
        self._scene.stopped = True
        value = None
        if isinstance(self._callback, EarlyStopping):
            why = _not_improved(self._callback, self._callback.wait)
            value = None if self._callback.best is None else float(self._callback.best)
        self._say("stopped", f"stopped at epoch {self._scene.epoch}" + (f": {why}" if why else ""), value)

    def _look_at_weights(self) -> None:
        now = self.model.get_weights()
        before, self._scene.weights = self._scene.weights, now
        if all(np.array_equal(one, other) for one, other in zip(now, before, strict=True)):
            return
        if isinstance(self._callback, EarlyStopping):
            epoch = int(self._callback.best_epoch)
            self._say("restored", f"restored the weights of epoch {epoch}", float(epoch))
        else:
            self._say("restored", "put other weights into the model at the end")

    def _change_of_rate(self, before: float, rate: float) -> str:
        callback = self._callback
        if isinstance(callback, keras.callbacks.ReduceLROnPlateau):
            reason = _not_improved(callback, max(1, callback.patience))
            return f"multiplied the learning rate by {rate / before:.4g}, to {rate:.4g}: {reason}"
        return f"set the learning rate to {rate:.4g}; it was {before:.4g}"

    def _say(self, action: str, text: str, value: float | None = None) -> None:
        self.said += 1
        if self.said <= MOST_EVENTS:
            self._emit(action, text, value)

    def _emit(self, action: str, text: str, value: float | None = None) -> None:
        spec = self._scene.spec
        event = CallbackActed(spec.number, spec.attempt, self._scene.epoch, self.label, action, text, value)
        self._scene.emit(event)


class _BatchWitness(_Witness):
    """The same after a callback that acts in batches. One that does not must not have these: they cost time."""

    def wrote(self, name: str) -> None:
        """Also takes down where, as files that come within an epoch can only be of such a callback."""
        super().wrote(name)
        self._scene.writers[name] = self._scene.writers[str(Path(name).parent)] = self

    def on_train_batch_begin(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        if self.begins_batches:
            self._look_within_epoch()

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        if self.model.stop_training and isinstance(self._callback, keras.callbacks.TerminateOnNaN):
            self._look_at_stop(f"the loss was {(logs or {}).get('loss')} in batch {batch}")
        self._look_within_epoch()


def acts_in_batches(callback: Any) -> bool:
    """Whether a callback does anything before or after a batch."""
    if type(callback) is ModelCheckpoint and callback.save_freq == "epoch":
        return False  # it has the method, and does nothing in it
    return any(overrides(callback, hook) for hook in (*BATCH_BEGINS, "on_batch_end", "on_train_batch_end"))


def overrides(callback: Any, hook: str) -> bool:
    """Whether a callback does anything in a hook."""
    return getattr(getattr(callback, hook), "__func__", None) is not getattr(keras.callbacks.Callback, hook)


def _template(filepath: Any) -> re.Pattern[str]:
    """What the files of a ModelCheckpoint are called."""
    parts = Formatter().parse(str(filepath))
    return re.compile("".join(re.escape(text) + ("" if field is None else ".*") for text, field, _, _ in parts))


def _not_improved(callback: Any, epochs: int) -> str:
    baseline, best = getattr(callback, "baseline", None), callback.best
    passed = baseline is None or (best is not None and callback.monitor_op(best - callback.min_delta, baseline))
    past = "" if passed else f" past the baseline {baseline:g}"
    return f"{callback.monitor} had not improved{past} for {epochs} epoch{'' if epochs == 1 else 's'}"
