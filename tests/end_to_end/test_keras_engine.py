"""Models that ONNX cannot hold, from recipes to answered requests: sweeps, promotions, servers, a second champion."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from tests.end_to_end.test_kinds import write_houses
from tests.sites import Site, made_site

RECIPES = {
    "spectra": """
dataset: digits
model: {name: function, function: "tests.pipelines.hard_models:spectrum", arguments: {width: 16}}
search_space: {model.arguments.width: [12, 16]}
""",
    "rents": """
dataset: {name: csv, path: houses.csv, target: price}
task: regression
model: {name: function, function: "tests.pipelines.hard_models:logarithms"}
search_space: {optimizer.learning_rate: {type: float, low: 1e-2, high: 5e-2}}
""",
}
REASONS = {"spectra": "ONNX has nothing for Imag, RFFT, Real", "rents": "ONNX has nothing for Log1p"}
World = tuple[Site, dict[str, dict[str, Any]], dict[str, str]]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A small sweep of each recipe, what it told, and the services."""
    folder = tmp_path_factory.mktemp("hard")
    write_houses(folder / "houses.csv")
    summaries, told = {}, {}
    with made_site(folder / "home") as site:
        for name, recipe in RECIPES.items():
            path = folder / f"{name}.yaml"
            path.write_text(f"study: {name}\nepochs: 3\nbudget: {{trials: 2}}\npruner: none\n{recipe}")
            done = site.run("sweep", str(path), "--json", REGATTA_DATA=str(folder))
            assert done.returncode == 0, done.stderr
            summaries[name], told[name] = json.loads(done.stdout), done.stderr
        done = site.local("up")
        assert done.returncode == 0, done.stderr
        yield site, summaries, told


def golden(site: Site, name: str, folder: Path) -> tuple[Path, dict[str, Any]]:
    """The champion's package, and its golden samples."""
    from mlflow.artifacts import download_artifacts

    client = site.client()
    source = str(client.get_model_version_by_alias(name, "champion").source)
    location = client.get_logged_model(source.removeprefix("models:/")).artifact_location
    package = Path(download_artifacts(location, dst_path=str(folder), tracking_uri=site.server))
    with np.load(package / "golden.npz", allow_pickle=False) as arrays:
        return package, dict(arrays)


@pytest.mark.parametrize("name", RECIPES)
def test_the_promotion_says_which_engine_and_why(world: World, name: str) -> None:
    site, summaries, told = world
    client = site.client()

    version = client.get_model_version_by_alias(name, "champion")

    assert summaries[name]["registered"] == {"name": name, "version": version.version, "alias": "champion"}
    assert version.tags["regatta.engine"] == "keras"
    assert version.tags["regatta.engine_reason"] == REASONS[name]
    assert f"served by the Keras engine, as {REASONS[name]}" in " ".join(told[name].split())
    evidence = client.get_run(version.tags["regatta.evidence_run"])
    assert evidence.data.tags["regatta.engine"] == "keras"
    assert evidence.data.tags["regatta.engine_reason"] == REASONS[name]
    assert evidence.data.metrics["latency_ms"] > 0


@pytest.mark.parametrize("name", RECIPES)
def test_the_champion_answers_as_keras_does(world: World, name: str, tmp_path: Path) -> None:
    site, _, _ = world
    package, samples = golden(site, name, tmp_path)
    rows = samples["inputs"].tolist()
    if name == "rents":  # as a client writes a table: numbers as numbers, null where one is missing
        columns = json.loads((package / "contract.json").read_text())["columns"]
        rows = [
            [
                cell if column["type"] == "category" else None if cell == "nan" else float(cell)
                for column, cell in zip(columns, row, strict=True)
            ]
            for row in rows
        ]

    answer = httpx.post(f"{site.model_server}/v1/models/{name}:predict", json={"instances": rows}, timeout=60)

    assert answer.status_code == 200, answer.text
    largest = max(1.0, float(np.abs(samples["outputs"]).max()))
    np.testing.assert_allclose(answer.json()["predictions"], samples["outputs"], rtol=0, atol=1e-6 * largest)
    assert not (package / "model.onnx").exists()


@pytest.mark.usefixtures("keras")  # TensorFlow is set up once for all tests, and loading a model would set it up too
def test_plain_mlflow_loads_what_the_keras_engine_serves(world: World, tmp_path: Path) -> None:
    import mlflow.pyfunc

    package, samples = golden(world[0], "spectra", tmp_path)

    model = mlflow.pyfunc.load_model(str(package))

    np.testing.assert_allclose(model.predict(samples["inputs"]), samples["outputs"], rtol=0, atol=1e-5)


def test_the_next_champion_is_compared_with_one_that_has_no_graph(world: World, tmp_path: Path) -> None:
    site, summaries, _ = world

    done = site.run("promote", "spectra", "--json", "--force")

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["registered"]["alias"] == "champion"
    again = tmp_path / "spectra.yaml"
    again.write_text(
        "study: spectra\nepochs: 12\nbudget: {trials: 3}\npruner: none\ndataset: digits\n"
        "model: {name: dense, units: [32]}\n"
        "search_space: {optimizer.learning_rate: {type: float, low: 1e-3, high: 1e-2}}\n"
    )
    done = site.run("sweep", str(again), "--json", "--fresh")
    assert done.returncode == 0, done.stderr
    version = site.client().get_model_version_by_alias("spectra", "champion")
    assert version.tags["regatta.engine"] == "onnx"
    assert int(version.version) > int(summaries["spectra"]["registered"]["version"])
