"""`regatta trials` after a real sweep and in the middle of one, beside what MLflow has."""

from __future__ import annotations

import csv
import io
import json
import signal
from contextlib import closing
from typing import Any

from mlflow.entities import Run

from tests.sites import DIGITS, Site, Watched, free_port


def test_the_table_says_what_mlflow_says_and_needs_neither_it_nor_a_database(
    swept: tuple[Site, dict[str, Any]],
) -> None:
    site, summary = swept
    away = {
        "MLFLOW_TRACKING_URI": f"http://127.0.0.1:{free_port()}",
        "REGATTA_STORAGE": f"postgresql://nobody@127.0.0.1:{free_port()}/nowhere",
    }

    listed = site.run("trials", "--csv", "-", **away)

    assert (listed.returncode, listed.stderr) == (0, "")
    rows = list(csv.DictReader(io.StringIO(listed.stdout)))
    assert (rows[0]["trial"], rows[0]["run_id"]) == (str(summary["best"]["trial"]), summary["best"]["run_id"])
    assert sorted(int(row["trial"]) for row in rows) == list(range(6))
    complete = [float(row["value"]) for row in rows if row["state"] == "COMPLETE"]
    assert complete == sorted(complete)
    for row in rows:
        run: Run = site.client().get_run(row["run_id"])
        metrics, tags = run.data.metrics, run.data.tags
        assert (row["trial"], row["state"], row["attempt"]) == (
            tags["regatta.trial"],
            tags["regatta.state"],
            tags["regatta.attempt"],
        )
        assert float(row["value"]) == metrics["best.val_loss"]
        assert (float(row["epoch"]), float(row["seconds"])) == (metrics["best.epoch"], metrics["seconds"])
        drawn = {
            name.removeprefix("params."): text for name, text in row.items() if name.startswith("params.") and text
        }
        assert drawn == {name: str(value) for name, value in json.loads(tags["regatta.sampled"]).items()}
        assert (row["reason"] != "") == (row["state"] == "PRUNED")


def test_trials_are_listed_while_a_sweep_runs_which_goes_on_undisturbed(site: Site) -> None:
    kept = {"REGATTA_STORAGE": f"sqlite:///{site.home}/studies.db"}
    flags = ("--trials", "3", "--workers", "1", "--lanes", "off", "--set", "epochs=12", "--no-promote", "--json")
    with closing(Watched(site.begin("sweep", DIGITS, *flags, **kept))) as sweep:
        sweep.until(lambda lines: any("trial   0" in line for line in lines))
        sweep.process.send_signal(signal.SIGSTOP)  # so that it is in the middle, with its lock and its storage open
        under_way = site.run("trials", "--json", **kept)
        shown = site.run("trials", **kept)
        sweep.process.send_signal(signal.SIGCONT)

        summary = sweep.summary()

    assert (under_way.returncode, under_way.stderr) == (0, "")
    told = json.loads(under_way.stdout)
    assert told["study"] == "digits"
    assert told["counts"]["complete"] in (1, 2)
    assert told["trials"][0]["state"] == "COMPLETE"
    assert shown.returncode == 0
    assert shown.stdout.split()[:3] == ["trial", "state", "val_loss"]
    assert summary["trials"] == {"complete": 3, "pruned": 0, "failed": 0}
    after = json.loads(site.run("trials", "digits", "--json", **kept).stdout)
    assert after["counts"] == {"complete": 3, "pruned": 0, "failed": 0, "running": 0}
    assert after["best"] == summary["best"]["trial"]
