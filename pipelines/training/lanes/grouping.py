"""Which trials can share a program: what they must have in common, and what may differ from lane to lane."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from pipelines.computing import LATER
from pipelines.models.cnn import CnnModel
from pipelines.models.hidden import HiddenLayers, at
from pipelines.recipe.config import TrainingConfig
from pipelines.schedules import LearningRateSpec
from pipelines.schedules.constant import Constant

LIFTED = ("momentum", "beta_1", "beta_2", "rho", "epsilon", "weight_decay", "ema_momentum")
"""Numbers of optimizers that Keras only computes with, but for the question whether they are zero."""
LAYER_WISE = ("dropout", "l1", "l2")
"""Numbers of hidden layers of which the same is true."""
MIXED = ("sgd", "adagrad", "adadelta", "rmsprop", "adam", "adamw", "adamax", "nadam", "ftrl", "lion")
"""Optimizers whose rule treats each number of the weights by itself: it takes little beside the gradients, so that the
lanes of others may well compute it, too."""


@dataclass(frozen=True)
class Group:
    """Where a trial belongs.

    Attributes:
        key: The same for all trials that one model, built once, can stand for; they can share a program.
        lifted: What differs between them in the program, by name; see `pipelines.training.lanes.lifting.places`.
        learning_rate: The rate to begin with, which is a variable of the optimizer; None where a schedule moves it.
        kin: The same for groups that differ in their optimizer alone, and can share a program, too.
    """

    key: str
    lifted: dict[str, float] = field(default_factory=dict)
    learning_rate: float | None = None
    kin: str = ""


def group_of(config: TrainingConfig, data: str) -> Group:
    """The group of a training on the data in a folder."""
    common = config.model_dump(mode="json", exclude={"seed", "callbacks"})
    lifted: dict[str, float] = {}
    optimizer, rate = common["optimizer"], None
    given = config.optimizer.learning_rate
    if isinstance(given, Constant):
        given = given.value
    if not isinstance(given, LearningRateSpec):
        del optimizer["learning_rate"]
        rate = float(given)
        del common["epochs"]  # which a schedule may follow
    for name in LIFTED:
        value = optimizer.get(name)
        if value:  # none and zero are other programs
            lifted[f"optimizer.{name}"] = float(value)
            optimizer[name] = "lifted"
    if isinstance(config.model, HiddenLayers):
        lifted |= _of_layers(config.model, common["model"])
    key = json.dumps([data, common], sort_keys=True)
    kin = key
    if config.optimizer.name in MIXED and config.precision != "mixed_float16":  # there, each scales the loss by itself
        kin = json.dumps([data, {**common, "optimizer": "any"}], sort_keys=True)
    return Group(key, lifted, rate, kin)


def program_of(configs: Sequence[TrainingConfig], group: Group) -> str:
    """What tells how fast a program is: the group, but for the settings of the optimizers."""
    data, common = json.loads(group.key)
    common["optimizer"] = "+".join(sorted({config.optimizer.name for config in configs}))
    told = {name: common[name] for name in ("model", "optimizer", "batch_size")}
    told |= {name: common[name] for name, usual in LATER.items() if common[name] != usual}
    return json.dumps([data, told], sort_keys=True)


def _of_layers(model: HiddenLayers, common: dict[str, Any]) -> dict[str, float]:
    """Lifts what hidden layers (and the output layer, with penalties) have each; which of it is zero stays behind."""
    lifted: dict[str, float] = {}
    for name in LAYER_WISE:
        given = getattr(model, name)
        count = model.hidden_count + (name != "dropout")
        values = [*given, *[0.0] * (count - len(given))] if isinstance(given, tuple) else [given] * count
        if name != "dropout" and isinstance(model, CnnModel):  # a penalty is that of each convolution of a block
            blocks = len(model.filters)
            values = [
                value
                for place, value in enumerate(values)
                for _ in range(at(model.convs_per_block, place) if place < blocks else 1)
            ]
        common[name] = [bool(value) for value in values]
        lifted |= {f"{name}.{place}": float(value) for place, value in enumerate(filter(None, values))}
    return lifted
