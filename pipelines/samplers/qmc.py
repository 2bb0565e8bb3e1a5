"""Quasi-random search."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pipelines.samplers.base import SamplerSpec, Surroundings

if TYPE_CHECKING:
    import optuna


class QmcSampler(SamplerSpec):
    """Quasi-random search: points that fill the space more evenly than random ones, independent of results.

    A parameter inside a branch has a coordinate of its own, which goes unused in trials of other branches. Sobol points
    are most even when there are 2, 4, 8, 16… of them.
    """

    learns = False
    name: Literal["qmc"] = "qmc"
    qmc_type: Literal["sobol", "halton"] = "sobol"
    """The sequence of points."""
    scramble: bool = True
    """Shift the points with the seed. Without it the seed changes nothing, and the first point is the lowest corner."""

    def make(self, around: Surroundings) -> optuna.samplers.BaseSampler:
        """The Optuna sampler. It counts its points in the study, so a restart needs no other seed."""
        from pipelines.samplers.whole_space import WholeSpaceQmc, distributions

        return WholeSpaceQmc(distributions(around.varying), **self.settings(), seed=around.seed)
