"""Hyperband."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from pipelines.pruners.base import PrunerSpec

if TYPE_CHECKING:
    import optuna


class HyperbandPruner(PrunerSpec):
    """Hyperband (Li et al. 2018): several successive halvings side by side, each less eager than the one before.

    Its brackets are sized by the recipe's epochs: there is one more for each time that `reduction_factor` goes into
    epochs divided by `min_resource`. The sampler learns in each bracket from the trials of that bracket alone, so it
    takes many trials. Which bracket a trial is in follows from the study's name and its number.
    """

    name: Literal["hyperband"] = "hyperband"
    min_resource: int = Field(1, ge=1)
    """The first epoch, from 0, after which the most eager bracket may stop a trial."""
    reduction_factor: int = Field(3, ge=2)
    """Of how many trials one passes a look; the next look is at so many times the epoch of the last."""
    bootstrap_count: int = Field(0, ge=0)
    """Trials that must have come to a look before one of them passes; those before are stopped."""

    def misfits(self, epochs: int) -> dict[str, str]:
        """Too few epochs for two brackets."""
        fewest = self.min_resource * self.reduction_factor
        if epochs >= fewest:
            return {}
        return {
            "min_resource": f"hyperband takes at least min_resource × reduction_factor = {fewest} epochs, and there "
            f"are {epochs}; give trials more epochs, or use the median pruner"
        }

    def make(self, epochs: int) -> optuna.pruners.BasePruner:
        """The Optuna pruner; Optuna's own `auto` would size the brackets by a training that EarlyStopping cut short."""
        import optuna

        return optuna.pruners.HyperbandPruner(**self.settings(), max_resource=epochs)
