"""Trials that are cut short go on where they were: the curves of a disturbed sweep are those of an undisturbed one.

That is so with `fit`, in lanes, and where one goes on with what the other began.
"""

from __future__ import annotations

import shlex
import signal

import psutil
import pytest

from tests.faults.places import Place
from tests.faults.scenarios import LONG, LONG_EPOCHS, Curves, curves_of
from tests.faults.servers import RunSeen
from tests.faults.watching import SweepAt
from tests.faults.whole import assert_whole


@pytest.mark.parametrize("lanes", ["off", "8"])
def test_a_trial_whose_worker_is_killed_goes_on_from_its_last_epoch(
    place: Place, undisturbed: Curves, lanes: str
) -> None:
    at = place.begin(*LONG, "--lanes", lanes)
    at.until(lambda: at.epochs(0) >= 4 and at.epochs(1) >= 4)

    for worker in at.watched.workers():
        worker.kill()
    summary = at.watched.summary()

    runs = assert_whole(place.server, summary, 2, LONG_EPOCHS)
    assert all(2 <= resumed_at(run) < LONG_EPOCHS for run in runs), [run.tags for run in runs]
    assert [run.tags["regatta.attempt"] for run in runs] == ["2", "2"]
    assert_same_curves(curves_of(place.server, runs), undisturbed, exactly=lanes == "off")


# `fit` all the time, and each trainer with what the other left
@pytest.mark.parametrize("lanes", [("off", "off", "off"), ("8", "off", "8")], ids="-".join)
def test_ctrl_c_keeps_what_was_trained_and_the_printed_command_goes_on_with_it(
    place: Place, undisturbed: Curves, lanes: tuple[str, str, str]
) -> None:
    # twice: at once, without the courtesy of the first
    at = place.begin(*LONG, "--lanes", lanes[0])
    at.until(lambda: at.epochs(0) >= 2 and at.epochs(1) >= 2)
    at.watched.process.send_signal(signal.SIGINT)
    at.watched.until(lambda said: any("Ctrl-C again" in line for line in said), 20)
    at.watched.process.send_signal(signal.SIGINT)
    assert at.watched.ended(4) == 130, at.watched.said
    assert "Traceback" not in at.watched.said

    # once: in good order
    at = place.begin(*LONG, "--lanes", lanes[1])
    before = at.epochs(0), at.epochs(1)
    at.until(lambda: at.epochs(0) >= before[0] + 3 and at.epochs(1) >= before[1] + 3)
    family = at.watched.children()
    at.watched.process.send_signal(signal.SIGINT)
    assert at.watched.ended(60) == 130, at.watched.said
    assert_nothing_is_open(place, at, family)
    printed = next(line for line in at.watched.lines if "Interrupted; this goes on with it: " in line)
    states = {run.trial: (at.epochs(run.trial), run) for run in runs_of(place)}

    command = shlex.split(printed.partition("with it: ")[2])
    assert command[:3] == ["python", "-m", "pipelines"]
    assert command[3:] == place.flags(*LONG, "--lanes", lanes[1])
    summary = place.sweep(*LONG, "--lanes", lanes[2])

    runs = assert_whole(place.server, summary, 2, LONG_EPOCHS)
    assert summary["ended"]["by"] == "trials"
    for run in runs:
        told, stopped = states[run.trial]
        assert stopped.tags["regatta.state"] == "RUNNING"
        assert "interrupted" in stopped.tags["regatta.reason"]
        assert resumed_at(run) == told < LONG_EPOCHS, "it went on from the epoch after the last that was told"
        assert [tags["regatta.trainer"].split(":")[0] for tags in (stopped.tags, run.tags)] == [
            "fit" if each == "off" else "lanes" for each in lanes[1:]
        ]
    assert_same_curves(curves_of(place.server, runs), undisturbed, exactly=set(lanes) == {"off"})


def assert_same_curves(found: Curves, wanted: Curves, *, exactly: bool) -> None:
    """`fit` gives every digit again; between lanes and `fit` the order of additions differs, which adds up."""
    if exactly:
        assert found == wanted
        return
    for trial, curves in wanted.items():
        for key, points in curves.items():
            assert dict(found[trial][key]) == pytest.approx(dict(points), rel=1e-3), (trial, key)


def resumed_at(run: RunSeen) -> int:
    return int(run.tags.get("regatta.resumed_at_epoch", "0"))


def runs_of(place: Place) -> list[RunSeen]:
    return [run for run in place.server.runs(place.server.experiment(place.study)) if run.trial is not None]


def assert_nothing_is_open(place: Place, at: SweepAt, family: list[psutil.Process]) -> None:
    """No run RUNNING, all that the journal holds delivered, no process left."""
    summary = at.watched.json()
    assert summary["journal"]["written"] == summary["journal"]["delivered"] > 0
    assert summary["ended"]["by"] == "interrupted"
    everything = place.server.runs(summary["experiment_id"])
    assert {run.status for run in everything} <= {"FINISHED", "KILLED"}
    assert not psutil.wait_procs(family, 10)[1]
