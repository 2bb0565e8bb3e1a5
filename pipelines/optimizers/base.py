"""What every optimizer spec promises, and the arguments that all of Keras's optimizers take.

Defaults are Keras 3.15's own. The learning rate is a number, or a schedule of `pipelines/schedules/` that moves it with
every step: `learning_rate: {name: cosine, initial_learning_rate: 1e-2}`, or `learning_rate: cosine` alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self

from pydantic import BeforeValidator, Discriminator, Field, Tag, model_validator

from pipelines.mistakes import did_you_mean
from pipelines.schedules import LearningRate, LearningRateSpec, Length
from pipelines.spec import Spec, kinds_of

if TYPE_CHECKING:
    import keras

Share = Annotated[float, Field(ge=0, lt=1)]
Positive = Annotated[float, Field(gt=0)]


def _number_or_schedule(value: Any) -> str:
    """Which of the two a value is meant for, so that a mistake in it is told as one. YAML reads `1e-3` as text."""
    if isinstance(value, str):
        try:
            float(value)
        except ValueError:
            return "schedule"
    return "schedule" if isinstance(value, dict | LearningRateSpec) else "number"


def _known_word(value: Any) -> Any:
    kinds = kinds_of(LearningRate)
    if isinstance(value, str) and value not in kinds:
        raise ValueError(
            f"must be a number greater than 0 or a schedule ({', '.join(kinds)}), got '{value}'"
            f"{did_you_mean(value, kinds)}"
        )
    return value


NumberOrSchedule = Annotated[
    Annotated[float, Field(gt=0), Tag("number")]
    | Annotated[LearningRate, BeforeValidator(_known_word), Tag("schedule")],
    Discriminator(_number_or_schedule),
]


class OptimizerSpec(Spec):
    """What every optimizer takes."""

    learning_rate: NumberOrSchedule = 1e-3
    """Size of a step: a number greater than 0, or a schedule that moves it with every step."""
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
        """Keras's keyword arguments, a schedule as its settings. Floats stay floats: Keras refuses `momentum: 0`."""
        return self.model_dump(exclude={"name"})

    def owns_learning_rate(self) -> bool:
        """Whether a schedule moves the rate, so that no callback can move it."""
        return isinstance(self.learning_rate, LearningRateSpec) and self.learning_rate.owns_learning_rate()

    def build(self, length: Length) -> keras.optimizers.Optimizer:
        """The Keras optimizer; a schedule of its learning rate follows the length of the training."""
        import keras  # heavy, and not needed to read a recipe

        rate = self.learning_rate
        built = rate.build(length) if isinstance(rate, LearningRateSpec) else rate
        return getattr(keras.optimizers, self.keras_name)(**{**self.arguments(), "learning_rate": built})
