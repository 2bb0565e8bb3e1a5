"""`make backup` and `make restore`: what comes back is what there was, also where a sweep was running meanwhile."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.faults import postgresql
from tests.faults.places import Place, made_place
from tests.faults.postgresql import Cluster
from tests.faults.servers import Server
from tests.faults.whole import assert_whole
from tests.sites import ROOT

EPOCHS = 4
FLAGS = ("--set", f"epochs={EPOCHS}", "--lanes", "off")

pytestmark = pytest.mark.filterwarnings("default")  # Optuna warns of its own storage


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A PostgreSQL cluster."""
    reason = postgresql.missing()
    if reason is not None:
        pytest.skip(reason)
    with postgresql.running_cluster() as running:
        yield running


def backup(place: Place, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`python -m services.backup …`, with the stack of this machine."""
    return subprocess.run(
        [sys.executable, "-m", "services.backup", *arguments],
        cwd=ROOT, env=place.site.environment(), capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip


def backed_up(place: Place, to: Path) -> Path:
    done = backup(place, "backup", "--to", str(to), "--stack", "local")
    assert done.returncode == 0, done.stderr
    return Path(done.stdout.strip())


def records(server: Server, name: str) -> dict[str, Any]:
    """All that MLflow tells of a study: runs with their points and artifacts, models with their files, versions."""
    experiment = server.experiment(name)
    runs = {run.run_id: run for run in server.runs(experiment)}
    models = {model["model_id"]: model for model in server.models(experiment)}
    return {
        "runs": runs,
        "points": {(run_id, key): server.history(run_id, key) for run_id, run in runs.items() for key in run.metrics},
        "artifacts": {run_id: tree(server, run_id) for run_id in runs},
        "models": models,
        "files": {
            (model_id, path): hashlib.sha256(server.model_file(model_id, path)).hexdigest()
            for model_id in models
            for path in server.model_files(model_id)
        },
        "versions": server.versions(name),
        "registered": server.get("registered-models/get", name=name) if server.versions(name) else None,
    }


def tree(server: Server, run_id: str, folder: str = "") -> set[str]:
    listed = server.get("artifacts/list", run_id=run_id, **({"path": folder} if folder else {})).get("files", ())
    found: set[str] = set()
    for file in listed:
        found |= tree(server, run_id, file["path"]) if file.get("is_dir") else {f"{file['path']} {file['file_size']}"}
    return found


def trials(place: Place) -> list[tuple[Any, ...]]:
    """All that Optuna knows of the study's trials."""
    import optuna

    from pipelines.study.storage import open_storage

    storage = open_storage(place.site.settings.get("REGATTA_STORAGE") or place.folder / "optuna.db")
    assert storage is not None
    with closing(_Engine(storage.engine)):
        (name,) = optuna.get_all_study_names(storage)
        found = optuna.load_study(study_name=name, storage=storage).get_trials(deepcopy=False)
        return [
            (trial.number, trial.state, trial.params, trial.values, trial.intermediate_values, trial.user_attrs)
            for trial in found
        ]


class _Engine:
    def __init__(self, engine: Any) -> None:
        self.close = engine.dispose


def test_all_comes_back_in_an_empty_place_and_nothing_is_overwritten_unasked(tmp_path: Path) -> None:
    with made_place(tmp_path / "home", "kept", {}) as place:
        summary = place.sweep("--trials", "3", *FLAGS)
        path = backed_up(place, tmp_path / "to")
        there, known = records(place.server, "kept"), trials(place)

    with made_place(tmp_path / "another", "kept", {}) as place:
        done = backup(place, "restore", str(path))
        assert done.returncode == 0, done.stderr
        assert place.site.local("up", "tracking_server").returncode == 0

        assert records(place.server, "kept") == there
        assert trials(place) == known
        assert there["versions"][0]["source"].removeprefix("models:/") in there["models"]
        # goes on as if nothing had been: it is done already, and every entry is delivered
        again = place.sweep("--trials", "3", *FLAGS)
        assert again["trials"] == summary["trials"]
        assert_whole(place.server, again, 3, EPOCHS)

        running = backup(place, "restore", str(path), "--force")
        assert (running.returncode, "make down-local" in running.stderr) == (2, True), running.stderr
        place.site.local("down")
        refused = backup(place, "restore", str(path))
        assert refused.returncode == 2
        assert "There is something already" in refused.stderr
        assert "FORCE=1" in refused.stderr
        forced = backup(place, "restore", str(path), "--force")
        assert forced.returncode == 0, forced.stderr
        assert len(list((tmp_path / "another").glob("before-restore-*/studies/kept/journal.jsonl"))) == 1
        assert place.site.local("up", "tracking_server").returncode == 0
        assert records(place.server, "kept") == there


def test_a_damaged_file_changes_nothing(tmp_path: Path) -> None:
    with made_place(tmp_path / "home", "kept", {}) as place:
        (place.site.home / "lanes").mkdir(parents=True)
        (place.site.home / "lanes" / "widths.json").write_text("{}")
        path = backed_up(place, tmp_path / "to")
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])

    with made_place(tmp_path / "another", "kept", {}) as place:
        done = backup(place, "restore", str(path))

    assert (done.returncode, "is damaged" in done.stderr) == (2, True)
    assert not (tmp_path / "another").exists()


@pytest.mark.parametrize("stored", ["sqlite", "postgresql"])
def test_a_copy_that_is_made_in_mid_sweep_goes_on_to_a_whole_sweep(
    tmp_path: Path, stored: str, request: pytest.FixtureRequest
) -> None:
    def settings() -> dict[str, str]:
        if stored == "sqlite":
            return {}
        cluster: Cluster = request.getfixturevalue("cluster")
        names = "MLFLOW_BACKEND_STORE_URI", "REGATTA_STORAGE"
        return {name: cluster.database(guarded=True) for name in names}

    with made_place(tmp_path / "home", "copied", settings()) as place:
        at = place.begin("--trials", "8", *FLAGS, "--no-promote")
        at.until(lambda: at.trials_over() >= 3)
        path = backed_up(place, tmp_path / "to")
        assert at.trials_over() < 8, "the sweep was over before it was copied"
        assert_whole(place.server, at.watched.summary(), 8, EPOCHS)

    with made_place(tmp_path / "another", "copied", settings()) as place:
        done = backup(place, "restore", str(path))
        assert done.returncode == 0, done.stderr
        summary = place.sweep("--trials", "8", *FLAGS, "--no-promote")

        assert_whole(place.server, summary, 8, EPOCHS)
        checked = place.run("reconcile", "--check")
        assert checked.returncode == 0, checked.stdout + checked.stderr
