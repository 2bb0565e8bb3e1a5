"""Asynchronous successive halving."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from pipelines.pruners.base import PrunerSpec

if TYPE_CHECKING:
    import optuna

RUNGS_BELOW = 100
"""The share of a training at which `auto` looks first is one in so many, as in Optuna."""


class SuccessiveHalvingPruner(PrunerSpec):
    """Asynchronous successive halving (Li et al. 2020): looks at a few epochs, and lets the best share pass each."""

    name: Literal["successive_halving"] = "successive_halving"
    min_resource: Literal["auto"] | Annotated[int, Field(ge=1)] = "auto"
    """The first epoch, from 0, after which a trial may be stopped, where `min_early_stopping_rate` is 0; `auto` is a
    hundredth of the recipe's epochs, and at least 1."""
    reduction_factor: int = Field(4, ge=2)
    """Of how many trials one passes; the next look is at so many times the epoch of the last."""
    min_early_stopping_rate: int = Field(0, ge=0)
    """Looks that are left out at the beginning."""
    bootstrap_count: int = Field(0, ge=0)
    """Trials that must have come to an epoch before one of them passes; those before are stopped."""

    def misfits(self, epochs: int) -> dict[str, str]:
        """A first look after the end."""
        first = self._first(epochs) * self.reduction_factor**self.min_early_stopping_rate
        if first < epochs or (self.min_resource == "auto" and not self.min_early_stopping_rate):
            return {}
        field = "min_early_stopping_rate" if self._first(epochs) < epochs else "min_resource"
        return {
            field: f"no trial would be stopped, as the first look is at epoch {first} and there are {epochs} epochs"
        }

    def make(self, epochs: int) -> optuna.pruners.BasePruner:
        """The Optuna pruner; Optuna's own `auto` waits for the first complete trial, and again after a restart."""
        import optuna

        return optuna.pruners.SuccessiveHalvingPruner(**{**self.settings(), "min_resource": self._first(epochs)})

    def _first(self, epochs: int) -> int:
        return max((epochs - 1) // RUNGS_BELOW, 1) if self.min_resource == "auto" else self.min_resource
