"""The tracking server away, slow, or unwell: training never waits for it, and nothing is lost or doubled."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from tests.faults.places import TRACKING, Place, made_place
from tests.faults.postgresql import Cluster
from tests.faults.proxy import Fault, Planned, Proxy, Weather
from tests.faults.scenarios import SMALL_EPOCHS, UNREACHED, Unreached
from tests.faults.servers import Server
from tests.faults.whole import assert_whole

EPOCHS = 10
DELAY_S = 0.4
FLAGS = ("--trials", "6", "--no-promote", "--set", f"epochs={EPOCHS}")


ALL_OF_THEM = (Fault.SWALLOW, Fault.HALF, Fault.ERROR, Fault.BUSY, Fault.RESET)


def planned_for_any_server() -> list[Planned]:
    """The server seems to have no bulk door, and every one of MLflow's own calls fails in every way."""
    return [
        Planned(Fault.UNKNOWN, "regatta/records$"),
        Planned(Fault.SWALLOW, "experiments/create$"),
        *(Planned(fault, "runs/create$") for fault in ALL_OF_THEM),
        *(Planned(fault, "runs/log-batch$", 2) for fault in ALL_OF_THEM),
        *(Planned(fault, "runs/update$") for fault in ALL_OF_THEM),
        *(Planned(fault, "POST .*/mlflow/logged-models$") for fault in ALL_OF_THEM),
        *(Planned(fault, "PUT .*/mlflow-artifacts/.*best.keras$") for fault in ALL_OF_THEM),
        *(Planned(fault, "PATCH .*/mlflow/logged-models/") for fault in ALL_OF_THEM),
    ]


def planned_for_ours() -> list[Planned]:
    """The bulk door fails, and what goes one by one after that fails, too, now and then."""
    return [
        Planned(Fault.BUSY, "regatta/records$"),
        Planned(Fault.SWALLOW, "experiments/create$"),
        Planned(Fault.SWALLOW, "regatta/runs$"),
        Planned(Fault.SWALLOW, "runs/log-batch$"),
        Planned(Fault.HALF, "regatta/runs$"),
        Planned(Fault.SWALLOW, "regatta/checkpoints$"),
        Planned(Fault.HALF, "POST .*/mlflow/logged-models/search$"),
    ]


@pytest.mark.parametrize("plan", [planned_for_any_server, planned_for_ours], ids=["any server", "ours"])
def test_errors_resets_swallowed_answers_and_a_server_away_lose_nothing_and_double_nothing(
    place: Place, behind_proxy: Place, proxy: Proxy, plan: Callable[[], list[Planned]]
) -> None:
    proxy.plan = plan()
    at = behind_proxy.begin(*FLAGS, "--lanes", "off")  # in lanes, all trials may be over before the server is away
    at.until(lambda: at.trials_over() >= 1)
    proxy.down()
    at.until(lambda: at.trials_over() >= 4)
    proxy.up()
    summary = at.watched.summary()

    assert not [planned for planned in proxy.plan if planned.times], "these were never met"
    assert_whole(place.server, summary, 6, EPOCHS)
    assert "MLflow takes nothing at the moment" in at.watched.said
    assert "Traceback" not in at.watched.said


def test_a_slow_server_does_not_slow_the_training(place: Place, behind_proxy: Place, proxy: Proxy) -> None:
    proxy.weather = Weather(Fault.SLOW, delay_s=DELAY_S)
    at = behind_proxy.begin(*FLAGS, "--workers", "1")
    at.until(lambda: at.trials_over() == 6)
    proxy.weather = Weather()
    summary = at.watched.summary()

    runs = assert_whole(place.server, summary, 6, EPOCHS)
    assert proxy.met[Fault.SLOW] > 3  # with what is sent many at a time, there are few
    # what a quiet machine needs is measured in tests/benchmarks; a single wait for the network would be DELAY_S
    each = [run.metrics["tracking_seconds"] for run in runs]
    assert max(each) < DELAY_S / 4, f"seconds of tracking, by trial: {each}"


def test_a_server_that_was_never_there_is_one_sentence_and_costs_no_trial(unreached: Unreached) -> None:
    summary = unreached.summary

    assert f"http://127.0.0.1:{unreached.port}" in unreached.said
    assert "Traceback" not in unreached.said
    assert summary["trials"] == {"complete": 4, "pruned": 0, "failed": 0}
    assert summary["registered"] is None
    assert summary["best"]["run_id"] is None
    assert summary["journal"]["delivered"] == 0 < summary["journal"]["written"]


def test_sync_delivers_later_from_another_machine_and_from_this_one_and_nothing_is_doubled(
    unreached: Unreached, shared_server: str, tmp_path: Path
) -> None:
    copied, server = tmp_path / "copied", Server(shared_server)
    shutil.copytree(unreached.home, copied)
    with (
        closing(Proxy(int(shared_server.rpartition(":")[2]), port=unreached.port)) as proxy,
        made_place(tmp_path / "another", "unreached", {TRACKING: shared_server}) as elsewhere,
        made_place(unreached.home, "unreached", {TRACKING: proxy.address}) as here,
    ):
        done = elsewhere.run("sync", str(copied))
        assert done.returncode == 0, done.stdout + done.stderr
        assert_delivered(server)

        # the machine itself, which knows nothing of that: the same again, as if it were once
        done = here.run("sync")
        assert done.returncode == 0, done.stdout + done.stderr
        assert_delivered(server)
        assert_whole(server, here.sweep(*UNREACHED), 4, SMALL_EPOCHS)
        promoted = here.run("promote", "unreached", "--json")
        assert promoted.returncode == 0, promoted.stderr
        assert json.loads(promoted.stdout)["registered"]["alias"] == "champion"


def assert_delivered(server: Server) -> None:
    runs = server.runs(server.experiment("unreached"))
    assert {run.status for run in runs} == {"FINISHED"}
    assert sorted(run.trial for run in runs if run.trial is not None) == list(range(4))
    for run in runs:
        if run.trial is not None:
            assert [point.step for point in server.history(run.run_id, "val_loss")] == list(range(SMALL_EPOCHS))


def test_two_sweeps_at_once_in_one_fresh_home_are_both_whole(lone_place: Place) -> None:
    flags = ("--trials", "3", "--set", f"epochs={EPOCHS}", "--workers", "1", "--no-promote")
    first = lone_place.begin(*flags)
    second = lone_place.begin(*flags, "--set", "study=second")
    first.until(lambda: (first.folder / "study.json").exists())
    same = lone_place.run(*lone_place.flags(*flags))

    one, two = first.watched.summary(), second.watched.summary()

    assert same.returncode == 2
    assert "is being run by process" in same.stderr
    assert one["experiment_id"] != two["experiment_id"]
    assert_whole(lone_place.server, one, 3, EPOCHS)
    assert_whole(lone_place.server, two, 3, EPOCHS)


def test_postgresql_that_restarts_in_the_middle_costs_nothing(postgresql_place: Place, cluster: Cluster) -> None:
    at = postgresql_place.begin(*FLAGS)
    at.until(lambda: at.trials_over() >= 1 and at.epochs() > EPOCHS + 2)

    cluster.restart()
    summary = at.watched.summary()

    assert_whole(postgresql_place.server, summary, 6, EPOCHS)
