"""How a training goes on where an earlier attempt was: what is kept of it at the end of an epoch, and put back."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras

from pipelines.records import CallbackActed, TrialSpec
from pipelines.training.machine import Pulse
from pipelines.training.randomness import restore_streams, streams
from pipelines.training.remembering import memory_of, remember
from pipelines.training.states import StateWriter, newest_state
from pipelines.training.story import Story
from pipelines.training.timing import Stopwatch
from pipelines.training.watching import BestEpochKeeper, Reporter
from pipelines.training.witness import witnessed

FILES = "checkpoints"
"""Folder of an attempt for what callbacks write."""


@dataclass(frozen=True)
class Earlier:
    """What an earlier attempt left at the end of an epoch."""

    content: Mapping[str, Any]

    @property
    def first_epoch(self) -> int:
        """The epoch to go on with."""
        return int(self.content["epoch"]) + 1

    @property
    def over(self) -> bool:
        """Whether nothing is left to be trained: it only was not ended properly."""
        return bool(self.content["over"])

    def carry_files(self, folder: Path) -> None:
        """Copies what callbacks wrote by then into this attempt's folder.

        Copies, as Keras overwrites files in place: a link would let two attempts write to one file.
        """
        before, now = Path(self.content["folder"]) / FILES, folder / FILES
        for name in self.content["files"]:
            (now / name).parent.mkdir(parents=True, exist_ok=True)
            with suppress(FileNotFoundError):
                shutil.copy2(before / name, now / name)


def earlier_attempt(spec: TrialSpec, model: keras.Model) -> Earlier | None:
    """What this attempt goes on from, or None where there is nothing that belongs to this very training."""
    state = newest_state(Path(spec.states), spec.attempt) if spec.states else None
    if state is None or state.content["training"] != _digest(spec):
        return None
    if not model.optimizer.built:  # Keras would do it with the first batch
        model.optimizer.build(model.trainable_variables)
    fits = _form(model) == state.content["form"]  # own code may have changed, or change the model while it trains
    return Earlier(state.content) if fits else None


class Course(keras.callbacks.CallbackList):  # type: ignore[misc]
    """All callbacks of one attempt, in their order, and what holds an attempt together with those before it.

    At the end of an epoch come the recipe's callbacks with their witnesses, the keeper of the best epoch, and the
    reporter; then the state is written, so that it never holds an epoch that was not told.

    Attributes:
        paused: The training stopped to go on later. No hook of an end was called, as it is none.
    """

    def __init__(
        self,
        callbacks: Mapping[str, keras.callbacks.Callback],
        spec: TrialSpec,
        model: keras.Model,
        *,
        epochs: int,
        steps: int,
        story: Story,
        pulse: Pulse,
        watch: Stopwatch,
        earlier: Earlier | None = None,
    ) -> None:
        """Takes the callbacks of the recipe by label, and what the attempt is made of."""
        self.keeper = BestEpochKeeper(spec, story, watch=watch)
        self.reporter = Reporter(spec, story)
        self.paused = False
        self._recipe = callbacks
        self._spec = spec
        self._story = story
        self._pulse = pulse
        self._watch = watch
        self._earlier = earlier
        self._writer = StateWriter(Path(spec.states), spec.attempt) if spec.states else None
        self._epochs = epochs
        self._kept_history = keras.callbacks.History()
        self._last_logs: dict[str, float] = {}
        watched = witnessed(callbacks, spec, story, Path(spec.folder) / FILES)
        self._opening: Any = watched[0] if watched else None  # which knows what all witnesses remember
        everyone = [*watched, self.keeper, self.reporter, self._kept_history]
        super().__init__(everyone, add_history=True, model=model, verbose=0, epochs=epochs, steps=steps)

    def on_train_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        """Has all begin; then, as they forget everything when they do, puts back what they knew."""
        if self._earlier is None:
            super().on_train_begin(logs)
            return
        with self._story.muted():
            super().on_train_begin(logs)
        with self._watch.during("states"):
            self._put_back(self._earlier)

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Shows that the training lives."""
        self._pulse.stepped()
        super().on_train_batch_end(batch, logs)

    def on_test_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Shows that the validation lives."""
        self._pulse.stepped()
        super().on_test_batch_end(batch, logs)

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Keeps the state when all others are done; then stops, if the training is to go on later."""
        super().on_epoch_end(epoch, logs)
        self._last_logs = _plain(logs or {})
        over = bool(self.model.stop_training) or epoch + 1 >= self._epochs
        pauses = self.reporter.told_to_pause and not over
        if self._writer is not None and (pauses or self._writer.due()):
            with self._watch.during("states"):
                self._writer.write(epoch, lambda: self._content(epoch, over))
        if pauses:
            self.paused = self.model.stop_training = True

    def on_train_end(self, logs: Mapping[str, Any] | None = None) -> None:
        """Ends properly what is over."""
        if self.paused:
            self.callbacks: list[Any] = []  # they never learn of this end
        super().on_train_end(self._last_logs if logs is None else logs)

    def _content(self, epoch: int, over: bool) -> dict[str, Any]:
        folder = Path(self._spec.folder) / FILES
        found = [path for path in folder.rglob("*") if path.is_file()] if folder.is_dir() else []
        memories, lost = {}, {}
        for label, callback in self._recipe.items():
            memories[label], names = memory_of(callback)
            if names and _is_own(callback):
                lost[label] = names
        return {
            "training": _digest(self._spec),
            "form": _form(self.model),
            "epoch": epoch,
            "over": over,
            "stopped": bool(self.model.stop_training),
            "values": self.keeper.values(),
            "random": streams(),
            "callbacks": memories,
            "lost": lost,
            "witnesses": None if self._opening is None else self._opening.get_state(),
            "keeper": self.keeper.get_state(),
            "reporter": self.reporter.get_state(),
            "history": [self._kept_history.epoch, self._kept_history.history],
            "logs": self._last_logs,
            "folder": self._spec.folder,
            "files": sorted(path.relative_to(folder).as_posix() for path in found),
            "seconds": self._pulse.earlier_s + self._pulse.seconds,
            "story": self._story.kept(),
        }

    def _put_back(self, earlier: Earlier) -> None:
        content = earlier.content
        for variable, value in zip(self.keeper.variables(), content["values"], strict=True):
            variable.assign(value)
        self.keeper.set_state(content["keeper"])
        self.reporter.set_state(content["reporter"])
        self._kept_history.epoch, self._kept_history.history = content["history"]
        self._last_logs = content["logs"]
        self.model.history = self._kept_history
        moved = _moved(content["folder"], self._spec.folder)
        lost = {label: list(names) for label, names in content["lost"].items()}
        for label, callback in self._recipe.items():
            names = remember(callback, content["callbacks"][label], moved)
            if names and _is_own(callback):
                lost.setdefault(label, []).extend(names)
        if self._opening is not None:
            self._opening.set_state(content["witnesses"])
        self.model.stop_training = content["stopped"]
        for label, names in lost.items():
            self._say_lost(label, names, earlier)
        restore_streams(content["random"])  # last, as anything before may have drawn

    def _say_lost(self, label: str, names: list[str], earlier: Earlier) -> None:
        spec, epoch = self._spec, earlier.first_epoch
        text = (
            f"went on at epoch {epoch} without what cannot be kept of it: {', '.join(names)}; with get_state() and "
            f"set_state(state) it can say itself what is to be kept"
        )
        self._story(CallbackActed(spec.number, spec.attempt, epoch, label, "note", text))


def _digest(spec: TrialSpec) -> str:
    """Stands for everything that makes one training another."""
    what = [dict(spec.config), spec.objective, spec.direction]
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()


def _form(model: keras.Model) -> list[Any]:
    """Shapes, types and what is trained of everything that is kept of a model and its optimizer."""
    variables = [*model.variables, *model.optimizer.variables]
    return [[list(one.shape), str(one.dtype), bool(one.trainable)] for one in variables]


def _is_own(callback: Any) -> bool:
    return type(callback).__module__.split(".")[0] not in {"pipelines", "keras"}


def _plain(logs: Mapping[str, Any]) -> dict[str, float]:
    """Logs as numbers, which they may not be yet."""
    found = {}
    for name, value in logs.items():
        with suppress(TypeError, ValueError):
            found[name] = float(value)
    return found


def _moved(before: str, now: str) -> dict[str, str]:
    """Where an attempt's folder was and is, also as it stands in a template, where braces are doubled."""
    doubled = [folder.replace("{", "{{").replace("}", "}}") for folder in (before, now)]
    return {before: now, doubled[0]: doubled[1]}
