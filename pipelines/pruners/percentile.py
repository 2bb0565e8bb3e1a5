"""Keeps the best share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from pipelines.pruners.base import ComparingSpec

if TYPE_CHECKING:
    import optuna


class PercentilePruner(ComparingSpec):
    """Stop a trial whose best value so far is not among the best share of the others at the same epoch."""

    name: Literal["percentile"] = "percentile"
    percentile: float = Field(25.0, ge=0, le=100)
    """The share that goes on, in percent: at 25 the best quarter does, at 50 it is the median pruner."""

    def make(self, epochs: int) -> optuna.pruners.BasePruner:
        """The Optuna pruner."""
        import optuna

        return optuna.pruners.PercentilePruner(**self.settings())
