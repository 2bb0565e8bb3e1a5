"""The one real Keras model of a cohort: what all its lanes have in common, and what is lent to each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np

from pipelines.recipe.config import TrainingConfig
from pipelines.training.attempt import summary_of
from pipelines.training.feeding import Feed, Held
from pipelines.training.fit import build_model, in_32_bits
from pipelines.training.lanes.drawing import undisturbed
from pipelines.training.lanes.grouping import Group
from pipelines.training.lanes.initial import record
from pipelines.training.lanes.lifting import lifted, places
from pipelines.training.lanes.stamping import stamp_of
from pipelines.training.lanes.watching_builds import fresh_names
from pipelines.training.reloading import prove_reloadable
from pipelines.training.values import form_of, variables_of


class NotLaneable(Exception):
    """A group of trials cannot be trained in lanes; the message says why."""


@dataclass(frozen=True)
class Beginning:
    """How a trial begins.

    Attributes:
        values: Of all variables; see `Template`.
        streams: Where the random streams stand; see `pipelines.training.randomness.streams`.
    """

    values: list[np.ndarray]
    streams: Callable[[], dict[str, Any]]


class Template:
    """A compiled model with a built optimizer, whose own values do not matter.

    Attributes:
        model: The model.
        form: Shapes and types of its values, which are those of `variables_of`, in that order.
        first: The values that it was built with.
        lifts: Names of the settings that each lane has its own value of.
        weights: Places of the weights among the values.
        rate: Place of the learning rate among the values; None where a schedule moves it.
        iterations: Place of the number of steps.
        summary: Keras's own summary.
    """

    def __init__(self, config: TrainingConfig, group: Group, fed: Feed, like: Template | None = None) -> None:
        """Builds the model of one trial of the group.

        Args:
            config: Of the trial.
            group: The group.
            fed: The data.
            like: The template of a group whose models differ from these in nothing but the optimizer.

        Raises:
            NotLaneable: Its other trials cannot be had from this one.
        """
        facts, steps = fed.data.facts, fed.steps

        def build(seed: int) -> keras.Model:
            return build_model(config.model_copy(update={"seed": seed}), facts, steps)

        if like is None:
            self.model, replay = record(build, config.seed)
            if replay is None:
                raise NotLaneable("the model is not built in the same way for every seed")
            self._replay = replay
            prove_reloadable(self.model, config.model, fed, partial(build_model, in_32_bits(config), facts, steps))
        else:
            with undisturbed(), fresh_names():
                self.model = build(config.seed)
            self._replay = like._replay
        self.summary = summary_of(self.model)
        self._variables = variables_of(self.model)
        self.first = [variable.numpy() for variable in self._variables]
        self.form = form_of(self._variables)
        self.lifts = tuple(sorted(group.lifted))
        known = places(self.model, self.model.optimizer)
        missing = [name for name in self.lifts if name not in known]
        if missing:
            raise NotLaneable(f"the model has no place for {', '.join(missing)}")
        optimizer = getattr(self.model.optimizer, "inner_optimizer", self.model.optimizer)
        of_model = {id(weight) for weight in self.model.weights}
        self.weights = [place for place, variable in enumerate(self._variables) if id(variable) in of_model]
        ids = [id(variable) for variable in self._variables]
        rate = optimizer._learning_rate
        self.rate = ids.index(id(rate)) if isinstance(rate, keras.Variable) else None
        self.iterations = ids.index(id(optimizer._iterations))  # the property counts gathered batches as one
        self._stamp = stamp_of(self.model, group.lifted)
        self._now: ExitStack | None = None

    @property
    def value_bytes(self) -> int:
        """Bytes of all values."""
        return sum(value.nbytes for value in self.first)

    @property
    def saves_anywhere(self) -> bool:
        """Whether `save` needs the model itself no more, so that any thread may call it."""
        return self._stamp is not None

    def beginning(self, seed: int, group: Group) -> Beginning:
        """How a trial of this seed begins."""
        values = self._replay.values(seed)
        count = len(self.model.variables)
        all_values = [*values, *self.first[count:]]
        if self.rate is not None:
            all_values[self.rate] = np.asarray(group.learning_rate, all_values[self.rate].dtype)
        return Beginning(all_values, partial(self._replay.streams, seed))

    def values(self) -> list[np.ndarray]:
        """What the model holds."""
        return [np.asarray(variable.value) for variable in self._variables]

    def put(self, values: Sequence[np.ndarray], settings: Mapping[str, float]) -> None:
        """Has the model hold these values and settings."""
        for variable, value in zip(self._variables, values, strict=True):
            variable.assign(value)
        self.model.stop_training = False
        if self._now is not None:
            self._now.close()
        self._now = ExitStack()  # until those of the next lane are put in
        self._now.enter_context(lifted(self.model, self.model.optimizer, settings))

    def scheduled_rate(self, iterations: np.ndarray) -> Any:
        """The learning rate at a step, by the optimizer's schedule."""
        optimizer = getattr(self.model.optimizer, "inner_optimizer", self.model.optimizer)
        return optimizer._learning_rate(keras.ops.convert_to_tensor(iterations))

    def save(self, path: Path, values: Sequence[np.ndarray], settings: Mapping[str, float]) -> None:
        """Writes the `.keras` file of the model with these values and settings."""
        if self._stamp is not None:
            self._stamp.save(path, values, settings)
            return
        self.put(values, settings)
        self.model.save(path)


def metrics_of(model: keras.Model, data: Held, batch_size: int) -> list[Any]:
    """The variables of a model's metrics, which Keras makes when it sees the first batch."""
    x = keras.KerasTensor((batch_size, *data.x.shape[1:]), "float32")
    y = keras.KerasTensor((batch_size, *data.y.shape[1:]), keras.backend.standardize_dtype(data.y.dtype))
    model._symbolic_build(data_batch=(x, y))
    return list(model.metrics_variables)
