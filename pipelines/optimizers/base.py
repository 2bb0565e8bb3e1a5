"""What every optimizer spec promises, and the arguments that all of Keras's optimizers take.

Defaults are Keras 3.15's own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self

from pydantic import Field, model_validator

from pipelines.spec import Spec

if TYPE_CHECKING:
    import keras

Share = Annotated[float, Field(ge=0, lt=1)]
Positive = Annotated[float, Field(gt=0)]


class OptimizerSpec(Spec):
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
