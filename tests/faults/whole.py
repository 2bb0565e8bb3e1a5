"""What a whole sweep is, by what the MLflow server tells and by nothing else."""

from __future__ import annotations

import hashlib
from collections import Counter
from typing import Any

from tests.faults.servers import RunSeen, Server

COUNTED = {"COMPLETE", "PRUNED"}


def assert_whole(server: Server, summary: dict[str, Any], trials: int, epochs: int) -> list[RunSeen]:
    """Nothing lost, nothing doubled, nothing open, and the best is the best. Returns the trials' runs, by number.

    Args:
        server: Where the runs are.
        summary: Of the sweep, as `--json` printed it.
        trials: How many were asked for.
        epochs: Of a complete trial; none may end early by itself.
    """
    experiment = summary["experiment_id"]
    everything = server.runs(experiment)
    open_runs = [f"{run.run_id} (trial {run.trial})" for run in everything if run.status == "RUNNING"]
    assert not open_runs, f"still RUNNING: {', '.join(open_runs)}"
    children = server.children(experiment, summary["parent_run_id"])
    assert len(everything) == len(children) + 1, "a run belongs to no parent"
    doubled = [number for number, count in Counter(run.trial for run in children).items() if count > 1]
    assert not doubled, f"trials with more than one run: {doubled}"
    counted = [run for run in children if run.state in COUNTED]
    assert len(counted) == trials, f"{trials} asked, got {Counter(run.state for run in children)}"
    told = summary["trials"]
    assert (told["complete"] + told["pruned"], told["failed"]) == (trials, len(children) - trials)
    for run in counted:
        assert run.status == "FINISHED"
        _assert_curves_whole(server, run, epochs)
    _assert_best(server, summary, counted)
    assert summary["journal"]["written"] == summary["journal"]["delivered"] > 0
    return children


def _assert_curves_whole(server: Server, run: RunSeen, epochs: int) -> None:
    for key in ("loss", "val_loss"):
        steps = [point.step for point in server.history(run.run_id, key)]
        assert steps == list(range(len(steps))), f"trial {run.trial}: the steps of {key} are {steps}"
        if run.state == "COMPLETE":
            assert len(steps) == epochs, f"trial {run.trial}: {len(steps)} epochs of {key}"
    best = min(server.history(run.run_id, "val_loss"), key=lambda point: (point.value, point.step))
    assert (run.metrics["best.val_loss"], run.metrics["best.epoch"]) == (best.value, best.step)


def _assert_best(server: Server, summary: dict[str, Any], counted: list[RunSeen]) -> None:
    complete = [run for run in counted if run.state == "COMPLETE"]
    winner = min(complete, key=lambda run: (run.metrics["best.val_loss"], run.trial))
    best = summary["best"]
    assert (best["trial"], best["run_id"]) == (winner.trial, winner.run_id)
    assert best["value"] == winner.metrics["best.val_loss"]
    assert best["epoch"] == winner.metrics["best.epoch"]
    wanted = winner.tags["regatta.checkpoint_sha256"]
    models = [
        model
        for model in server.models(summary["experiment_id"])
        if model["tags"].get("regatta.checkpoint_sha256") == wanted and model["source_run_id"] == winner.run_id
    ]
    checkpoints = [model for model in models if model.get("model_type") == "checkpoint"]
    assert [model["status"] for model in checkpoints] == ["READY"], f"checkpoints of the best: {checkpoints}"
    files = server.model_files(checkpoints[0]["model_id"])
    digests = {hashlib.sha256(server.model_file(checkpoints[0]["model_id"], path)).hexdigest() for path in files}
    assert wanted in digests, f"of {files}, none is the file that the run names"
