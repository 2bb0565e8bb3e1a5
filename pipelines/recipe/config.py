"""The whole experiment, typed: assembled from the specs of the rooms.

A recipe is a training config plus a map of what varies in it; a trial is therefore just a training config.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, TypeAdapter, ValidationError, model_validator
from pydantic_core import InitErrorDetails

from pipelines.callbacks import Callback, label_is_name
from pipelines.computing import Precision, Xla
from pipelines.datasets import Dataset
from pipelines.datasets.digits import Digits
from pipelines.executors import ExecutorKind
from pipelines.executors.docker import Docker
from pipelines.executors.ray.settings import RayCluster
from pipelines.inputs import InputFacts
from pipelines.losses import Loss
from pipelines.metrics import Metric
from pipelines.models import Model
from pipelines.models.dense import DenseModel
from pipelines.optimizers import Adam, Optimizer
from pipelines.pruners import MedianPruner, Pruner
from pipelines.recipe.agreement import Problem, problems
from pipelines.recipe.aims import aim_problems
from pipelines.recipe.distributions import Drawn, Entry
from pipelines.recipe.goals import Goal, goal_of, known_task
from pipelines.recipe.objectives import Bound, Objectives, StudyName, WarmStart, study_alone
from pipelines.recipe.objectives import Objective as Objective
from pipelines.recipe.promotion_rules import Promotion as Promotion
from pipelines.samplers import Sampler, TpeSampler
from pipelines.spec import Spec, said
from pipelines.tasks import SCORES, Task, task_of


def _labels_as_words(data: Any) -> Any:
    """YAML reads the labels of digits as numbers."""
    return {str(label): weight for label, weight in data.items()} if isinstance(data, dict) else data


def _off_as_word(data: Any) -> Any:
    """YAML reads `off` as false, which `Spec` makes a word of where a number may stand."""
    return "off" if data is False or data == "false" else data


class TrainingConfig(Spec):
    """One training, complete: the same config on the same machine gives the same curve."""

    dataset: Dataset = Digits()
    """What is learned from."""
    task: Task | None = None
    """What is learned: `multiclass`, `binary` or `regression`; told from the data set where left out."""
    model: Model = DenseModel()
    """What learns it."""
    loss: Loss | None = None
    """What is made small; the task's own loss where left out."""
    metrics: tuple[Metric, ...] | None = None
    """What is measured at every epoch beside the loss; the task's own metrics where left out."""
    class_weight: Annotated[
        Literal["balanced"] | dict[str, Annotated[float, Field(gt=0)]] | None, BeforeValidator(_labels_as_words)
    ] = None
    """What a sample of each class counts in training, by label; `balanced` gives every class the same sum."""
    optimizer: Optimizer = Adam()
    """How it learns."""
    callbacks: Annotated[dict[str, Callback], BeforeValidator(label_is_name)] = Field(default_factory=dict)
    """What looks on and steps in, by label, in the order they are called."""
    epochs: int = Field(20, ge=1)
    """Passes over the training samples, at most."""
    batch_size: int = Field(32, ge=1)
    """Samples in one step."""
    precision: Precision = "float32"
    """What layers compute in. `mixed_bfloat16` and `mixed_float16` compute in 16 bits and keep weights, the optimizer
    and the output in 32, which a GPU with tensor cores does faster; `mixed_float16` scales the loss, so that small
    gradients do not vanish. What is judged and served is the same weights in `float32`."""
    xla: Xla = "auto"
    """Whether XLA compiles the training. `auto`: with `fit`, where there is a GPU and the model allows it, as Keras
    decides; in lanes, whatever is faster. Compiled, dropout draws other numbers with `fit`."""
    seed: int = Field(0, ge=0, lt=2**31)
    """Of initial weights, sample order and everything else that is drawn. Trial n of a sweep adds n."""

    @model_validator(mode="after")
    def _hangs_together(self) -> TrainingConfig:
        found = self.check_parts(dict(self))
        if found:
            details: list[InitErrorDetails] = [
                {"type": "value_error", "loc": place, "input": None, "ctx": {"error": ValueError(message)}}
                for place, message in found
            ]
            raise ValidationError.from_exception_data(type(self).__name__, details)
        return self

    @classmethod
    def check_parts(cls, parts: Mapping[str, Any]) -> list[Problem]:
        """What does not go together among the parts of a config that could be read, each with its place."""
        return problems(parts)

    def check_with(self, facts: InputFacts) -> list[Problem]:
        """The same, now that the data is there."""
        return problems(dict(self), facts)

    def said(self) -> dict[str, Any]:
        """What tells this training from another: its kinds, what differs from a default, and what all want to know."""
        always: dict[str, Any] = {
            "dataset": said(self.dataset),
            "model": said(self.model),
            "optimizer": {
                "learning_rate": self.optimizer.model_dump(mode="json")["learning_rate"],
                **said(self.optimizer),
            },
            **self.model_dump(include={"epochs", "batch_size", "seed"}),
        }
        return {**said(self), **always}

    def goal(self, facts: InputFacts) -> Goal:
        """What is learned from this data, with everything told that the recipe leaves out."""
        return goal_of(dict(self), facts)


class Budget(Spec):
    """When a sweep is done: at whichever of these comes first. The summary says which it was.

    Time and bytes add up over all starts of a study. Trials that run when the end comes stop after the epoch they are
    at; they are not counted, and go on where they were when the budget is raised.
    """

    trials: int = Field(24, ge=1)
    """Trials that end complete or pruned. Failed ones are replaced, but under a sampler that tries all."""
    failed_trials: int = Field(8, ge=0)
    """Failed trials after which the sweep stops replacing them."""
    same_failures: int = Field(3, ge=2)
    """Trials in a row that fail with the same exception, or whose workers die in the same way at every attempt, after
    which the sweep stops: it is not the trials then, it is the recipe or the code."""
    wall_s: float | None = Field(None, gt=0)
    """Seconds that the sweep may take, getting workers ready included."""
    device_s: float | None = Field(None, gt=0)
    """Seconds of training, added up over all workers."""
    target: float | None = None
    """A value of the objective that is good enough: the sweep ends with the first complete trial that reaches it."""
    no_improvement_trials: int | None = Field(None, ge=1)
    """Trials in a row without a new best after which the sweep ends."""
    checkpoint_mb: float | None = Field(None, gt=0)
    """MiB of best checkpoints that trials may write in all."""


class Checkpoints(Spec):
    """What stays of the trials' checkpoints, here and in MLflow, while the sweep runs.

    The best complete trial's is never dropped, nor one that a registered version reaches.
    """

    keep: int = Field(100, ge=1)
    """Trials, the best ones, whose checkpoints stay."""
    most_mb: float = Field(10_240, gt=0)
    """MiB that they may fill; the least good ones go first."""


class Execution(Spec):
    """Where trials run."""

    executor: ExecutorKind = "processes"
    """`processes` for warm worker processes, `docker` for such in containers of this machine's Docker engine, `inline`
    for this very process (to debug)."""
    workers: Literal["auto"] | Annotated[int, Field(ge=1)] = "auto"
    """Workers at once; `auto` is as many a GPU as `workers_per_gpu` says. Where there is no GPU it is one that has all
    cores, if it trains in lanes, and otherwise one a core."""
    workers_per_gpu: Literal["auto"] | Annotated[int, Field(ge=1, le=64)] = "auto"
    """Workers that share each GPU. `auto` is one where trials train in lanes, as one program fills a GPU; otherwise a
    probe trial is watched on the fresh GPU, once for a kind of training, and there are as many as its memory, its time
    and the cores allow. Several have a cap on their memory each."""
    lanes: Annotated[Literal["auto", "off"] | Annotated[int, Field(ge=1)], BeforeValidator(_off_as_word)] = "auto"
    """Trials that a worker trains at once in one compiled program, to the same results as one by one. `auto` measures
    how many are fastest, and trains none so where too few trials could share a program (the run says why); `off` trains
    each by itself with Keras's `fit`, as is done anyway with what no such program can train. A sampler that learns from
    results is not asked for more than an eighth of the budget's trials ahead."""
    retries: int = Field(1, ge=0)
    """How often a trial that lost its worker before it got on by an epoch is tried again. One that gets on goes on from
    its last epoch, however often it loses its worker."""
    hung_after_s: float = Field(900, gt=0)
    """Seconds without a step after which a trial is taken to hang. Its worker is ended and it is tried again, once."""
    recycle_after: int = Field(200, ge=1)
    """Trials after which a worker is replaced by a fresh one. One that trains in lanes is hardly ever between two
    trials; only its memory makes it due."""
    memory_limit_mb: int = Field(4096, ge=256)
    """Resident memory above which a worker is replaced by a fresh one between two trials, in MiB."""
    memory_cap_mb: int | None = Field(None, ge=256)
    """Resident memory above which a worker is ended in the middle of a trial, which is then out of memory, in MiB."""
    gpu_memory_mb: int | None = Field(None, ge=64)
    """Cap on what a worker's tensors may fill of its GPU, in MiB. Without it a worker that has a GPU to itself takes
    what it needs, and one of several an equal share."""
    data_memory_mb: int = Field(1024, ge=0)
    """Memory that the data of a trial may use, in MiB; a worker reads larger data from disk, batch by batch, in the
    same order and to the same result."""
    docker: Docker = Docker()
    """The containers of the executor `docker`."""
    ray: RayCluster = RayCluster()
    """The cluster of the executor `ray`."""


class SweepConfig(TrainingConfig):
    """A recipe: a training config, what varies in it, and how the study goes about it."""

    study: StudyName
    """Name of the study, which is also the MLflow experiment's and the registered model's."""
    search_space: dict[str, Entry] = Field(default_factory=dict)
    """What varies: a path in the training config, and a range, a list of choices, or kinds to choose from."""
    objective: Objectives = Objective()
    """What the study looks for: one metric, or a list of two to four, of which the first decides each trial's best
    epoch. `parameters` (of the model) and `seconds` (of training) may stand behind it."""
    constraints: dict[str, Bound] = Field(default_factory=dict)
    """What a trial has to keep to become the best, by name: a metric of its best epoch, `parameters` or `seconds`."""
    enqueue: tuple[Annotated[dict[str, Drawn], Field(min_length=1)], ...] = ()
    """What is tried first, in this order: values of what varies, by name. What a trial leaves out is sampled."""
    warm_start: Annotated[WarmStart | None, BeforeValidator(study_alone)] = None
    """An older study whose trials the sampler and the pruner know from the beginning."""
    sampler: Sampler = TpeSampler()
    """How the next trial is chosen."""
    pruner: Pruner = MedianPruner()
    """When a trial is stopped early; `none` where left out and there are several objectives."""
    budget: Budget = Budget()
    """When the sweep is done."""
    execution: Execution = Execution()
    """Where trials run."""
    checkpoints: Checkpoints = Checkpoints()
    """What stays of the trials' checkpoints."""
    promotion: Promotion = Promotion()
    """When the best trial becomes the champion."""

    @model_validator(mode="before")
    @classmethod
    def _nothing_is_pruned_by_several(cls, data: Any) -> Any:
        """Optuna's pruners know one objective only."""
        listed = data.get("objective") if isinstance(data, dict) else None
        several = isinstance(listed, list | tuple) and len(listed) > 1
        return {**data, "pruner": {"name": "none"}} if several and "pruner" not in data else data

    @property
    def objectives(self) -> tuple[Objective, ...]:
        """All objectives; the first of them is `objective`."""
        return self.objective.all

    def violations(self, values: Mapping[str, float]) -> dict[str, float]:
        """By constraint, how far a trial is beyond it, in the metric's own unit; at most 0 where it is kept.

        Args:
            values: Metrics of the trial's best epoch and its costs, by name.
        """
        return {name: bound.violation(values.get(name)) for name, bound in self.constraints.items()}

    def judged_by(self, task: Task) -> str:
        """What candidate and champion are compared by: the recipe's choice, or what the objective is on the test part.

        `val_loss` depends on the loss of each training, so it has no counterpart there; `test_loss` is cross-entropy.
        """
        named = {"val_crossentropy": "test_loss", "val_loss": ""}
        own = named.get(self.objective.metric, f"test_{self.objective.metric.removeprefix('val_')}")
        return self.promotion.metric or (own if own in SCORES[task] else SCORES[task][0])

    @classmethod
    def check_parts(cls, parts: Mapping[str, Any]) -> list[Problem]:
        """Also what the objective, the promotion and the search space ask of the training."""
        return [*problems(parts), *aim_problems(parts, known_task(parts))]

    def check_with(self, facts: InputFacts) -> list[Problem]:
        """The same, now that the data is there."""
        task = self.task or task_of(facts.labels)
        return [*problems(dict(self), facts), *aim_problems(dict(self), task)]

    def training(self) -> dict[str, Any]:
        """The training config that trials vary, as plain JSON types."""
        return self.model_dump(mode="json", include=set(TrainingConfig.model_fields))


def sound_parts(root: type[TrainingConfig], raw: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a config that can be read, whatever is wrong with the rest; those left out have their defaults."""
    parts: dict[str, Any] = {}
    for name, field in root.model_fields.items():
        if name not in raw:
            if not field.is_required():
                parts[name] = field.get_default(call_default_factory=True)
            continue
        try:
            parts[name] = TypeAdapter(field.rebuild_annotation()).validate_python(raw[name])
        except ValidationError:
            continue  # reported already, at its own place
    return parts
