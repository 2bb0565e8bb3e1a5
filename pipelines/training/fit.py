"""The trainer for any model: Keras's own `Model.fit`, one trial at a time."""

from __future__ import annotations

import time
import traceback
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from pipelines.callbacks import Callback, DecisionSurface
from pipelines.callbacks.base import Surroundings
from pipelines.checkpoints import sha256_of
from pipelines.config import TrainingConfig
from pipelines.datasets import Samples
from pipelines.datasets.prepared import PreparedData, open_prepared
from pipelines.goals import Goal, class_weights
from pipelines.inputs import InputFacts
from pipelines.optimizers import Length
from pipelines.own_code import place_in_own_code
from pipelines.pictures.surface import DECISION_SURFACE
from pipelines.records import CheckpointWritten, Ended, FileWritten, PictureDrawn, Started, TrialSpec
from pipelines.training.base import Emit
from pipelines.training.batches import encoded, ordered_batches, shuffled_batches, steps_in_epoch
from pipelines.training.watching import BestEpochKeeper, Reporter
from pipelines.training.witness import witnessed

VALIDATION_BATCH = 1024
"""Validation is a sum over samples, so its batch is as large as is comfortable."""
PROBE_SAMPLES = 256
"""Training samples that callbacks may look at."""


class FitTrainer:
    """Trains with `Model.fit`."""

    def __init__(self, data_bytes: int) -> None:
        """Takes the memory that a trial's data may use; larger data is read from disk, batch by batch."""
        self._data_bytes = data_bytes

    def train(self, spec: TrialSpec, emit: Emit) -> None:
        """Trains one attempt; see `pipelines.training.base.Trainer`."""
        begun = time.monotonic()
        error = trace = None
        pruned = False
        try:
            pruned = self._train(spec, emit)
        except Exception as problem:  # the trial fails alone; the worker lives
            error, trace = _in_a_line(problem), traceback.format_exc()
        finally:
            keras.backend.clear_session()  # graphs of ended trials would pile up in the worker
        now = time.time_ns() // 1_000_000
        emit(Ended(spec.number, spec.attempt, now, pruned, error, trace, time.monotonic() - begun))

    def _train(self, spec: TrialSpec, emit: Emit) -> bool:
        """Trains; returns whether the controller stopped it."""
        config = TrainingConfig.model_validate(spec.config)
        data = open_prepared(Path(spec.data))
        fed = _Feed(config, data, *data.read(), self._data_bytes)
        model = build_model(config, data.facts, fed.steps)
        emit(Started(spec.number, spec.attempt, time.time_ns() // 1_000_000, _facts(model, fed)))
        _describe(model, spec, emit)
        around = _surroundings(spec, config, fed, emit)
        callbacks = _callbacks(config, data)
        built = {label: callback.build(around) for label, callback in callbacks.items()}
        keeper, reporter = BestEpochKeeper(spec, emit), Reporter(spec, emit)
        model.fit(
            fed.training(),
            steps_per_epoch=fed.steps,
            epochs=config.epochs,
            callbacks=[*witnessed(built, spec, emit, around.folder), keeper, reporter],
            shuffle=False,  # `shuffled_batches` does it, in an order that can be made again
            verbose=0,
            **fed.validating(),
        )
        keeper.finish()
        for path in sorted(around.folder.rglob("*")) if around.folder.is_dir() else []:
            if path.is_file():
                emit(CheckpointWritten(spec.number, spec.attempt, None, "callback", str(path), sha256_of(path)))
        # a verdict that comes with the last epoch stopped nothing: such a trial is complete
        return reporter.told_to_stop and reporter.epochs < config.epochs


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


@dataclass(frozen=True)
class _Feed:
    """A trial's data, in the form that `fit` takes it."""

    config: TrainingConfig
    data: PreparedData
    train: Samples
    validation: Samples
    data_bytes: int

    @property
    def goal(self) -> Goal:
        return self.config.goal(self.data.facts)

    @property
    def steps(self) -> int:
        return steps_in_epoch(len(self.train), self.config.batch_size)

    @property
    def streamed(self) -> bool:
        """Whether rows come from disk. Validation counts at four bytes a value, as Keras will hold it."""
        held = int(self.train.x.dtype.itemsize) * _values(self.train) + 4 * _values(self.validation)
        return held > self.data_bytes

    def training(self) -> tf.data.Dataset:
        goal, config = self.goal, self.config
        weights = class_weights(config.class_weight, self.data.facts, self.train.y)
        return shuffled_batches(
            self.train,
            config.batch_size,
            seed=config.seed,
            targets=goal.loss.targets,
            classes=goal.head.units,
            weights=weights,
            streamed=self.streamed,
        )

    def validating(self) -> dict[str, Any]:
        goal, samples = self.goal, self.validation
        if self.streamed:
            batches = ordered_batches(samples, VALIDATION_BATCH, goal.loss.targets, goal.head.units)
            return {"validation_data": batches}
        truth = encoded(np.asarray(samples.y), goal.loss.targets, goal.head.units).numpy()
        pair = (np.asarray(samples.x, np.float32), truth)
        return {"validation_data": pair, "validation_batch_size": VALIDATION_BATCH}


def _values(samples: Samples) -> int:
    return int(np.prod(samples.x.shape, dtype=np.int64))


def _callbacks(config: TrainingConfig, data: PreparedData) -> dict[str, Callback]:
    """Those of the recipe; a model of the plane also has its decision surface drawn, unless the recipe says how."""
    callbacks = dict(config.callbacks)
    drawn = any(isinstance(callback, DecisionSurface) for callback in callbacks.values())
    return callbacks if drawn or data.facts.kind != "points" else {**callbacks, DECISION_SURFACE: DecisionSurface()}


def _surroundings(spec: TrialSpec, config: TrainingConfig, fed: _Feed, emit: Emit) -> Surroundings:
    goal, first = fed.goal, fed.train.take(np.arange(min(PROBE_SAMPLES, len(fed.train)), dtype=np.int64))
    return Surroundings(
        folder=Path(spec.folder) / "checkpoints",
        facts=fed.data.facts,
        task=goal.task,
        epochs=config.epochs,
        steps_per_epoch=fed.steps,
        x=np.asarray(first.x, np.float32),
        y=encoded(np.asarray(first.y), goal.loss.targets, goal.head.units).numpy(),
        draw=partial(_draw, spec, emit),
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


def _facts(model: keras.Model, fed: _Feed) -> dict[str, str]:
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
