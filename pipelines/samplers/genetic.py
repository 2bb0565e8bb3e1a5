"""What the two genetic samplers share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import BeforeValidator, Field, model_validator

from pipelines.samplers.base import SamplerSpec, Surroundings
from pipelines.samplers.crossovers import Crossover, PolynomialMutation, Probability
from pipelines.spec import named

if TYPE_CHECKING:
    import optuna


class GeneticSpec(SamplerSpec):
    """Generations of trials, each bred from the best of those before. The first is drawn at random.

    So a sweep of fewer trials than a generation has is random search. What is inside a branch is inherited only while
    every trial has it, and drawn at random from then on.
    """

    optuna_name: ClassVar[str]

    population_size: int = Field(12, ge=2)
    """Trials of a generation. Optuna's own 50 is for sweeps of many hundreds."""
    crossover: Crossover | None = None
    """How numbers of parents become those of a child; each from one parent or the other where left out."""
    crossover_prob: Probability = 0.9
    """Probability that a child has several parents, rather than being a copy of one."""
    swapping_prob: Probability = 0.5
    """Probability that a choice, and a number where `crossover` is left out, comes from the second parent."""
    mutation: Annotated[PolynomialMutation | None, BeforeValidator(named)] = None
    """How a number mutates: `polynomial`; drawn anew at random where left out, as choices always are."""
    mutation_prob: Probability | None = None
    """Probability that a parameter mutates; that of one among all of them where left out."""

    @model_validator(mode="after")
    def _enough_parents(self) -> GeneticSpec:
        if self.crossover is not None and self.population_size < self.crossover.parents:
            raise ValueError(
                f"population_size must be at least {self.crossover.parents}, the parents that crossover "
                f"'{self.crossover.name}' takes, got {self.population_size}"
            )
        return self

    def make(self, around: Surroundings) -> optuna.samplers.BaseSampler:
        """The Optuna sampler."""
        import optuna

        parts: dict[str, Any] = {
            "crossover": self.crossover and self.crossover.build(),
            "mutation": self.mutation and self.mutation.build(),
        }
        kind = getattr(optuna.samplers, self.optuna_name)
        sampler: optuna.samplers.BaseSampler = kind(**self.settings(*parts), **parts, seed=around.fresh_seed)
        return sampler
