"""What every pruner spec promises.

Epochs are counted from 0, as in the curves, and a pruner looks at the end of one.
"""

from __future__ import annotations

import warnings
from abc import abstractmethod
from typing import TYPE_CHECKING, Any

from pydantic import Field

from pipelines.errors import ConfigError, Mistake
from pipelines.spec import Spec

if TYPE_CHECKING:
    import optuna


class PrunerSpec(Spec):
    """Settings of one way to stop a trial that will not win."""

    def misfits(self, epochs: int) -> dict[str, str]:
        """Why it does not go with trials of so many epochs: what is wrong, by name of the field."""
        return {}

    def idles(self, epochs: int, trials: int) -> str | None:
        """Why it will stop no trial of a sweep of so many, as a sentence without its subject; None where it may.

        It is asked of what somebody has chosen: where a default has this effect, the sweep is a short one.
        """
        return None

    def build(self, epochs: int) -> optuna.pruners.BasePruner:
        """The Optuna pruner, built without Optuna's warnings of what is new in it.

        Args:
            epochs: The most that a trial may have.

        Raises:
            ConfigError: It does not go with so many; a recipe that was checked has no such pruner.
        """
        wrong = self.misfits(epochs)
        if wrong:
            raise ConfigError("pruner", [Mistake(f"pruner.{name}", message) for name, message in wrong.items()])
        from optuna.exceptions import ExperimentalWarning

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            return self.make(epochs)

    @abstractmethod
    def make(self, epochs: int) -> optuna.pruners.BasePruner:
        """The same, with whatever Optuna warns of."""

    def settings(self) -> dict[str, Any]:
        """Optuna's keyword arguments."""
        return self.model_dump(exclude={"name"})


class ComparingSpec(PrunerSpec):
    """What pruners share that compare a trial with the others at the same epoch."""

    n_startup_trials: int = Field(5, ge=0)
    """Complete trials before the first may be pruned."""
    n_warmup_steps: int = Field(3, ge=0)
    """Epochs that every trial gets; Optuna's own 0 would judge a training by its first epoch."""
    interval_steps: int = Field(1, ge=1)
    """Epochs between two looks."""
    n_min_trials: int = Field(1, ge=1)
    """Trials that must have reached an epoch before anyone is judged there."""

    def idles(self, epochs: int, trials: int) -> str | None:
        """See `PrunerSpec.idles`."""
        for name, whole, what in (("n_warmup_steps", epochs, "epochs"), ("n_startup_trials", trials, "trials")):
            waits = getattr(self, name)
            if waits >= whole and waits != type(self).model_fields[name].default:
                return f"waits for {waits} {what} ({name}), and there are {whole}"
        return None
