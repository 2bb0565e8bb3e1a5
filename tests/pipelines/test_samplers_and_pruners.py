from __future__ import annotations

import warnings
from typing import Any

import optuna
import pytest

from pipelines.pruners import MedianPruner, NoPruner
from pipelines.samplers import RandomSampler, TpeSampler


def drawn(sampler: optuna.samplers.BaseSampler) -> list[float]:
    study = optuna.create_study(sampler=sampler)
    values = []
    for _ in range(15):
        trial = study.ask()
        values.append(trial.suggest_float("x", 0, 1))
        study.tell(trial, values[-1])
    return values


@pytest.mark.parametrize("spec", [TpeSampler(n_startup_trials=3), TpeSampler(multivariate=False), RandomSampler()])
def test_a_sampler_draws_the_same_for_the_same_seed(spec: TpeSampler | RandomSampler) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        first, second, other = drawn(spec.build(1)), drawn(spec.build(1)), drawn(spec.build(2))
    assert first == second != other


@pytest.mark.parametrize(
    ("settings", "stopped_at"),
    [
        ({"n_startup_trials": 1, "n_warmup_steps": 0}, 0),
        ({"n_startup_trials": 1, "n_warmup_steps": 2}, 2),
        ({"n_startup_trials": 3, "n_warmup_steps": 0}, None),
        ({"n_startup_trials": 1, "n_warmup_steps": 0, "n_min_trials": 3}, None),
    ],
)
def test_the_median_pruner_stops_a_bad_trial_after_its_warmup(settings: dict[str, Any], stopped_at: int | None) -> None:
    assert first_stop(MedianPruner(**settings).build()) == stopped_at


def test_no_pruner_stops_nothing() -> None:
    assert first_stop(NoPruner().build()) is None


def first_stop(pruner: optuna.pruners.BasePruner) -> int | None:
    """The first step at which a trial that is worse than two good ones is stopped."""
    study = optuna.create_study(pruner=pruner)
    for _ in range(2):
        good = study.ask()
        for step in range(5):
            good.report(0.1, step)
        study.tell(good, 0.1)
    bad = study.ask()
    for step in range(5):
        bad.report(9.0, step)
        if bad.should_prune():
            return step
    return None
