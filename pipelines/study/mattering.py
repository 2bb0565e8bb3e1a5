"""Which parameters mattered. Optuna's part for that takes a second to import, so it is imported when it is asked."""

from __future__ import annotations

import warnings

import optuna

FEWEST = 11
"""Complete trials below which the best tenth, that importances are told from, would be a single trial."""


def importances(study: optuna.Study, sense: str | None) -> dict[str, float]:
    """Share of the objective that each parameter explains; empty where that cannot be told.

    Args:
        study: Optuna's.
        sense: Of the first of several objectives, which is looked at alone; None where there is one only.
    """
    sign = 1.0 if sense == "minimize" else -1.0
    target = None if sense is None else (lambda trial: sign * trial.values[0])
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it warns of few trials; the report says how many there were
            return dict(optuna.importance.get_param_importances(study, target=target))
    except (ValueError, RuntimeError, ZeroDivisionError):
        return {}
