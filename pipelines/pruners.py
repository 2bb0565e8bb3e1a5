"""When the study stops a trial that will not win. A kind is a class here and a line in the union at the foot."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BeforeValidator, Field

from pipelines.spec import Spec, named

if TYPE_CHECKING:
    import optuna


class MedianPruner(Spec):
    """Stop a trial whose best value so far is worse than the median of the others at the same epoch."""

    name: Literal["median"] = "median"
    n_startup_trials: int = Field(5, ge=0)
    """Complete trials before the first may be pruned."""
    n_warmup_steps: int = Field(3, ge=0)
    """Epochs that every trial gets."""
    interval_steps: int = Field(1, ge=1)
    """Epochs between two looks."""
    n_min_trials: int = Field(1, ge=1)
    """Trials that must have reached an epoch before anyone is judged there."""

    def build(self) -> optuna.pruners.BasePruner:
        """The Optuna pruner."""
        import optuna

        return optuna.pruners.MedianPruner(**self.model_dump(exclude={"name"}))


class NoPruner(Spec):
    """Let every trial train to its end."""

    name: Literal["none"] = "none"

    def build(self) -> optuna.pruners.BasePruner:
        """The Optuna pruner."""
        import optuna

        return optuna.pruners.NopPruner()


Pruner = Annotated[Annotated[MedianPruner | NoPruner, Field(discriminator="name")], BeforeValidator(named)]
