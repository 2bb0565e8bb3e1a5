"""Search spaces for tests of samplers, and studies that ask and tell in them."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from pipelines.recipe.config import SweepConfig
from pipelines.recipe.search_space import SearchSpace
from pipelines.records import TrialState
from pipelines.samplers import Varying, varying
from pipelines.study import AskedTrial, Study
from tests.pipelines.scripted import recipe

MIXED: dict[str, Any] = {
    "optimizer": {
        "adam": {"learning_rate": {"type": "float", "low": 1e-4, "high": 1e-2, "log": True}},
        "sgd": {"momentum": {"type": "float", "low": 0.0, "high": 0.9}, "learning_rate": [0.1, 0.01]},
    },
    "batch_size": {"type": "int", "low": 8, "high": 64, "step": 8},
    "model.dropout": {"type": "float", "low": 0.0, "high": 0.5},
    "model.units": [[16], [32, 16]],
}
"""Everything there is: branches, a logarithmic range, steps, choices, lists among them."""

FLAT: dict[str, Any] = {
    "model.activation": ["sigmoid", "tanh", "relu"],
    "model.kernel_initializer": ["glorot_uniform", "he_normal"],
}
"""Six combinations."""

NESTED: dict[str, Any] = {
    "optimizer": {
        "adam": {"beta_1": [0.8, 0.9]},
        "sgd": {
            "momentum": {"type": "float", "low": 0.0, "high": 0.3, "step": 0.1},
            "learning_rate": {"cosine": {"initial_learning_rate": [0.1, 0.2]}, "constant": {"value": 0.1}},
        },
        "adagrad": {},
    },
    "batch_size": {"type": "int", "low": 16, "high": 48, "step": 16},
}
"""2 + 4 · (2 + 1) + 1 = 15 optimizers times 3 batch sizes: 45 combinations."""


def what_varies(space: Mapping[str, Any]) -> tuple[Varying, ...]:
    """A search space as samplers see it."""
    return varying(SearchSpace(recipe(search_space=space).search_space).parameters())


def quality(params: Mapping[str, Any]) -> float:
    """A result that follows from the parameters alone."""
    return sum(value if isinstance(value, float | int) else len(str(value)) for value in params.values()) / 100


class Asking:
    """A study that asks, draws and tells."""

    def __init__(self, config: SweepConfig, storage: Path | None = None) -> None:
        self.study = Study(config, storage)
        self.space = SearchSpace(config.search_space)
        self.open: list[AskedTrial] = []

    def ask(self, number: int | None = None) -> dict[str, Any]:
        """What a new trial, or the unfinished one of a number, draws."""
        asked = self.study.ask() if number is None else self.study.ask_again(number)
        self.space.sample(asked.optuna_trial)
        self.open.append(asked)
        return asked.params

    def tell(self, state: TrialState = TrialState.COMPLETE) -> None:
        """Closes the trial that was asked for first."""
        asked = self.open.pop(0)
        value = quality(asked.params)
        self.study.should_stop(asked.number, 0, value)
        self.study.tell(asked.number, state, {"val_loss": value})


def drawn(
    sampler: Any,
    trials: int = 15,
    *,
    space: Mapping[str, Any] = MIXED,
    seed: int = 1,
    at_once: int = 1,
    storage: Path | None = None,
    **parts: Any,
) -> list[dict[str, Any]]:
    """What the trials of a study draw, so many of them running at once; all are told in the end."""
    asking = Asking(recipe(search_space=space, sampler=sampler, seed=seed, **parts), storage)
    params = []
    with closing(asking.study):
        for _ in range(trials):
            params.append(asking.ask())
            if len(asking.open) == at_once:
                asking.tell()
        while asking.open:
            asking.tell()
    return params
