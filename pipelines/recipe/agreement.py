"""Whether the parts of a training go together: each problem with its place in the config, and the way out.

Each part checks itself when it is read. What one part asks of another is checked here, on whatever parts are sound, so
that a recipe's mistakes come all at once; and once more when the data is there, as it may tell what the recipe leaves
out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from pipelines.inputs import InputFacts, Kind
from pipelines.losses import Loss
from pipelines.metrics import Metric
from pipelines.recipe.goals import Parts, added_metrics, known_task, metric_names
from pipelines.spec import kinds_of
from pipelines.tasks import ACTIVATIONS, CLASSES, Task, task_of

if TYPE_CHECKING:
    from pipelines.callbacks import CallbackSpec
    from pipelines.models import ModelSpec

MOST_LABELS = 8  # that are named in a message
SAMPLES: dict[Kind, str] = {"image": "images", "table": "a table", "points": "points"}


class Problem(NamedTuple):
    """Something that does not go together.

    Attributes:
        place: Where in the training config, key by key.
        message: What is wrong, and what would be right.
    """

    place: tuple[str | int, ...]
    message: str


def problems(parts: Parts, facts: InputFacts | None = None) -> list[Problem]:
    """What does not go together.

    Args:
        parts: The parts of a training config that could be read.
        facts: Of the data, once it is there.
    """
    task = known_task(parts)
    if facts is not None and task is None:
        task = task_of(facts.labels)
    found = [
        *_task_problems(parts, facts),
        *_loss_problems(parts, task),
        *_metric_problems(parts, task, facts),
        *_sample_problems(parts, facts),
        *_output_problems(parts, task),
        *_weight_problems(parts, task, facts),
        *_watching_problems(parts, task),
        *_owner_problems(parts),
    ]
    return list(dict.fromkeys(found))


def no_such_metric(name: str, parts: Parts, task: Task | None) -> str | None:
    """What to say where something asks for a metric that no epoch has; None where it has."""
    known = metric_names(parts, task)
    return None if name in known else f"no epoch has '{name}'; there are {', '.join(known)}{_addable(name, task)}"


def _task_problems(parts: Parts, facts: InputFacts | None) -> Iterator[Problem]:
    wanted, dataset = parts.get("task"), parts.get("dataset")
    if facts is not None and len(facts.labels) == 1:
        yield Problem(
            ("dataset",), f"all samples are of one class, '{facts.labels[0]}': there is nothing to tell apart"
        )
    if wanted is None or dataset is None:
        return
    if dataset.tasks and wanted not in dataset.tasks:
        yield Problem(("task",), f"'{dataset.name}' can be learned as {_or(dataset.tasks)}, got {wanted}")
    elif facts is not None and wanted == Task.REGRESSION and facts.labels:
        yield Problem(("task",), f"the data has classes ({_some(facts.labels)}), which are no numbers; leave task out")
    elif facts is not None and wanted in CLASSES and not facts.labels:
        message = f"the data has a number to predict and no classes, so the task is regression, got {wanted}"
        yield Problem(("task",), message)
    elif facts is not None and wanted == Task.BINARY and len(facts.labels) != 2:
        there = f"{len(facts.labels)} ({_some(facts.labels)})"
        yield Problem(("task",), f"binary tells two classes apart, the data has {there}: use multiclass")


def _loss_problems(parts: Parts, task: Task | None) -> Iterator[Problem]:
    loss = parts.get("loss")
    if loss is None or task is None:
        return
    if getattr(loss, "one_hot", False) and task is not Task.MULTICLASS:
        message = f"is for one output a class, and a {task} task has a single one; leave it out"
        yield Problem(("loss", "one_hot"), message)
    if task in loss.tasks:
        return
    if loss.tasks == (Task.REGRESSION,):
        why = "compares class probabilities with 0 and 1 and gives almost no gradient where the model is surely wrong"
    elif task is Task.REGRESSION:
        why = "needs classes, and a number is predicted here"
    elif task is Task.BINARY:
        why = "needs one output a class, and a binary task has a single one"
    else:
        why = "is for a single output, and there is one a class here"
    yield Problem(("loss",), f"'{loss.name}' {why}; for a {task} task use {_or(_names_for(Loss, task))}")


def _metric_problems(parts: Parts, task: Task | None, facts: InputFacts | None) -> Iterator[Problem]:
    chosen = parts.get("metrics") or ()
    classes = len(facts.labels) if facts is not None else 0
    for number, metric in enumerate(chosen):
        place = ("metrics", number)
        if task is not None and task not in metric.tasks:
            there = _or(_names_for(Metric, task))
            yield Problem(place, f"'{metric.name}' means nothing for a {task} task; there are {there}")
        elif metric.label in [other.label for other in chosen[:number]]:
            yield Problem(place, f"'{metric.label}' is there twice; keep one")
        elif classes and getattr(metric, "k", 1) >= classes:
            yield Problem(place, f"'{metric.label}' is always 1 with {classes} classes; k must be below {classes}")


def _sample_problems(parts: Parts, facts: InputFacts | None) -> Iterator[Problem]:
    """What the kind of samples does not go with."""
    dataset = parts.get("dataset")
    kind: Kind | None = facts.kind if facts is not None else dataset.kind if dataset is not None else None
    if kind is None:
        return
    callbacks: Mapping[str, CallbackSpec] = parts.get("callbacks") or {}
    for label, callback in callbacks.items():
        if callback.kinds is not None and kind not in callback.kinds:
            message = f"is for {_or(callback.kinds)}, and the data here is {SAMPLES[kind]}; leave it out"
            yield Problem(("callbacks", label), message)
    model: ModelSpec | None = parts.get("model")
    if model is None:
        return
    if kind not in model.kinds:
        name, data = model.name, dataset.name if dataset is not None else "the data"  # type: ignore[attr-defined]
        message = f"'{name}' takes {_or(model.kinds)} samples, and '{data}' has {kind} samples"
        yield Problem(("model",), f"{message}; 'dense' and 'linear' take any")
    elif facts is not None:
        yield from (Problem(("model", field), message) for field, message in model.misfits(facts).items())
    if kind != "points" and model.features != ("x1", "x2"):
        message = f"are features of points in the plane, and the data here is {SAMPLES[kind]}; leave it out"
        yield Problem(("model", "features"), message)


def _output_problems(parts: Parts, task: Task | None) -> Iterator[Problem]:
    """Outputs that could not learn the task."""
    model: ModelSpec | None = parts.get("model")
    if model is None or task is None or model.output_activation in ("auto", ACTIVATIONS[task]):
        return
    got = model.output_activation
    if task is Task.MULTICLASS and got == "sigmoid":
        why = "sigmoids of several classes are no probabilities that sum to 1: use softmax"
    elif got == "softmax":
        instead = "sigmoid, or task: multiclass" if task is Task.BINARY else "linear"
        why = f"softmax over one unit is always 1, so nothing could be learned: use {instead}"
    elif task in CLASSES:
        why = f"cross-entropy needs probabilities: a {task} task ends in {ACTIVATIONS[task]}"
    elif model.target_scaling == "standard":
        why = (
            "it bounds the output, and target_scaling: standard would shift the bounds by the targets' mean: set "
            "model.target_scaling to none, or leave the output linear"
        )
    else:
        return
    yield Problem(("model", "output_activation"), f"{why}, got '{got}'")


def _weight_problems(parts: Parts, task: Task | None, facts: InputFacts | None) -> Iterator[Problem]:
    wanted = parts.get("class_weight")
    if wanted is None:
        return
    if task is Task.REGRESSION:
        yield Problem(("class_weight",), "there are no classes where a number is predicted; leave it out")
    elif facts is not None and not isinstance(wanted, str):
        for label in wanted:
            if label not in facts.labels:
                message = f"is no class of the data; there are {_some(facts.labels)}"
                yield Problem(("class_weight", label), message)


def _watching_problems(parts: Parts, task: Task | None) -> Iterator[Problem]:
    """Callbacks that watch what no epoch has."""
    if "metrics" not in parts:
        return
    known, added = metric_names(parts, task), added_metrics(parts)
    callbacks: Mapping[str, CallbackSpec] = parts.get("callbacks") or {}
    for label, callback in callbacks.items():
        if getattr(callback, "mode", None) == "auto" and getattr(callback, "monitor", None) in added:
            message = (
                "watches a metric of your own, of which mode: auto cannot tell the better way; add mode: min, or max"
            )
            yield Problem(("callbacks", label, "monitor"), message)
        for name in dict.fromkeys(callback.watched_metrics()):
            if name not in known:
                field = "monitor" if getattr(callback, "monitor", None) == name else "filepath"
                there = f"{', '.join(known)}{_addable(name, task)}"
                yield Problem(("callbacks", label, field), f"watches '{name}', which no epoch has; there are {there}")


def _owner_problems(parts: Parts) -> Iterator[Problem]:
    """Two that would move the same thing, and one that would move what is not there."""
    callbacks: Mapping[str, CallbackSpec] = parts.get("callbacks") or {}
    optimizer = parts.get("optimizer")
    owners = [label for label, callback in callbacks.items() if callback.owns_learning_rate()]
    swappers = [label for label, callback in callbacks.items() if callback.swaps_weights()]
    if optimizer is not None and optimizer.owns_learning_rate():
        for label in owners:
            message = (
                f"would move the learning rate, which the schedule in optimizer.learning_rate moves already; keep one "
                f"of them: give the optimizer a plain number, or take {label} away"
            )
            yield Problem(("callbacks", label), message)
    elif len(owners) > 1:
        yield Problem(("callbacks",), f"{' and '.join(owners)} would all move the learning rate; keep one of them")
    if len(swappers) > 1:
        yield Problem(("callbacks",), f"{' and '.join(swappers)} would swap each other's weights; keep one of them")
    if optimizer is not None and not optimizer.use_ema:
        for label, callback in callbacks.items():
            if callback.needs_ema():
                message = (
                    "swaps in the running mean of the weights, which this optimizer does not keep; set "
                    "optimizer.use_ema: true"
                )
                yield Problem(("callbacks", label), message)


def _addable(name: str, task: Task | None) -> str:
    """A hint where the metric exists and is only not asked for."""
    plain = name.removeprefix("val_")
    names = kinds_of(Metric) if task is None else _names_for(Metric, task)
    return f". It can be had: add '{plain}' to metrics" if plain in names else ""


def _names_for(room: Any, task: Task) -> list[str]:
    """The kinds of losses or metrics that are for a task."""
    kinds: Mapping[str, Any] = kinds_of(room)
    return [name for name, kind in kinds.items() if task in kind.tasks]


def _or(words: Iterable[str]) -> str:
    listed = [str(word) for word in words]
    return listed[0] if len(listed) == 1 else f"{', '.join(listed[:-1])} or {listed[-1]}"


def _some(labels: tuple[str, ...]) -> str:
    more = f" and {len(labels) - MOST_LABELS} more" if len(labels) > MOST_LABELS else ""
    return ", ".join(labels[:MOST_LABELS]) + more
