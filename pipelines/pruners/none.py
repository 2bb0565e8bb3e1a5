"""Stops nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pipelines.pruners.base import PrunerSpec

if TYPE_CHECKING:
    import optuna


class NoPruner(PrunerSpec):
    """Let every trial train to its end."""

    name: Literal["none"] = "none"

    def make(self, epochs: int) -> optuna.pruners.BasePruner:
        """The Optuna pruner."""
        import optuna

        return optuna.pruners.NopPruner()
