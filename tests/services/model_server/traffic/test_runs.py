"""The numbers in MLflow: one run for each version and life of the server; a registry that is away costs points only."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from services.model_server.errors import RegistryUnavailable
from services.model_server.traffic import MlflowRuns, Writer
from services.model_server.traffic.runs import Point
from tests.services.model_server.parts import FolderStore, Server, run, serving, write_package

pytestmark = pytest.mark.filterwarnings("default")  # MLflow and SQLAlchemy warn about themselves

ROWS = [[[1.0, 2.0], [3.0, 4.0]]]


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MLflow's tables, empty."""
    from mlflow import MlflowClient

    path = tmp_path_factory.mktemp("runs") / "mlflow.db"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{path}")
        MlflowClient(tracking_uri=f"sqlite:///{path}").create_experiment("tiny", artifact_location="file:///nowhere")
    return path


@pytest.fixture
def uri(tables: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """An MLflow store of its own, with the experiment `tiny`."""
    uri = f"sqlite:///{shutil.copy(tables, tmp_path / 'mlflow.db')}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    return uri


def client(uri: str) -> Any:
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=uri)


def point(metrics: dict[str, float], version: str = "1", step: int = 0, last: bool = False, run_id: str = "") -> Point:
    return Point(("tiny", version), run_id, metrics, 1_000_000 + step * 1000, step, last)


def test_a_version_gets_one_run_in_its_experiment_with_all_its_points(uri: str) -> None:
    mlflow = client(uri)
    study = mlflow.get_experiment_by_name("tiny").experiment_id
    source = mlflow.create_run(study).info.run_id
    runs = MlflowRuns(uri, "here-1")
    runs.write([point({"shadow.agreement": 0.5}, run_id=source), point({"rows": 1.0}, "2")])
    runs.write([point({"shadow.agreement": 0.75, "not.finite": np.inf}, run_id=source, step=30, last=True)])
    made = mlflow.get_run(runs.run_of(("tiny", "1")))
    assert made.info.experiment_id == mlflow.get_experiment_by_name("tiny serving").experiment_id
    assert [run.info.run_id for run in mlflow.search_runs([study])] == [source], "the study has its trials alone"
    assert made.info.status == "FINISHED"
    assert made.info.run_name == "serving tiny v1"
    tags = {key: value for key, value in made.data.tags.items() if key.startswith("regatta.")}
    assert tags == {
        "regatta.kind": "serving",
        "regatta.model": "tiny",
        "regatta.version": "1",
        "regatta.run_id": source,
        "regatta.server": "here-1",
    }
    history = mlflow.get_metric_history(made.info.run_id, "shadow.agreement")
    assert [(metric.step, metric.value) for metric in history] == [(0, 0.5), (30, 0.75)]
    assert "not.finite" not in made.data.metrics
    assert mlflow.get_run(runs.run_of(("tiny", "2"))).info.status == "RUNNING"


def test_each_of_several_processes_has_a_run_that_names_it(uri: str) -> None:
    mlflow, workers = client(uri), [MlflowRuns(uri, f"here-1-worker{number}", number) for number in (0, 1)]
    for runs in workers:
        runs.write([point({"rows": 1.0})])
    made = [mlflow.get_run(str(runs.run_of(("tiny", "1")))) for runs in workers]
    assert [run.info.run_name for run in made] == ["serving tiny v1, worker 0", "serving tiny v1, worker 1"]
    assert [run.data.tags["regatta.worker"] for run in made] == ["0", "1"]
    assert len({run.info.experiment_id for run in made}) == 1


def test_an_experiment_that_another_server_makes_at_the_same_moment_is_used(
    uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient

    mlflow, make = client(uri), MlflowClient.create_experiment

    def late(self: Any, name: str) -> str:
        make(self, name)
        return str(make(self, name))  # which fails: it is there

    monkeypatch.setattr(MlflowClient, "create_experiment", late)
    runs = MlflowRuns(uri, "here-1")
    runs.write([point({"rows": 1.0})])
    found = mlflow.get_run(str(runs.run_of(("tiny", "1"))))
    assert found.info.experiment_id == mlflow.get_experiment_by_name("tiny serving").experiment_id


def test_a_wide_table_is_written_in_several_requests(uri: str) -> None:
    runs = MlflowRuns(uri, "")
    runs.write([point({f"m{number}": float(number) for number in range(1500)})])
    assert len(client(uri).get_run(runs.run_of(("tiny", "1"))).data.metrics) == 1500


def test_runs_that_a_killed_server_left_open_are_closed_by_its_next_life_and_no_others(uri: str) -> None:
    before, other = MlflowRuns(uri, "here-1"), MlflowRuns(uri, "there-1")
    before.write([point({"rows": 1.0})])
    other.write([point({"rows": 1.0})])
    after = MlflowRuns(uri, "here-1")
    after.write([point({"rows": 1.0}), point({"rows": 1.0}, "2")])
    mlflow = client(uri)
    status = {
        name: mlflow.get_run(runs.run_of(("tiny", "1"))).info.status
        for name, runs in (("before", before), ("other", other), ("after", after))
    }
    assert status == {"before": "KILLED", "other": "RUNNING", "after": "RUNNING"}
    assert mlflow.get_run(after.run_of(("tiny", "2"))).info.status == "RUNNING"


def test_a_server_that_does_not_answer_is_one_kind_of_error() -> None:
    with pytest.raises(RegistryUnavailable, match="did not take them"):
        MlflowRuns("http://127.0.0.1:9", "").write([point({"rows": 1.0})])


class FakeRuns:
    """Keeps points, or refuses them."""

    def __init__(self) -> None:
        self.points: list[Point] = []
        self.away = False
        self.go = threading.Event()
        self.go.set()

    def run_of(self, version: tuple[str, str]) -> str | None:
        return f"run of {version[1]}"

    def write(self, points: Sequence[Point]) -> None:
        assert self.go.wait(20)
        if self.away:
            raise RegistryUnavailable("away")
        self.points += points


def writer_of(server: Server, runs: FakeRuns) -> Writer:
    return Writer(server.app.state.traffic, server.engine, runs, server.app.state.log, wall=lambda: 1000.0)


async def ask(server: Server, label: str = "zero") -> None:
    asked = await server.client.post("/v1/models/tiny:predict", json={"instances": ROWS})
    told = {"request_id": asked.headers["x-request-id"], "label": label}
    assert (await server.client.post("/feedback", json=told)).status_code == 200


def test_only_what_is_new_is_written_and_the_end_closes_the_run(store: FolderStore) -> None:
    async def work() -> None:
        runs = FakeRuns()
        async with serving(store, feedback=True, traffic_log_s=0) as server:
            writer = writer_of(server, runs)
            await writer.write()
            assert runs.points == []
            await ask(server)
            await writer.write()
            await writer.write()
            (first,) = runs.points
            assert (first.version, first.run_id, first.at_ms, first.last) == (("tiny", "1"), "run-1", 1_000_000, False)
            assert first.metrics["feedback.rows"] == 1
            assert first.metrics["serving.predictions"] == 1
            assert set(first.metrics) >= {"feedback.accuracy", "serving.mean_ms", "serving.failed"}
            await writer.close(20)
            assert [point.last for point in runs.points] == [False, True]
            state = (await server.client.get("/traffic")).json()["mlflow"]
            assert (state["written"], state["lost"], state["runs"]) == (2, 0, {"tiny/1": "run of 1"})

    run(work())


def test_the_run_of_an_unloaded_version_is_closed_and_late_feedback_still_written(
    store: FolderStore, tmp_path: Path
) -> None:
    async def work() -> None:
        runs = FakeRuns()
        async with serving(store, feedback=True, traffic_log_s=0) as server:
            writer = writer_of(server, runs)
            asked = await server.client.post("/v1/models/tiny:predict", json={"instances": ROWS})
            await writer.write()
            store.add(write_package(tmp_path / "v2", seed=2), "tiny", "2")
            await server.poll()
            await writer.write()
            await writer.write()
            assert [(point.version[1], point.last) for point in runs.points] == [("1", False), ("1", True)]
            told = {"request_id": asked.headers["x-request-id"], "label": "zero"}
            assert (await server.client.post("/feedback", json=told)).json()["counted"] is True
            await writer.write()
            assert runs.points[-1].metrics["feedback.rows"] == 1

    run(work())


def test_a_registry_that_is_away_costs_points_and_says_so(store: FolderStore) -> None:
    async def work() -> None:
        runs = FakeRuns()
        async with serving(store, feedback=True, traffic_log_s=0) as server:
            writer = writer_of(server, runs)
            runs.away = True
            for _ in range(3):
                await ask(server)
                await writer.write()
            assert (writer.lost, writer.error) == (3, "away")
            assert len(server.events("traffic_not_written")) == 1
            assert "model_server_traffic_lost_total 3.0" in (await server.client.get("/metrics")).text
            runs.away = False
            await writer.write()
            (point,) = runs.points
            assert point.metrics["feedback.rows"] == 3  # sums go on: only the points between are lost
            assert (writer.written, writer.error) == (1, None)
            assert server.events("traffic_written_again")[0]["lost"] == 3

    run(work())


def test_a_write_that_hangs_is_not_joined_by_another_and_the_end_does_not_wait_for_it(store: FolderStore) -> None:
    async def work() -> None:
        runs = FakeRuns()
        runs.go.clear()
        async with serving(store, feedback=True, traffic_log_s=0) as server:
            import asyncio

            writer = writer_of(server, runs)
            await ask(server)
            hanging = asyncio.create_task(writer.write())
            while writer._under_way is None:
                await asyncio.sleep(0)
            await writer.write()
            assert (writer.lost, writer.error) == (1, "the last write is not over yet")
            await writer.close(0.01)
            assert "more than 0.01 seconds" in str(writer.error)
            runs.go.set()
            await hanging

    run(work())
