"""The trainer for any model: Keras's own `Model.fit`, one trial at a time."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import keras
import tensorflow as tf

from pipelines.callbacks import Callback, DecisionSurface
from pipelines.callbacks.base import Surroundings
from pipelines.checkpoints import sha256_of
from pipelines.config import TrainingConfig
from pipelines.datasets.prepared import PreparedData, open_prepared
from pipelines.inputs import InputFacts
from pipelines.optimizers import Length
from pipelines.own_code import place_in_own_code
from pipelines.pictures.surface import DECISION_SURFACE
from pipelines.records import CheckpointWritten, Ended, Failure, FileWritten, PictureDrawn, Started, TrialSpec, Verdict
from pipelines.training.base import Emit
from pipelines.training.failing import failure_of
from pipelines.training.feeding import Feed
from pipelines.training.machine import Machine, OwnProcess, Pulse
from pipelines.training.resuming import FILES, Course, Earlier, earlier_attempt
from pipelines.training.story import Story
from pipelines.training.timing import Stopwatch


@dataclass(frozen=True)
class _Outcome:
    """How an attempt came to its end, where nothing was raised."""

    pruned: bool = False
    paused: bool = False
    failure: Failure | None = None


class FitTrainer:
    """Trains with `Model.fit`."""

    def __init__(
        self, data_bytes: int, machine: Machine | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Takes the worker's means.

        Args:
            data_bytes: Memory that a trial's data may use; larger data is read from disk, batch by batch.
            machine: Knows what this process uses of the machine.
            clock: Seconds, for everything that is done every so often.
        """
        self._data_bytes = data_bytes
        self._machine = machine or OwnProcess()
        self._clock = clock

    def train(self, spec: TrialSpec, emit: Emit) -> None:
        """Trains one attempt; see `pipelines.training.base.Trainer`."""
        watch = Stopwatch()
        story = Story(spec, emit, watch)
        pulse = Pulse(spec, story, self._machine, clock=self._clock)
        begun = time.monotonic()
        error = trace = None
        outcome = _Outcome()
        try:
            outcome = self._train(spec, story, pulse, watch)
        except Exception as problem:  # the trial fails alone; the worker lives
            error, trace = _in_a_line(problem), traceback.format_exc()
            outcome = _Outcome(failure=failure_of(problem))
        finally:
            keras.backend.clear_session()  # graphs of ended trials would pile up in the worker
        pulse.sample()
        emit(
            Ended(
                spec.number,
                spec.attempt,
                time.time_ns() // 1_000_000,
                outcome.pruned,
                error,
                trace,
                time.monotonic() - begun,
                outcome.paused,
                outcome.failure,
                dict(watch.seconds),
            )
        )

    def _train(self, spec: TrialSpec, story: Story, pulse: Pulse, watch: Stopwatch) -> _Outcome:
        """Trains from the first epoch, or from the last that an earlier attempt kept."""
        with watch.during("build"):
            config = TrainingConfig.model_validate(spec.config)
            data = open_prepared(Path(spec.data))
            fed = Feed(config, data, *data.read(), self._data_bytes)
            model = build_model(config, data.facts, fed.steps)
        with watch.during("states"):
            earlier = earlier_attempt(spec, model)
            if earlier is not None:
                earlier.carry_files(Path(spec.folder))
                pulse.earlier_s = earlier.content["seconds"]
        first_epoch = 0 if earlier is None else earlier.first_epoch
        now = time.time_ns() // 1_000_000
        story(Started(spec.number, spec.attempt, now, _facts(model, fed), first_epoch))
        verdict = Verdict.GO_ON if earlier is None else story.retell(earlier.content["story"])
        over = earlier is not None and earlier.over
        if verdict is Verdict.PAUSE and not over:
            return _Outcome(paused=True)
        with watch.during("build"):
            _describe(model, spec, story)
            course = _course(spec, config, fed, model, story, pulse, watch, earlier)
        course.reporter.hears(verdict)
        with watch.during("fit"):
            model.fit(
                fed.training(first_epoch),
                steps_per_epoch=fed.steps,
                # where nothing is left to be trained, it is only ended
                initial_epoch=config.epochs if over or verdict is Verdict.STOP else first_epoch,
                epochs=config.epochs,
                callbacks=course,
                shuffle=False,  # `shuffled_batches` does it, in an order that can be made again
                verbose=0,
                **fed.validating(),
            )
        if course.paused:
            return _Outcome(paused=True)
        course.keeper.finish()
        folder = Path(spec.folder) / FILES
        for path in sorted(folder.rglob("*")) if folder.is_dir() else []:
            if path.is_file():
                with watch.during("checkpoints"):
                    digest = sha256_of(path)
                story(CheckpointWritten(spec.number, spec.attempt, None, "callback", str(path), digest))
        reporter = course.reporter
        if reporter.not_finite:
            return _Outcome(pruned=True, failure=Failure.NOT_FINITE)
        # a verdict that comes with the last epoch stopped nothing: such a trial is complete
        return _Outcome(pruned=reporter.told_to_stop and reporter.epochs < config.epochs)


def build_model(config: TrainingConfig, facts: InputFacts, steps_per_epoch: int) -> keras.Model:
    """The compiled model of a config; the same config gives the same initial weights."""
    goal = config.goal(facts)
    keras.utils.set_random_seed(config.seed)
    model = config.model.build(facts, goal.head)
    # by keyword: compile's third positional argument is `loss_weights`, not `metrics`
    model.compile(
        optimizer=config.optimizer.build(Length(steps_per_epoch, config.epochs)),
        loss=goal.loss.build(),
        loss_weights=None if goal.loss_weight == 1.0 else [goal.loss_weight],
        metrics=[metric.build(goal.loss.targets) for metric in goal.metrics],
    )
    return model


def _callbacks(config: TrainingConfig, data: PreparedData) -> dict[str, Callback]:
    """Those of the recipe; a model of the plane also has its decision surface drawn, unless the recipe says how."""
    callbacks = dict(config.callbacks)
    drawn = any(isinstance(callback, DecisionSurface) for callback in callbacks.values())
    return callbacks if drawn or data.facts.kind != "points" else {**callbacks, DECISION_SURFACE: DecisionSurface()}


def _course(
    spec: TrialSpec,
    config: TrainingConfig,
    fed: Feed,
    model: keras.Model,
    story: Story,
    pulse: Pulse,
    watch: Stopwatch,
    earlier: Earlier | None,
) -> Course:
    x, y = fed.probe()
    around = Surroundings(
        folder=Path(spec.folder) / FILES,
        facts=fed.data.facts,
        task=fed.goal.task,
        epochs=config.epochs,
        steps_per_epoch=fed.steps,
        x=x,
        y=y,
        draw=partial(_draw, spec, story),
    )
    built = {label: callback.build(around) for label, callback in _callbacks(config, fed.data).items()}
    return Course(
        built,
        spec,
        model,
        epochs=config.epochs,
        steps=fed.steps,
        story=story,
        pulse=pulse,
        watch=watch,
        earlier=earlier,
    )


def _draw(spec: TrialSpec, emit: Emit, epoch: int, key: str, png: bytes) -> None:
    path = Path(spec.folder) / "pictures" / f"{key}-{epoch:05d}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(png)
    emit(PictureDrawn(spec.number, spec.attempt, epoch, key, str(path)))


def _describe(model: keras.Model, spec: TrialSpec, emit: Emit) -> None:
    """Keeps Keras's own summary of the model on the run."""
    lines: list[str] = []
    model.summary(print_fn=lambda line, **_: lines.append(line), line_length=100, expand_nested=True)
    path = Path(spec.folder) / "model_summary.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    emit(FileWritten(spec.number, spec.attempt, str(path)))


def _facts(model: keras.Model, fed: Feed) -> dict[str, str]:
    """What only the worker knows about a run."""
    devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    return {
        "regatta.device": devices[0].name,
        "regatta.threads": str(tf.config.threading.get_intra_op_parallelism_threads()),
        "regatta.parameters": str(model.count_params()),
        "regatta.task": str(fed.goal.task),
        "regatta.loss": str(fed.goal.loss.name),  # type: ignore[attr-defined]
        "regatta.data": "streamed from disk" if fed.streamed else "in memory",
        "regatta.keras": keras.__version__,
        "regatta.tensorflow": tf.__version__,
    }


def _in_a_line(problem: Exception) -> str:
    """What went wrong, and where in the user's own code, if it was there; the whole traceback is kept as a file."""
    first = next((line.strip() for line in str(problem).splitlines() if line.strip()), "no message")
    return f"{type(problem).__name__}: {first}{place_in_own_code(problem)}"
