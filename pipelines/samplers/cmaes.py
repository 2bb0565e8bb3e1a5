"""Covariance matrix adaptation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator

from pipelines.mistakes import did_you_mean
from pipelines.samplers.base import ITSELF, SamplerSpec, Surroundings
from pipelines.samplers.independent import IndependentSampler
from pipelines.samplers.random import RandomSampler
from pipelines.samplers.varying import Range, Varying

if TYPE_CHECKING:
    import optuna


class CmaEsSampler(SamplerSpec):
    """CMA-ES (Hansen 2016): an evolution strategy for numbers, at its best with many trials.

    It moves the ranges that every trial draws, and leaves choices and what is inside a branch to
    `independent_sampler`.
    """

    takes_several = False
    name: Literal["cmaes"] = "cmaes"
    n_startup_trials: int = Field(1, ge=0)
    """Trials drawn by `independent_sampler` before CMA-ES begins."""
    popsize: int | None = Field(None, ge=4)
    """Trials of a generation; 4 + 3 log(n) for n ranges where left out. With fewer than 4 it could not learn."""
    x0: dict[str, float] | None = None
    """Where it begins, by name of the range; in the middle where left out."""
    sigma0: float | None = Field(None, gt=0)
    """How far from there it looks at first, as a share of each range; a sixth where left out."""
    consider_pruned_trials: bool = False
    """Learn from pruned trials, too, by their last value; of use with Hyperband."""
    use_separable_cma: bool = False
    """Move each range by itself, which learns faster where they do not depend on each other."""
    with_margin: bool = False
    """Keep whole numbers and steps from getting stuck at one value."""
    lr_adapt: bool = False
    """Adapt the strategy's own learning rate, for results with much noise or many optima."""
    independent_sampler: IndependentSampler = RandomSampler()
    """Draws what CMA-ES does not: `random` or `tpe`."""

    @model_validator(mode="after")
    def _one_form(self) -> CmaEsSampler:
        forms = [name for name in ("use_separable_cma", "with_margin", "lr_adapt") if getattr(self, name)]
        if len(forms) > 1:
            raise ValueError(f"CMA-ES has one of its forms at a time, got {' and '.join(forms)}; keep one")
        return self

    def misfits(self, what_varies: Sequence[Varying]) -> dict[str, str]:
        """Also a space without ranges, and a beginning outside of them."""
        wrong = super().misfits(what_varies)
        moved = _moved(what_varies)
        if not moved:
            wrong.setdefault(
                ITSELF,
                "'cmaes' moves ranges of numbers that every trial draws, and this search space has none; use tpe or "
                "random",
            )
        for name, value in (self.x0 or {}).items():
            domain = moved.get(name)
            if domain is None:
                ranges = f"there are {', '.join(moved)}" if moved else "there are none"
                wrong[f"{ITSELF}.x0.{name}"] = (
                    f"is no range that every trial draws{did_you_mean(name, moved)}; {ranges}"
                )
            elif not domain.low <= value <= domain.high:
                wrong[f"{ITSELF}.x0.{name}"] = f"must lie from {domain.low:g} to {domain.high:g}, got {value:g}"
        return wrong

    def make(self, around: Surroundings) -> optuna.samplers.BaseSampler:
        """The Optuna sampler."""
        from pipelines.samplers.whole_space import CmaEs, distributions

        moved = _moved(around.varying)
        space = distributions(found for found in around.varying if found.name in moved)
        begins: dict[str, Any] = {} if self.sigma0 is None else {"sigma0": self.sigma0}
        if self.x0:
            begins["x0"] = {name: self.x0.get(name, _middle(domain)) for name, domain in moved.items()}
        return CmaEs(
            space,
            **self.settings("x0", "sigma0", "use_separable_cma", "independent_sampler"),
            **begins,
            use_separable_cma=self.use_separable_cma and len(space) > 1,  # with one range it is the same, and warns
            independent_sampler=self.independent_sampler.make(around),
            warn_independent_sampling=False,
            seed=around.fresh_seed,
        )


def _moved(what_varies: Sequence[Varying]) -> dict[str, Range]:
    """The ranges that every trial draws, and that are more than one number."""
    return {
        found.name: found.domain
        for found in what_varies
        if isinstance(found.domain, Range) and not found.given and found.domain.size > 1
    }


def _middle(domain: Range) -> float:
    return math.sqrt(domain.low * domain.high) if domain.log else (domain.low + domain.high) / 2
