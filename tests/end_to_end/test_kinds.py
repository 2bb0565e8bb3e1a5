"""Every kind of task and of samples, from a recipe to an answered request, by the command line and real servers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import mlflow.pyfunc
import numpy as np
import pytest

from tests.sites import Site, made_site

RECIPES = {
    "grey": """
dataset: {name: synthetic_images, shape: [12, 10], samples: 400, classes: 3}
model: {name: cnn, filters: [4], units: [8], api: functional}
loss: {name: categorical_crossentropy, label_smoothing: 0.05}
metrics: [accuracy, {name: top_k_accuracy, k: 2}]
objective: val_accuracy
search_space: {model.dropout: [0.0, 0.2]}
""",
    "colour": """
dataset: {name: synthetic_images, shape: [12, 12, 3], samples: 400, classes: 4}
model: {name: cnn, filters: [4, 8], batch_norm: true, scaling: standard, units: []}
optimizer: {name: adamw, learning_rate: {name: one_cycle, warmup_target: 1e-2}}
search_space: {model.pool: [max, average]}
""",
    "tumours": """
dataset: breast_cancer
model: {name: dense, units: [8], batch_norm: true}
class_weight: balanced
metrics: [accuracy, auc, precision, recall]
optimizer: {name: lion, learning_rate: {name: warmup, warmup_target: 1e-3, warmup_epochs: 1}}
objective: val_auc
promotion: {metric: test_auc}
search_space: {model.l2: [0.0, 0.001]}
""",
    "houses": """
dataset: {name: csv, path: houses.csv, target: price}
task: regression
model: {name: dense, units: [16]}
loss: {name: huber, delta: 30}
metrics: [mae, r2]
callbacks: {reduce_lr_on_plateau: {monitor: val_mae, patience: 1}, terminate_on_nan: {}}
objective: val_r2
search_space: {optimizer: {nadam: {learning_rate: {type: float, low: 1e-2, high: 3e-2}}}}
""",
    "flowers": """
dataset: iris
model: linear
optimizer: {name: sgd, learning_rate: 0.1, use_ema: true, ema_momentum: 0.9}
callbacks: {swap_ema_weights: {}, diagnostics: {every: 2}}
search_space: {batch_size: [8, 16]}
""",
    "patients": """
dataset: diabetes
model: {name: dense, units: [16], activation: gelu, kernel_initializer: he_normal}
loss: mae
search_space: {optimizer.learning_rate: {type: float, low: 3e-3, high: 1e-2}}
""",
    "plane": """
dataset: {name: circle, samples: 200}
model: {name: dense, units: [6], activation: tanh, features: [x1, x2, x1_squared, x2_squared]}
search_space: {optimizer.learning_rate: {type: float, low: 1e-2, high: 5e-2}}
""",
}
TASKS = {
    "grey": "multiclass", "colour": "multiclass", "tumours": "binary", "houses": "regression",
    "flowers": "multiclass", "patients": "regression", "plane": "binary",
}  # fmt: skip


def write_houses(path: Path) -> None:
    """A table with numbers, words, gaps and a target that follows from them."""
    random = np.random.default_rng(4)
    lines = ["area,city,garden,age,price"]
    prices = {"Oslo": 90.0, "Rome": 60.0, "Lima": 30.0}
    for place in range(240):
        city = list(prices)[place % 3]
        area, garden, age = random.uniform(30, 200), random.random() < 0.5, random.integers(0, 80)
        price = prices[city] + 1.2 * area + 25 * garden - 0.4 * age + random.normal(0, 3)
        shown = "" if place % 17 == 5 else f"{area:.1f}"
        lines.append(f"{shown},{'' if place % 23 == 7 else city},{'yes' if garden else 'no'},{age},{price:.2f}")
    path.write_text("\n".join(lines) + "\n")


@pytest.fixture(scope="module")
def kinds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Site, dict[str, dict[str, Any]]]]:
    """One small sweep of each recipe, with its summary, and then the services."""
    folder = tmp_path_factory.mktemp("kinds")
    write_houses(folder / "houses.csv")
    summaries = {}
    with made_site(folder / "home") as site:
        for name, recipe in RECIPES.items():
            path = folder / f"{name}.yaml"
            path.write_text(f"study: {name}\nepochs: 4\nbudget: {{trials: 2}}\npruner: none\n{recipe}")
            done = site.run("sweep", str(path), "--json", REGATTA_DATA=str(folder))
            assert done.returncode == 0, done.stderr
            summaries[name] = json.loads(done.stdout)
        done = site.local("up")
        assert done.returncode == 0, done.stderr
        yield site, summaries


@pytest.mark.parametrize("name", RECIPES)
def test_every_trial_is_whole_in_mlflow(kinds: tuple[Site, dict[str, Any]], name: str) -> None:
    site, summaries = kinds
    summary = summaries[name]
    assert summary["trials"] == {"complete": 2, "pruned": 0, "failed": 0}
    assert summary["journal"]["written"] == summary["journal"]["delivered"]
    client = site.client()
    children = client.search_runs(
        [summary["experiment_id"]], f"tags.`mlflow.parentRunId` = '{summary['parent_run_id']}'"
    )
    assert [run.info.status for run in children] == ["FINISHED"] * 2
    for run in children:
        steps = [metric.step for metric in client.get_metric_history(run.info.run_id, "val_loss")]
        rates = client.get_metric_history(run.info.run_id, "learning_rate")
        assert steps == [metric.step for metric in rates] == [0, 1, 2, 3]
        assert run.data.tags["regatta.task"] == TASKS[name]
        assert int(run.data.tags["regatta.parameters"]) > 0
        files = {file.path for file in client.list_artifacts(run.info.run_id)}
        assert {"loss_curve.svg", "model_summary.txt"} <= files
    parent = {file.path for file in client.list_artifacts(summary["parent_run_id"])}
    assert {"samples.png", "report.html"} <= parent


def test_the_decision_surface_is_a_picture_of_every_epoch(kinds: tuple[Site, dict[str, Any]]) -> None:
    site, summaries = kinds
    client = site.client()
    images = [file.path for file in client.list_artifacts(summaries["plane"]["best"]["run_id"], "images")]
    drawn = sorted(int(path.split("+step+")[1].split("+")[0]) for path in images if path.endswith(".png"))
    assert drawn == [0, 1, 2, 3]
    assert all(path.removeprefix("images/").startswith("decision_surface+step+") for path in images)


@pytest.mark.parametrize("name", RECIPES)
def test_the_server_gives_the_answers_of_the_model_that_was_judged(
    kinds: tuple[Site, dict[str, Any]], name: str
) -> None:
    site, _ = kinds
    known = httpx.get(f"{site.model_server}/models/{name}/samples").raise_for_status().json()["samples"]
    rows = [sample["input"] for sample in known]

    tf_serving = httpx.post(f"{site.model_server}/v1/models/{name}:predict", json={"instances": rows})
    invoked = httpx.post(f"{site.model_server}/invocations", json={"inputs": rows}, headers={"model": name})
    native = httpx.post(f"{site.model_server}/predict/{name}", json={"inputs": rows[0]})

    expected = np.array([sample["output"] for sample in known])
    for answer in (tf_serving, invoked):
        np.testing.assert_allclose(answer.raise_for_status().json()["predictions"], expected, rtol=1e-3, atol=1e-4)
    prediction = native.raise_for_status().json()["prediction"]
    if TASKS[name] == "regression":
        assert prediction["value"] == pytest.approx(expected[0][0], rel=1e-3)
    else:
        assert prediction["label"] in {known_label for sample in known for known_label in [sample["label"]]}
        assert 0 <= prediction["probability"] <= 1


def test_a_table_is_asked_by_the_names_of_its_columns_with_words_and_gaps(
    kinds: tuple[Site, dict[str, Any]],
) -> None:
    site, _ = kinds

    def price(**house: Any) -> float:
        given = {"area": 100.0, "city": "Oslo", "garden": "yes", "age": 10, **house}
        answer = httpx.post(f"{site.model_server}/predict/houses", json={"inputs": given})
        value: float = answer.raise_for_status().json()["prediction"]["value"]
        return value

    assert price(city="Oslo") > price(city="Lima") + 20
    assert price(area=180.0) > price(area=60.0)
    assert np.isfinite(price(area=None))
    assert np.isfinite(price(city="Atlantis"))


@pytest.mark.usefixtures("keras")  # TensorFlow is set up once for all tests, and loading a model would set it up too
@pytest.mark.parametrize("name", RECIPES)
def test_plain_mlflow_gives_the_same_answers(kinds: tuple[Site, dict[str, Any]], name: str, tmp_path: Path) -> None:
    import pandas as pd
    from mlflow.artifacts import download_artifacts

    site, _ = kinds
    version = site.client().get_model_version_by_alias(name, "champion")
    source = site.client().get_logged_model(str(version.source).removeprefix("models:/")).artifact_location
    folder = Path(download_artifacts(source, dst_path=str(tmp_path), tracking_uri=site.server))
    contract = json.loads((folder / "contract.json").read_text())
    with np.load(folder / "golden.npz", allow_pickle=False) as arrays:
        inputs, outputs = arrays["inputs"], arrays["outputs"]
    given: Any = inputs
    if contract["input"]["dtype"] == "string":
        given = pd.DataFrame(inputs, columns=[column["name"] for column in contract["columns"]])
        numbers = [column["name"] for column in contract["columns"] if column["type"] == "number"]
        given = given.astype(dict.fromkeys(numbers, "float32"))

    answer = mlflow.pyfunc.load_model(str(folder)).predict(given)

    found = np.asarray(next(iter(answer.values())) if isinstance(answer, dict) else answer)
    np.testing.assert_allclose(found, outputs, rtol=1e-3, atol=1e-4)
