"""What tests of the study share."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipelines.recipe.config import SweepConfig
from pipelines.recipe.search_space import SearchSpace
from pipelines.records import TrialState
from pipelines.study import AskedTrial, Study

UNIT: dict[str, Any] = {"model.dropout": {"type": "float", "low": 0.0, "high": 0.9}}
BRANCHES: dict[str, Any] = {
    "optimizer": {
        "adam": {"learning_rate": {"type": "float", "low": 1e-4, "high": 1e-2, "log": True}},
        "sgd": {"momentum": {"type": "float", "low": 0.0, "high": 0.9}},
    },
    "batch_size": [16, 32, 64],
}


def ask(study: Study, config: SweepConfig) -> AskedTrial:
    """A trial with its parameters drawn."""
    asked = study.ask()
    SearchSpace(config.search_space).sample(asked.optuna_trial)
    return asked


def tried(
    study: Study,
    config: SweepConfig,
    values: Mapping[str, float] | float,
    state: TrialState = TrialState.COMPLETE,
    **told: Any,
) -> AskedTrial:
    """A trial that was asked for and told; a number alone is its val_loss, which it had in both of its epochs."""
    asked = ask(study, config)
    named = values if isinstance(values, Mapping) else {"val_loss": values}
    for epoch in range(2):
        study.report(asked.number, epoch, named[config.objective.metric])
    study.tell(asked.number, state, named, **told)
    return asked


def storage(home: Path, study: str = "tiny") -> Path:
    """Where a study has its SQLite file."""
    return home / "studies" / study / "optuna.db"
