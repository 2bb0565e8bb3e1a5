"""Optuna samplers that are told the search space, where Optuna's own guess it from the first trial.

A guess is wrong where there are branches: what the first trial happened to draw is no more than its own branch. It
imports Optuna, so it is imported when a study is opened.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial

from pipelines.samplers.varying import Options, Varying

if TYPE_CHECKING:
    from optuna._transform import _SearchSpaceTransform
    from optuna.study import StudyDirection

Space = dict[str, BaseDistribution]


def distributions(what_varies: Iterable[Varying]) -> Space:
    """Optuna's distributions of all that has more than one value, by name, whatever the order in the recipe."""
    return {
        found.name: distribution(found)
        for found in sorted(what_varies, key=lambda found: found.name)
        if found.domain.size > 1
    }


class WholeSpaceQmc(optuna.samplers.QMCSampler):
    """Quasi-random points in the whole space, branches with all that is in them included."""

    def __init__(self, space: Space, **settings: Any) -> None:
        """Takes the space, and what Optuna's sampler takes."""
        super().__init__(**settings)
        self._space = space

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> Space:
        """The whole space."""
        return self._space


class CmaEs(optuna.samplers.CmaEsSampler):
    """CMA-ES over the numbers that every trial draws.

    Optuna keeps the state of CMA-ES pickled in the study, and unpickles whatever it finds there. Here it stays in
    memory; after a restart it is made anew from the trials of the study, generation by generation.
    """

    def __init__(self, space: Space, **settings: Any) -> None:
        """Takes the space, and what Optuna's sampler takes."""
        super().__init__(**settings)
        self._space = space
        self._bracket: int | None = None
        self._optimizers: dict[int | None, Any] = {}
        self._told: list[FrozenTrial] = []

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> Space:
        """The whole space."""
        return self._space

    def sample_relative(self, study: optuna.Study, trial: FrozenTrial, search_space: Space) -> dict[str, Any]:
        """The next point; under Hyperband each bracket has a CMA-ES of its own."""
        self._bracket = getattr(study, "_bracket_id", None)
        return dict(super().sample_relative(study, trial, search_space))

    def _restore_optimizer(self, completed_trials: list[FrozenTrial]) -> Any:
        self._told = completed_trials
        return self._optimizers.get(self._bracket)

    def _split_optimizer_str(self, optimizer_str: str) -> dict[str, str]:
        """What goes into the study: nothing."""
        return {}

    def _init_optimizer(self, trans: _SearchSpaceTransform, direction: StudyDirection) -> Any:
        optimizer = super()._init_optimizer(trans, direction)
        self._optimizers[self._bracket] = optimizer
        sign = 1 if direction is optuna.study.StudyDirection.MINIMIZE else -1
        while len(trials := self._get_solution_trials(self._told, optimizer.generation)) >= optimizer.population_size:
            optimizer.tell(
                [
                    (_point(trial, trans), sign * cast("float", trial.value))
                    for trial in trials[: optimizer.population_size]
                ]
            )
        return optimizer


def _point(trial: FrozenTrial, trans: _SearchSpaceTransform) -> Any:
    """What CMA-ES drew for a trial; with margin it is not what the trial trained with, which is rounded to steps."""
    drawn = trial.system_attrs.get("x_for_tell")
    return trans.transform(trial.params) if drawn is None else np.array(drawn)


def distribution(found: Varying) -> BaseDistribution:
    """Optuna's distribution of a thing that is drawn."""
    domain = found.domain
    if isinstance(domain, Options):
        return CategoricalDistribution(domain.choices)
    if domain.whole:
        return IntDistribution(int(domain.low), int(domain.top), log=domain.log, step=int(domain.step or 1))
    return FloatDistribution(domain.low, domain.top, log=domain.log, step=domain.step)
