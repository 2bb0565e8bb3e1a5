"""One training outside a sweep: from a recipe, and again from a run, on a real server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.sites import DIGITS, Site

Swept = tuple[Site, dict[str, Any]]


def curves(site: Site, run_id: str) -> dict[str, dict[int, float]]:
    """Every metric with more than one point: its value at each step, as the server has it."""
    client = site.client()
    run = client.get_run(run_id)
    found = {
        name: {point.step: point.value for point in client.get_metric_history(run_id, name)}
        for name in run.data.metrics
    }
    return {name: points for name, points in found.items() if len(points) > 1}


def test_a_trial_trained_again_from_its_run_gives_the_same_curve(swept: Swept) -> None:
    site, summary = swept
    run_id = summary["best"]["run_id"]
    assert site.client().get_run(run_id).data.tags["regatta.trainer"].startswith("lanes: ")

    told = trained_again(site, run_id)

    # what is left between lanes and `fit` is the order of additions
    in_a_lane, by_fit = curves(site, run_id), curves(site, told["run_id"])
    assert in_a_lane.keys() == by_fit.keys() >= {"loss", "accuracy", "val_loss", "val_accuracy", "learning_rate"}
    for name, points in by_fit.items():
        assert in_a_lane[name] == pytest.approx(points, rel=1e-4), name
    assert told["epoch"] == summary["best"]["epoch"]
    assert told["value"] == pytest.approx(summary["best"]["value"], rel=1e-4)
    assert Path(told["checkpoint"]).is_file()
    assert site.client().get_run(told["run_id"]).data.tags["regatta.again"] == run_id

    assert told["again"]["value"] == summary["best"]["value"]
    assert told["again"]["sentence"].startswith("Reproduced")

    once_more = trained_again(site, told["run_id"])

    assert once_more["again"]["same"]
    assert once_more["again"]["difference"] == 0.0
    assert curves(site, once_more["run_id"]) == by_fit  # not nearly: each number is the same
    assert (once_more["epoch"], once_more["value"]) == (told["epoch"], told["value"])


def trained_again(site: Site, run_id: str) -> dict[str, Any]:
    """What `train --run` says of a run."""
    done = site.run("train", "--run", run_id, "--json")
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def test_a_recipe_is_trained_by_itself_and_tracked_like_a_trial(swept: Swept, tmp_path: Path) -> None:
    site, _ = swept
    callbacks = "callbacks={diagnostics: {}, early_stopping: {patience: 0, min_delta: 9}}"

    done = site.run("train", DIGITS, "--json", "--set", "epochs=5", "--set", callbacks)

    assert done.returncode == 0, done.stderr
    run_id = json.loads(done.stdout)["run_id"]
    run = site.client().get_run(run_id)
    assert run.info.status == "FINISHED"
    assert run.data.tags["regatta.state"] == "COMPLETE"
    assert run.data.tags["regatta.callback.early_stopping"].startswith("stopped at epoch 1: val_loss had not improved")
    assert run.data.metrics["early_stopping.stopped_epoch"] == 1.0
    assert "diagnostics/hidden_1/gradient" in run.data.metrics
    files = {file.path for file in site.client().list_artifacts(run_id)}
    assert {"loss_curve.svg", "model_summary.txt", "callback_events.json"} <= files
    assert site.checkpoint(run_id, tmp_path).is_file()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [(["--run", "0" * 32], "0" * 32), (["--run", "PARENT"], "is no training of Regatta's")],
)
def test_a_run_that_is_no_training_is_one_sentence(swept: Swept, arguments: list[str], words: str) -> None:
    site, summary = swept
    done = site.run("train", *(argument.replace("PARENT", summary["parent_run_id"]) for argument in arguments))
    assert done.returncode in (1, 2)
    assert words in done.stderr
    assert "Traceback" not in done.stderr
