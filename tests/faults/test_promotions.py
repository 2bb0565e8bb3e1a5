"""Promotions over a bad network: what is registered is whole, nothing is there twice, and the history is true."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.errors import TrackingError
from pipelines.packaging.package import damage
from pipelines.promotion.champions import history_of
from pipelines.promotion.going_back import roll_back
from pipelines.tracking.mlflow_tracker import MlflowTracker
from pipelines.tracking.models import ModelRegistry
from pipelines.tracking.sender import Sender
from tests.faults.proxy import Fault, Planned, Proxy
from tests.faults.servers import Server
from tests.pipelines.promotion.bench import Bench

LOST = (Fault.SWALLOW, Fault.RESET, Fault.HALF, Fault.ERROR)


class RealBench(Bench):
    """The bench, with MLflow's registry behind a bad network, and runs that MLflow has."""

    def __init__(self, root: Path, study: str, address: str, server: str) -> None:
        super().__init__(root, study, ModelRegistry(address))
        self.experiment_id = MlflowTracker(server).experiment(study)
        self.server = Server(server)

    def run_of(self, number: int) -> str:
        made = self.server.post("runs/create", experiment_id=self.experiment_id, run_name=f"trial-{number}")
        return str(made["run"]["info"]["run_id"])

    def versions(self) -> list[str]:
        return sorted(str(version["version"]) for version in self.server.versions(self.study))

    def assert_whole(self, scratch: Path) -> None:
        """Every version has all its files in a place of its own, and the aliases are those of the history."""
        registry = ModelRegistry(self.server.address)
        model = registry.model(self.study)
        assert len({version.source for version in model.versions}) == len(model.versions)
        for version in model.versions:
            where = scratch / version.version
            where.mkdir(parents=True)
            assert damage(registry.download(version, where)) is None
        reigns = history_of(registry, self.study).reigns
        champion, previous = model.with_alias("champion"), model.with_alias("previous")
        assert champion is not None
        assert reigns[-1].version == champion.version
        assert reigns[-1].before == (previous.version if previous is not None else None)
        left = [each for each in self.server.models(self.experiment_id) if each["status"] == "LOGGED_MODEL_PENDING"]
        assert left == []


@pytest.fixture
def bench(tmp_path: Path, study: str, proxy: Proxy, shared_server: str) -> Iterator[RealBench]:
    made = RealBench(tmp_path, study, proxy.address, shared_server)
    yield made
    made.journal.close()


@pytest.mark.parametrize("fault", LOST)
@pytest.mark.parametrize(
    "request_",
    [
        "POST .*/logged-models$",
        "PUT .*mlflow-artifacts.*model.onnx",
        "GET .*mlflow-artifacts.*model.onnx",
        "PATCH .*/logged-models/",
        "POST .*/registered-models/create",
        "POST .*/model-versions/create",
        "POST .*/model-versions/set-tag",
        "POST .*/registered-models/alias",
        "POST .*/registered-models/set-tag",
        "registered-models/search",
    ],
)
def test_one_request_that_goes_wrong_costs_nothing(
    bench: RealBench, proxy: Proxy, fault: Fault, request_: str, tmp_path: Path
) -> None:
    proxy.plan = [Planned(fault, request_)]

    promoted = bench.promote(bench.candidate(0.9))

    assert proxy.met[fault] == 1, "the request was not made"
    assert promoted.registered() == {"name": bench.study, "version": "1", "alias": "champion"}
    assert bench.versions() == ["1"]
    bench.assert_whole(tmp_path / "seen")


@pytest.mark.parametrize(
    ("fault", "request_"),
    [
        (Fault.SWALLOW, "PUT .*mlflow-artifacts"),
        (Fault.ERROR, "PUT .*mlflow-artifacts"),
        (Fault.ERROR, "POST .*/model-versions/create"),
        (Fault.SWALLOW, "POST .*/registered-models/alias"),
        (Fault.ERROR, "POST .*/registered-models/alias"),
    ],
)
def test_a_server_that_stays_ill_is_one_sentence_and_the_next_promotion_does_what_is_left(
    bench: RealBench, proxy: Proxy, fault: Fault, request_: str, tmp_path: Path
) -> None:
    bench.promote(bench.candidate(0.8))
    proxy.plan = [Planned(fault, request_, times=1000)]

    told = "cannot be reached" if fault is Fault.SWALLOW else "cannot do it now: it answers with status"
    with pytest.raises(TrackingError, match=f"The MLflow server at {proxy.address} {told}"):
        bench.promote(bench.candidate(0.9, 1))
    assert len(bench.versions()) <= 2
    proxy.plan = []

    promoted = bench.promote(bench.candidate(0.9, 1))

    assert promoted.registered() == {"name": bench.study, "version": "2", "alias": "champion"}
    assert bench.versions() == ["1", "2"]
    bench.assert_whole(tmp_path / "seen")


def test_the_evidence_is_in_mlflow_whole_and_the_history_is_told_on_another_machine(
    bench: RealBench, shared_server: str, tmp_path: Path
) -> None:
    sender = Sender(bench.journal.path, MlflowTracker(shared_server), shared_server)
    bench.promote(bench.candidate(0.8))
    bench.promote(bench.candidate(0.9, 1))
    bench.promote(bench.candidate(0.7, 2), force=True)
    roll_back(bench.registry, bench.study, None, why="it was worse")
    while sender.deliver():
        pass

    runs = bench.server.runs(bench.server.experiment(f"{bench.study} promotions"))
    told = {run.tags["regatta.version"]: run for run in runs}
    assert sorted(told) == ["1", "2", "3"]
    assert {run.status for run in runs} == {"FINISHED"}
    assert all(run.tags["regatta.kind"] == "promotion" and run.trial is None for run in runs)
    second = told["2"]
    assert second.metrics["champion.test_accuracy"] == 0.8
    assert second.metrics["gain.low"] > 0
    names = bench.server.artifacts(second.run_id)
    assert {
        "evidence.json", "comparison.json", "per_class.json", "report.html", "confusion_matrix.png", "calibration.png",
        "worst_mistakes.png", "outputs-00001.npz",
    } == names  # fmt: skip
    evidence = json.loads(bench.server.artifact(second.run_id, "evidence.json"))
    assert (evidence["version"], evidence["champion"]) == ("2", "1")
    assert told["3"].tags["regatta.forced"] == "true"

    elsewhere = history_of(ModelRegistry(shared_server), bench.study)
    assert [(reign.action, reign.version, reign.before) for reign in elsewhere.reigns] == [
        ("promoted", "1", None), ("promoted", "2", "1"), ("forced", "3", "2"), ("rolled back", "2", "3")
    ]  # fmt: skip
    assert elsewhere.reigns[-1].why == "it was worse"
    bench.assert_whole(tmp_path / "seen")


def test_a_registered_package_is_never_written_to_again(bench: RealBench, tmp_path: Path) -> None:
    bench.promote(bench.candidate(0.8))
    first = bench.registry.versions(bench.study)[0]

    def digests() -> dict[str, str]:
        where = tmp_path / hashlib.sha256(str(len(list(tmp_path.iterdir()))).encode()).hexdigest()[:8]
        where.mkdir()
        folder = bench.registry.download(first, where)
        return {
            path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.rglob("*") if path.is_file()
        }

    before = digests()
    bench.promote(bench.candidate(0.9, 1))
    bench.promote(bench.candidate(0.8, 2))

    assert digests() == before
