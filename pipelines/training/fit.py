"""The trainer for any model: Keras's own `Model.fit`, one trial at a time."""

from __future__ import annotations

import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

import keras
import numpy as np
import tensorflow as tf

from pipelines.checkpoints import sha256_of
from pipelines.config import METRICS, TrainingConfig
from pipelines.datasets.prepared import open_prepared
from pipelines.records import CheckpointWritten, Ended, Started, TrialSpec
from pipelines.training.base import Emit
from pipelines.training.batches import shuffled_batches, steps_in_epoch
from pipelines.training.watching import BestEpochKeeper, Reporter

if TYPE_CHECKING:
    from pipelines.inputs import InputFacts

LOSS = "sparse_categorical_crossentropy"
VALIDATION_BATCH = 1024
"""Validation is a sum over samples, so its batch is as large as is comfortable."""


class FitTrainer:
    """Trains with `Model.fit`."""

    def train(self, spec: TrialSpec, emit: Emit) -> None:
        """Trains one attempt; see `pipelines.training.base.Trainer`."""
        begun = time.monotonic()
        error = trace = None
        pruned = False
        try:
            pruned = self._train(spec, emit)
        except Exception as problem:  # the trial fails alone; the worker lives
            error, trace = f"{type(problem).__name__}: {_first_line(problem)}", traceback.format_exc()
        finally:
            keras.backend.clear_session()  # graphs of ended trials would pile up in the worker
        now = time.time_ns() // 1_000_000
        emit(Ended(spec.number, spec.attempt, now, pruned, error, trace, time.monotonic() - begun))

    def _train(self, spec: TrialSpec, emit: Emit) -> bool:
        """Trains; returns whether the controller stopped it."""
        config = TrainingConfig.model_validate(spec.config)
        data = open_prepared(Path(spec.data))
        train, validation = data.read()
        model = build_model(config, data.facts)
        emit(Started(spec.number, spec.attempt, time.time_ns() // 1_000_000, _facts(model)))
        saved = Path(spec.folder) / "checkpoints"
        keeper, reporter = BestEpochKeeper(spec, emit), Reporter(spec, emit)
        model.fit(
            shuffled_batches(train, config.batch_size, seed=config.seed),
            steps_per_epoch=steps_in_epoch(len(train), config.batch_size),
            epochs=config.epochs,
            validation_data=(np.asarray(validation.x, np.float32), np.asarray(validation.y)),
            validation_batch_size=VALIDATION_BATCH,
            callbacks=[*(callback.build(saved) for callback in config.callbacks.values()), keeper, reporter],
            shuffle=False,  # `shuffled_batches` does it, in an order that can be made again
            verbose=0,
        )
        keeper.finish()
        for path in sorted(saved.rglob("*")) if saved.is_dir() else []:
            if path.is_file():
                emit(CheckpointWritten(spec.number, spec.attempt, None, "callback", str(path), sha256_of(path)))
        # a verdict that comes with the last epoch stopped nothing: such a trial is complete
        return reporter.told_to_stop and reporter.epochs < config.epochs


def build_model(config: TrainingConfig, facts: InputFacts) -> keras.Model:
    """The compiled model of a config; the same config gives the same initial weights."""
    keras.utils.set_random_seed(config.seed)
    model = config.model.build(facts)
    # by keyword: compile's third positional argument is `loss_weights`, not `metrics`
    model.compile(optimizer=config.optimizer.build(), loss=LOSS, metrics=[name for name in METRICS if name != "loss"])
    return model


def _facts(model: keras.Model) -> dict[str, str]:
    """What only the worker knows about a run."""
    devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    return {
        "regatta.device": devices[0].name,
        "regatta.threads": str(tf.config.threading.get_intra_op_parallelism_threads()),
        "regatta.parameters": str(model.count_params()),
        "regatta.keras": keras.__version__,
        "regatta.tensorflow": tf.__version__,
    }


def _first_line(problem: Exception) -> str:
    return next((line.strip() for line in str(problem).splitlines() if line.strip()), "no message")
