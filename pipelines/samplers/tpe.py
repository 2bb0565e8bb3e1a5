"""Tree-structured Parzen estimator."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator

from pipelines.samplers.base import SamplerSpec, Surroundings

if TYPE_CHECKING:
    import optuna

OLD_SETTINGS = ("prior_weight", "consider_magic_clip", "consider_endpoints", "gamma")
"""Settings that Optuna 6 will not have: they are passed on only where a recipe changes them."""
MOST_GOOD = 25
"""Good trials that are modelled, at most, as in Optuna."""


class TpeSampler(SamplerSpec):
    """Tree-structured Parzen estimator (Bergstra et al. 2011), with Optuna's multivariate form.

    Running trials count as bad ones (Optuna's `constant_liar`), so that workers spread out, until their first epochs
    say what is to be expected of them. From then on they count like those that are over, among the `n_startup_trials`,
    too. One trial at a time is drawn as Optuna draws it, to the last digit.
    """

    name: Literal["tpe"] = "tpe"
    n_startup_trials: int = Field(10, ge=0)
    """Trials drawn at random before the model is used: so many must be over, or have ended an epoch."""
    n_ei_candidates: int = Field(24, ge=1)
    """Candidates among which the expected improvement is compared."""
    multivariate: bool = True
    """Model the parameters together rather than one by one."""
    group: bool | None = None
    """Model parameters together that always come together, so that those of a branch are modelled, too; as
    `multivariate` where left out."""
    prior_weight: float = Field(1.0, gt=0)
    """What the whole range counts for, beside the trials."""
    consider_magic_clip: bool = True
    """Keep the bumps of the model from becoming too narrow."""
    consider_endpoints: bool = False
    """Let the ends of a range widen the bumps next to them."""
    gamma: float = Field(0.1, gt=0, lt=1)
    """Share of the trials that count as good, of which 25 are modelled at most."""

    @model_validator(mode="after")
    def _groups_are_modelled_together(self) -> TpeSampler:
        if self.group and not self.multivariate:
            raise ValueError("group needs multivariate: true, as it says which parameters are modelled together")
        return self

    def make(self, around: Surroundings) -> optuna.samplers.BaseSampler:
        """The Optuna sampler."""
        from pipelines.samplers.foreseeing import ForeseeingTpe

        old = {name: self._old(name) for name in OLD_SETTINGS if getattr(self, name) != _default(name)}
        return ForeseeingTpe(
            **self.settings("group", *OLD_SETTINGS),
            **old,
            group=self.multivariate if self.group is None else self.group,
            constant_liar=True,
            seed=around.fresh_seed,
        )

    def _old(self, name: str) -> Any:
        return _good(self.gamma) if name == "gamma" else getattr(self, name)


def _default(name: str) -> Any:
    return TpeSampler.model_fields[name].default


def _good(share: float) -> Callable[[int], int]:
    return lambda trials: min(math.ceil(share * trials), MOST_GOOD)
