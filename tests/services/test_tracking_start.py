"""How the tracking server of the stack is started: from variables, to what MLflow is told."""

from __future__ import annotations

import configparser
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.tracking_server import alive, start
from services.tracking_server.settings import (
    SettingsError,
    login_file,
    login_wanted,
    mlflow_environment,
    read_settings,
)


@pytest.mark.parametrize(
    ("environ", "store"),
    [
        ({}, "sqlite:////mlflow/mlflow.db"),
        ({"MLFLOW_DB_PASSWORD": "secret"}, "sqlite:////mlflow/mlflow.db"),
        (
            {"MLFLOW_DB_PASSWORD": "s:/@", "MLFLOW_DB_HOST": "postgres", "MLFLOW_BACKEND_STORE_URI": ""},
            "postgresql+psycopg://mlflow:s%3A%2F%40@postgres:5432/mlflow",
        ),
        ({"MLFLOW_BACKEND_STORE_URI": "postgresql://a:b@c/d"}, "postgresql+psycopg://a:b@c/d"),
        ({"MLFLOW_BACKEND_STORE_URI": "postgres://a:b@c/d"}, "postgresql+psycopg://a:b@c/d"),
        ({"MLFLOW_BACKEND_STORE_URI": "postgresql+psycopg://a:b@c/d"}, "postgresql+psycopg://a:b@c/d"),
        (
            {"MLFLOW_BACKEND_STORE_URI": "sqlite:////mlflow/own.db", "MLFLOW_DB_PASSWORD": "x"},
            "sqlite:////mlflow/own.db",
        ),
    ],
)
def test_where_the_records_are_kept(environ: dict[str, str], store: str) -> None:
    settings = read_settings(environ)

    assert settings.store == store
    assert settings.workers == (1 if store.startswith("sqlite") else 2)
    assert mlflow_environment(settings)["_MLFLOW_SERVER_FILE_STORE"] == store


def test_every_name_of_the_stack_is_allowed_with_any_port_and_others_are_added() -> None:
    told = mlflow_environment(read_settings({"MLFLOW_ALLOWED_HOSTS": "mlflow.example, mlflow.example:*,"}))

    allowed = told["MLFLOW_SERVER_ALLOWED_HOSTS"].split(",")
    for name in ("tracking_server", "mlflow", "localhost", "127.0.0.1", "mlflow.example"):
        assert {name, f"{name}:*"} <= set(allowed)
    assert "" not in allowed
    assert "*" not in allowed


@pytest.mark.parametrize("text", ["on", "ON", "true", "1", "yes"])
def test_the_login_is_switched_on_by_one_variable(text: str) -> None:
    assert login_wanted({"MLFLOW_LOGIN": text})


@pytest.mark.parametrize("text", ["off", "", "0", "no", "false"])
def test_the_login_is_off_otherwise(text: str) -> None:
    assert not login_wanted({"MLFLOW_LOGIN": text})


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({"MLFLOW_LOGIN": "maybe"}, "MLFLOW_LOGIN is 'maybe'; it must be on or off"),
        ({"MLFLOW_SERVER_WORKERS": "none"}, "MLFLOW_SERVER_WORKERS is 'none'; it must be a whole number"),
        ({"MLFLOW_SERVER_WORKERS": "0"}, "from 1 to 64"),
    ],
)
def test_a_variable_that_is_wrong_is_told(environ: dict[str, str], words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        read_settings(environ)


@pytest.mark.parametrize("missing", ["MLFLOW_AUTH_ADMIN_PASSWORD", "MLFLOW_FLASK_SERVER_SECRET_KEY"])
def test_a_login_needs_its_secrets(missing: str, capsys: pytest.CaptureFixture[str]) -> None:
    environ = {"MLFLOW_LOGIN": "on", "MLFLOW_AUTH_ADMIN_PASSWORD": "x", "MLFLOW_FLASK_SERVER_SECRET_KEY": "y"}
    del environ[missing]

    assert start.main(environ, become=lambda command, told: pytest.fail("it started")) == 2

    assert f"{missing} is not set" in capsys.readouterr().err


def test_mlflow_reads_the_database_of_users_with_any_password() -> None:
    settings = read_settings({"MLFLOW_BACKEND_STORE_URI": "postgresql://mlflow:p%40ss@postgres/mlflow"})
    parser = configparser.ConfigParser()

    parser.read_string(login_file(settings))

    assert parser["mlflow"]["database_uri"] == "postgresql+psycopg://mlflow:p%40ss@postgres/mlflow"
    assert parser["mlflow"]["default_permission"] == "READ"
    assert "p%40ss" in settings.store


def test_a_database_that_cannot_be_used_is_one_sentence_without_its_password(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(settings: object) -> None:
        raise RuntimeError("connection refused\nand more\nof it")

    environ = {"MLFLOW_BACKEND_STORE_URI": "postgresql://mlflow:secret@postgres/mlflow"}
    for name in (*mlflow_environment(read_settings({})), *environ):
        monkeypatch.setenv(name, "")  # put back afterwards
    monkeypatch.setattr(start, "prepare", fail)

    assert start.main(environ, become=lambda command, told: pytest.fail("it started")) == 1

    assert capsys.readouterr().err == (
        "MLflow cannot use postgresql+psycopg://mlflow:***@postgres/mlflow: connection refused\n"
    )


def test_it_becomes_the_server_when_all_is_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    became: list[tuple[list[str], dict[str, str]]] = []
    prepared: list[object] = []
    environ = {"MLFLOW_LOGIN": "on", "MLFLOW_AUTH_ADMIN_PASSWORD": "x", "MLFLOW_FLASK_SERVER_SECRET_KEY": "y"}
    for name in (*mlflow_environment(read_settings(environ)), *environ, "MLFLOW_AUTH_CONFIG_PATH"):
        monkeypatch.setenv(name, "")
    monkeypatch.setattr(start, "prepare", prepared.append)

    assert start.main(environ, become=lambda command, told: became.append((command, told))) == 0

    ((command, told),) = became
    assert len(prepared) == 1
    assert command[1:4] == ["-m", "uvicorn", "services.tracking_server.app:app"]
    assert command[command.index("--workers") + 1] == "1"
    assert told["_MLFLOW_SGI_NAME"] == "uvicorn"
    assert told["_MLFLOW_AUTH_ADMIN_BOOTSTRAPPED"] == "true"
    login = Path(told["MLFLOW_AUTH_CONFIG_PATH"])
    assert login.stat().st_mode & 0o077 == 0
    assert "database_uri = sqlite:////mlflow/basic_auth.db" in login.read_text()


class Told(http.server.BaseHTTPRequestHandler):
    status = 200

    def do_GET(self) -> None:
        self.send_response(self.status)
        self.end_headers()
        self.wfile.write(b"told")

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[http.server.ThreadingHTTPServer]:
    made = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Told)
    thread = threading.Thread(target=made.serve_forever)
    thread.start()
    yield made
    made.shutdown()
    thread.join()
    made.server_close()


@pytest.mark.parametrize(
    ("status", "problem"), [(200, ""), (401, ""), (500, "The tracking server says 500: told"), (403, "says 403")]
)
def test_healthy_is_who_answers_from_the_database(
    server: http.server.ThreadingHTTPServer, monkeypatch: pytest.MonkeyPatch, status: int, problem: str
) -> None:
    monkeypatch.setattr(Told, "status", status)
    said = alive.ask(server.server_address[1])
    assert said == problem or (problem and problem in said)


def test_a_server_that_does_not_answer_is_not_healthy() -> None:
    assert "does not answer" in alive.ask(1)
