"""The executor `ray` on a cluster of several nodes, which see neither the controller's files nor its code."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults import postgresql
from tests.faults.places import Place, made_place
from tests.faults.scenarios import curves_of, paced
from tests.faults.servers import RunSeen
from tests.faults.watching import RECIPE
from tests.faults.whole import assert_whole
from tests.sites import INHERITED, ROOT

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason="Ray is not installed; make test-stack installs it"
)
TRIALS, EPOCHS = 8, 16
SIZE = ("--trials", str(TRIALS), "--lanes", "off", "--no-promote", "--set", f"epochs={EPOCHS}")
FLAGS = (*SIZE, *paced(0.4))
LONG = (*SIZE, *paced(1.0))
"""For a sweep that two nodes join in the middle: they need half a minute until they have work."""


class Nodes:
    """A cluster, through the process that keeps it."""

    def __init__(self, folder: Path, hidden: list[Path]) -> None:
        self.folder = folder
        self.address = ""
        for path in hidden:
            path.mkdir(parents=True, exist_ok=True)
        self._log = (folder / "nodes.log").open("wb")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.stack.ray_nodes", *map(str, hidden)],
            cwd=ROOT,
            env={name: value for name, value in INHERITED.items() if not name.startswith(("RAY_", "REGATTA_"))},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )
        self._answer()

    def add(self, name: str, cpus: int = 1) -> int:
        number, self.address = self._ask(f"add {self.home(name)} {cpus}").split()
        return int(number)

    def end(self, number: int, how: str = "remove") -> None:
        self._ask(f"{how} {number}")

    def home(self, name: str) -> Path:
        return self.folder / name

    def got_data(self, name: str) -> bool:
        """Whether a worker has been on that node."""
        return any((self.home(name) / "data").glob("digits-*"))

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        try:
            self.process.wait(60)
        finally:
            self.process.kill()
            self.process.wait()
            for stream in (self.process.stdout, self._log):
                assert stream is not None
                stream.close()

    def _ask(self, command: str) -> str:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{command}\n")
        self.process.stdin.flush()
        return self._answer()

    def _answer(self) -> str:
        assert self.process.stdout is not None
        answer = self.process.stdout.readline()
        assert answer, f"the cluster's process ended: {Path(self._log.name).read_text(errors='replace')[-2000:]}"
        return answer


def attempts(run: RunSeen) -> int:
    return int(run.tags["regatta.attempt"])


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with made_place(tmp_path / "home", "far", {}) as made:
        yield made


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[Nodes]:
    hidden = [tmp_path / "home", ROOT / "pipelines"] if os.geteuid() == 0 else []  # others may mount nothing
    made = Nodes(tmp_path, hidden)
    yield made
    made.close()


def test_trials_of_a_node_that_leaves_go_on_elsewhere_and_a_node_that_joins_gets_work(
    place: Place, nodes: Nodes
) -> None:
    nodes.add("head")
    nodes.add("second")
    third = nodes.add("third")

    at = place.begin(*LONG, "--executor", "ray", "--workers", "auto", RAY_ADDRESS=nodes.address)
    at.until(lambda: all(at.epochs(trial) >= 3 for trial in range(3)), 200)
    nodes.end(third, "kill")
    at.until(lambda: "left; trial" in at.watched.said, 60)
    nodes.add("fourth")
    nodes.add("fifth")
    at.until(lambda: nodes.got_data("fourth") and nodes.got_data("fifth"), 60)
    summary = at.watched.summary()

    runs = assert_whole(place.server, summary, TRIALS, EPOCHS)
    again = [run for run in runs if attempts(run) > 1]
    assert len(again) == 1
    assert "left" in again[0].tags["regatta.lost.1"]
    assert int(again[0].tags["regatta.resumed_at_epoch"]) >= 2
    checkpoints = list((place.folder / "trials").rglob("best.keras"))
    assert checkpoints == []  # each went to the server from the node that made it

    with made_place(place.site.home.with_name("other-home"), "near", {}) as near:
        undisturbed = near.sweep(*FLAGS, "--workers", "2")
        expected = near.server.children(undisturbed["experiment_id"], undisturbed["parent_run_id"])
        assert curves_of(place.server, runs) == curves_of(near.server, expected)


def test_trials_that_are_trained_many_at_once_go_on_too(place: Place, nodes: Nodes) -> None:
    nodes.add("head")
    second = nodes.add("second")
    flags = ("--trials", "6", "--lanes", "3", "--no-promote", "--set", "epochs=400", "--set", "model.units=[64,64]")

    at = place.begin(*flags, "--executor", "ray", "--workers", "2", RAY_ADDRESS=nodes.address)
    at.until(lambda: sum(at.epochs(trial) >= 40 for trial in range(6)) >= 5, 200)
    nodes.end(second, "kill")
    at.until(lambda: "left; trial" in at.watched.said, 60)
    summary = at.watched.summary()

    runs = assert_whole(place.server, summary, 6, 400)
    again = [run for run in runs if attempts(run) > 1]
    assert 1 <= len(again) <= 3
    assert all(run.tags["regatta.trainer"].startswith("lanes") for run in runs)
    assert all(int(run.tags["regatta.resumed_at_epoch"]) > 0 for run in again)


def test_where_the_cluster_goes_away_the_sweep_says_so_and_can_be_gone_on_with(place: Place, nodes: Nodes) -> None:
    nodes.add("head", 2)
    at = place.begin(*FLAGS, "--executor", "ray", RAY_ADDRESS=nodes.address)
    at.until(lambda: all(at.epochs(trial) >= 2 for trial in range(2)), 200)

    nodes.end(0, "kill")
    assert at.watched.ended(120) not in (0, None)

    assert "The Ray cluster at" in at.watched.said
    assert "by the same command" in at.watched.said
    assert "Traceback" not in at.watched.said
    summary = place.sweep(*FLAGS, "--executor", "ray", "--workers", "2", RAY_ADDRESS="")
    runs = assert_whole(place.server, summary, TRIALS, EPOCHS)
    assert [int(run.tags["regatta.resumed_at_epoch"]) > 0 for run in runs if attempts(run) > 1] == [True, True]


@pytest.fixture
def storage() -> Iterator[dict[str, str]]:
    """Optuna's part on PostgreSQL, where that is installed."""
    if postgresql.missing() is not None:
        yield {}
        return
    with postgresql.running_cluster() as cluster:
        yield {"REGATTA_STORAGE": cluster.database()}


def test_the_best_is_judged_by_its_checkpoint_from_the_server_with_optuna_on_a_database_that_no_node_knows(
    place: Place, nodes: Nodes, storage: dict[str, str]
) -> None:
    nodes.add("head", 2)
    with_promotion = [flag for flag in FLAGS if flag != "--no-promote"]

    summary = place.sweep(
        *with_promotion, "--trials", "2", "--executor", "ray", "--workers", "2", RAY_ADDRESS=nodes.address, **storage
    )

    assert summary["registered"]["alias"] == "champion"
    (brought,) = (place.folder / "trials").rglob("best.keras")
    assert brought.parent.name.startswith(f"{summary['best']['trial']:05d}-")


def test_a_cluster_that_is_not_there_is_one_sentence(tmp_path: Path, place: Place) -> None:
    done = place.run(*("sweep", RECIPE, "--executor", "ray", "--set", "study=nowhere"), RAY_ADDRESS="127.0.0.1:9")

    assert done.returncode == 2
    assert "The Ray cluster at 127.0.0.1:9 cannot be used" in done.stderr
    assert "Traceback" not in done.stderr
