"""Stops what is out of bounds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field, model_validator

from pipelines.pruners.base import PrunerSpec

if TYPE_CHECKING:
    import optuna


class ThresholdPruner(PrunerSpec):
    """Stop a trial whose value is below `lower`, above `upper`, or no number at all."""

    name: Literal["threshold"] = "threshold"
    lower: float | None = None
    """The lowest value that may go on; none where left out."""
    upper: float | None = None
    """The highest value that may go on; none where left out."""
    n_warmup_steps: int = Field(0, ge=0)
    """Epochs that every trial gets."""
    interval_steps: int = Field(1, ge=1)
    """Epochs between two looks."""

    @model_validator(mode="after")
    def _bounds_something(self) -> ThresholdPruner:
        if self.lower is None and self.upper is None:
            raise ValueError("needs lower, upper or both; nothing would be stopped without them")
        if self.lower is not None and self.upper is not None and self.lower > self.upper:
            raise ValueError(f"lower must not be above upper, got lower {self.lower:g} and upper {self.upper:g}")
        return self

    def idles(self, epochs: int, trials: int) -> str | None:
        """See `PrunerSpec.idles`."""
        late = self.n_warmup_steps >= epochs
        return f"waits for {self.n_warmup_steps} epochs (n_warmup_steps), and there are {epochs}" if late else None

    def make(self, epochs: int) -> optuna.pruners.BasePruner:
        """The Optuna pruner."""
        import optuna

        return optuna.pruners.ThresholdPruner(**self.settings())
