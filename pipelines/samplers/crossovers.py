"""How the genetic samplers make a child of its parents. Choices are always swapped; these are for numbers.

Defaults are Optuna's own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field

from pipelines.spec import Spec, named

if TYPE_CHECKING:
    import optuna

Probability = Annotated[float, Field(ge=0, le=1)]


class CrossoverSpec(Spec):
    """What every crossover promises."""

    optuna_name: ClassVar[str]
    parents: ClassVar[int] = 2

    def build(self) -> Any:
        """The Optuna crossover."""
        import optuna

        return getattr(optuna.samplers.nsgaii, self.optuna_name)(**self.model_dump(exclude={"name"}))


class UniformCrossover(CrossoverSpec):
    """Each parameter from one parent or the other."""

    optuna_name = "UniformCrossover"
    name: Literal["uniform"] = "uniform"
    swapping_prob: Probability = 0.5
    """Probability that a parameter comes from the second parent."""


class BlxAlphaCrossover(CrossoverSpec):
    """Anywhere in the box that two parents span, and a little outside (Eshelman and Schaffer 1992)."""

    optuna_name = "BLXAlphaCrossover"
    name: Literal["blx_alpha"] = "blx_alpha"
    alpha: float = Field(0.5, ge=0)
    """How far outside, as a share of the box."""


class BinaryCrossover(CrossoverSpec):
    """What the two that imitate the crossover of bits share."""

    eta: float | None = Field(None, ge=0)
    """How near to the parents; 2 for one objective and 20 for several where left out."""
    uniform_crossover_prob: Probability = 0.5
    """Probability that the two children swap a parameter."""
    use_child_gene_prob: float = Field(0.5, gt=0, le=1)
    """Probability that a parameter is the child's rather than the parent's."""


class SbxCrossover(BinaryCrossover):
    """Near one parent or the other (Deb and Agrawal 1995)."""

    optuna_name = "SBXCrossover"
    name: Literal["sbx"] = "sbx"


class VsbxCrossover(BinaryCrossover):
    """Like `sbx`, and able to reach outside of what the parents span (Ballester and Carter 2003)."""

    optuna_name = "VSBXCrossover"
    name: Literal["vsbx"] = "vsbx"


class SpxCrossover(CrossoverSpec):
    """Anywhere in the triangle of three parents, made larger (Tsutsui et al. 1999)."""

    optuna_name = "SPXCrossover"
    parents = 3
    name: Literal["spx"] = "spx"
    epsilon: float | None = Field(None, gt=0)
    """How much larger; the square root of the parameters and 2 where left out."""


class UndxCrossover(CrossoverSpec):
    """Around the line between two parents, as far from it as a third one is (Kita et al. 1999)."""

    optuna_name = "UNDXCrossover"
    parents = 3
    name: Literal["undx"] = "undx"
    sigma_xi: float = Field(0.5, ge=0)
    """Spread along the line."""
    sigma_eta: float | None = Field(None, ge=0)
    """Spread across it; 0.35 divided by the square root of the parameters where left out."""


Crossover = Annotated[
    Annotated[
        UniformCrossover | BlxAlphaCrossover | SbxCrossover | VsbxCrossover | SpxCrossover | UndxCrossover,
        Field(discriminator="name"),
    ],
    BeforeValidator(named),
]


class PolynomialMutation(Spec):
    """A number moves a little, rarely much (Deb et al. 2002)."""

    name: Literal["polynomial"] = "polynomial"
    eta: float = Field(20.0, ge=0)
    """How little."""

    def build(self) -> optuna.samplers.nsgaii.BaseMutation:
        """The Optuna mutation."""
        import optuna

        return optuna.samplers.nsgaii.PolynomialMutation(eta=self.eta)
