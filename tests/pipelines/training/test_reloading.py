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
LAYER = """
import keras

class Scale(keras.layers.Layer):
    def __init__(self, {takes}, **settings):
        super().__init__(**settings)
        self.by = by

    def call(self, x):
        return x * self.by

    def get_config(self):
        return {{**super().get_config(){kept}}}

def make(inputs, head):
    flow = first = keras.Input(inputs.shape)
    for layer in (keras.layers.Flatten(), Scale(by=2.0), keras.layers.Dense(head.units, head.activation)):
        flow = layer(flow)
    return keras.Model(first, flow)
"""
KEPT = ', "by": self.by'
_numbers = count()


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], dict[str, Any]]:
    """Writes a module with a layer of somebody's own; returns the model that is made of it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)

    def write(takes: str, kept: str) -> dict[str, Any]:
        module = f"own_layer_{next(_numbers)}"
        (tmp_path / f"{module}.py").write_text(LAYER.format(takes=takes, kept=kept))
        return {"name": "function", "function": f"{module}:make"}

    return write


Written = Callable[[str, str], dict[str, Any]]


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


@pytest.mark.parametrize("name", ["counting", "shaking"])
def test_a_layer_that_never_says_the_same_twice_is_nobodys_business(train: Train, name: str) -> None:
    trained = train(epochs=1, model={"name": "function", "function": f"{OWN}:{name}"})

    assert trained.of(Ended)[0].error is None


def test_looking_changes_nothing_of_the_training(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    own = {"name": "function", "function": f"{OWN}:gates"}
    monkeypatch.setattr("pipelines.training.reloading._proven", set())
    curves = [[event.metrics for event in train(epochs=2, model=own).of(EpochEnded)] for _ in range(2)]

    assert curves[0] == curves[1], "the first training was looked at, the second one not"
