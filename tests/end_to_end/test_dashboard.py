"""Optuna's dashboard, as its image has it: in an environment made from its own lock, on a database that sweeps use."""

from __future__ import annotations

import json
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from pipelines.study import Study
from services.asking import answers
from tests.end_to_end.test_foreign_clients import INSTALL_S, made_environment
from tests.faults import postgresql
from tests.faults.postgresql import SECRET, Cluster
from tests.pipelines.scripted import recipe
from tests.pipelines.study.common import BRANCHES, tried
from tests.sites import INHERITED, ROOT, free_port

pytestmark = pytest.mark.timeout(2 * INSTALL_S)
CONFIG = recipe(search_space=BRANCHES)


@pytest.fixture
def database() -> Iterator[str]:
    """An empty database, of a user with a password."""
    reason = postgresql.missing()
    if reason is not None:
        pytest.skip(reason)
    with postgresql.running_cluster() as cluster:
        made: Cluster = cluster
        yield made.database(guarded=True)


@pytest.fixture
def python(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    cache = getattr(request.config, "cache", None)
    folder = Path(cache.mkdir("foreign-clients")) if cache is not None else tmp_path_factory.mktemp("foreign-clients")
    return made_environment(folder / "optuna-dashboard", ROOT / "requirements" / "optuna-dashboard.txt")


def asked(address: str, path: str) -> Any:
    with urllib.request.urlopen(address + path, timeout=10) as answer:
        return json.load(answer)


def test_it_shows_the_studies_of_sweeps_and_may_come_before_the_first_of_them(
    database: str, python: Path, tmp_path: Path
) -> None:
    port, log = free_port(), tmp_path / "log"
    settings = {"REGATTA_STORAGE": database, "DASHBOARD_HOST": "127.0.0.1", "DASHBOARD_PORT": str(port)}
    with log.open("wb") as out:
        process = subprocess.Popen(
            [str(python), "-m", "services.optuna_dashboard"],
            cwd=ROOT, env=INHERITED | settings, stdout=out, stderr=out,
        )  # fmt: skip
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(300):
            if answers(address, "/api/studies"):
                break
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(0.1)
        assert asked(address, "/api/studies")["study_summaries"] == []

        with closing(Study(CONFIG, database, "0123456789ab")) as study:
            for value in (0.5, 0.25):
                tried(study, CONFIG, value)

        (found,) = asked(address, "/api/studies")["study_summaries"]
        assert found["study_name"] == "tiny-0123456789ab"
        trials = asked(address, f"/api/studies/{found['study_id']}?after=0")["trials"]
        assert [trial["values"] for trial in trials] == [[0.5], [0.25]]
    finally:
        process.terminate()
        process.wait(10)
    assert SECRET not in log.read_text()


def test_without_a_database_it_says_what_is_missing(python: Path) -> None:
    done = subprocess.run(
        [str(python), "-m", "services.optuna_dashboard"],
        cwd=ROOT, env={"PATH": INHERITED["PATH"]}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip

    assert (done.returncode, done.stderr) == (
        2,
        "REGATTA_STORAGE is not set; it must be the URL of the studies' database.\n",
    )
