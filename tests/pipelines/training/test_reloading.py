"""A model whose file would give another one is refused before it is trained."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from pipelines.records import CheckpointWritten, Ended, EpochEnded

OWN = "tests.pipelines.training.lanes.own_parts"
Train = Callable[..., Any]
Written = Callable[..., dict[str, Any]]
LAYER = """
import keras

class Scale(keras.layers.Layer):
    def __init__(self, {takes}, **settings):
        super().__init__(**settings)
        self.by = by

    def call(self, x):
        return {says}

    def get_config(self):
        return {{**super().get_config(){kept}}}

def make(inputs, head, by={made}):
    flow = first = keras.Input(inputs.shape)
    for layer in (keras.layers.Flatten(), Scale(by=by), keras.layers.Dense(head.units, head.activation)):
        flow = layer(flow)
    return keras.Model(first, flow)
"""
KEPT = ', "by": self.by'
_numbers = count()


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Written:
    """Writes a module with a layer of somebody's own; returns the model that is made of it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)

    def write(takes: str, kept: str, says: str = "x * self.by", made: str = "2.0") -> dict[str, Any]:
        module = f"own_layer_{next(_numbers)}"
        (tmp_path / f"{module}.py").write_text(LAYER.format(takes=takes, kept=kept, says=says, made=made))
        return {"name": "function", "function": f"{module}:make"}

    return write


def test_a_layer_that_says_how_it_was_made_is_trained(train: Train, written: Written) -> None:
    trained = train(epochs=1, model=written("by", KEPT))

    assert trained.of(Ended)[0].error is None
    assert trained.of(CheckpointWritten)


@pytest.mark.parametrize(
    ("takes", "told"),
    [
        ("by=1.0", "says something else when it is loaded from its own file, as its checkpoints would"),
        ("by", "cannot be loaded from its own file: TypeError: .*missing 1 required .*'by'"),
    ],
    ids=["forgotten", "missing"],
)
def test_what_its_file_would_not_have_is_told_before_it_is_trained(
    train: Train, written: Written, takes: str, told: str
) -> None:
    trained = train(epochs=1, model=written(takes, ""))

    (ended,) = trained.of(Ended)
    assert re.search(told, ended.error or "")
    assert not trained.of(EpochEnded)


def test_what_was_left_out_and_was_the_default_before_is_told_where_it_is_none(train: Train, written: Written) -> None:
    model = written("by=1.0", "")

    first = train(epochs=1, model={**model, "arguments": {"by": 1.0}})
    second = train(epochs=1, model={**model, "arguments": {"by": 2.0}})

    assert first.of(Ended)[0].error is None
    assert "says something else when it is loaded from its own file" in second.of(Ended)[0].error


def test_it_is_the_file_that_is_loaded_in_which_a_tuple_is_a_list(train: Train, written: Written) -> None:
    model = written("by", KEPT, says="x * (self.by + (3.0,))[0]", made="(2.0,)")

    (ended,) = train(epochs=1, model=model).of(Ended)

    assert re.search(
        "cannot be loaded from its own file: TypeError: .*list.* a tuple comes back as a list", ended.error
    )


def test_a_layer_that_fails_by_itself_is_not_blamed_on_its_file(train: Train, written: Written) -> None:
    model = written("by", KEPT, says="1 / 0 if hasattr(x, 'numpy') else x")

    (ended,) = train(epochs=1, model=model).of(Ended)

    assert re.search(r"own_layer_\d+:Scale, fails when it is called: ZeroDivisionError: division by zero", ended.error)


def test_a_layer_that_makes_more_of_its_weights_as_they_are_loaded_is_trained(train: Train) -> None:
    trained = train(epochs=1, model={"name": "function", "function": f"{OWN}:adapted"})

    assert trained.of(Ended)[0].error is None


@pytest.mark.parametrize("name", ["counting", "shaking"])
def test_a_layer_that_never_says_the_same_twice_is_nobodys_business(train: Train, name: str) -> None:
    trained = train(epochs=1, model={"name": "function", "function": f"{OWN}:{name}"})

    assert trained.of(Ended)[0].error is None


def test_looking_changes_nothing_of_the_training(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    own = {"name": "function", "function": f"{OWN}:gates"}
    for memory in ("_proven", "_seen"):
        monkeypatch.setattr(f"pipelines.training.reloading.{memory}", set())
    curves = [[event.metrics for event in train(epochs=2, model=own).of(EpochEnded)] for _ in range(2)]

    assert curves[0] == curves[1], "the first training was looked at, the second one not"
