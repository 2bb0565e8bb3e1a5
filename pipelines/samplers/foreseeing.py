"""TPE that learns from trials which are still under way, too.

Optuna's TPE knows nothing of a running trial but where it is (`constant_liar` counts it among the bad ones), so with
dozens under way it searches as one does that is dozens of trials younger. But a trial's best value after a few epochs
says a good deal about the one in the end, and the other trials say how much. So a running trial is shown to Optuna with
the value that is to be expected of it, and counts among the good ones or the bad ones epochs before its end, and among
those after which the model is used. (That curves which have begun should count for the choice of the next is the idea
of Swersky et al., Freeze-Thaw Bayesian Optimization, 2014; TPE asks for no more than the order.)

Two more things are otherwise than with one trial at a time:

- Optuna lets trials fade from its model of the bad ones, but for the newest 25. With dozens under way those are the
  very ones of which there are only guesses, so there all count alike.
- Optuna draws a trial's parameters of every branch, and counts a running one where it does not even have them: inside
  of the branches that it did not choose. Here it counts where it is.

It imports Optuna, so it is imported when a study is opened.
"""

from __future__ import annotations

import copy
from collections.abc import Container
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from pipelines.samplers.curves import Curves


class ForeseeingTpe(optuna.samplers.TPESampler):
    """Optuna's sampler, to which running trials are shown with the value that is to be expected of them.

    It is Optuna's own where no trial is under way beside the one that is drawn; with several objectives, of which no
    epochs are reported; and, but for where a running trial counts, with constraints, of which nothing is known before
    a trial's end.
    """

    def __init__(self, **settings: Any) -> None:
        """Takes what Optuna's sampler takes."""
        super().__init__(**settings)
        self._curves: Curves | None = None
        self._view: Foreseen | None = None

    def infer_relative_search_space(self, study: Any, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """See Optuna's."""
        self._view = None  # of the trial before
        return super().infer_relative_search_space(self._seen(study, trial), trial)

    def sample_relative(
        self, study: Any, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """See Optuna's."""
        return super().sample_relative(self._seen(study, trial), trial, search_space)

    def sample_independent(
        self, study: Any, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """See Optuna's."""
        return super().sample_independent(self._seen(study, trial), trial, param_name, param_distribution)

    def _seen(self, study: Any, trial: FrozenTrial) -> Any:
        """The study as the sampler is to see it while it draws a trial."""
        if study._is_multi_objective():
            return study
        if self._view is None or self._view.number != trial.number:
            if self._curves is None:
                self._curves = Curves(min if study.direction is StudyDirection.MINIMIZE else max)
            self._view = Foreseen(study, trial.number, self._curves)
        return self._view

    def _build_parzen_estimator(
        self, study: Any, search_space: dict[str, BaseDistribution], trials: list[FrozenTrial], handle_below: bool
    ) -> Any:
        if handle_below or not isinstance(study, Foreseen) or not study.foreseen:
            return super()._build_parzen_estimator(study, search_space, trials, handle_below)
        seen: Any = study
        observed = self._get_internal_repr(trials, search_space, seen)
        alike = np.ones(len(next(iter(observed.values()))))
        return self._parzen_estimator_cls(observed, search_space, self._parzen_estimator_parameters, alike)


class Foreseen:
    """A study while a trial is drawn, in which the others under way have ended with what is to be expected of them.

    Attributes:
        number: Of the trial that is drawn; nothing else ends or begins meanwhile.
        foreseen: How many others are shown as if they had ended.
    """

    def __init__(self, study: Any, number: int, curves: Curves) -> None:
        """Takes the study, the trial that is drawn, and what is known of curves, which learns from the study."""
        self.number = number
        self._study = study
        trials = study._get_trials(deepcopy=False)
        curves.learn(trials)
        self._trials = [_seen(trial, curves) if trial.state is TrialState.RUNNING else trial for trial in trials]
        self.foreseen = sum(
            seen is not trial and seen.state is TrialState.COMPLETE
            for seen, trial in zip(self._trials, trials, strict=True)
        )

    def __getattr__(self, name: str) -> Any:
        return getattr(self._study, name)

    def _get_trials(
        self, deepcopy: bool = True, states: Container[TrialState] | None = None, use_cache: bool = False
    ) -> list[FrozenTrial]:
        found = [trial for trial in self._trials if states is None or trial.state in states]
        return copy.deepcopy(found) if deepcopy else found


def _seen(trial: FrozenTrial, curves: Curves) -> FrozenTrial:
    """A running trial, as the sampler is to see it."""
    value = curves.expected(trial.intermediate_values)
    seen = copy.copy(trial)
    if value is not None:
        seen.state, seen.value = TrialState.COMPLETE, value
    elif trial.params:  # all are drawn, and what was drawn for branches that it did not choose is none of it
        seen.system_attrs = {}
    return seen
