"""Where the local tracking server keeps its records and its files, by the environment; and what is wrong with it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pytest

from services import local
from services.tracking_server import stores
from services.tracking_server.settings import shown
from services.tracking_server.stores import StoreError, files_of, get_ready, records_of
from tests.faults import postgresql
from tests.faults.postgresql import GUARDED, SECRET, Cluster
from tests.sites import free_port

NO_ONE = "postgresql://me:secret@127.0.0.1:1/mlflow"


def test_without_a_word_all_of_it_is_in_the_home(tmp_path: Path) -> None:
    assert records_of({}, tmp_path) == f"sqlite:///{tmp_path}/mlflow/mlflow.db"
    assert files_of({}, tmp_path) == f"{tmp_path}/mlflow/artifacts"

    assert get_ready({}, tmp_path) is None


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg2", "postgresql+psycopg"])
def test_a_database_gets_the_driver_that_is_installed(scheme: str, tmp_path: Path) -> None:
    environ = {"MLFLOW_BACKEND_STORE_URI": f"{scheme}://me:se%40cret@host/mlflow"}

    found = records_of(environ, tmp_path)

    assert found.startswith("postgresql+psycopg://me:se%40cret@host/mlflow?")


def test_a_database_whose_machine_vanishes_is_not_waited_for_for_ever_unless_somebody_wants_that(
    tmp_path: Path,
) -> None:
    environ = {"MLFLOW_BACKEND_STORE_URI": "postgresql://me@host/mlflow?tcp_user_timeout=0&sslmode=require"}

    query = dict(parse_qsl(urlsplit(records_of(environ, tmp_path)).query))

    assert query == {
        "connect_timeout": "10",
        "keepalives_count": "3",
        "keepalives_idle": "15",
        "keepalives_interval": "5",
        "sslmode": "require",
        "tcp_user_timeout": "0",
    }


@pytest.mark.parametrize("address", ["mlflow", "postgresql://me:se@cret@host/db", "postgresql://me:secret@host:x/db"])
def test_what_is_no_url_is_one_sentence_without_a_part_of_it(address: str, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="MLFLOW_BACKEND_STORE_URI must be a URL") as caught:
        records_of({"MLFLOW_BACKEND_STORE_URI": address}, tmp_path)

    assert "cret@" not in str(caught.value)
    assert "secret@" not in str(caught.value)


def test_a_database_that_is_not_there_ends_the_start_with_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("REGATTA_HOME", str(tmp_path))
    monkeypatch.setenv("MLFLOW_PORT", str(free_port()))
    monkeypatch.setenv("MLFLOW_BACKEND_STORE_URI", NO_ONE)

    assert local.main(["up", "tracking_server"]) == 2

    said = capsys.readouterr().err
    assert "MLflow's database postgresql+psycopg://me:***@127.0.0.1:1/mlflow cannot be used: " in said
    assert "correct MLFLOW_BACKEND_STORE_URI" in said
    assert "secret" not in said
    assert "Traceback" not in said


def test_a_wrong_password_and_a_database_that_was_not_made_are_told(cluster: Cluster, tmp_path: Path) -> None:
    address = cluster.database(guarded=True)
    assert get_ready({"MLFLOW_BACKEND_STORE_URI": address}, tmp_path) is None

    with pytest.raises(StoreError, match="password authentication failed") as caught:
        get_ready({"MLFLOW_BACKEND_STORE_URI": address.replace(SECRET, "not-the-word")}, tmp_path)
    assert f"{GUARDED}:***@" in str(caught.value)
    assert "not-the-word" not in str(caught.value)
    with pytest.raises(StoreError, match='database "nothing" does not exist'):
        get_ready({"MLFLOW_BACKEND_STORE_URI": f"{address.rpartition('/')[0]}/nothing"}, tmp_path)


def test_a_bucket_that_cannot_be_used_is_told_and_hinders_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "somebody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a-secret-of-somebody")
    environ = {
        "MLFLOW_ARTIFACTS_DESTINATION": "s3://bucket/folder",
        "MLFLOW_S3_ENDPOINT_URL": f"http://127.0.0.1:{free_port()}",
    }

    told = get_ready(environ, tmp_path)

    assert told is not None
    assert told.startswith("Artifacts cannot go to s3://bucket/folder at the moment: Could not connect")
    assert "a-secret-of-somebody" not in told


def test_a_bucket_without_the_package_for_it_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stores, "find_spec", lambda name: None)

    assert "boto3 is not installed" in str(get_ready({"MLFLOW_ARTIFACTS_DESTINATION": "s3://bucket"}, tmp_path))


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("http://127.0.0.1:5000", "http://127.0.0.1:5000"),
        ("https://me:secret@mlflow.example", "https://me:***@mlflow.example"),
        ("postgresql://me:s@c/r:et@host:1/db", "postgresql://me:***@host:1/db"),
        ("postgresql://host/db?password=secret&user=me", "postgresql://host/db?password=***&user=me"),
        ("s3://bucket/folder", "s3://bucket/folder"),
    ],
)
def test_an_address_is_shown_without_its_password(address: str, told: str) -> None:
    assert shown(address) == told


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A PostgreSQL cluster."""
    reason = postgresql.missing()
    if reason is not None:
        pytest.skip(reason)
    with postgresql.running_cluster() as running:
        yield running


def test_the_module_is_light() -> None:
    """`services.local` imports it at every sweep."""
    heavy = "sqlalchemy", "boto3", "botocore", "mlflow", "psycopg"
    code = f"import sys, services.tracking_server.stores; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"
