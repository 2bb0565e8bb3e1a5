from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from pipelines.errors import RegattaError
from pipelines.schedules import EpochSchedule
from pipelines.spec import kinds_of
from tests.pipelines.small_training import build, fit, model, surroundings

READ: TypeAdapter[Any] = TypeAdapter(EpochSchedule)
EPOCHS = 21
LN2 = math.log(2)

FORMULAS: list[tuple[dict[str, Any], dict[int, float]]] = [
    ({"name": "step"}, {0: 1, 6: 1, 7: 0.5, 13: 0.5, 14: 0.25, 20: 0.25}),
    ({"name": "step", "factor": 0.1, "every": 1}, {0: 1, 1: 0.1, 3: 0.001}),
    ({"name": "step", "factor": 0.1, "every": 1, "min_lr": 0.05}, {0: 1, 1: 0.1, 2: 0.05, 9: 0.05}),
    ({"name": "step", "factor": 1, "every": 1}, {0: 1, 20: 1}),
    ({"name": "exponential", "decay": LN2}, {0: 1, 1: 0.5, 3: 0.125}),
    ({"name": "exponential", "decay": LN2, "start_from_epoch": 2}, {0: 1, 1: 1, 2: 0.5, 3: 0.25}),
    ({"name": "exponential", "decay": LN2, "start_from_epoch": 1}, {0: 1, 1: 0.5}),
    ({"name": "exponential", "decay": LN2, "min_lr": 0.3}, {1: 0.5, 2: 0.3, 9: 0.3}),
    ({"name": "polynomial", "end_learning_rate": 0}, {0: 1, 7: 2 / 3, 20: 1 / 21}),
    ({"name": "warmup", "warmup_epochs": 4, "start": 0.2}, {0: 0.2, 1: 0.4, 4: 1, 20: 1}),
    ({"name": "warmup"}, {0: 0.1, 7: 0.4, 20: 0.1 + 0.9 * 20 / 21}),
    ({"name": "one_cycle"}, {0: 0.04, 3: 0.52, 6: 1, 20: 0.5 * (1 + math.cos(math.pi * 14 / 15))}),
    (
        {"name": "one_cycle", "warmup_epochs": 1, "decay_epochs": 2, "alpha": 0.5, "start": 0.1},
        {0: 0.1, 1: 1, 2: 0.75, 3: 0.5, 9: 0.5},
    ),
]

LIKE_KERAS: list[tuple[dict[str, Any], str, dict[str, Any]]] = [
    (
        {"name": "step", "factor": 0.3, "every": 4},
        "ExponentialDecay",
        {"decay_steps": 4, "decay_rate": 0.3, "staircase": True},
    ),
    ({"name": "exponential", "decay": 0.2}, "ExponentialDecay", {"decay_steps": 1, "decay_rate": math.exp(-0.2)}),
    ({"name": "polynomial"}, "PolynomialDecay", {"decay_steps": EPOCHS}),
    (
        {"name": "polynomial", "decay_epochs": 5, "end_learning_rate": 0.1, "power": 2, "cycle": True},
        "PolynomialDecay",
        {"decay_steps": 5, "end_learning_rate": 0.1, "power": 2.0, "cycle": True},
    ),
    ({"name": "cosine"}, "CosineDecay", {"decay_steps": EPOCHS}),
    ({"name": "cosine", "decay_epochs": 6, "alpha": 0.25}, "CosineDecay", {"decay_steps": 6, "alpha": 0.25}),
    ({"name": "cosine_restarts"}, "CosineDecayRestarts", {"first_decay_steps": 3}),
    (
        {"name": "cosine_restarts", "first_decay_epochs": 5, "t_mul": 1, "m_mul": 0.5, "alpha": 0.1},
        "CosineDecayRestarts",
        {"first_decay_steps": 5, "t_mul": 1.0, "m_mul": 0.5, "alpha": 0.1},
    ),
    (
        {"name": "one_cycle", "start": 0.5, "alpha": 0.1},
        "CosineDecay",
        {"initial_learning_rate": 0.5, "warmup_target": 1.0, "warmup_steps": 6, "decay_steps": 15, "alpha": 0.1},
    ),
]
OWN = """
def halved(epoch, rate):
    return rate / 2 if epoch else rate

def times(epoch, rate, factor):
    return rate * factor if epoch else rate

NUMBER = 3
"""


def rates(settings: Any, epochs: int = EPOCHS) -> list[float]:
    """The rate of each epoch, as Keras's callback makes it from the epoch and the rate before."""
    schedule, rate, found = READ.validate_python(settings).build(EPOCHS), 1.0, []
    for epoch in range(epochs):
        rate = schedule(epoch, rate)
        found.append(rate)
    return found


def test_every_schedule_is_tried_below() -> None:
    tried = {settings["name"] for settings, _ in FORMULAS} | {settings["name"] for settings, _, _ in LIKE_KERAS}
    assert set(kinds_of(EpochSchedule)) == {*tried, "function"}


@pytest.mark.parametrize(("settings", "expected"), FORMULAS, ids=str)
def test_a_schedule_follows_its_formula(settings: dict[str, Any], expected: dict[int, float]) -> None:
    found = rates(settings)
    assert {epoch: found[epoch] for epoch in expected} == pytest.approx(expected)


@pytest.mark.parametrize(("settings", "name", "arguments"), LIKE_KERAS, ids=str)
def test_a_schedule_is_that_of_keras_with_epochs_for_steps(
    keras: Any, settings: dict[str, Any], name: str, arguments: dict[str, Any]
) -> None:
    theirs = getattr(keras.optimizers.schedules, name)(**{"initial_learning_rate": 1.0, **arguments})
    assert rates(settings) == pytest.approx([float(theirs(epoch)) for epoch in range(EPOCHS)], rel=1e-4, abs=1e-5)


def test_a_schedule_starts_from_the_optimizers_own_rate_in_every_training() -> None:
    schedule = READ.validate_python({"name": "step", "factor": 0.5, "every": 1}).build(EPOCHS)
    assert [schedule(0, 0.25), schedule(1, 99.0), schedule(0, 4.0), schedule(1, 99.0)] == [0.25, 0.125, 4.0, 2.0]


@pytest.mark.parametrize("name", sorted(set(kinds_of(EpochSchedule)) - {"function"}))
def test_a_schedule_moves_the_rate_of_a_training(keras: Any, tmp_path: Path, name: str) -> None:
    epochs = 7
    around = surroundings(tmp_path, epochs)
    callbacks = build({"scheduler": {"name": "learning_rate_scheduler", "schedule": name}}, around)
    curves = fit(model(keras, optimizer=keras.optimizers.Adam(0.25)), callbacks.values(), epochs)
    schedule = READ.validate_python(name).build(epochs)
    assert curves["learning_rate"] == pytest.approx([schedule(epoch, 0.25) for epoch in range(epochs)], rel=1e-6)
    assert len(set(curves["learning_rate"])) > 1


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_epoch_schedules.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)


@pytest.mark.usefixtures("own")
def test_a_function_of_ones_own_moves_the_rate(keras: Any, tmp_path: Path) -> None:
    settings = {"name": "function", "function": "own_epoch_schedules:halved"}
    assert rates(settings, 3) == [1.0, 0.5, 0.25]
    callbacks = build({"one": {"name": "learning_rate_scheduler", "schedule": settings}}, surroundings(tmp_path))
    curves = fit(model(keras, optimizer=keras.optimizers.SGD(0.5)), callbacks.values(), 3)
    assert curves["learning_rate"] == [0.5, 0.25, 0.125]


@pytest.mark.usefixtures("own")
def test_a_function_of_ones_own_gets_its_arguments(keras: Any, tmp_path: Path) -> None:
    settings = {"name": "function", "function": "own_epoch_schedules:times", "arguments": {"factor": "1e-1"}}
    callbacks = build({"one": {"name": "learning_rate_scheduler", "schedule": settings}}, surroundings(tmp_path))
    curves = fit(model(keras, optimizer=keras.optimizers.SGD(0.5)), callbacks.values(), 3)
    assert curves["learning_rate"] == pytest.approx([0.5, 0.05, 0.005])


@pytest.mark.usefixtures("own")
def test_arguments_that_a_function_of_ones_own_does_not_take_are_told() -> None:
    settings = {"name": "function", "function": "own_epoch_schedules:times", "arguments": {"facter": 0.5}}
    with pytest.raises(TypeError, match=r"times' cannot be called with \(epoch, rate, facter=0.5\): "):
        READ.validate_python(settings).build(3)


@pytest.mark.usefixtures("own")
@pytest.mark.parametrize(
    "name",
    ["math", "math:", ":ldexp", "math:ld exp", "math:a.b", "os;x:y", "own_epoch_schedules:quartered", "no_such:f"],
)
def test_a_name_that_is_no_function_is_refused_when_the_recipe_is_read(name: str) -> None:
    with pytest.raises(ValidationError):
        READ.validate_python({"name": "function", "function": name})


@pytest.mark.usefixtures("own")
def test_what_is_no_function_fails_when_it_is_built() -> None:
    with pytest.raises((TypeError, RegattaError), match="must be a function of"):
        READ.validate_python({"name": "function", "function": "own_epoch_schedules:NUMBER"}).build(3)


@pytest.mark.parametrize(
    "settings",
    [
        {"name": "step", "factor": 0},
        {"name": "step", "factor": 1.5},
        {"name": "step", "every": 0},
        {"name": "exponential", "decay": 0},
        {"name": "polynomial", "power": 0},
        {"name": "cosine", "alpha": -0.1},
        {"name": "cosine", "decay_epochs": 0},
        {"name": "cosine_restarts", "t_mul": 0.5},
        {"name": "warmup", "start": 0},
        {"name": "one_cycle", "warmup_epochs": 0},
    ],
    ids=str,
)
def test_settings_out_of_bounds_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        READ.validate_python(settings)
