from __future__ import annotations

import ast
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from services import compose, env_file, started_stack
from services.compose import ComposeError

DOCKER = """#!{python}
import json, os, sys
words = sys.argv[1:]
with open(os.environ["FAKE_LOG"], "a") as log:
    told = {{key: os.environ.get(key) for key in ("COMPOSE_PROFILES", "REGATTA_VERSION")}}
    log.write(json.dumps([words, told]) + "\\n")
answers = json.loads(os.environ["FAKE_ANSWERS"])
for start, (code, out) in answers.items():
    if " ".join(words).startswith(start):
        print(out)
        sys.exit(code)
"""
HEALTHY = {"Name": "/s-1", "RestartCount": 0, "State": {"Status": "running", "Health": {"Status": "healthy"}}}
ENDED = {"Name": "/s-1", "RestartCount": 0, "State": {"Status": "exited", "ExitCode": 3}}


class Fake:
    """A `docker` that answers by rote, and remembers what it was asked."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._log, self._patch = folder / "log", monkeypatch
        program = folder / "docker"
        program.write_text(DOCKER.format(python=sys.executable))
        program.chmod(0o755)
        monkeypatch.setenv("PATH", str(folder))
        monkeypatch.setenv("FAKE_LOG", str(self._log))
        self.answer()

    def answer(self, **answers: tuple[int, str]) -> None:
        said = {words.replace("_", " "): answer for words, answer in answers.items()}
        self._patch.setenv("FAKE_ANSWERS", json.dumps(said))

    @property
    def asked(self) -> list[tuple[list[str], dict[str, str | None]]]:
        return [tuple(json.loads(line)) for line in self._log.read_text().splitlines()]


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository of which nothing but a few files is there."""
    root = tmp_path / "Some Clone"
    (root / "requirements").mkdir(parents=True)
    (root / "requirements" / "cpu.txt").write_text("numpy==2\n")
    (root / "requirements" / "gpu.txt").write_text("numpy==2\ncuda==1\n")
    (root / "pyproject.toml").write_text('[project]\nname = "regatta"\nversion = "1.2.3"\n')
    monkeypatch.setattr(compose, "ROOT", root)
    monkeypatch.setattr(compose, "ENV_FILE", root / ".env")
    for name in ("COMPOSE_PROJECT_NAME", "BIND_ADDRESS", "MLFLOW_LOGIN", "MODEL_SERVER_PORT"):
        monkeypatch.delenv(name, raising=False)
    return root


@pytest.fixture
def docker(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fake:
    folder = tmp_path / "bin"
    folder.mkdir()
    return Fake(folder, monkeypatch)


def inspected(*states: dict[str, Any]) -> tuple[int, str]:
    return 0, json.dumps(states)


def test_up_makes_secrets_starts_waits_and_notes_where_the_stack_is(
    docker: Fake, root: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    docker.answer(volume_inspect=(1, ""), compose_ps=(0, "abc"), inspect=inspected(HEALTHY))

    assert compose.main(["up", "--", "--quiet-pull"]) == 0

    assert set(env_file.SECRETS) <= set(env_file.read(root / ".env"))
    started = [words for words, _ in docker.asked if words[:2] == ["compose", "up"]]
    assert started == [["compose", "up", "--build", "--detach", "--quiet-pull"]]
    assert capfd.readouterr().out == "MLflow: http://127.0.0.1:5000\nmodel server: http://127.0.0.1:8080\n"
    noted = started_stack.noted(Path(os.environ["REGATTA_HOME"]))
    assert noted is not None
    assert (noted.tracking_server, noted.login) == ("http://127.0.0.1:5000", False)


def test_up_leaves_images_as_they_are_where_it_is_told_so(docker: Fake, root: Path) -> None:
    docker.answer(volume_inspect=(1, ""), compose_ps=(0, "abc"), inspect=inspected(HEALTHY))

    assert compose.main(["up", "postgres", "--", "--no-build"]) == 0

    assert ["compose", "up", "--detach", "--no-build", "postgres"] in [words for words, _ in docker.asked]
    assert started_stack.noted(Path(os.environ["REGATTA_HOME"])) is None  # it is not MLflow that was started


def test_settings_of_the_env_file_are_those_of_the_stack(docker: Fake, root: Path) -> None:
    env_file.complete(root / ".env")
    with (root / ".env").open("a") as file:
        file.write("MLFLOW_PORT=5005\nMLFLOW_LOGIN=on\nBIND_ADDRESS=0.0.0.0\n")
    docker.answer(compose_ps=(0, "abc"), inspect=inspected(HEALTHY))

    assert compose.main(["up"]) == 0

    noted = started_stack.noted(Path(os.environ["REGATTA_HOME"]))
    assert noted == started_stack.StartedStack(
        "http://127.0.0.1:5005", "http://127.0.0.1:8080", True, str(root / ".env")
    )


def test_a_container_that_ends_is_told_with_its_log(
    docker: Fake, root: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    docker.answer(
        volume_inspect=(1, ""), compose_ps=(0, "abc"), inspect=inspected(ENDED), compose_logs=(0, "its last words")
    )

    assert compose.main(["up"]) == 1

    assert "s-1 has ended with exit code 3." in capfd.readouterr().err
    assert any(words[:2] == ["compose", "logs"] for words, _ in docker.asked)
    assert started_stack.noted(Path(os.environ["REGATTA_HOME"])) is None


def test_passwords_that_a_database_keeps_are_not_made_anew(
    docker: Fake, root: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    docker.answer(volume_inspect=(0, "[]"))

    assert compose.main(["up"]) == 2

    assert "docker volume rm someclone_postgres" in capfd.readouterr().err
    assert not (root / ".env").exists()


def test_down_takes_every_profile_with_it_and_forgets_the_stack(docker: Fake, root: Path) -> None:
    home = Path(os.environ["REGATTA_HOME"])
    started_stack.note(home, started_stack.StartedStack("http://127.0.0.1:1", "http://127.0.0.1:2", False, ".env"))

    assert compose.main(["down", "--", "--volumes"]) == 0

    words, environ = docker.asked[-1]
    assert words == ["compose", "down", "--remove-orphans", "--volumes"]
    assert environ["COMPOSE_PROFILES"] == "sweep,dashboard,monitoring"
    assert started_stack.noted(home) is None


def test_images_are_told_what_they_are_made_of(root: Path) -> None:
    told = compose.build_arguments(root)

    assert told["REGATTA_VERSION"] == "1.2.3"
    assert told["REGATTA_LOCK_SHA256"] == hashlib.sha256(b"numpy==2\n").hexdigest()
    assert told["REGATTA_LOCK_SHA256"] != told["REGATTA_GPU_LOCK_SHA256"]


def test_build_makes_images_of_profiles_too(docker: Fake, root: Path) -> None:
    docker.answer(volume_inspect=(1, ""))

    assert compose.main(["build", "sweep"]) == 0

    words, environ = docker.asked[-1]
    assert words == ["compose", "build", "sweep"]
    assert environ["REGATTA_VERSION"] == "1.2.3"


def test_a_machine_without_docker_gets_one_sentence(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert compose.main(["up"]) == 2
    assert "Install Docker, or use `make up-local`" in capfd.readouterr().err


def test_an_engine_that_does_not_answer_is_told(docker: Fake, capfd: pytest.CaptureFixture[str]) -> None:
    docker.answer(info=(1, ""))
    assert compose.main(["up"]) == 2
    assert "Docker's engine cannot be used: it does not answer." in capfd.readouterr().err


def test_the_older_compose_will_do(docker: Fake, root: Path, tmp_path: Path) -> None:
    docker.answer(compose_version=(1, ""))
    with pytest.raises(ComposeError, match="neither `docker compose` nor `docker-compose`"):
        compose.compose_command()
    older = tmp_path / "bin" / "docker-compose"
    older.write_text("#!/bin/sh\n")
    older.chmod(0o755)
    assert compose.compose_command() == [str(older)]


@pytest.mark.parametrize(
    ("told", "waiting"),
    [
        (HEALTHY, []),
        ({"State": {"Status": "running"}}, []),
        ({"State": {"Status": "running", "Health": {"Status": "starting"}}}, ["s"]),
        ({"State": {"Status": "running", "Health": {"Status": "unhealthy"}}}, ["s"]),
        ({"State": {"Status": "created"}}, ["s"]),
        ({"State": {"Status": "restarting"}, "RestartCount": 1}, ["s"]),
    ],
)
def test_what_is_waited_for(told: dict[str, Any], waiting: list[str]) -> None:
    assert compose.unhealthy({"s": told}) == waiting


def test_a_container_that_ends_again_and_again_is_not_waited_for() -> None:
    with pytest.raises(ComposeError, match="s ends as often as it is started, with exit code 2"):
        compose.unhealthy({"s": {"State": {"Status": "restarting", "ExitCode": 2}, "RestartCount": 3}})


@pytest.mark.parametrize("module", [compose, env_file, started_stack], ids=lambda module: module.__name__)
def test_it_is_written_for_older_pythons_than_regatta_is(module: ModuleType) -> None:
    ast.parse(Path(str(module.__file__)).read_text(encoding="utf-8"), feature_version=(3, 9))


def test_any_python_runs_it_without_an_environment(repository: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", "import sys; sys.path.insert(0, '.'); import services.compose"],
        cwd=repository,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
