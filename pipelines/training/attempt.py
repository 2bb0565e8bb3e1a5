"""One attempt at a trial, but for the steps of its training, which are the business of whoever trains it."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from pipelines.callbacks import Callback, DecisionSurface
from pipelines.callbacks.base import Surroundings
from pipelines.checkpoints import sha256_of
from pipelines.inputs import InputFacts
from pipelines.own.code import place_in_own_code
from pipelines.pictures.surface import DECISION_SURFACE
from pipelines.recipe.config import TrainingConfig
from pipelines.records import CheckpointWritten, Ended, Failure, FileWritten, PictureDrawn, Started, TrialSpec, Verdict
from pipelines.training.base import Emit
from pipelines.training.course import Course
from pipelines.training.failing import failure_of
from pipelines.training.feeding import Feed
from pipelines.training.machine import Machine, Pulse
from pipelines.training.randomness import ProcessStreams, Streams
from pipelines.training.resuming import FILES, Earlier, earlier_attempt
from pipelines.training.states import StateWriter
from pipelines.training.story import Story
from pipelines.training.timing import Stopwatch
from pipelines.training.values import ModelValues, Values

_WORTH_KEEPING_S = 0.25
"""Of a lane's own time: to train that again takes no longer than to have kept it."""


@dataclass(frozen=True)
class Outcome:
    """How an attempt came to its end, where nothing was raised."""

    pruned: bool = False
    paused: bool = False
    failure: Failure | None = None


class Attempt:
    """What is the same however the steps are made: events, callbacks, states, the best epoch, and the end.

    Attributes:
        course: All callbacks; there from `begin` on.
        first_epoch: The epoch to train next, or the number of epochs where nothing is left to be trained.
        watch: Where the time goes.
        pulse: Tells that the training lives.
    """

    course: Course
    first_epoch: int

    def __init__(
        self,
        spec: TrialSpec,
        emit: Emit,
        machine: Machine,
        *,
        clock: Callable[[], float] = time.monotonic,
        shared: bool = False,
    ) -> None:
        """Takes up an attempt.

        Args:
            spec: What to do.
            emit: Who hears of it.
            machine: Knows what this process uses of the machine.
            clock: Seconds, for everything that is done every so often.
            shared: Its steps are made with those of others, so that what the watch counts went into it, and no more.
        """
        self.spec = spec
        self.watch = Stopwatch()
        self._emit = emit
        self._begun = time.monotonic()
        self._shared = shared
        self._summary = ""
        self._story = Story(spec, emit, self.watch)
        self.pulse = Pulse(spec, self._story, machine, clock=clock, spent=self.spent if shared else None)

    def spent(self) -> float:
        """Seconds that went into this attempt."""
        return self.watch.total if self._shared else time.monotonic() - self._begun

    def begin(
        self,
        model: keras.Model,
        fed: Feed,
        facts: Mapping[str, str],
        summary: str,
        *,
        values: Values | None = None,
        streams: Streams | None = None,
    ) -> bool:
        """Tells of the start, and of what earlier attempts did, and gathers the callbacks; False: it is to pause.

        Args:
            model: What callbacks see.
            fed: The data.
            facts: Strings about the run.
            summary: Keras's own summary of the model.
            values: Everything that the training changes in the model; that of `model` itself where left out.
            streams: The training's random streams; those of this process where left out.
        """
        spec, watch = self.spec, self.watch
        values = values or ModelValues(model)
        with watch.during("states"):
            earlier = earlier_attempt(spec, values)
            if earlier is not None:
                earlier.carry_files(Path(spec.folder))
                self.pulse.earlier_s = earlier.content["seconds"]
        first_epoch = 0 if earlier is None else earlier.first_epoch
        verdict = self._story(Started(spec.number, spec.attempt, time.time_ns() // 1_000_000, facts, first_epoch))
        if earlier is not None:
            verdict = self._story.retell(earlier.content["story"])
        over = earlier is not None and earlier.over
        if verdict is Verdict.PAUSE and not over:
            return False
        with watch.during("build"):
            self._summary = summary
            if not self._shared:
                self._describe()
            self.course = self._course(fed, model, values, streams or ProcessStreams(), earlier)
        self.course.reporter.hears(verdict)
        # where nothing is left to be trained, it is only ended
        self.first_epoch = fed.config.epochs if over or verdict is Verdict.STOP else first_epoch
        return True

    def finish(self) -> Outcome:
        """Keeps what there is to keep, after the last callback has heard of the end."""
        course, spec = self.course, self.spec
        self._describe()  # of a lane; now nobody waits for the disk
        if course.paused:
            return Outcome(paused=True)
        course.keeper.finish()
        folder = Path(spec.folder) / FILES
        for path in sorted(folder.rglob("*")) if folder.is_dir() else []:
            if path.is_file():
                with self.watch.during("checkpoints"):
                    digest = sha256_of(path)
                self._story(CheckpointWritten(spec.number, spec.attempt, None, "callback", str(path), digest))
        reporter = course.reporter
        if reporter.not_finite:
            return Outcome(pruned=True, failure=Failure.NOT_FINITE)
        # a verdict that comes with the last epoch stopped nothing: such a trial is complete
        return Outcome(pruned=reporter.told_to_stop and reporter.epochs < course.epochs)

    def end(self, outcome: Outcome) -> None:
        """Tells of the end."""
        self._end(outcome, None, None)

    def fail(self, problem: Exception, failure: Failure | None = None) -> None:
        """Tells of an end by an exception; to be called where it is handled. Its kind is told by it, if not given."""
        trace = traceback.format_exc()
        with suppress(OSError):  # a full disk may be what it ends by
            self._describe()
        self._end(Outcome(failure=failure or failure_of(problem)), _in_a_line(problem), trace)

    def _end(self, outcome: Outcome, error: str | None, trace: str | None) -> None:
        course = getattr(self, "course", None)  # it may have ended before there was one
        self.pulse.ended(0 if course is None else max(0, course.reporter.epochs - 1))
        self._emit(
            Ended(
                self.spec.number,
                self.spec.attempt,
                time.time_ns() // 1_000_000,
                outcome.pruned,
                error,
                trace,
                self.spent(),
                outcome.paused,
                outcome.failure,
                dict(self.watch.seconds),
            )
        )

    def _course(
        self, fed: Feed, model: keras.Model, values: Values, streams: Streams, earlier: Earlier | None
    ) -> Course:
        spec, config = self.spec, fed.config
        x, y = fed.probe()
        around = Surroundings(
            folder=Path(spec.folder) / FILES,
            facts=fed.data.facts,
            task=fed.goal.task,
            epochs=config.epochs,
            steps_per_epoch=fed.steps,
            x=x,
            y=y,
            x_val=np.asarray(fed.validation.x),
            y_val=np.asarray(fed.validation.y),
            draw=partial(_draw, spec, self._story),
        )
        built = {label: callback.build(around) for label, callback in _callbacks(config, fed.data.facts).items()}
        return Course(
            built,
            spec,
            model,
            values,
            streams,
            epochs=config.epochs,
            steps=fed.steps,
            story=self._story,
            pulse=self.pulse,
            watch=self.watch,
            writer=self._writer(),
            earlier=earlier,
        )

    def _writer(self) -> StateWriter | None:
        """Who writes the states, if anybody would go on from them."""
        spec = self.spec
        if not spec.states:
            return None
        folder = Path(spec.states)
        if self._shared:  # an epoch in a lane may be quicker than a file: a tenth of what the lane takes, at most
            return StateWriter(folder, spec.attempt, clock=self.spent, quick_s=0.0, first_after_s=_WORTH_KEEPING_S)
        return StateWriter(folder, spec.attempt)

    def _describe(self) -> None:
        """Keeps Keras's own summary of the model on the run, if there is one and it is not kept yet."""
        spec, summary = self.spec, self._summary
        if not summary:
            return
        self._summary = ""
        path = Path(spec.folder) / "model_summary.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(summary, encoding="utf-8")
        self._story(FileWritten(spec.number, spec.attempt, str(path)))


def summary_of(model: keras.Model) -> str:
    """Keras's own summary of a model, as text."""
    lines: list[str] = []
    model.summary(print_fn=lambda line, **_: lines.append(line), line_length=100, expand_nested=True)
    return "\n".join(lines) + "\n"


def facts_of(parameters: int, fed: Feed, trainer: str) -> dict[str, str]:
    """What only the worker knows about a run.

    Args:
        parameters: How many the model has.
        fed: Its data.
        trainer: What trains it, and why, in a few words.
    """
    devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    return {
        "regatta.device": devices[0].name,
        "regatta.threads": str(tf.config.threading.get_intra_op_parallelism_threads()),
        "regatta.parameters": str(parameters),
        "regatta.task": str(fed.goal.task),
        "regatta.loss": fed.goal.loss.label,
        "regatta.data": "streamed from disk" if fed.streamed else "in memory",
        "regatta.trainer": trainer,
        "regatta.keras": keras.__version__,
        "regatta.tensorflow": tf.__version__,
    }


def _callbacks(config: TrainingConfig, facts: InputFacts) -> dict[str, Callback]:
    """Those of the recipe; a model of the plane also has its decision surface drawn, unless the recipe says how.

    Those that add metrics come first: the others watch them, and a config that is read again may have another order.
    """
    callbacks = dict(sorted(config.callbacks.items(), key=lambda item: not item[1].added_metrics()))
    drawn = any(isinstance(callback, DecisionSurface) for callback in callbacks.values())
    return callbacks if drawn or facts.kind != "points" else {**callbacks, DECISION_SURFACE: DecisionSurface()}


def _draw(spec: TrialSpec, emit: Emit, epoch: int, key: str, png: bytes) -> None:
    path = Path(spec.folder) / "pictures" / f"{key}-{epoch:05d}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(png)
    emit(PictureDrawn(spec.number, spec.attempt, epoch, key, str(path)))


def _in_a_line(problem: Exception) -> str:
    """What went wrong, and where in the user's own code, if it was there; the whole traceback is kept as a file."""
    first = next((line.strip() for line in str(problem).splitlines() if line.strip()), "no message")
    return f"{type(problem).__name__}: {first}{place_in_own_code(problem)}"
