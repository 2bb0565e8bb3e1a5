"""Trials that the journal knows, and that the storage has lost in a power cut."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import optuna
from optuna.trial import TrialState as OptunaState

from pipelines.recipe.draws import matching
from pipelines.records import TrialState
from pipelines.samplers.whole_space import distribution
from pipelines.study.trials import ATTEMPT, RESTORED, Trials


def restore_running(
    trials: Trials, number: int, params: Mapping[str, Any], reported: Mapping[int, float], attempt: int
) -> bool:
    """Makes a trial one that is running, with all that is known of it.

    Numbers that are missing before it wait to be asked for.

    Args:
        trials: Of the study.
        number: The trial's.
        params: What it drew; what the search space does not have is left out.
        reported: The first objective's value by epoch; empty where there are several objectives.
        attempt: The attempt that it was at.

    Returns:
        False where the trial is over, or an older study's; it stays as it is then.
    """
    book, storage = trials.book, trials.storage
    while len(book) <= number:
        trials.add(optuna.create_trial(state=OptunaState.WAITING))
    known = book[number]
    if known.borrowed or known.state not in (None, TrialState.RUNNING):
        return False
    if known.state is None:
        storage.set_trial_state_values(known.trial_id, OptunaState.RUNNING)
        book.begin(number)
    by_name = {found.name: found for found in trials.varies}
    for name, value in matching(params, trials.varies).items():
        if name not in known.params:
            drawn_from = distribution(by_name[name])
            storage.set_trial_param(known.trial_id, name, drawn_from.to_internal_repr(value), drawn_from)
            known.params = {**known.params, name: value}
    trial = trials.of(known)
    trial.set_user_attr(RESTORED, True)
    trial.set_user_attr(ATTEMPT, attempt)
    known.restored, known.attempt = True, attempt
    for epoch, value in sorted(reported.items()):
        if epoch not in known.reported:
            trial.report(value, epoch)
            known.reported.add(epoch)
    return True
