"""All callbacks of an attempt, and how it goes on where an earlier one was: what is kept of it, and put back."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import keras

from pipelines.records import CallbackActed, StateWritten, TrialSpec
from pipelines.training.machine import Pulse
from pipelines.training.randomness import Streams
from pipelines.training.remembering import memory_of, remember
from pipelines.training.resuming import FILES, Earlier, digest_of
from pipelines.training.states import StateWriter
from pipelines.training.story import Story
from pipelines.training.timing import Stopwatch
from pipelines.training.values import Values
from pipelines.training.watching import BestEpochKeeper, Reporter
from pipelines.training.witness import witnessed


class Course(keras.callbacks.CallbackList):  # type: ignore[misc]
    """All callbacks of one attempt, in their order, and what holds an attempt together with those before it.

    At the end of an epoch come the recipe's callbacks with their witnesses, the keeper of the best epoch, and the
    reporter; then the state is written, so that it never holds an epoch that was not told.

    Attributes:
        epochs: Epochs at most.
        recipe: The callbacks of the recipe by label.
        paused: The training stopped to go on later. No hook of an end was called, as it is none.
    """

    def __init__(
        self,
        callbacks: Mapping[str, keras.callbacks.Callback],
        spec: TrialSpec,
        model: keras.Model,
        values: Values,
        streams: Streams,
        *,
        epochs: int,
        steps: int,
        story: Story,
        pulse: Pulse,
        watch: Stopwatch,
        writer: StateWriter | None,
        earlier: Earlier | None = None,
    ) -> None:
        """Takes the callbacks of the recipe by label, and what the attempt is made of."""
        self.epochs = epochs
        self.keeper = BestEpochKeeper(spec, story, values, watch=watch)
        self.reporter = Reporter(spec, story)
        self.paused = False
        self.recipe = callbacks
        self._spec = spec
        self._story = story
        self._pulse = pulse
        self._watch = watch
        self._earlier = earlier
        self._writer = writer
        self._values = values
        self._streams = streams
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
        self._pulse.epoch_ended(epoch)
        self._last_logs = _plain(logs or {})
        over = bool(self.model.stop_training) or epoch + 1 >= self.epochs
        pauses = self.reporter.told_to_pause and not over
        if self._writer is not None and (pauses or self._writer.due()):
            with self._watch.during("states"):
                written = self._writer.write(epoch, lambda: self._content(epoch, over))
            if written and self._spec.tells_states:
                spec = self._spec
                self._story(StateWritten(spec.number, spec.attempt, epoch, str(self._writer.newest)))
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
        for label, callback in self.recipe.items():
            memories[label], names = memory_of(callback)
            if names and _is_own(callback):
                lost[label] = names
        return {
            "training": digest_of(self._spec),
            "form": self._values.form(),
            "epoch": epoch,
            "over": over,
            "stopped": bool(self.model.stop_training),
            "values": self.keeper.values(),
            "random": self._streams.read(),
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
        self._values.write(content["values"])
        self.keeper.set_state(content["keeper"])
        self.reporter.set_state(content["reporter"])
        self._kept_history.epoch, self._kept_history.history = content["history"]
        self._last_logs = content["logs"]
        self.model.history = self._kept_history
        moved = _moved(content["folder"], self._spec.folder)
        lost = {label: list(names) for label, names in content["lost"].items()}
        for label, callback in self.recipe.items():
            names = remember(callback, content["callbacks"][label], moved)
            if names and _is_own(callback):
                lost.setdefault(label, []).extend(names)
        if self._opening is not None:
            self._opening.set_state(content["witnesses"])
        self.model.stop_training = content["stopped"]
        for label, names in lost.items():
            self._say_lost(label, names, earlier)
        self._streams.write(content["random"])  # last, as anything before may have drawn

    def _say_lost(self, label: str, names: list[str], earlier: Earlier) -> None:
        spec, epoch = self._spec, earlier.first_epoch
        text = (
            f"went on at epoch {epoch} without what cannot be kept of it: {', '.join(names)}; with get_state() and "
            f"set_state(state) it can say itself what is to be kept"
        )
        self._story(CallbackActed(spec.number, spec.attempt, epoch, label, "note", text))


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
