"""What `make sweep` leaves in MLflow, checked through MLflow's own client and with plain Keras."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from mlflow.entities import Run
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

Swept = tuple[Any, dict[str, Any]]


@pytest.fixture(scope="module")
def parent(swept: Swept) -> Run:
    site, summary = swept
    run: Run = site.client().get_run(summary["parent_run_id"])
    return run


@pytest.fixture(scope="module")
def children(swept: Swept) -> list[Run]:
    site, summary = swept
    found = site.client().search_runs(
        [summary["experiment_id"]], f"tags.`mlflow.parentRunId` = '{summary['parent_run_id']}'"
    )
    return sorted(found, key=lambda run: int(run.data.tags["regatta.trial"]))


def test_the_summary_has_the_keys_that_others_rely_on(swept: Swept) -> None:
    _, summary = swept

    assert set(summary) == {
        "study", "experiment_id", "parent_run_id", "trials", "best", "registered", "seconds", "journal",
        "ended", "problem", "not_promoted", "address", "report",
    }  # fmt: skip
    assert summary["ended"]["by"] == "trials"
    assert summary["problem"] is summary["not_promoted"] is None
    assert summary["study"] == "digits"
    assert summary["trials"]["complete"] + summary["trials"]["pruned"] == 6
    assert summary["registered"] == {"name": "digits", "version": "1", "alias": "champion"}
    assert summary["journal"]["written"] == summary["journal"]["delivered"] > 0


def test_the_experiment_is_called_after_the_study_and_holds_one_parent_and_its_trials(
    swept: Swept, parent: Run, children: list[Run]
) -> None:
    site, summary = swept
    experiment = site.client().get_experiment(summary["experiment_id"])

    assert experiment.name == "digits"
    assert [run.data.tags["regatta.trial"] for run in children] == [str(number) for number in range(6)]
    assert {run.info.status for run in [parent, *children]} == {"FINISHED"}
    assert len(site.client().search_runs([summary["experiment_id"]])) == 7


def test_every_trial_has_one_point_an_epoch_from_step_zero(swept: Swept, children: list[Run]) -> None:
    client = swept[0].client()

    for run in children:
        curves = {
            name: client.get_metric_history(run.info.run_id, name)
            for name in ("loss", "val_loss", "accuracy", "val_accuracy", "learning_rate")
        }
        steps = [sorted(point.step for point in points) for points in curves.values()]
        assert steps[0] == list(range(len(steps[0])))
        assert all(each == steps[0] for each in steps)
        assert 1 <= len(steps[0]) <= 8


def test_every_trial_says_what_it_was_and_what_came_of_it(children: list[Run]) -> None:
    for run in children:
        tags, params = run.data.tags, run.data.params
        assert tags["regatta.state"] in {"COMPLETE", "PRUNED"}
        assert tags["regatta.attempt"] == "1"
        assert len(tags["regatta.dataset_sha256"]) == 64
        assert int(tags["regatta.seed"]) == 7 + int(tags["regatta.trial"])
        assert params["optimizer.name"] in {"adam", "rmsprop", "sgd"}
        assert float(params["optimizer.learning_rate"]) > 0
        assert params["model.units"] == "[100, 30]"


def test_the_data_is_an_input_of_every_run_and_runs_are_found_by_it(
    swept: Swept, parent: Run, children: list[Run]
) -> None:
    site, summary = swept
    digest = parent.data.tags["regatta.dataset_sha256"][:16]
    for run in (parent, *children):
        assert run.inputs is not None
        (used,) = run.inputs.dataset_inputs
        assert (used.dataset.name, used.dataset.digest) == ("digits", digest)
        assert [(tag.key, tag.value) for tag in used.tags] == [("mlflow.data.context", "training")]

    found = site.client().search_runs([summary["experiment_id"]], f"dataset.digest = '{digest}'")
    assert len(found) == len(children) + 1


def test_the_best_summary_is_the_best_point_of_the_curve(swept: Swept, children: list[Run]) -> None:
    client = swept[0].client()

    for run in children:
        points = client.get_metric_history(run.info.run_id, "val_loss")
        best = min(points, key=lambda point: (point.value, point.step))
        assert run.data.metrics["best.val_loss"] == best.value
        assert run.data.metrics["best.epoch"] == best.step


def test_every_trial_has_a_picture_of_its_curve(swept: Swept, children: list[Run], tmp_path: Path) -> None:
    for run in children:
        path = swept[0].client().download_artifacts(run.info.run_id, "loss_curve.svg", str(tmp_path))
        picture = ElementTree.parse(path).getroot()
        assert picture.tag.endswith("}svg")
        assert int(picture.attrib["width"]) > 600


def test_every_checkpoint_loads_in_plain_keras_and_scores_what_its_run_says(
    swept: Swept, children: list[Run], tmp_path: Path
) -> None:
    validation = _validation_samples()
    np.savez(tmp_path / "validation.npz", x=validation[0], y=validation[1])
    paths = []
    for run in children:
        folder = tmp_path / run.info.run_id
        folder.mkdir()
        path = swept[0].checkpoint(run.info.run_id, folder)
        assert hashlib.sha256(path.read_bytes()).hexdigest() == run.data.tags["regatta.checkpoint_sha256"]
        paths.append(str(path))
    program = """
import sys
import keras, numpy as np
data = np.load(sys.argv[1])
for path in sys.argv[2:]:
    print(repr(keras.models.load_model(path).evaluate(data["x"], data["y"], batch_size=512, verbose=0)[0]))
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "validation.npz"), *paths],
        capture_output=True, text=True, cwd=tmp_path, check=True,
    )  # fmt: skip

    losses = [float(line) for line in done.stdout.split()]
    assert losses == pytest.approx([run.data.metrics["best.val_loss"] for run in children], abs=1e-5)


def test_the_parent_run_tells_the_story_and_holds_the_report(swept: Swept, parent: Run, tmp_path: Path) -> None:
    site, summary = swept
    best = summary["best"]

    assert f"trial {best['trial']}" in parent.data.tags["mlflow.note.content"]
    assert parent.data.metrics["best.val_loss"] == pytest.approx(best["value"])
    report = Path(site.client().download_artifacts(parent.info.run_id, "report.html", str(tmp_path)))
    assert "digits" in report.read_text()


def test_the_champion_is_a_complete_mlflow_model(swept: Swept, tmp_path: Path) -> None:
    site, summary = swept
    client = site.client()
    champion = client.get_model_version_by_alias("digits", "champion")
    logged = client.get_logged_model(champion.source.removeprefix("models:/"))
    from mlflow.artifacts import download_artifacts

    folder = Path(download_artifacts(logged.artifact_location, dst_path=str(tmp_path), tracking_uri=site.server))

    assert {"MLmodel", "model.onnx", "contract.json", "golden.npz", "manifest.json"} <= {
        path.name for path in folder.iterdir()
    }
    assert champion.run_id == summary["best"]["run_id"]
    assert champion.tags["regatta.epoch"] == str(summary["best"]["epoch"])


def test_the_same_command_again_runs_nothing_and_keeps_the_champion(swept: Swept) -> None:
    site, summary = swept

    again = site.sweep("--trials", "6", "--set", "epochs=8", "--set", "pruner.n_startup_trials=2")

    assert again["best"] == summary["best"]
    assert again["registered"] == summary["registered"]
    assert len(site.client().search_runs([summary["experiment_id"]])) == 7


def _validation_samples() -> tuple[np.ndarray, np.ndarray]:
    """The recipe's validation part, cut by hand: 20 % sealed first, then 20 % of the rest."""
    bundle = load_digits()
    everyone = np.arange(len(bundle.target))
    rest, _ = train_test_split(everyone, test_size=0.2, random_state=0, stratify=bundle.target)
    rest = np.sort(rest)
    _, validation = train_test_split(rest, test_size=0.2, random_state=0, stratify=bundle.target[rest])
    return bundle.images[validation].astype("float32"), bundle.target[validation]
