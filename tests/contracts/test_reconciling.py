"""What reconcile finds and mends, on MLflow's real stores; the counts are MLflow's own."""

from __future__ import annotations

import secrets
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow import MlflowClient

from pipelines.home import Home
from pipelines.reconcile import reconcile
from pipelines.tracking.mlflow_tracker import MlflowTracker
from tests.pipelines.crashes import crashed, sha


class ReconcileContract(ABC):
    """A study whose controller died, on one of MLflow's stores."""

    @pytest.fixture
    @abstractmethod
    def uri(self) -> str:
        """The address of the store."""

    @pytest.fixture
    def study(self) -> str:
        return f"study-{secrets.token_hex(4)}"

    @pytest.fixture
    def client(self, uri: str) -> MlflowClient:
        return MlflowTracker(uri).client

    @pytest.fixture
    def root(self, tmp_path: Path, study: str, uri: str) -> Path:
        return crashed(Home(tmp_path / "home"), study, uri).root

    @pytest.fixture
    def mend(self, root: Path, uri: str) -> Callable[..., tuple[str, ...]]:
        def mended(*, check: bool = False) -> tuple[str, ...]:
            (found,) = reconcile(Home(root.parent.parent), uri, lambda folder, facts: None, check=check)
            return found.said

        return mended

    @pytest.fixture
    def experiment_id(self, mend: Callable[..., tuple[str, ...]], client: MlflowClient, study: str) -> str:
        """The experiment of the study, all of which is delivered and mended."""
        assert len(mend()) == 1
        found = client.get_experiment_by_name(study)
        assert found is not None
        return str(found.experiment_id)

    def run_id(self, client: MlflowClient, experiment_id: str, uid: str) -> str:
        (run,) = client.search_runs([experiment_id], f"tags.`regatta.uid` = '{uid}'")
        return str(run.info.run_id)

    def test_a_mended_study_is_whole_and_stays_so(
        self, mend: Callable[..., tuple[str, ...]], client: MlflowClient, experiment_id: str, study: str
    ) -> None:
        assert mend(check=True) == mend() == ()
        runs = client.search_runs([experiment_id])
        assert sorted((run.data.tags["regatta.uid"], run.info.status) for run in runs) == [
            (f"{study}u", "KILLED"),
            (f"{study}u-00000", "FINISHED"),
            (f"{study}u-00001", "KILLED"),
        ]
        points = client.get_metric_history(self.run_id(client, experiment_id, f"{study}u-00000"), "val_loss")
        assert [(point.step, point.value, point.timestamp) for point in points] == [(0, 0.5, 3000), (1, 0.25, 4000)]

    def test_strangers_and_doubles_are_dealt_with_once(
        self, mend: Callable[..., tuple[str, ...]], client: MlflowClient, experiment_id: str, study: str
    ) -> None:
        ours = self.run_id(client, experiment_id, f"{study}u-00000")
        tags = {"regatta.study_uid": f"{study}u"}
        stranger = client.create_run(experiment_id, tags={**tags, "regatta.uid": f"{study}u-00009"}).info.run_id
        double = client.create_run(experiment_id, tags={**tags, "regatta.uid": f"{study}u-00000"}).info.run_id

        said = mend()

        assert len(said) == 2
        assert client.get_run(stranger).info.status == "KILLED"
        assert "does not know it" in client.get_run(stranger).data.tags["end.reason"]
        assert client.get_run(double).info.lifecycle_stage == "deleted"
        assert self.run_id(client, experiment_id, f"{study}u-00000") == ours
        assert mend() == ()

    def test_a_point_that_is_there_twice_is_told(
        self, mend: Callable[..., tuple[str, ...]], client: MlflowClient, experiment_id: str, study: str
    ) -> None:
        client.log_metric(self.run_id(client, experiment_id, f"{study}u-00000"), "val_loss", 0.5, 3333, 0)

        assert mend(check=True) == (
            "MLflow has points of 'val_loss' that are not in the journal, or twice, of trial 0.",
        )

    def test_a_checkpoint_that_was_deleted_or_broke_off_is_delivered_again(
        self, mend: Callable[..., tuple[str, ...]], client: MlflowClient, experiment_id: str, study: str
    ) -> None:
        (model,) = client.search_logged_models([experiment_id])
        client.delete_logged_model(model.model_id)
        assert mend() == ("MLflow has no checkpoint of trial 0: delivered again.",)
        (model,) = client.search_logged_models([experiment_id])
        client.finalize_logged_model(model.model_id, "FAILED")
        assert mend() == ("MLflow has only a part of the checkpoint of trial 0: delivered again.",)

        (model,) = client.search_logged_models([experiment_id], "status = 2")
        assert model.tags["regatta.checkpoint_sha256"] == sha(0)
        assert mend() == ()

    def test_a_checkpoint_that_is_gone_here_comes_back(
        self, mend: Callable[..., tuple[str, ...]], experiment_id: str, root: Path
    ) -> None:
        (root / "trials/0.keras").unlink()

        assert mend() == ("the checkpoint of trial 0, trials/0.keras, is gone: brought back from MLflow.",)

        assert (root / "trials/0.keras").read_bytes() == b"weights 0"
        assert mend() == ()

    def test_a_run_that_a_person_deleted_stays_deleted(
        self, mend: Callable[..., tuple[str, ...]], client: MlflowClient, experiment_id: str, study: str
    ) -> None:
        client.delete_run(self.run_id(client, experiment_id, f"{study}u-00001"))

        assert mend() == mend(check=True) == ()
        assert len(client.search_runs([experiment_id])) == 2


class TestReconcileOnADatabase(ReconcileContract):
    @pytest.fixture
    def uri(self, database: Path, monkeypatch: pytest.MonkeyPatch) -> str:
        monkeypatch.chdir(database.parent)
        return f"sqlite:///{database}"


@pytest.mark.end_to_end
class TestReconcileOverHttp(ReconcileContract):
    @pytest.fixture
    def uri(self, server: str) -> str:
        return server
