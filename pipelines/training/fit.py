"""The trainer for any model: Keras's own `Model.fit`, one trial at a time."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import keras

from pipelines.computing import compiling, computing_in, scaling_loss
from pipelines.datasets.prepared import open_prepared
from pipelines.inputs import InputFacts
from pipelines.optimizers import Length
from pipelines.recipe.config import TrainingConfig
from pipelines.records import TrialSpec
from pipelines.training.attempt import Attempt, Outcome, facts_of, summary_of
from pipelines.training.base import Emit
from pipelines.training.failing import broke_the_device
from pipelines.training.feeding import Feed
from pipelines.training.machine import Machine, OwnProcess
from pipelines.training.reloading import prove_reloadable


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

    def train(self, spec: TrialSpec, emit: Emit, why: str = "") -> None:
        """Trains one attempt; `why` says why it is not trained in a lane, for the record."""
        attempt = Attempt(spec, emit, self._machine, clock=self._clock)
        keras.backend.clear_session(free_memory=False)  # names begin anew, whatever was built for lanes meanwhile
        try:
            outcome = self._train(attempt, f"fit: {why}" if why else "fit")
        except Exception as problem:  # the trial fails alone; the worker lives
            attempt.fail(problem)
            if broke_the_device(problem):
                raise  # ends the worker, in which nothing more could be computed
        else:
            attempt.end(outcome)
        finally:
            keras.backend.clear_session()  # graphs of ended trials would pile up in the worker

    def _train(self, attempt: Attempt, trainer: str) -> Outcome:
        """Trains from the first epoch, or from the last that an earlier attempt kept."""
        spec, watch = attempt.spec, attempt.watch
        with watch.during("build"):
            config = TrainingConfig.model_validate(spec.config)
            data = open_prepared(Path(spec.data))
            fed = Feed(config, data, *data.read(), self._data_bytes)
            model = build_model(config, data.facts, fed.steps)
            prove_reloadable(model, config.model, fed, partial(build_model, in_32_bits(config), data.facts, fed.steps))
            facts, summary = facts_of(model.count_params(), fed, trainer), summary_of(model)
        if not attempt.begin(model, fed, facts, summary):
            return Outcome(paused=True)
        with watch.during("fit"):
            model.fit(
                fed.training(attempt.first_epoch),
                steps_per_epoch=fed.steps,
                initial_epoch=attempt.first_epoch,
                epochs=config.epochs,
                callbacks=attempt.course,
                shuffle=False,  # `shuffled_batches` does it, in an order that can be made again
                verbose=0,
                **fed.validating(),
            )
        return attempt.finish()


def build_model(config: TrainingConfig, facts: InputFacts, steps_per_epoch: int) -> keras.Model:
    """The compiled model of a config; the same config gives the same initial weights."""
    goal = config.goal(facts)
    keras.utils.set_random_seed(config.seed)
    with computing_in(config.precision):
        model = config.model.build(facts, goal.head)
    # by keyword: compile's third positional argument is `loss_weights`, not `metrics`
    model.compile(
        optimizer=scaling_loss(config.optimizer.build(Length(steps_per_epoch, config.epochs)), config.precision),
        loss=goal.loss.build(),
        loss_weights=None if goal.loss_weight == 1.0 else [goal.loss_weight],
        metrics=[metric.build(goal.targets) for metric in goal.metrics],
        **compiling(config.xla),
    )
    if not goal.loss.portable:  # a file that named it could be loaded only where the user's code is
        model.get_compile_config = lambda: None
    return model


def in_32_bits(config: TrainingConfig) -> TrainingConfig:
    """The same training in full precision, which is what its model is judged and served in."""
    return config.model_copy(update={"precision": "float32"})
