"""Makes another pruner wait."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BeforeValidator, Field

from pipelines.pruners.base import PrunerSpec
from pipelines.pruners.hyperband import HyperbandPruner
from pipelines.pruners.median import MedianPruner
from pipelines.pruners.percentile import PercentilePruner
from pipelines.pruners.successive_halving import SuccessiveHalvingPruner
from pipelines.pruners.threshold import ThresholdPruner
from pipelines.spec import named

if TYPE_CHECKING:
    import optuna

WrappedPruner = Annotated[
    Annotated[
        MedianPruner | PercentilePruner | SuccessiveHalvingPruner | HyperbandPruner | ThresholdPruner,
        Field(discriminator="name"),
    ],
    BeforeValidator(named),
]


class PatientPruner(PrunerSpec):
    """Ask another pruner about a trial only once the trial has not improved for some epochs."""

    name: Literal["patient"] = "patient"
    wrapped_pruner: WrappedPruner | None = None
    """The pruner that is asked; where left out, a trial that does not improve is stopped without asking."""
    patience: int = Field(ge=0)
    """Epochs without an improvement that every trial is allowed."""
    min_delta: float = Field(0.0, ge=0)
    """How much worse than before still counts as no worse."""

    def misfits(self, epochs: int) -> dict[str, str]:
        """Those of the pruner that it asks."""
        wrapped = self.wrapped_pruner
        found = {} if wrapped is None else wrapped.misfits(epochs)
        return {f"wrapped_pruner.{field}": message for field, message in found.items()}

    def idles(self, epochs: int, trials: int) -> str | None:
        """See `PrunerSpec.idles`."""
        if self.patience >= epochs:
            return f"waits for {self.patience} epochs without an improvement (patience), and there are {epochs}"
        return None if self.wrapped_pruner is None else self.wrapped_pruner.idles(epochs, trials)

    def make(self, epochs: int) -> optuna.pruners.BasePruner:
        """The Optuna pruner."""
        import optuna

        wrapped = self.wrapped_pruner
        return optuna.pruners.PatientPruner(
            None if wrapped is None else wrapped.make(epochs), patience=self.patience, min_delta=self.min_delta
        )
