"""The whole experiment, typed: assembled from the specs of the rooms.

A recipe is a training config plus a map of what varies in it; a trial is therefore just a training config.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, field_validator, model_validator
from pydantic_core import InitErrorDetails

from pipelines.callbacks import Callback, CallbackSpec, label_is_name
from pipelines.datasets import Dataset
from pipelines.datasets.digits import Digits
from pipelines.distributions import Entry
from pipelines.executors import ExecutorKind
from pipelines.models import Model
from pipelines.models.dense import DenseModel
from pipelines.optimizers import Adam, Optimizer
from pipelines.pruners import MedianPruner, Pruner
from pipelines.samplers import Sampler, TpeSampler
from pipelines.spec import Spec

Direction = Literal["minimize", "maximize"]
METRICS = ("loss", "accuracy")
"""What every training logs, and again with `val_` before it."""
STUDY_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}"


def metric_names() -> tuple[str, ...]:
    """The metrics that every epoch of a training has."""
    return (*METRICS, *(f"val_{name}" for name in METRICS))


def _watches_what_exists(callback: CallbackSpec) -> CallbackSpec:
    """What a callback watches must exist in an epoch."""
    known = metric_names()
    unknown = [name for name in dict.fromkeys(callback.watched_metrics()) if name not in known]
    if not unknown:
        return callback
    details: list[InitErrorDetails] = []
    for name in unknown:
        place = ("monitor",) if getattr(callback, "monitor", None) == name else ("filepath",)
        problem = ValueError(f"watches '{name}', which no epoch has; there are {', '.join(known)}")
        details.append({"type": "value_error", "loc": place, "input": name, "ctx": {"error": problem}})
    raise ValidationError.from_exception_data("callback", details)  # each at its own place in the recipe


class TrainingConfig(Spec):
    """One training, complete: the same config on the same machine gives the same curve."""

    dataset: Dataset = Digits()
    """What is learned."""
    model: Model = DenseModel()
    """What learns it."""
    optimizer: Optimizer = Adam()
    """How it learns."""
    callbacks: Annotated[
        dict[str, Annotated[Callback, AfterValidator(_watches_what_exists)]], BeforeValidator(label_is_name)
    ] = Field(default_factory=dict)
    """What looks on and steps in, by label, in the order they are called."""
    epochs: int = Field(20, ge=1)
    """Passes over the training samples, at most."""
    batch_size: int = Field(32, ge=1)
    """Samples in one step."""
    seed: int = Field(0, ge=0, lt=2**31)
    """Of initial weights, sample order and everything else that is drawn. Trial n of a sweep adds n."""

    @field_validator("callbacks")
    @classmethod
    def _one_owner_of_the_rate(cls, callbacks: dict[str, CallbackSpec]) -> dict[str, CallbackSpec]:
        owners = [label for label, callback in callbacks.items() if callback.owns_learning_rate()]
        if len(owners) > 1:
            raise ValueError(f"{' and '.join(owners)} would all move the learning rate; keep one of them")
        return callbacks


class Objective(Spec):
    """What the study looks for: the best epoch's value of one metric."""

    metric: str = "val_loss"
    """The metric; one of validation, as the best training loss is no news."""
    direction: Direction | None = None
    """`minimize` or `maximize`; told from the metric where left out."""

    @model_validator(mode="after")
    def _exists(self) -> Objective:
        if self.metric not in metric_names():
            raise ValueError(f"no epoch has '{self.metric}'; there are {', '.join(metric_names())}")
        return self

    @property
    def sense(self) -> Direction:
        """The direction, told from the metric where the recipe does not say."""
        return self.direction or ("minimize" if self.metric.endswith("loss") else "maximize")


class Budget(Spec):
    """When a sweep is done."""

    trials: int = Field(24, ge=1)
    """Trials that end complete or pruned. Failed ones are replaced."""
    failed_trials: int = Field(8, ge=0)
    """Failed trials after which the sweep stops replacing them."""


class Execution(Spec):
    """Where trials run."""

    executor: ExecutorKind = "processes"
    """`processes` for warm worker processes, `inline` for this very process (to debug)."""
    workers: Literal["auto"] | Annotated[int, Field(ge=1)] = "auto"
    """Workers at once; `auto` is one a GPU, or one a core where there is no GPU."""
    lanes: Literal["auto", "off"] = "auto"
    """Trials trained at once in one program. This version trains one at a time under either setting."""
    retries: int = Field(1, ge=0)
    """How often a trial whose worker was lost is tried again before it counts as failed."""
    recycle_after: int = Field(200, ge=1)
    """Trials after which a worker is replaced by a fresh one."""
    memory_limit_mb: int = Field(4096, ge=256)
    """Resident memory above which a worker is replaced by a fresh one, in MiB."""
    gpu_memory_mb: int | None = Field(None, ge=64)
    """Cap on a worker's GPU memory, in MiB; without it the memory grows as needed."""


class Promotion(Spec):
    """When the best trial becomes the champion."""

    metric: Literal["test_accuracy", "test_loss"] = "test_accuracy"
    """What candidate and champion are compared by, on the sealed test part."""
    min_gain: float = Field(0.0, ge=0)
    """By how much the candidate must be better; 0 means any gain at all."""


def _usable_name(name: str) -> str:
    """A study's name becomes a folder's, an experiment's and a registered model's."""
    if not re.fullmatch(STUDY_NAME, name):
        raise ValueError(f"must be letters, digits, '.', '_' or '-', and begin with a letter or digit, got {name!r}")
    return name


def _metric_alone(data: Any) -> Any:
    return {"metric": data} if isinstance(data, str) else data


class SweepConfig(TrainingConfig):
    """A recipe: a training config, what varies in it, and how the study goes about it."""

    study: Annotated[str, AfterValidator(_usable_name)]
    """Name of the study, which is also the MLflow experiment's and the registered model's."""
    search_space: dict[str, Entry] = Field(default_factory=dict)
    """What varies: a path in the training config, and a range, a list of choices, or kinds to choose from."""
    objective: Annotated[Objective, BeforeValidator(_metric_alone)] = Objective()
    """What the study looks for."""
    sampler: Sampler = TpeSampler()
    """How the next trial is chosen."""
    pruner: Pruner = MedianPruner()
    """When a trial is stopped early."""
    budget: Budget = Budget()
    """When the sweep is done."""
    execution: Execution = Execution()
    """Where trials run."""
    promotion: Promotion = Promotion()
    """When the best trial becomes the champion."""

    def training(self) -> dict[str, Any]:
        """The training config that trials vary, as plain JSON types."""
        return self.model_dump(mode="json", include=set(TrainingConfig.model_fields))
