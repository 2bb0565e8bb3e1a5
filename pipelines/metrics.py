"""Metrics: what is measured at every epoch beside the loss. One class a kind; each says for which tasks it is.

Defaults are Keras 3.15's own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field

from pipelines.spec import Spec, kinds_of, named
from pipelines.tasks import CLASSES, Targets, Task

if TYPE_CHECKING:
    import keras

Direction = Literal["minimize", "maximize"]
Threshold = Annotated[float, Field(gt=0, lt=1)]


class MetricSpec(Spec):
    """What every metric promises."""

    tasks: ClassVar[tuple[Task, ...]]
    better: ClassVar[Direction] = "maximize"
    keras_names: ClassVar[dict[Targets, str]]

    @property
    def label(self) -> str:
        """Its name in Keras's logs and on the run; with `val_` before it where it is measured on validation data."""
        return str(self.name)  # type: ignore[attr-defined]

    def build(self, targets: Targets) -> keras.metrics.Metric:
        """The Keras metric, for targets in the form that the loss takes."""
        import keras  # heavy, and not needed to read a recipe

        return getattr(keras.metrics, self.keras_names[targets])(name=self.label, **self.model_dump(exclude={"name"}))


class Accuracy(MetricSpec):
    """Share of the samples whose class is told right."""

    tasks = CLASSES
    keras_names: ClassVar[dict[Targets, str]] = {
        "index": "SparseCategoricalAccuracy",
        "one_hot": "CategoricalAccuracy",
        "column": "BinaryAccuracy",
    }
    name: Literal["accuracy"] = "accuracy"


class TopKAccuracy(MetricSpec):
    """Share of the samples whose class is among the `k` likeliest; logged as `top_5_accuracy` and so on."""

    tasks = (Task.MULTICLASS,)
    keras_names: ClassVar[dict[Targets, str]] = {
        "index": "SparseTopKCategoricalAccuracy",
        "one_hot": "TopKCategoricalAccuracy",
    }
    name: Literal["top_k_accuracy"] = "top_k_accuracy"
    k: int = Field(5, ge=1)
    """How many of the likeliest classes count."""

    @property
    def label(self) -> str:
        """With the number in it."""
        return f"top_{self.k}_accuracy"


class Crossentropy(MetricSpec):
    """Plain cross-entropy in nats, without smoothing, weights or penalties: comparable where losses are not."""

    tasks = CLASSES
    better = "minimize"
    keras_names: ClassVar[dict[Targets, str]] = {
        "index": "SparseCategoricalCrossentropy",
        "one_hot": "CategoricalCrossentropy",
        "column": "BinaryCrossentropy",
    }
    name: Literal["crossentropy"] = "crossentropy"


class Auc(MetricSpec):
    """Area under the ROC curve, or under the one of precision over recall."""

    tasks = (Task.BINARY,)
    keras_names: ClassVar[dict[Targets, str]] = {"column": "AUC"}
    name: Literal["auc"] = "auc"
    curve: Literal["ROC", "PR"] = "ROC"
    """`ROC`, or `PR` for precision over recall."""
    num_thresholds: int = Field(200, ge=2)
    """Points of the curve that are computed."""


class Precision(MetricSpec):
    """Share of the samples called the second class that are."""

    tasks = (Task.BINARY,)
    keras_names: ClassVar[dict[Targets, str]] = {"column": "Precision"}
    name: Literal["precision"] = "precision"
    thresholds: Threshold = 0.5
    """Probability from which a sample is called the second class."""


class Recall(MetricSpec):
    """Share of the second class's samples that are called so."""

    tasks = (Task.BINARY,)
    keras_names: ClassVar[dict[Targets, str]] = {"column": "Recall"}
    name: Literal["recall"] = "recall"
    thresholds: Threshold = 0.5
    """Probability from which a sample is called the second class."""


class MeanAbsoluteErrorMetric(MetricSpec):
    """Mean of the differences' sizes, in the target's own units."""

    tasks = (Task.REGRESSION,)
    better = "minimize"
    keras_names: ClassVar[dict[Targets, str]] = {"column": "MeanAbsoluteError"}
    name: Literal["mae"] = "mae"


class MeanSquaredErrorMetric(MetricSpec):
    """Mean of the squared differences, in the target's own units, squared."""

    tasks = (Task.REGRESSION,)
    better = "minimize"
    keras_names: ClassVar[dict[Targets, str]] = {"column": "MeanSquaredError"}
    name: Literal["mse"] = "mse"


class RootMeanSquaredErrorMetric(MetricSpec):
    """Root of the mean squared difference, in the target's own units."""

    tasks = (Task.REGRESSION,)
    better = "minimize"
    keras_names: ClassVar[dict[Targets, str]] = {"column": "RootMeanSquaredError"}
    name: Literal["rmse"] = "rmse"


class MeanAbsolutePercentageErrorMetric(MetricSpec):
    """Mean of the differences as a percentage of the truth."""

    tasks = (Task.REGRESSION,)
    better = "minimize"
    keras_names: ClassVar[dict[Targets, str]] = {"column": "MeanAbsolutePercentageError"}
    name: Literal["mape"] = "mape"


class R2(MetricSpec):
    """Share of the target's variance that is explained: 1 is perfect, 0 is no better than the mean."""

    tasks = (Task.REGRESSION,)
    keras_names: ClassVar[dict[Targets, str]] = {"column": "R2Score"}
    name: Literal["r2"] = "r2"


Metric = Annotated[
    Annotated[
        Accuracy
        | TopKAccuracy
        | Crossentropy
        | Auc
        | Precision
        | Recall
        | MeanAbsoluteErrorMetric
        | MeanSquaredErrorMetric
        | RootMeanSquaredErrorMetric
        | MeanAbsolutePercentageErrorMetric
        | R2,
        Field(discriminator="name"),
    ],
    BeforeValidator(named),
]


def default_metrics(task: Task) -> tuple[MetricSpec, ...]:
    """The metrics of a task where the recipe names none."""
    defaults: dict[Task, tuple[MetricSpec, ...]] = {
        Task.MULTICLASS: (Accuracy(),),
        Task.BINARY: (Accuracy(), Auc()),
        Task.REGRESSION: (MeanAbsoluteErrorMetric(), R2()),
    }
    return defaults[task]


def direction_of(name: str) -> Direction:
    """Whether less or more of a logged metric is better, told from its name (`val_mae`, `test_r2`, `loss`)."""
    plain = name.removeprefix("val_").removeprefix("test_")
    kinds: dict[str, Any] = kinds_of(Metric)
    if plain in kinds:
        better: Direction = kinds[plain].better
        return better
    return "minimize" if plain.endswith("loss") else "maximize"
