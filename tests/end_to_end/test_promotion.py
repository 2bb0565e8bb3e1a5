"""Promotion with evidence, on real parts: a sweep, a worse one after it, force, the way back, what MLflow has of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.sites import DIGITS, Site, made_site

SMALL = ("--trials", "3", "--set", "study=judged", "--set", "pruner=none")


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Site, dict[str, Any]]]:
    """A home with a good champion, and what came of a second, much worse sweep after it."""
    with made_site(tmp_path_factory.mktemp("judged") / "home") as site:
        first = site.sweep(*SMALL, "--set", "epochs=8")
        assert first["registered"] == {"name": "judged", "version": "1", "alias": "champion"}
        worse = site.run(
            "sweep", DIGITS, "--json", "--fresh", *SMALL, "--set", "epochs=1", "--set", "optimizer.learning_rate=1e-5",
            "--set", "promotion.top_k=2", "--set", "promotion.seeds=2", "--set", "promotion.max_class_drop=0.1",
            "--set", "search_space={model.units: [[4], [6], [8]]}",
        )  # fmt: skip
        assert worse.returncode == 4, worse.stdout + worse.stderr
        yield site, json.loads(worse.stdout)


def test_a_worse_sweep_is_refused_with_4_and_says_which_rules_and_by_how_much(
    judged: tuple[Site, dict[str, Any]],
) -> None:
    site, worse = judged
    assert worse["registered"] == {"name": "judged", "version": "2", "alias": None}
    tags = site.client().get_model_version("judged", "2").tags
    broken = {rule["rule"]: rule["short"] for rule in json.loads(tags["regatta.rules"]) if not rule["held"]}
    assert set(broken) == {"min_gain", "confidence", "max_class_drop"}
    assert all(short > 0 for short in broken.values())
    assert "promotion.max_class_drop" in tags["regatta.decision"]


def test_the_evidence_is_a_run_of_its_own_beside_the_study_with_all_that_it_was_decided_by(
    judged: tuple[Site, dict[str, Any]], tmp_path: Path
) -> None:
    site, worse = judged
    client = site.client()
    run = client.get_run(client.get_model_version("judged", "2").tags["regatta.evidence_run"])

    assert client.get_experiment(run.info.experiment_id).name == "judged promotions"
    assert (run.info.status, run.data.tags["regatta.kind"]) == ("FINISHED", "promotion")
    assert run.data.metrics["champion.test_accuracy"] > run.data.metrics["test_accuracy"]
    assert run.data.metrics["gain.high"] < 0
    assert 0 < run.data.metrics["latency_ms"] < 100
    folder = Path(client.download_artifacts(run.info.run_id, "", str(tmp_path)))
    for name in ("confusion_matrix.png", "calibration.png", "worst_mistakes.png"):
        with Image.open(folder / name) as picture:
            assert picture.width == 900
    evidence = json.loads((folder / "evidence.json").read_text())
    assert sum(map(sum, evidence["evidence"]["confusion"])) == 360
    assert [len(each["values"]) for each in evidence["repetitions"]] == [2, 2]
    assert len(evidence["other_candidates"]) == 1
    assert run.info.run_name.endswith(" refused")
    assert "the champion stayed" in (folder / "report.html").read_text()
    assert all("parentRunId" not in key for key in run.data.tags)
    trials = client.search_runs([worse["experiment_id"]], f"tags.`mlflow.parentRunId` = '{worse['parent_run_id']}'")
    assert len(trials) == 3


def test_force_and_the_way_back_are_part_of_the_history_and_reconciling_finds_all_well(
    judged: tuple[Site, dict[str, Any]],
) -> None:
    site, _ = judged
    again = site.run("promote", "judged")
    assert again.returncode == 4, again.stderr
    assert "promotion.confidence" in again.stdout
    assert "Traceback" not in again.stderr

    told = json.loads(site.run("promote", "judged", "--force", "--json").stdout)
    assert (told["promoted"], told["forced"], told["registered"]["version"]) == (True, True, "2")
    assert told["evidence_address"].startswith(site.server)
    back = site.run("rollback", "judged", "--why", "it is no good")
    assert back.stdout == "Version 1 of 'judged' is the champion again; version 2 was it before.\n"
    assert site.run("rollback", "judged", "--to", "7").returncode == 2

    history = json.loads(site.run("history", "judged", "--json").stdout)
    assert (history["champion"], history["previous"]) == ("1", "2")
    assert [(each["action"], each["version"], each["before"]) for each in history["history"]] == [
        ("promoted", "1", None), ("forced", "2", "1"), ("rolled back", "1", "2")
    ]  # fmt: skip
    lines = site.run("history", "judged").stdout
    assert "it is no good" in lines
    checked = site.run("reconcile", "--check")
    assert checked.returncode == 0, checked.stdout


def test_a_challenger_and_an_alias_that_somebody_takes_away_are_told_and_nobody_is_crowned_unseen(
    judged: tuple[Site, dict[str, Any]],
) -> None:
    site, _ = judged
    client = site.client()
    assert client.get_model_version_by_alias("judged", "champion").version == "1"

    challenger = site.run("promote", "judged", "--as", "challenger")
    assert challenger.returncode == 0, challenger.stderr
    assert challenger.stdout.startswith("judged version 2 is the challenger")
    assert client.get_registered_model("judged").aliases["challenger"] == "2"
    assert "regatta train --run " in str(client.get_model_version("judged", "2").description)

    client.delete_registered_model_alias("judged", "champion")
    worse = site.run("promote", "judged")
    assert worse.returncode == 4, worse.stdout + worse.stderr
    assert worse.stdout.splitlines()[0].endswith("gets its place back with: regatta rollback judged --to 1")
    assert "champion" not in client.get_registered_model("judged").aliases
    nowhere = site.run("rollback", "judged")
    assert nowhere.returncode == 2
    assert "regatta rollback judged --to 1" in nowhere.stderr
    assert site.run("rollback", "judged", "--to", "1").returncode == 0
    assert "version 1 was found to be the champion no more" in site.run("history", "judged").stdout
