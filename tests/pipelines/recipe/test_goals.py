"""How the parts of a training hang together, as tables of recipes and of what is said about them."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from pipelines import yaml_file
from pipelines.errors import ConfigError
from pipelines.inputs import Column, InputFacts
from pipelines.recipe.config import SweepConfig, TrainingConfig
from pipelines.recipe.goals import class_weights, goal_of
from pipelines.recipe.objectives import Objective
from pipelines.recipe.oddities import oddities
from pipelines.recipe.reading import check_recipe, check_with_data
from pipelines.tasks import Task, task_of

DIGITS = InputFacts((8, 8), 0.0, 16.0, tuple("0123456789"))
TUMOURS = InputFacts((2,), None, None, ("malignant", "benign"), kind="table", columns=(Column("a"), Column("b")))
FITTED = replace(TUMOURS, mean=(0.0, 1.0), deviation=(1.0, 2.0))
PRICES = InputFacts(
    (1,), None, None, (), kind="table", columns=(Column("a"),), target_mean=100.0, target_deviation=20.0
)


def config(**parts: Any) -> TrainingConfig:
    return TrainingConfig.model_validate(parts)


def goal(facts: InputFacts, **parts: Any) -> Any:
    return goal_of(dict(config(**parts)), facts)


@pytest.mark.parametrize(
    ("labels", "task"),
    [((), Task.REGRESSION), (("a", "b"), Task.BINARY), (("a", "b", "c"), Task.MULTICLASS), (("a",), Task.MULTICLASS)],
)
def test_the_task_follows_from_the_classes(labels: tuple[str, ...], task: Task) -> None:
    assert task_of(labels) is task


@pytest.mark.parametrize(
    ("facts", "parts", "loss", "metrics", "head"),
    [
        (DIGITS, {}, "sparse_categorical_crossentropy", ["accuracy"], (10, "softmax", "probabilities")),
        (
            TUMOURS,
            {"dataset": "breast_cancer"},
            "binary_crossentropy",
            ["accuracy", "auc"],
            (1, "sigmoid", "probability"),
        ),
        (
            TUMOURS,
            {"dataset": "breast_cancer", "task": "multiclass"},
            "sparse_categorical_crossentropy",
            ["accuracy"],
            (2, "softmax", "probabilities"),
        ),
        (PRICES, {"dataset": "diabetes"}, "mean_squared_error", ["mae", "r2"], (1, "linear", "prediction")),
    ],
)
def test_output_loss_and_metrics_follow_from_the_task(
    facts: InputFacts, parts: dict[str, Any], loss: str, metrics: list[str], head: tuple[int, str, str]
) -> None:
    found = goal(facts, **parts)
    assert found.loss.name == loss
    assert [metric.name for metric in found.metrics] == metrics
    assert (found.head.units, found.head.activation, found.head.name) == head


def test_a_number_is_learned_in_units_of_its_spread_and_predicted_in_its_own() -> None:
    scaled = goal(PRICES, dataset="diabetes")
    assert (scaled.head.scale, scaled.head.offset, scaled.loss_weight) == (20.0, 100.0, 1 / 400)
    plain = goal(PRICES, dataset="diabetes", model={"name": "dense", "target_scaling": "none"})
    assert (plain.head.scale, plain.head.offset, plain.loss_weight) == (1.0, 0.0, 1.0)


@pytest.mark.parametrize(
    ("loss", "weight"),
    [
        ("mse", 1 / 400),
        ("mae", 1 / 20),
        ({"name": "huber", "delta": 5.0}, 1 / 100),
        ({"name": "huber", "delta": 50.0}, 1 / 400),
        ("log_cosh", 1 / 20),
        ("mape", 1.0),
        ("msle", 1.0),
    ],
)
def test_every_loss_of_a_regression_is_weighted_by_the_spread(loss: Any, weight: float) -> None:
    assert goal(PRICES, dataset="diabetes", loss=loss).loss_weight == pytest.approx(weight)


def test_balanced_weights_give_every_class_the_same_sum() -> None:
    y = np.array([0] * 6 + [1] * 2)
    weights = class_weights("balanced", TUMOURS, y)
    assert weights is not None
    assert weights[y].reshape(-1)[:6].sum() == pytest.approx(weights[y][6:].sum())
    assert weights[y].sum() == pytest.approx(len(y))


def test_weights_by_label_count_one_where_none_is_given() -> None:
    assert class_weights({"benign": 3.0}, TUMOURS, np.array([0])) == pytest.approx([1.0, 3.0])
    assert class_weights(None, TUMOURS, np.array([0])) is None


def said(text: str) -> list[str]:
    """What a recipe's mistakes say, without their places in the file."""
    with pytest.raises(ConfigError) as caught:
        check_recipe(yaml_file.parse(f"study: x\n{text}", "x.yaml"), "x.yaml")
    return [f"{mistake.path}: {mistake.message}" for mistake in caught.value.mistakes]


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        (
            "dataset: breast_cancer\nloss: {name: function, function: 'json:dumps', one_hot: true}",
            "loss.one_hot",
            "is for one output a class, and a binary task has a single one; leave it out",
        ),
        (
            "loss: {name: function, function: 'json:dumps'}\nsearch_space: {loss.arguments.gamma: [1.0, 2.0]}",
            "search_space.loss.arguments.gamma",
            "cannot be compared by 'val_loss'",
        ),
        ("task: binary", "task", "'digits' can be learned as multiclass, got binary"),
        ("loss: mse", "loss", "almost no gradient where the model is surely wrong; for a multiclass task use sparse_"),
        ("loss: binary_crossentropy", "loss", "is for a single output, and there is one a class here"),
        ("dataset: breast_cancer\nloss: categorical_crossentropy", "loss", "a binary task has a single one"),
        ("dataset: diabetes\nloss: binary_crossentropy", "loss", "needs classes, and a number is predicted here"),
        ("metrics: [accuracy, r2]", "metrics.1", "'r2' means nothing for a multiclass task; there are accuracy"),
        ("metrics: [accuracy, accuracy]", "metrics.1", "'accuracy' is there twice"),
        (
            "dataset: breast_cancer\nmodel: {name: dense, output_activation: softmax}",
            "model.output_activation",
            "softmax over one unit is always 1, so nothing could be learned: use sigmoid, or task: multiclass",
        ),
        (
            "dataset: diabetes\nmodel: {name: dense, output_activation: softmax}",
            "model.output_activation",
            "softmax over one unit is always 1",
        ),
        (
            "model: {name: dense, output_activation: sigmoid}",
            "model.output_activation",
            "no probabilities that sum to 1: use softmax",
        ),
        (
            "dataset: diabetes\nmodel: {name: dense, output_activation: relu}",
            "model.output_activation",
            "set model.target_scaling to none",
        ),
        ("dataset: diabetes\nclass_weight: balanced", "class_weight", "no classes where a number is predicted"),
        ("dataset: iris\nmodel: cnn", "model", "'cnn' takes image samples, and 'iris' has table samples"),
        ("model: {name: dense, features: [x1]}", "model.features", "features of points in the plane"),
        ("objective: val_auc", "objective", "no epoch has 'val_auc'; there are loss, accuracy, val_loss"),
        ("dataset: iris\nobjective: val_crossentropy", "objective", "It can be had: add 'crossentropy' to metrics"),
        (
            "promotion: {metric: test_r2}",
            "promotion.metric",
            "a multiclass model is judged by test_accuracy, test_loss",
        ),
        (
            "callbacks: {early_stopping: {monitor: val_mae}}",
            "callbacks.early_stopping.monitor",
            "watches 'val_mae', which no epoch has",
        ),
        (
            "optimizer: {name: sgd, learning_rate: cosine}\ncallbacks: {reduce_lr_on_plateau: {}}",
            "callbacks.reduce_lr_on_plateau",
            "which the schedule in optimizer.learning_rate moves already; keep one of them",
        ),
        (
            "optimizer: {name: adam, use_ema: true}\ncallbacks: {swa: {}, swap_ema_weights: {}}",
            "callbacks",
            "swa and swap_ema_weights would swap each other's weights; keep one of them",
        ),
        (
            "callbacks: {decision_surface: {}}",
            "callbacks.decision_surface",
            "is for points, and the data here is images; leave it out",
        ),
        ("callbacks: {swap_ema_weights: {}}", "callbacks.swap_ema_weights", "set optimizer.use_ema: true"),
        (
            "search_space: {loss: {categorical_crossentropy: {label_smoothing: [0.0, 0.1]}}}",
            "search_space.loss",
            "cannot be compared by 'val_loss'; let the objective be another metric, such as val_accuracy",
        ),
        ("search_space: {metrics: [a, b]}", "search_space.metrics", "every trial must have the same metrics"),
        ("search_space: {task: [binary, multiclass]}", "search_space.task", "learn different things"),
    ],
)
def test_parts_that_do_not_go_together_are_mistakes_of_the_recipe(text: str, place: str, words: str) -> None:
    (found,) = said(text)
    assert found.startswith(f"{place}: ")
    assert words in found


OWN = "callbacks: {mine: {name: class, path: 'json:JSONDecoder', adds: [val_f1]}, early_stopping: {monitor: val_f1"


def test_a_metric_that_a_callback_adds_can_be_the_objective_be_bounded_and_be_monitored() -> None:
    text = f"study: a\nobjective: val_f1\nconstraints: {{val_f1: {{least: 0.5}}}}\n{OWN}, mode: max}}}}"
    read = check_recipe(yaml_file.parse(text, "a.yaml"), "a.yaml")

    assert (read.objective.metric, read.objective.sense) == ("val_f1", "maximize")
    assert oddities(read.model_copy(update={"objective": Objective(metric="val_f1", direction="minimize")})) == [
        sentence for sentence in oddities(read) if "val_f1" not in sentence
    ]


def test_which_way_an_added_metric_is_better_has_to_be_said_where_it_is_monitored() -> None:
    (found,) = said(f"{OWN}}}}}")
    assert found.startswith("callbacks.early_stopping.monitor: watches a metric of your own")
    assert found.endswith("add mode: min, or max")


def test_mistakes_between_parts_are_told_together_with_mistakes_inside_them() -> None:
    found = said(
        "loss: mse\nepochs: many\ncallbacks: {early_stopping: {monitor: val_f1}}\npromotion: {metric: test_r2}"
    )
    assert [line.split(":")[0] for line in found] == [
        "loss",
        "epochs",
        "callbacks.early_stopping.monitor",
        "promotion.metric",
    ]


def test_a_search_space_that_reaches_parts_that_do_not_go_together_is_a_mistake() -> None:
    (found,) = said("objective: val_accuracy\nsearch_space: {loss: [sparse_categorical_crossentropy, mae]}")
    assert "would reach 'mae'" in found


def test_what_the_data_alone_can_tell_is_a_mistake_before_anything_is_started() -> None:
    sweep = SweepConfig.model_validate(
        {
            "study": "x",
            "metrics": ["accuracy", {"name": "top_k_accuracy", "k": 10}],
            "class_weight": {"3": 2.0, "eleven": 2.0},
        }
    )
    with pytest.raises(ConfigError) as caught:
        check_with_data(sweep, DIGITS, "study 'x'")
    assert [mistake.path for mistake in caught.value.mistakes] == ["metrics.1", "class_weight.eleven"]
    assert "k must be below 10" in str(caught.value)


@pytest.mark.parametrize(
    ("facts", "space", "place", "words"),
    [
        (
            DIGITS,
            {"model": {"cnn": {"filters": [[4], [4, 4, 4, 4]]}, "linear": {}}},
            "model.cnn.filters",
            "would reach [4, 4, 4, 4] while model is 'cnn': model.pool_size 2 is more than block 4 has",
        ),
        (FITTED, {"model.scaling": ["auto", "range"]}, "model.scaling", "would reach 'range'"),
        (FITTED, {"class_weight.evil": [1.0, 2.0]}, "class_weight.evil", "no class of the data; there are malignant"),
    ],
)
def test_what_no_trial_could_do_with_this_data_is_a_mistake_before_anything_is_started(
    facts: InputFacts, space: dict[str, Any], place: str, words: str
) -> None:
    dataset = {"name": "npz", "path": "own.npz"}
    sweep = SweepConfig.model_validate({"study": "x", "dataset": dataset, "search_space": space})
    with pytest.raises(ConfigError) as caught:
        check_with_data(sweep, facts, "study 'x'")
    assert [mistake.path for mistake in caught.value.mistakes] == [f"search_space.{place}"]
    assert words in str(caught.value)


def test_a_space_that_goes_with_its_data_has_no_mistakes() -> None:
    space = {"model.units": [[10], []], "class_weight.benign": [1.0, 2.0], "model.scaling": ["standard", "none"]}
    sweep = SweepConfig.model_validate({"study": "x", "dataset": "breast_cancer", "search_space": space})
    check_with_data(sweep, FITTED, "study 'x'")


def test_data_of_one_class_has_nothing_to_learn() -> None:
    with pytest.raises(ConfigError, match="all samples are of one class, 'only'"):
        check_with_data(config(), InputFacts((8, 8), 0.0, 1.0, ("only",)), "train")


@pytest.mark.parametrize(
    ("facts", "parts", "words"),
    [
        (DIGITS, {"task": "regression"}, "the data has classes (0, 1, 2, 3, 4, 5, 6, 7 and 2 more)"),
        (DIGITS, {"task": "binary"}, "binary tells two classes apart, the data has 10"),
        (PRICES, {"task": "binary"}, "a number to predict and no classes, so the task is regression"),
        (PRICES, {"loss": "binary_crossentropy"}, "needs classes, and a number is predicted here"),
        (TUMOURS, {"model": "cnn"}, "'cnn' takes image samples"),
    ],
)
def test_a_data_set_of_ones_own_is_checked_when_it_is_there(
    facts: InputFacts, parts: dict[str, Any], words: str
) -> None:
    own = {"name": "npz", "path": "own.npz"}
    with pytest.raises(ConfigError, match=re.escape(words)):
        check_with_data(config(dataset=own, **parts), facts, "train")
