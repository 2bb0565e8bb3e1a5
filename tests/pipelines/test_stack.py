from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from pipelines import stack
from pipelines.errors import ServiceError


def answer(monkeypatch: pytest.MonkeyPatch, code: int, out: str = "", err: str = "") -> list[list[str]]:
    """Has the services answer so, and returns the list of commands they will get."""
    commands: list[list[str]] = []

    def run(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        commands.append(command)
        return subprocess.CompletedProcess(command, code, out, err)

    monkeypatch.setattr(subprocess, "run", run)
    return commands


def test_a_server_that_the_environment_names_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    commands = answer(monkeypatch, 1)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://elsewhere:5000")
    assert stack.tracking_server(wait=True) == "http://elsewhere:5000"
    assert commands == []


@pytest.mark.parametrize(("wait", "flags"), [(True, []), (False, ["--no-wait"])])
def test_the_local_server_is_started_and_waited_for_only_where_asked(
    monkeypatch: pytest.MonkeyPatch, wait: bool, flags: list[str]
) -> None:
    shown = {"services": {"tracking_server": {"address": "http://127.0.0.1:5000"}}}
    commands = answer(monkeypatch, 0, json.dumps(shown))
    assert stack.tracking_server(wait=wait) == "http://127.0.0.1:5000"
    assert commands[0][2:] == ["services.local", "up", "tracking_server", "--json", *flags]


@pytest.mark.parametrize(
    ("err", "words"), [("port 5000 is taken\n", "port 5000 is taken"), ("", "could not be started")]
)
def test_a_server_that_cannot_start_is_an_error_with_its_words(
    monkeypatch: pytest.MonkeyPatch, err: str, words: str
) -> None:
    answer(monkeypatch, 2, err=err)
    with pytest.raises(ServiceError, match=words):
        stack.tracking_server(wait=True)


def test_a_server_that_something_is_in_the_way_of_may_not_be_the_one_that_was_meant(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("REGATTA_HOME", raising=False)
    answer(monkeypatch, 2, err="port 5000 is taken.\n")

    with pytest.raises(ServiceError) as caught:
        stack.tracking_server(wait=True)

    told = str(caught.value)
    assert told.startswith(f"port 5000 is taken. It would be the server of {tmp_path}/.regatta.")
    assert "set REGATTA_HOME" in told
    assert "MLFLOW_TRACKING_URI=http" in told


def test_a_server_that_dies_is_told_in_its_own_words_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    answer(monkeypatch, 1, err="tracking_server ended at once; see its log.\n")

    with pytest.raises(ServiceError, match=r"^tracking_server ended at once; see its log\.$"):
        stack.tracking_server(wait=True)


@pytest.mark.parametrize("line", ["MLFLOW_ADMIN_PASSWORD=secret", 'MLFLOW_ADMIN_PASSWORD="secret"'])
def test_a_server_with_a_login_is_shown_the_password_of_its_settings(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, line: str
) -> None:
    told = {"address": "http://127.0.0.1:5000", "settings": str(tmp_path / ".env")}
    (tmp_path / ".env").write_text(f"A=1\n{line}\n")
    answer(monkeypatch, 0, json.dumps({"services": {"tracking_server": told}}))
    forget_who_asks(monkeypatch)

    assert stack.tracking_server(wait=True) == "http://127.0.0.1:5000"

    assert os.environ["MLFLOW_TRACKING_USERNAME"] == "admin"
    assert os.environ["MLFLOW_TRACKING_PASSWORD"] == "secret"


def test_who_the_environment_names_is_who_asks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    told = {"address": "http://127.0.0.1:5000", "settings": str(tmp_path / ".env")}
    (tmp_path / ".env").write_text("MLFLOW_ADMIN_PASSWORD=secret\n")
    answer(monkeypatch, 0, json.dumps({"services": {"tracking_server": told}}))
    forget_who_asks(monkeypatch)
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "somebody")

    stack.tracking_server(wait=True)

    assert os.environ["MLFLOW_TRACKING_USERNAME"] == "somebody"
    assert "MLFLOW_TRACKING_PASSWORD" not in os.environ


def test_settings_that_cannot_be_read_name_nobody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    told = {"address": "http://127.0.0.1:5000", "settings": str(tmp_path / "gone")}
    answer(monkeypatch, 0, json.dumps({"services": {"tracking_server": told}}))
    forget_who_asks(monkeypatch)

    assert stack.tracking_server(wait=True) == "http://127.0.0.1:5000"

    assert "MLFLOW_TRACKING_USERNAME" not in os.environ


def forget_who_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is named, and what is set meanwhile is put back."""
    for name in ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


def begun(monkeypatch: pytest.MonkeyPatch, **told: Any) -> bool:
    """Whether the local server, told of so, counts as on its way."""
    told = {"address": "http://127.0.0.1:5000", **told}
    answer(monkeypatch, 0, json.dumps({"services": {"tracking_server": told}}))
    address, on_its_way = stack.begin_tracking_server()
    assert address == "http://127.0.0.1:5000"
    return on_its_way()


def test_a_local_server_is_on_its_way_while_its_process_is_young_and_says_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stack, "_START_S", 1e9)
    mine = os.getpid()
    assert begun(monkeypatch, state="not answering", pid=mine)
    assert not begun(monkeypatch, state="running", pid=mine)
    assert not begun(monkeypatch, state="running in a container", pid=None)
    assert not begun(monkeypatch, state="not answering", pid=2**22 + 1)  # more than Linux gives
    monkeypatch.setattr(stack, "_START_S", 0.0)
    assert not begun(monkeypatch, state="not answering", pid=mine)


def test_a_server_that_the_environment_names_is_not_ours_to_wait_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://elsewhere:5000")
    address, on_its_way = stack.begin_tracking_server()
    assert (address, on_its_way()) == ("http://elsewhere:5000", False)
