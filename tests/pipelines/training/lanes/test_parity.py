"""Lanes against `fit`, in double precision: the same algorithm, so the same numbers to 1e-9."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, get_args

import pytest

from pipelines.losses import SHORT_NAMES, Loss, default_loss
from pipelines.models.hidden import ActivationName
from pipelines.optimizers import Optimizer
from pipelines.schedules import LearningRate
from pipelines.spec import kinds_of
from pipelines.tasks import Task
from tests.pipelines.training.lanes.parity import AT_ONCE, DOUBLE, PARTLY, Parity, Table, precision
from tests.pipelines.training.lanes.parity_cases import (
    GOALS,
    MODELS,
    OPTIMIZERS,
    PREPARED,
    SCHEDULES,
    SHAPES,
    telling,
)


@pytest.fixture(scope="module")
def parity(keras: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Parity]:
    with precision("float64"):
        yield Parity(tmp_path_factory.mktemp("parity"))


@pytest.fixture(scope="module")
def optimizers(parity: Parity) -> Table:
    return Table(parity, OPTIMIZERS)


def test_every_optimizer_and_every_schedule_is_compared() -> None:
    assert {case["optimizer"]["name"] for case in OPTIMIZERS.values()} == set(kinds_of(Optimizer))
    assert {case["optimizer"]["learning_rate"]["name"] for case in SCHEDULES.values()} == set(kinds_of(LearningRate))


def test_every_loss_and_every_activation_is_compared() -> None:
    named = [case.get("loss", {}) for case in GOALS.values()]
    losses = {SHORT_NAMES.get(loss, loss) if isinstance(loss, str) else loss.get("name") for loss in named}
    of_tasks = {default_loss(task).name for task in Task}  # type: ignore[attr-defined]  # every kind has one
    assert losses - {None} | of_tasks == set(kinds_of(Loss))
    activations = {name for case in MODELS.values() for name in case.get("model", {}).get("activation", ())}
    assert set(get_args(ActivationName)) <= activations


@pytest.mark.parametrize("case", telling(OPTIMIZERS))
def test_an_optimizer_takes_the_same_steps(optimizers: Table, case: str) -> None:
    optimizers.agrees(case, DOUBLE)


@pytest.fixture(scope="module")
def schedules(parity: Parity) -> Table:
    return Table(parity, SCHEDULES, groups=AT_ONCE)


@pytest.mark.parametrize("case", SCHEDULES)
def test_a_schedule_moves_the_rate_in_the_same_way(schedules: Table, case: str) -> None:
    schedules.agrees(case, PARTLY)


@pytest.fixture(scope="module")
def goals(parity: Parity) -> Table:
    return Table(parity, GOALS, groups=AT_ONCE)


@pytest.mark.parametrize("case", GOALS)
def test_losses_and_metrics_are_the_same(goals: Table, case: str) -> None:
    goals.agrees(case, DOUBLE)


@pytest.fixture(scope="module")
def models(parity: Parity) -> Table:
    return Table(parity, MODELS, groups=AT_ONCE)


@pytest.mark.parametrize("case", telling(MODELS))
def test_a_model_learns_the_same(models: Table, case: str) -> None:
    models.agrees(case, PARTLY if case in PREPARED else DOUBLE)


@pytest.fixture(scope="module")
def shapes(parity: Parity) -> Table:
    return Table(parity, SHAPES, groups=AT_ONCE)


@pytest.mark.parametrize("case", SHAPES)
def test_batches_of_any_size_count_the_same(shapes: Table, case: str) -> None:
    shapes.agrees(case, DOUBLE)
