"""How the study chooses what to try next. A kind is a class here and a line in the union at the foot."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BeforeValidator, Field

from pipelines.spec import Spec, named

if TYPE_CHECKING:
    import optuna


class TpeSampler(Spec):
    """Tree-structured Parzen estimator (Bergstra et al. 2011), with Optuna's multivariate form."""

    name: Literal["tpe"] = "tpe"
    n_startup_trials: int = Field(10, ge=0)
    """Trials drawn at random before the model is used."""
    n_ei_candidates: int = Field(24, ge=1)
    """Candidates among which the expected improvement is compared."""
    multivariate: bool = True
    """Model the parameters together rather than one by one."""

    def build(self, seed: int) -> optuna.samplers.BaseSampler:
        """The Optuna sampler. Running trials count as bad ones, so that workers spread out."""
        import optuna

        return optuna.samplers.TPESampler(
            n_startup_trials=self.n_startup_trials,
            n_ei_candidates=self.n_ei_candidates,
            multivariate=self.multivariate,
            constant_liar=True,
            # A recipe with branches has parameters that exist only in some trials; grouping models each set by itself.
            group=self.multivariate,
            seed=seed,
        )


class RandomSampler(Spec):
    """Every trial drawn at random, independent of the others."""

    name: Literal["random"] = "random"

    def build(self, seed: int) -> optuna.samplers.BaseSampler:
        """The Optuna sampler."""
        import optuna

        return optuna.samplers.RandomSampler(seed=seed)


Sampler = Annotated[Annotated[TpeSampler | RandomSampler, Field(discriminator="name")], BeforeValidator(named)]
