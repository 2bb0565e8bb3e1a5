"""A worker that trains many trials at once: what befalls one of them, and what befalls them all."""

from __future__ import annotations

import random
import signal

from tests.faults.killing import Victim, strike
from tests.faults.places import Place
from tests.faults.scenarios import SMALL_EPOCHS, Mixed, Seen, Spent, paced
from tests.faults.servers import RunSeen
from tests.faults.watching import SweepAt
from tests.faults.whole import assert_whole

TRIALS, LANES, EPOCHS = 12, 8, 40
FLAGS = (
    "--trials", str(TRIALS), "--workers", "1", "--lanes", str(LANES), "--no-promote",
    "--set", f"epochs={EPOCHS}",
    *paced(0.02),
)  # fmt: skip


def test_with_many_trials_under_way_all_that_is_killed_goes_on_and_a_pause_loses_no_epoch(lone_place: Place) -> None:
    place = lone_place
    at = place.begin(*FLAGS)
    for victim in (Victim.WORKER, Victim.CONTROLLER):
        at.until_epochs(at.epochs() + 3 * LANES)
        assert strike(victim, at, place, random.Random(0))

    at = place.begin(*FLAGS)
    at.until_epochs(at.epochs() + 2 * LANES)
    at.watched.process.send_signal(signal.SIGINT)
    assert at.watched.ended(60) == 130, at.watched.said
    assert "Traceback" not in at.watched.said
    told = {number: at.epochs(number) for number in under_way(at)}
    assert len(told) >= LANES // 2, told
    summary = place.sweep(*FLAGS)

    runs = assert_whole(place.server, summary, TRIALS, EPOCHS)
    assert {run.tags["regatta.trainer"].split(":")[0] for run in runs} == {"lanes"}
    assert {run.trial: resumed_at(run) for run in runs if run.trial in told} == told


def under_way(at: SweepAt) -> list[int]:
    """Trials that have some epochs and are not over."""
    return [number for number in range(TRIALS) if 0 < at.epochs(number) < EPOCHS]


def resumed_at(run: RunSeen) -> int:
    return int(run.tags.get("regatta.resumed_at_epoch", "0"))


def test_each_of_those_that_fail_has_its_own_end(crowded: Seen) -> None:
    broken, raised, hung, killed = (crowded.runs[number] for number in (1, 2, 3, 4))

    assert (broken.state, broken.tags["regatta.failure"]) == ("PRUNED", "not_finite")
    assert "in epoch 2" in broken.tags["regatta.reason"]
    assert (raised.state, raised.tags["regatta.failure"]) == ("FAILED", "error")
    assert "the widget is upside down" in raised.tags["regatta.reason"]
    assert "own_callbacks.py" in crowded.server.artifact(raised.run_id, "traceback.txt")
    for run in (broken, raised):  # at once, and in its lane
        assert run.tags["regatta.attempt"] == "1"
        assert run.tags["regatta.trainer"].startswith("lanes: ")
    assert (hung.state, hung.tags["regatta.failure"]) == ("FAILED", "hung")
    assert "no step for 12 s" in hung.tags["regatta.reason"]
    assert (killed.state, killed.tags["regatta.failure"]) == ("FAILED", "lost_worker")
    assert "SIGKILL" in killed.tags["regatta.reason"]
    # others may have been to blame, until it was alone
    assert hung.tags["regatta.trainer"] == "fit: it is tried by itself, after what befell it among others"


def test_their_neighbours_come_to_their_own_end_with_all_their_epochs(crowded: Seen) -> None:
    healthy = [run for number, run in crowded.runs.items() if number not in {1, 2, 3, 4}]

    assert len(healthy) == 5  # three that failed were replaced
    assert {run.state for run in healthy} == {"COMPLETE"}
    assert not any("regatta.failure" in run.tags for run in healthy)


def test_what_a_kind_of_model_keeps_from_lanes_is_trained_by_fit_beside_the_others(mixed: Mixed) -> None:
    for run in mixed.first.runs.values():
        embeds = run.params["model.arguments.embeds"] == "true"
        trainer = run.tags["regatta.trainer"]
        assert run.state == "COMPLETE"
        assert run.tags["regatta.attempt"] == "1"
        assert trainer.startswith("fit: the gradients of the layer" if embeds else "lanes: 4 at once"), trainer
    assert {run.params["optimizer.name"] for run in mixed.first.runs.values()} == {"adam", "sgd"}
    assert "lost" not in mixed.first.said


def test_compiled_programs_of_an_earlier_sweep_that_are_spoilt_are_made_anew(mixed: Mixed) -> None:
    again = mixed.after_a_spoilt_cache

    assert {run.state for run in again.runs.values()} == {"COMPLETE"}
    trainers = [run.tags["regatta.trainer"].split(":")[0] for run in again.runs.values()]
    assert sorted(trainers) == ["fit", "lanes"]
    assert "goes on from its last epoch" in again.said  # it did meet with them


def test_a_target_ends_a_sweep_in_lanes_with_those_that_reach_it_and_begins_no_other(spent: Spent) -> None:
    summary, runs = spent.summaries["target"], spent.runs["target"]

    assert summary["ended"]["by"] == "target"
    assert 1 <= summary["trials"]["complete"] <= len(runs) <= LANES


def test_seconds_of_training_are_those_of_the_worker_however_many_trials_it_has(spent: Spent) -> None:
    summary = spent.summaries["device_s"]

    assert summary["ended"]["by"] == "device_s"
    assert summary["trials"]["complete"] < TRIALS
    whole = sum(summary["seconds"] for summary in spent.summaries.values())
    assert sum(run.metrics["seconds"] for run in spent.runs["trials"]) <= whole


def test_a_sweep_in_lanes_that_met_with_budgets_ends_whole_when_they_are_raised(spent: Spent) -> None:
    assert_whole(spent.server, spent.summaries["trials"], TRIALS, SMALL_EPOCHS)
