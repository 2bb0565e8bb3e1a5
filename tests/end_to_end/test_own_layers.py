"""Layers and functions of a user's own, from a folder with nothing but that code to a served champion."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from tests.sites import Site, made_site

LAYERS = """
import keras

class Gate(keras.layers.Layer):
    def __init__(self, units, **settings):
        super().__init__(**settings)
        self.units = units

    def build(self, shape):
        self.kernel = self.add_weight(shape=(shape[-1], self.units), name="kernel")

    def call(self, x):
        said = keras.ops.matmul(x, self.kernel)
        return said * keras.ops.sigmoid(said)

    def get_config(self):
        return {**super().get_config(), "units": self.units}
"""
CODE = """
import keras
from gates import Gate

def bent(x):
    return 1.5 * keras.ops.tanh(x)

def make(inputs, head, width):
    flow = first = keras.Input(inputs.shape)
    for layer in (keras.layers.Rescaling(1 / 16), keras.layers.Flatten(), Gate(width)):
        flow = layer(flow)
    flow = keras.layers.Dense(width, activation=bent)(flow)
    return keras.Model(first, keras.layers.Dense(head.units, activation=head.activation)(flow))
"""
RECIPE = """
study: gated
dataset: digits
model: {name: dense, units: [16]}
epochs: 4
budget: {trials: 3}
pruner: none
search_space:
  optimizer.learning_rate: {type: float, low: 3e-3, high: 1e-2}
  model: {function: {function: "my_code:make", arguments: {width: 16}}}
"""
ELSEWHERE = """
import sys
import mlflow
import numpy as np

mlflow.set_tracking_uri(sys.argv[1])
model = mlflow.pyfunc.load_model("models:/gated@champion")
print(repr(model.predict(np.ones((1, 8, 8), np.float32)).tolist()))
print([layer.name for layer in model.get_raw_model().layers])
"""
World = tuple[Site, dict[str, Any]]


def regatta(site: Site, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`regatta …` in a folder of the user's."""
    return subprocess.run(
        [sys.executable, "-m", "pipelines", *arguments],
        cwd=folder, env=site.environment(PYTHONPATH=str(site.root)), capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A sweep that began in the folder with the code, and its summary."""
    folder = tmp_path_factory.mktemp("own")
    for name, text in (("gates.py", LAYERS), ("my_code.py", CODE), ("gated.yaml", RECIPE)):
        (folder / name).write_text(text)
    with made_site(folder / "home") as site:
        done = regatta(site, folder, "sweep", "gated.yaml", "--json")
        assert done.returncode == 0, done.stderr
        yield site, json.loads(done.stdout)


def test_they_are_trained_in_lanes_and_the_run_says_which_code_it_was(world: World) -> None:
    site, summary = world
    run = site.client().get_run(summary["best"]["run_id"])

    assert summary["trials"]["complete"] == 3
    assert run.data.tags["regatta.trainer"].startswith("lanes: ")
    assert set(json.loads(run.data.tags["regatta.user_code"])) == {"gates", "my_code"}


def test_the_champion_is_loaded_where_none_of_that_code_is(world: World, tmp_path: Path) -> None:
    site, _ = world
    (tmp_path / "load.py").write_text(ELSEWHERE)

    done = subprocess.run(
        [sys.executable, "load.py", site.server],
        cwd=tmp_path, env=site.environment(CUDA_VISIBLE_DEVICES="-1"), capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    said, layers = done.stdout.strip().splitlines()[-2:]
    assert "'gate'" in layers
    assert site.local("up").returncode == 0
    asked = {"inputs": np.ones((1, 8, 8)).tolist()}
    answer = httpx.post(f"{site.model_server}/invocations?model=gated", json=asked, timeout=60)
    assert answer.status_code == 200, answer.text
    np.testing.assert_allclose(answer.json()["predictions"], json.loads(said), atol=1e-5)


def test_a_promotion_says_that_it_needs_the_code(world: World, tmp_path: Path) -> None:
    done = regatta(world[0], tmp_path, "promote", "gated")

    assert done.returncode == 2, done.stderr
    assert "Study 'gated' needs code of yours that cannot be had here: model.function" in done.stderr
    assert "Traceback" not in done.stderr
