"""The Optuna sampler that tries every combination once. It imports Optuna, so it is imported when a study is opened."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState

from pipelines.samplers.base import BORROWED
from pipelines.samplers.combinations import Combinations
from pipelines.samplers.ledger import Entry, Fate, Ledger

_FATES = {
    TrialState.COMPLETE: Fate.TRIED,
    TrialState.PRUNED: Fate.TRIED,
    TrialState.FAIL: Fate.FAILED,
    TrialState.RUNNING: Fate.UNDER_WAY,
}


class ExhaustiveSampler(optuna.samplers.BaseSampler):
    """Walks down the combinations, one parameter after another, along those that are left.

    It keeps nothing but what the study keeps, so another controller goes on with it where this one stopped.
    """

    def __init__(self, combinations: Combinations, seed: int, evenness: float) -> None:
        """Takes what there is to try.

        Args:
            combinations: All of it.
            seed: Of the study.
            evenness: At 0 every combination that is left is as likely as any other; at 1 every value is, however many
                combinations it leads to.
        """
        self._combinations = combinations
        self._ledger = Ledger(combinations)
        self._seed = seed
        self._evenness = evenness
        self._current: int | None = None
        self._given_up: set[int] = set()

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Nothing is drawn before it is asked for."""
        return {}

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Nothing."""
        return {}

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """A value that leads to a combination nobody has tried; one that failed comes after those never tried."""
        if trial.number != self._current:  # nothing else happens while one trial draws
            self._current = trial.number
            # from the storage, as Hyperband shows a sampler only the trials of its own bracket
            trials = study._storage.get_all_trials(study._study_id, deepcopy=False)
            others = (other for other in trials if other.number != trial.number)
            self._ledger.bring_up(entries(others, self._ledger, self._given_up))
        values = self._combinations.values(param_name)
        # of the place in the walk rather than of the process, so that a restart changes nothing
        draw = np.random.default_rng((self._seed, trial.number, len(trial.params)))
        return values[int(draw.choice(len(values), p=self._weights(trial, param_name)))]

    def after_trial(
        self, study: optuna.Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None
    ) -> None:
        """Notes what failed under this very sampler, and so in this start of the study: it is not tried again in it."""
        if state is TrialState.FAIL:
            self._given_up.add(trial.number)

    def _weights(self, trial: FrozenTrial, name: str) -> list[float]:
        fixed = trial.system_attrs.get("fixed_params") or {}
        left: list[int] = []
        for failed in (False, True):
            left = self._ledger.left_by_value(name, trial.params, failed=failed, fixed=fixed)
            if any(left):
                break
        else:  # whoever asks for more than there is gets one again
            left = self._combinations.fixed(fixed).count_by_value(name, trial.params)
        total, ways = sum(left), sum(many > 0 for many in left)
        shares = [(1 - self._evenness) * many / total + self._evenness * (many > 0) / ways for many in left]
        return [share / sum(shares) for share in shares]


def entries(trials: Iterable[FrozenTrial], ledger: Ledger, given_up: Container[int] = ()) -> Iterator[Entry]:
    """What a ledger does not know for good yet; what an older study tried is not tried in this one.

    Args:
        trials: Those of the study.
        ledger: Which trials it has for good, it tells itself.
        given_up: Numbers of trials that failed and are not to be tried again.
    """
    for trial in trials:
        if trial.number not in ledger and trial.state in _FATES and BORROWED not in trial.user_attrs:
            fate = Fate.TRIED if trial.number in given_up else _FATES[trial.state]
            yield Entry(trial.number, fate, trial.params)
