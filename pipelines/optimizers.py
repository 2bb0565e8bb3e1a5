"""Optimizers, as Keras has them. A kind is a class here and a line in the union at the foot.

Defaults are Keras 3.15's own, but for SGD's learning rate, which Keras and this file both put at 0.01.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from pipelines.spec import Spec, named

if TYPE_CHECKING:
    import keras

Share = Annotated[float, Field(ge=0, lt=1)]


class _Optimizer(Spec):
    """What every optimizer takes."""

    learning_rate: float = Field(1e-3, gt=0)
    """Size of a step; greater than 0."""

    def arguments(self) -> dict[str, Any]:
        """Keras's keyword arguments. Floats stay floats: Keras refuses an integer `momentum: 0`."""
        return self.model_dump(exclude={"name"})


class Sgd(_Optimizer):
    """Stochastic gradient descent, with momentum (Polyak 1964) or Nesterov's form of it where `momentum` is above 0."""

    name: Literal["sgd"] = "sgd"
    learning_rate: float = Field(1e-2, gt=0)
    momentum: Share = 0.0
    """Share of the last step that is taken again, in [0, 1)."""
    nesterov: bool = False
    """Look ahead along the momentum before taking the gradient; needs `momentum` above 0 to mean anything."""

    def build(self) -> keras.optimizers.Optimizer:
        """The Keras optimizer."""
        import keras  # heavy, and not needed to read a recipe

        return keras.optimizers.SGD(**self.arguments())


class Adagrad(_Optimizer):
    """Adagrad (Duchi et al. 2011): each weight's steps shrink with the squares of its past gradients."""

    name: Literal["adagrad"] = "adagrad"
    initial_accumulator_value: float = Field(0.1, ge=0)
    """What the sum of squares starts from; at least 0."""
    epsilon: float = Field(1e-7, gt=0)
    """Keeps the division finite."""

    def build(self) -> keras.optimizers.Optimizer:
        """The Keras optimizer."""
        import keras

        return keras.optimizers.Adagrad(**self.arguments())


class RmsProp(_Optimizer):
    """RMSprop (Hinton 2012): steps are divided by a running root mean square of the gradient."""

    name: Literal["rmsprop"] = "rmsprop"
    rho: Share = 0.9
    """Share of the old mean square that is kept at each step."""
    momentum: Share = 0.0
    """Share of the last step that is taken again, in [0, 1)."""
    epsilon: float = Field(1e-7, gt=0)
    """Keeps the division finite."""
    centered: bool = False
    """Divide by the running variance instead of the mean square."""

    def build(self) -> keras.optimizers.Optimizer:
        """The Keras optimizer."""
        import keras

        return keras.optimizers.RMSprop(**self.arguments())


class Adam(_Optimizer):
    """Adam (Kingma and Ba 2014): running means of the gradient and of its square."""

    name: Literal["adam"] = "adam"
    beta_1: Share = 0.9
    """Share of the old gradient mean that is kept at each step."""
    beta_2: Share = 0.999
    """Share of the old mean square that is kept at each step."""
    epsilon: float = Field(1e-7, gt=0)
    """Keeps the division finite."""
    amsgrad: bool = False
    """Never let the mean square shrink (Reddi et al. 2018)."""

    def build(self) -> keras.optimizers.Optimizer:
        """The Keras optimizer."""
        import keras

        return keras.optimizers.Adam(**self.arguments())


class AdamW(_Optimizer):
    """Adam with weight decay apart from the gradient (Loshchilov and Hutter 2017)."""

    name: Literal["adamw"] = "adamw"
    weight_decay: float = Field(4e-3, ge=0)
    """Share of each weight that a step takes away, times the learning rate."""
    beta_1: Share = 0.9
    """Share of the old gradient mean that is kept at each step."""
    beta_2: Share = 0.999
    """Share of the old mean square that is kept at each step."""
    epsilon: float = Field(1e-7, gt=0)
    """Keeps the division finite."""
    amsgrad: bool = False
    """Never let the mean square shrink (Reddi et al. 2018)."""

    def build(self) -> keras.optimizers.Optimizer:
        """The Keras optimizer."""
        import keras

        return keras.optimizers.AdamW(**self.arguments())


Optimizer = Annotated[
    Annotated[Sgd | Adagrad | RmsProp | Adam | AdamW, Field(discriminator="name")], BeforeValidator(named)
]
