"""Workers that stop without dying, trials that never end, and attempts that talk on after they were given up."""

from __future__ import annotations

from tests.faults.scenarios import Seen


def test_a_stopped_worker_is_ended_and_its_trial_is_tried_again(hung: Seen) -> None:
    run = hung.runs[0]

    assert run.state == "COMPLETE"
    assert int(run.tags["regatta.attempt"]) == 2
    assert "no step for 8 s" in run.tags["regatta.lost.1"]
    assert "execution.hung_after_s" in hung.said


def test_a_trial_that_hangs_twice_fails_and_says_so(hung: Seen) -> None:
    run = hung.runs[1]

    assert (run.state, run.status) == ("FAILED", "FAILED")
    assert run.tags["regatta.failure"] == "hung"
    assert "no step for 8 s" in run.tags["regatta.reason"]
    assert run.tags["regatta.attempt"] == "2"
    assert [point.step for point in hung.server.history(run.run_id, "loss")] == list(range(5))


def test_a_failed_trial_is_replaced(hung: Seen) -> None:
    assert sorted(number or 0 for number in hung.runs) == [0, 1, 2, 3]
    assert {hung.runs[number].state for number in (0, 2, 3)} == {"COMPLETE"}


def test_what_an_older_attempt_says_never_reaches_mlflow(hung: Seen) -> None:
    run = hung.runs[2]

    assert run.tags["regatta.attempt"] == "2"
    assert "SIGKILL" in run.tags["regatta.lost.1"]
    assert run.state == "COMPLETE"
    assert "it has spoken for the first attempt" in hung.server.artifact(run.run_id, "callback_events.json")
    assert "regatta.zombie" not in run.tags
    assert run.metrics["best.val_loss"] > 0
    assert min(point.value for point in hung.server.history(run.run_id, "loss")) > 0
    assert run.tags["regatta.checkpoint_sha256"] != "0" * 64
