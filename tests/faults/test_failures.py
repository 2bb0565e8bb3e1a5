"""Trials that fail by themselves: of memory, of numbers, of their own code. Each is told by its kind."""

from __future__ import annotations

import re

from tests.faults.places import Place
from tests.faults.scenarios import CAP_MB, Seen, own
from tests.faults.whole import assert_whole

SMALL = ("--set", "epochs=4", "--no-promote")


def test_a_worker_that_fills_its_memory_has_its_trial_tried_alone_and_then_failed(starved: Seen) -> None:
    run = starved.runs[0]

    assert (run.state, run.status) == ("FAILED", "FAILED")
    assert run.tags["regatta.failure"] == "out_of_memory"
    assert f"may use {CAP_MB}" in run.tags["regatta.reason"]
    assert run.tags["regatta.attempt"] == "2"
    assert 0 in tried_alone(starved.said)
    assert f"trial 0 takes {CAP_MB} MiB" in starved.server.artifact(run.run_id, "log_tail.txt")


def test_an_allocation_that_fails_is_out_of_memory_too(starved: Seen) -> None:
    run = starved.runs[1]

    assert (run.state, run.status) == ("FAILED", "FAILED")
    assert run.tags["regatta.failure"] == "out_of_memory"
    assert "Unable to allocate" in run.tags["regatta.reason"]
    assert "own_callbacks.py" in starved.server.artifact(run.run_id, "traceback.txt")
    assert 1 in tried_alone(starved.said)


def tried_alone(said: str) -> set[int]:
    """Trials of which a sweep has said that they are tried by themselves: some of them had the same worker."""
    lists = re.findall(r"trials? ([\d, and]+) (?:is|are) tried once more, (?:each )?by itself", said)
    return {int(number) for found in lists for number in re.findall(r"\d+", found)}


def test_neighbours_of_a_starved_trial_come_to_their_end(starved: Seen) -> None:
    assert {starved.runs[number].state for number in starved.runs if number not in {0, 1}} == {"COMPLETE"}
    assert len(starved.runs) == 5


def test_a_loss_that_is_no_number_prunes_the_trial_with_the_reason(place: Place) -> None:
    summary = place.sweep(
        *SMALL, "--executor", "inline", "--trials", "2",
        "--set", "optimizer={name: sgd, learning_rate: 0.01}",
        "--set", "search_space={optimizer.learning_rate: [0.01, 1e30]}",
        "--set", "sampler={name: grid}",
        "--set", "callbacks={}",
    )  # fmt: skip

    runs = place.server.children(summary["experiment_id"], summary["parent_run_id"])
    (broken,) = [run for run in runs if run.params["optimizer.learning_rate"] == "1e+30"]
    assert (broken.state, broken.status) == ("PRUNED", "FINISHED")
    assert broken.tags["regatta.failure"] == "not_finite"
    assert "loss was" in broken.tags["regatta.reason"]
    assert summary["trials"] == {"complete": 1, "pruned": 1, "failed": 0}
    assert summary["best"]["run_id"] != broken.run_id


def test_the_same_exception_again_and_again_ends_the_sweep_and_others_end_it_later(place: Place) -> None:
    """Two trials are under way at once: the third that fails ends the sweep, and the fourth may be told with it."""
    raises = own("Raises", trials=list(range(20)), epoch=0)
    flags = (*SMALL, "--executor", "inline", "--trials", "2", "--set", f"callbacks.raises={raises}")

    same = place.begin(*flags, FAULTS_RAISE="same")
    assert same.watched.ended() == 3, same.watched.said
    told = same.watched.json()
    assert told["ended"]["by"] == "same_failures"
    assert "the widget is upside down" in told["ended"]["text"]
    before = told["trials"]["failed"]
    assert told["trials"] == {"complete": 0, "pruned": 0, "failed": before}
    assert before in (3, 4)
    assert re.search("[34] trials in a row failed in the same way", same.watched.said), same.watched.said

    different = place.begin(*flags, "--set", "budget.failed_trials=1", FAULTS_RAISE="different")
    assert different.watched.ended() == 3, different.watched.said
    told = different.watched.json()
    assert told["ended"]["by"] == "failed_trials"
    assert told["trials"]["failed"] - before in (2, 3)

    summary = place.sweep(*flags)
    runs = assert_whole(place.server, summary, 2, 4)
    failed = [run for run in runs if run.state == "FAILED"]
    assert {run.tags["regatta.failure"] for run in failed} == {"error"}
    assert all("widget" in place.server.artifact(run.run_id, "traceback.txt") for run in failed)
