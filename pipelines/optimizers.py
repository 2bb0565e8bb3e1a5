"""Optimizers, as Keras has them. A kind is a class here and a line in the union at the foot.

Defaults are Keras 3.15's own, but for SGD's learning rate, which Keras and this file both put at 0.01.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from pipelines.spec import Spec, named

if TYPE_CHECKING:
    import keras

Share = Annotated[float, Field(ge=0, lt=1)]


class _Optimizer(Spec):
    """What every optimizer takes."""

    learning_rate: float = Field(1e-3, gt=0)
    """Size of a step; greater than 0."""
    weight_decay: float | None = Field(None, ge=0)
    """Share of each weight that a step takes away, times the learning rate."""
    clipnorm: float | None = Field(None, gt=0)
    """Largest norm of each weight's gradient."""
    clipvalue: float | None = Field(None, gt=0)
    """Largest value in a gradient, either way."""
    global_clipnorm: float | None = Field(None, gt=0)
    """Largest norm of all gradients together."""
    use_ema: bool = False
    """Keep a running mean of the weights, which replaces them every `ema_overwrite_frequency` steps."""
    ema_momentum: Share = 0.99
    """Share of the old mean that is kept at each step."""
    ema_overwrite_frequency: int | None = Field(None, ge=1)
    """Steps after which the running mean replaces the weights. Where left out, Keras does so once, after the last
    epoch, and the checkpoint of the best epoch has the weights as they were in it."""
    gradient_accumulation_steps: int | None = Field(None, ge=2)
    """Batches whose gradients make one step together."""

    keras_name: ClassVar[str]

    @model_validator(mode="after")
    def _one_clip(self) -> Self:
        clips = [name for name in ("clipnorm", "clipvalue", "global_clipnorm") if getattr(self, name) is not None]
        if len(clips) > 1:
            raise ValueError(f"Keras clips in one way at a time, got {' and '.join(clips)}; keep one")
        return self

    def arguments(self) -> dict[str, Any]:
        """Keras's keyword arguments. Floats stay floats: Keras refuses an integer `momentum: 0`."""
        return self.model_dump(exclude={"name"})

    def build(self) -> keras.optimizers.Optimizer:
        """The Keras optimizer."""
        import keras  # heavy, and not needed to read a recipe

        return getattr(keras.optimizers, self.keras_name)(**self.arguments())


class Sgd(_Optimizer):
    """Stochastic gradient descent, with momentum (Polyak 1964) or Nesterov's form of it where `momentum` is above 0."""

    keras_name = "SGD"
    name: Literal["sgd"] = "sgd"
    learning_rate: float = Field(1e-2, gt=0)
    momentum: Share = 0.0
    """Share of the last step that is taken again, in [0, 1)."""
    nesterov: bool = False
    """Look ahead along the momentum before taking the gradient; needs `momentum` above 0 to mean anything."""


class Adagrad(_Optimizer):
    """Adagrad (Duchi et al. 2011): each weight's steps shrink with the squares of its past gradients."""

    keras_name = "Adagrad"
    name: Literal["adagrad"] = "adagrad"
    initial_accumulator_value: float = Field(0.1, ge=0)
    """What the sum of squares starts from; at least 0."""
    epsilon: float = Field(1e-7, gt=0)
    """Keeps the division finite."""


class RmsProp(_Optimizer):
    """RMSprop (Hinton 2012): steps are divided by a running root mean square of the gradient."""

    keras_name = "RMSprop"
    name: Literal["rmsprop"] = "rmsprop"
    rho: Share = 0.9
    """Share of the old mean square that is kept at each step."""
    momentum: Share = 0.0
    """Share of the last step that is taken again, in [0, 1)."""
    epsilon: float = Field(1e-7, gt=0)
    """Keeps the division finite."""
    centered: bool = False
    """Divide by the running variance instead of the mean square."""


class Adam(_Optimizer):
    """Adam (Kingma and Ba 2014): running means of the gradient and of its square."""

    keras_name = "Adam"
    name: Literal["adam"] = "adam"
    beta_1: Share = 0.9
    """Share of the old gradient mean that is kept at each step."""
    beta_2: Share = 0.999
    """Share of the old mean square that is kept at each step."""
    epsilon: float = Field(1e-7, gt=0)
    """Keeps the division finite."""
    amsgrad: bool = False
    """Never let the mean square shrink (Reddi et al. 2018)."""


class AdamW(_Optimizer):
    """Adam with weight decay apart from the gradient (Loshchilov and Hutter 2017)."""

    keras_name = "AdamW"
    name: Literal["adamw"] = "adamw"
    weight_decay: float | None = Field(4e-3, ge=0)
    """Share of each weight that a step takes away, times the learning rate."""
    beta_1: Share = 0.9
    """Share of the old gradient mean that is kept at each step."""
    beta_2: Share = 0.999
    """Share of the old mean square that is kept at each step."""
    epsilon: float = Field(1e-7, gt=0)
    """Keeps the division finite."""
    amsgrad: bool = False
    """Never let the mean square shrink (Reddi et al. 2018)."""


Optimizer = Annotated[
    Annotated[Sgd | Adagrad | RmsProp | Adam | AdamW, Field(discriminator="name")], BeforeValidator(named)
]
