"""Random search."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pipelines.samplers.base import SamplerSpec, Surroundings

if TYPE_CHECKING:
    import optuna


class RandomSampler(SamplerSpec):
    """Every trial drawn at random, independent of the others."""

    learns = False
    name: Literal["random"] = "random"

    def make(self, around: Surroundings) -> optuna.samplers.BaseSampler:
        """The Optuna sampler."""
        import optuna

        return optuna.samplers.RandomSampler(seed=around.fresh_seed)
