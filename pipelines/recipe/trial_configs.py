"""Makes training configs of what was sampled."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from pipelines.params import flat_params, telling_params
from pipelines.recipe.config import SweepConfig, TrainingConfig
from pipelines.recipe.search_space import NOT_VARIED, SearchSpace, overlay


@dataclass(frozen=True)
class TrialConfig:
    """What a trial trains.

    Attributes:
        config: The training config, as plain JSON types.
        params: What people compare trials by.
        problem: Why the config is none, or None.
    """

    config: Mapping[str, Any]
    params: Mapping[str, str]
    problem: str | None = None


class TrialConfigs:
    """The training configs of a recipe's trials."""

    def __init__(self, config: SweepConfig) -> None:
        """Takes the recipe."""
        self._space = SearchSpace(config.search_space)
        self._base = config.training()
        self._written = config.model_dump(mode="json", exclude_unset=True, include=set(TrainingConfig.model_fields))

    def make(self, number: int, trial: Any) -> TrialConfig:
        """The config of trial `number`, sampled from `trial`, which has Optuna's `suggest_*`."""
        changes = self._space.sample(trial)
        raw = overlay({**self._base, "seed": self._base["seed"] + number}, changes)
        try:
            training = TrainingConfig.model_validate(raw)
        except ValidationError as error:
            return TrialConfig(raw, flat_params(raw), f"not a valid training config: {error.errors()[0]['msg']}")
        config = training.model_dump(mode="json")
        return TrialConfig(
            config, telling_params(config, *map(_own, (training.said(), self._written, overlay({}, changes))))
        )


def _own(said: Mapping[str, Any]) -> dict[str, Any]:
    """What a trial may have to itself; what all trials of a sweep share is said once, on their parent run."""
    own = {key: value for key, value in said.items() if key not in NOT_VARIED}
    return own | {"dataset": {"name": ""}}  # people look for its name on every run
