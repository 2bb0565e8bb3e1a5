"""Bayesian optimisation with a Gaussian process."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from pipelines.samplers.base import SamplerSpec, Surroundings
from pipelines.samplers.independent import IndependentSampler
from pipelines.samplers.random import RandomSampler

if TYPE_CHECKING:
    import optuna


class GpSampler(SamplerSpec):
    """Bayesian optimisation with a Gaussian process: few trials, well chosen; needs the package torch.

    It models what every trial draws, and leaves what is inside a branch to `independent_sampler`.
    """

    package = "torch"
    name: Literal["gp"] = "gp"
    n_startup_trials: int = Field(10, ge=1)
    """Trials drawn by `independent_sampler` before the model is used."""
    deterministic_objective: bool = False
    """Take results as exact; a training gives slightly different ones with another seed, so they are not."""
    independent_sampler: IndependentSampler = RandomSampler()
    """Draws what the model does not: `random` or `tpe`."""

    def make(self, around: Surroundings) -> optuna.samplers.BaseSampler:
        """The Optuna sampler."""
        import optuna

        return optuna.samplers.GPSampler(
            **self.settings("independent_sampler"),
            independent_sampler=self.independent_sampler.make(around),
            warn_independent_sampling=False,
            seed=around.fresh_seed,
        )
