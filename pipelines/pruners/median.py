"""Stops the worse half."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pipelines.pruners.base import ComparingSpec

if TYPE_CHECKING:
    import optuna


class MedianPruner(ComparingSpec):
    """Stop a trial whose best value so far is worse than the median of the others at the same epoch."""

    name: Literal["median"] = "median"

    def make(self, epochs: int) -> optuna.pruners.BasePruner:
        """The Optuna pruner."""
        import optuna

        return optuna.pruners.MedianPruner(**self.settings())
