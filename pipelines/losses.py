"""Losses: what a training makes small. One class a kind; each says for which tasks it can be learned from.

Defaults are Keras 3.15's own.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator

from pipelines.own.calls import accepted, called_with, names_class
from pipelines.own.code import Arguments, OwnCodeError, Reference, load
from pipelines.spec import Spec, named
from pipelines.tasks import Targets, Task

if TYPE_CHECKING:
    import keras

Smoothing = Annotated[float, Field(ge=0, lt=1)]


class LossSpec(Spec):
    """What every loss promises."""

    keras_name: ClassVar[str]
    tasks: ClassVar[tuple[Task, ...]]
    targets: ClassVar[Targets]
    portable: ClassVar[bool] = True
    """Whether plain Keras knows it, so that the file of a model can say what the model was trained with."""

    @property
    def label(self) -> str:
        """What a run calls it."""
        return str(self.name)  # type: ignore[attr-defined]  # every kind has one

    def targets_of(self, task: Task) -> Targets:
        """The form in which it takes the truth of a task."""
        return self.targets

    def build(self) -> keras.losses.Loss:
        """The Keras loss; it takes the truth in the form that `targets_of` names."""
        import keras  # heavy, and not needed to read a recipe

        return getattr(keras.losses, self.keras_name)(**self.model_dump(exclude={"name"}))

    def weight(self, deviation: float) -> float:
        """What the loss is multiplied by, so that it comes out as if targets had a standard deviation of 1.

        Args:
            deviation: The standard deviation of the training targets.
        """
        return 1.0


class SparseCategoricalCrossentropy(LossSpec):
    """Cross-entropy of one of several classes, from class numbers. The default of multiclass tasks."""

    keras_name = "SparseCategoricalCrossentropy"
    tasks = (Task.MULTICLASS,)
    targets = "index"
    name: Literal["sparse_categorical_crossentropy"] = "sparse_categorical_crossentropy"


class CategoricalCrossentropy(LossSpec):
    """Cross-entropy of one of several classes, from one-hot labels, which can be smoothed."""

    keras_name = "CategoricalCrossentropy"
    tasks = (Task.MULTICLASS,)
    targets = "one_hot"
    name: Literal["categorical_crossentropy"] = "categorical_crossentropy"
    label_smoothing: Smoothing = 0.0
    """Share of a label that is spread over all classes (Szegedy et al. 2016)."""


class CategoricalFocalCrossentropy(LossSpec):
    """Cross-entropy that cares less for samples that are easy already (Lin et al. 2017), from one-hot labels."""

    keras_name = "CategoricalFocalCrossentropy"
    tasks = (Task.MULTICLASS,)
    targets = "one_hot"
    name: Literal["categorical_focal_crossentropy"] = "categorical_focal_crossentropy"
    alpha: float = Field(0.25, gt=0, le=1)
    """What every class is weighted with."""
    gamma: float = Field(2.0, ge=0)
    """How much less an easy sample counts; 0 is plain cross-entropy."""
    label_smoothing: Smoothing = 0.0
    """Share of a label that is spread over all classes."""


class BinaryCrossentropy(LossSpec):
    """Cross-entropy of one thing told from another. The default of binary tasks."""

    keras_name = "BinaryCrossentropy"
    tasks = (Task.BINARY,)
    targets = "column"
    name: Literal["binary_crossentropy"] = "binary_crossentropy"
    label_smoothing: Smoothing = 0.0
    """How far labels are moved from 0 and 1 towards a half."""


class BinaryFocalCrossentropy(LossSpec):
    """Binary cross-entropy that cares less for samples that are easy already (Lin et al. 2017)."""

    keras_name = "BinaryFocalCrossentropy"
    tasks = (Task.BINARY,)
    targets = "column"
    name: Literal["binary_focal_crossentropy"] = "binary_focal_crossentropy"
    apply_class_balancing: bool = False
    """Weigh the two classes with `alpha` and 1 - `alpha`."""
    alpha: float = Field(0.25, gt=0, lt=1)
    """Weight of the second class, with `apply_class_balancing`."""
    gamma: float = Field(2.0, ge=0)
    """How much less an easy sample counts; 0 is plain cross-entropy."""
    label_smoothing: Smoothing = 0.0
    """How far labels are moved from 0 and 1 towards a half."""


class MeanSquaredError(LossSpec):
    """Mean of the squared differences. The default of regression tasks; far misses count most."""

    keras_name = "MeanSquaredError"
    tasks = (Task.REGRESSION,)
    targets = "column"
    name: Literal["mean_squared_error"] = "mean_squared_error"

    def weight(self, deviation: float) -> float:
        """One over the variance."""
        return 1.0 / deviation**2


class MeanAbsoluteError(LossSpec):
    """Mean of the differences' sizes: predicts the median, and far misses count no more than others."""

    keras_name = "MeanAbsoluteError"
    tasks = (Task.REGRESSION,)
    targets = "column"
    name: Literal["mean_absolute_error"] = "mean_absolute_error"

    def weight(self, deviation: float) -> float:
        """One over the standard deviation."""
        return 1.0 / deviation


class Huber(LossSpec):
    """Squared for small differences and linear for large ones (Huber 1964)."""

    keras_name = "Huber"
    tasks = (Task.REGRESSION,)
    targets = "column"
    name: Literal["huber"] = "huber"
    delta: float = Field(1.0, gt=0)
    """Difference, in the target's own units, from which on the loss is linear."""

    def build(self) -> keras.losses.Loss:
        """The Keras loss: the function in a wrapper, as Keras's own class forgets `delta` when a model is saved."""
        import keras
        from keras.src.losses.losses import LossFunctionWrapper

        return LossFunctionWrapper(keras.losses.huber, name="huber", delta=self.delta)

    def weight(self, deviation: float) -> float:
        """One over the standard deviation, and over `delta` or the deviation, whichever is smaller."""
        return 1.0 / (deviation * min(self.delta, deviation))


class LogCosh(LossSpec):
    """The logarithm of the hyperbolic cosine: a smooth form of the absolute difference."""

    keras_name = "LogCosh"
    tasks = (Task.REGRESSION,)
    targets = "column"
    name: Literal["log_cosh"] = "log_cosh"

    def weight(self, deviation: float) -> float:
        """One over the standard deviation, and over 1 or the deviation, whichever is smaller."""
        return 1.0 / (deviation * min(1.0, deviation))


class MeanAbsolutePercentageError(LossSpec):
    """Mean of the differences as a percentage of the truth; of no use where targets are near zero."""

    keras_name = "MeanAbsolutePercentageError"
    tasks = (Task.REGRESSION,)
    targets = "column"
    name: Literal["mean_absolute_percentage_error"] = "mean_absolute_percentage_error"


class MeanSquaredLogarithmicError(LossSpec):
    """Mean of the squared differences of logarithms of 1 + value: for targets that are never negative."""

    keras_name = "MeanSquaredLogarithmicError"
    tasks = (Task.REGRESSION,)
    targets = "column"
    name: Literal["mean_squared_logarithmic_error"] = "mean_squared_logarithmic_error"


class OwnLoss(LossSpec):
    """A loss of your own: `function(y_true, y_pred, **arguments)`, or a class like keras.losses.Loss.

    It gets the truth and the model's outputs, float32 both, the latter (n, units), and returns what each sample costs,
    (n,), or one number. The truth is (n, 1) where there is one output, and the numbers of the classes, (n,), where
    there are several; (n, classes) with `one_hot`. A model's file does not say that it was trained with this loss, so
    that it can be loaded where this code is not.
    """

    tasks = tuple(Task)
    portable = False
    name: Literal["function"] = "function"
    function: Reference
    """Where it is, as `module:function` or `module:Class`; looked for in the current folder too."""
    arguments: Arguments = Field(default_factory=dict)
    """What a function gets besides, and a class is made with, by name; each can vary, as `loss.arguments.gamma`."""
    one_hot: bool = False
    """Give it several classes as one-hot labels rather than as numbers."""

    @field_validator("function")
    @classmethod
    def _compares(cls, reference: str) -> str:
        return reference if names_class(reference) else called_with(reference, ("y_true", "y_pred"))

    @field_validator("arguments")
    @classmethod
    def _takes_them(cls, arguments: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        reference = info.data.get("function")
        return accepted(reference, arguments, given=0 if reference and names_class(reference) else 2)

    @property
    def label(self) -> str:
        """Which code it is."""
        return self.function

    def targets_of(self, task: Task) -> Targets:
        """See `LossSpec.targets_of`."""
        if task is not Task.MULTICLASS:
            return "column"
        return "one_hot" if self.one_hot else "index"

    def build(self) -> keras.losses.Loss:
        """The user's loss, or their function as one.

        Raises:
            OwnCodeError: It cannot be had or called so, or is no loss.
        """
        import keras
        from keras.src.losses.losses import LossFunctionWrapper

        found = load(self.function)
        if not callable(found):
            raise OwnCodeError(f"'{self.function}' must be a function or a class, got {type(found).__name__}.")
        given = () if isinstance(found, type) else (None, None)
        try:
            inspect.signature(found).bind(*given, **self.arguments)
        except TypeError as error:
            named = [f"{key}={value!r}" for key, value in self.arguments.items()]
            called = ", ".join([*(("y_true", "y_pred") if given else ()), *named])
            raise OwnCodeError(f"'{self.function}' cannot be called with ({called}): {error}.") from None
        except ValueError:
            pass  # without a signature, such as one in C
        if given:
            return LossFunctionWrapper(found, name=self.function.partition(":")[2], **self.arguments)
        made = found(**self.arguments)
        if not isinstance(made, keras.losses.Loss):
            raise OwnCodeError(f"'{self.function}' must make a keras.losses.Loss, got one of {type(made).__name__}.")
        return made


SHORT_NAMES = {
    "mse": "mean_squared_error",
    "mae": "mean_absolute_error",
    "mape": "mean_absolute_percentage_error",
    "msle": "mean_squared_logarithmic_error",
}
"""What people also call them."""


def _by_full_name(data: Any) -> Any:
    data = named(data)
    if isinstance(data, dict) and isinstance(data.get("name"), str):
        return {**data, "name": SHORT_NAMES.get(data["name"], data["name"])}
    return data


Loss = Annotated[
    Annotated[
        SparseCategoricalCrossentropy
        | CategoricalCrossentropy
        | CategoricalFocalCrossentropy
        | BinaryCrossentropy
        | BinaryFocalCrossentropy
        | MeanSquaredError
        | MeanAbsoluteError
        | Huber
        | LogCosh
        | MeanAbsolutePercentageError
        | MeanSquaredLogarithmicError
        | OwnLoss,
        Field(discriminator="name"),
    ],
    BeforeValidator(_by_full_name),
]


def default_loss(task: Task) -> LossSpec:
    """The loss of a task where the recipe names none."""
    defaults: dict[Task, type[LossSpec]] = {
        Task.MULTICLASS: SparseCategoricalCrossentropy,
        Task.BINARY: BinaryCrossentropy,
        Task.REGRESSION: MeanSquaredError,
    }
    return defaults[task]()
