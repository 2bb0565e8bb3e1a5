"""Pulling plugs while a sweep runs: workers, the server, the controller itself, the disk."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

DIGITS = "configs/sweeps/digits.yaml"
SMALL = ("--set", "epochs=4", "--set", "pruner=none")


def children_of(site: Any, summary: dict[str, Any]) -> list[Any]:
    found = site.client().search_runs(
        [summary["experiment_id"]], f"tags.`mlflow.parentRunId` = '{summary['parent_run_id']}'"
    )
    return list(found)


def assert_nothing_is_lost(site: Any, summary: dict[str, Any], trials: int) -> None:
    """Exactly the asked trials, no run open, one point an epoch, the journal delivered."""
    children = children_of(site, summary)
    counted = [run for run in children if run.data.tags["regatta.state"] in {"COMPLETE", "PRUNED"}]
    assert len(counted) == trials
    runs = site.client().search_runs([summary["experiment_id"]])
    assert "RUNNING" not in {run.info.status for run in runs}
    for run in counted:
        steps = [point.step for point in site.client().get_metric_history(run.info.run_id, "val_loss")]
        assert sorted(steps) == list(range(4))
    assert summary["journal"]["written"] == summary["journal"]["delivered"]


class Watched:
    """A sweep in the background, with its progress lines as they come."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.lines: list[str] = []
        self._changed = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            with self._changed:
                self.lines.append(line)
                self._changed.notify_all()

    def until(self, seen: Callable[[list[str]], bool], timeout_s: float = 120) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: seen(self.lines), timeout_s), "".join(self.lines)

    def workers(self) -> list[psutil.Process]:
        """The processes that train: those with TensorFlow in their memory."""
        found = [child for child in psutil.Process(self.process.pid).children() if "spawn_main" in str(child.cmdline())]
        return [child for child in found if child.memory_info().rss > 200 << 20]

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self._reader.join(10)
        for stream in (self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()

    def summary(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        out = self.process.stdout.read()
        assert self.process.wait(200) == 0, "".join(self.lines)
        self._reader.join(10)
        summary: dict[str, Any] = json.loads(out)
        return summary


@pytest.fixture
def begin(site: Any) -> Iterator[Callable[..., Watched]]:
    begun: list[Watched] = []

    def start(*flags: str, **more: str) -> Watched:
        begun.append(Watched(site.begin("sweep", DIGITS, "--json", *SMALL, *flags, **more)))
        return begun[-1]

    yield start
    for watched in begun:
        watched.close()


def test_a_killed_worker_costs_no_trial(site: Any, begin: Callable[..., Watched]) -> None:
    sweep = begin("--trials", "6")
    sweep.until(lambda lines: any("COMPLETE" in line for line in lines))

    sweep.workers()[0].send_signal(signal.SIGKILL)
    summary = sweep.summary()

    assert any("was lost" in line and "SIGKILL" in line for line in sweep.lines)
    assert_nothing_is_lost(site, summary, 6)


def test_a_server_that_is_gone_in_the_middle_misses_nothing(site: Any, begin: Callable[..., Watched]) -> None:
    sweep = begin("--trials", "8")
    sweep.until(lambda lines: any("COMPLETE" in line for line in lines))

    site.local("down", "tracking_server")
    sweep.until(lambda lines: sum("COMPLETE" in line for line in lines) >= 5)
    assert site.local("up", "tracking_server").returncode == 0
    summary = sweep.summary()

    assert_nothing_is_lost(site, summary, 8)
    assert summary["registered"]["alias"] == "champion"


def test_a_killed_controller_is_followed_by_one_that_goes_on(site: Any, begin: Callable[..., Watched]) -> None:
    sweep = begin("--trials", "6")
    sweep.until(lambda lines: sum("COMPLETE" in line for line in lines) >= 2)
    workers = sweep.workers()

    sweep.process.kill()
    sweep.process.wait()
    _, alive = psutil.wait_procs(workers, 30)
    summary = site.sweep("--trials", "6", *SMALL)

    assert not alive
    children = children_of(site, summary)
    assert all(
        "loss_curve.png" in {file.path for file in site.client().list_artifacts(run.info.run_id)} for run in children
    )
    assert_nothing_is_lost(site, summary, 6)


def test_ctrl_c_leaves_no_run_open_and_says_how_to_go_on(site: Any, begin: Callable[..., Watched]) -> None:
    sweep = begin("--trials", "50")
    sweep.until(lambda lines: any("COMPLETE" in line for line in lines))

    sweep.process.send_signal(signal.SIGINT)
    assert sweep.process.wait(120) == 130
    experiment = site.client().get_experiment_by_name("digits")

    runs = site.client().search_runs([experiment.experiment_id])
    assert "RUNNING" not in {run.info.status for run in runs}
    sweep.until(
        lambda lines: any("pipelines sweep configs/sweeps/digits.yaml --json --set epochs=4" in line for line in lines),
        5,
    )
    done = len([run for run in runs if run.data.tags.get("regatta.state") == "COMPLETE"])
    assert_nothing_is_lost(site, site.sweep("--trials", str(done + 2), *SMALL), done + 2)


def test_an_unreachable_server_is_one_sentence_and_the_journal_keeps_all(site: Any) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{probe.getsockname()[1]}"
    done = site.run("sweep", DIGITS, "--json", "--trials", "2", *SMALL, MLFLOW_TRACKING_URI=nobody)

    summary = json.loads(done.stdout)
    assert done.returncode == 0
    assert nobody in done.stderr
    assert "Traceback" not in done.stderr
    assert summary["trials"]["complete"] == 2
    assert summary["registered"] is None
    assert summary["journal"]["delivered"] == 0 < summary["journal"]["written"]

    synced = site.run("sync")
    promoted = site.run("promote", "digits", "--json")

    assert synced.returncode == 0, synced.stdout + synced.stderr
    assert json.loads(promoted.stdout)["registered"]["alias"] == "champion"
    experiment = site.client().get_experiment_by_name("digits")
    assert len(site.client().search_runs([experiment.experiment_id])) == 3


def test_a_port_in_use_is_one_sentence(site: Any) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", site.port))
        taken.listen()
        done = site.run("sweep", DIGITS)

    assert done.returncode == 2
    assert str(site.port) in done.stderr
    assert "MLFLOW_PORT" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_full_disk_is_one_sentence_and_what_was_written_stays(site: Any, tmp_path: Path) -> None:
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("a small disk is a mount, which takes root")
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)], capture_output=True, text=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip(f"this machine mounts no tmpfs: {mounted.stderr.strip()}")
    try:
        done = site.run(
            "sweep", DIGITS, "--trials", "12", *SMALL,
            REGATTA_HOME=str(disk), MLFLOW_TRACKING_URI=f"sqlite:///{tmp_path}/mlflow.db",
        )  # fmt: skip
    finally:
        deadline = time.monotonic() + 10
        while subprocess.run(["umount", str(disk)], check=False).returncode and time.monotonic() < deadline:
            pass

    assert done.returncode == 2
    assert "No space left" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_missing_data_set_is_one_sentence(site: Any, tmp_path: Path) -> None:
    done = site.run("sweep", "configs/sweeps/fashion_mnist.yaml", REGATTA_DATA=str(tmp_path), KERAS_HOME=str(tmp_path))

    assert done.returncode == 2
    assert "train-images-idx3-ubyte.gz" in done.stderr
    assert "REGATTA_DATA" in done.stderr
    assert "Traceback" not in done.stderr
