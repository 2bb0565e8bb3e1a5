from __future__ import annotations

import stat
from itertools import count
from pathlib import Path

import pytest

from services import env_file


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / ".env"


def numbered() -> str:
    return f"made-{next(_numbers)}"


_numbers = count()


def test_the_first_time_every_secret_is_made(path: Path) -> None:
    made = env_file.complete(path)

    assert made == list(env_file.SECRETS)
    found = env_file.read(path)
    assert set(found) == set(env_file.SECRETS)
    assert all(len(value) == 48 for value in found.values())
    assert len(set(found.values())) == len(found)


def test_only_its_owner_reads_it(path: Path) -> None:
    env_file.complete(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600

    path.chmod(0o644)
    assert env_file.complete(path) == []
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_second_time_changes_nothing(path: Path) -> None:
    env_file.complete(path)
    before = path.read_text()

    assert env_file.complete(path) == []

    assert path.read_text() == before


def test_what_a_person_wrote_stays(path: Path) -> None:
    path.write_text(
        "# mine\nMLFLOW_PORT=5001\nPOSTGRES_PASSWORD='my own'\nexport MLFLOW_LOGIN=on\nMLFLOW_DB_PASSWORD=\n"
    )

    made = env_file.complete(path, numbered)

    assert "POSTGRES_PASSWORD" not in made
    assert "MLFLOW_DB_PASSWORD" in made
    assert path.read_text().startswith(
        "# mine\nMLFLOW_PORT=5001\nPOSTGRES_PASSWORD='my own'\nexport MLFLOW_LOGIN=on\n# of the user mlflow"
    )
    found = env_file.read(path)
    assert found["POSTGRES_PASSWORD"] == "my own"
    assert found["MLFLOW_LOGIN"] == "on"
    assert found["MLFLOW_DB_PASSWORD"].startswith("made-")
    assert path.read_text().count("MLFLOW_DB_PASSWORD=") == 1


def test_nothing_else_is_left_beside_it(path: Path) -> None:
    env_file.complete(path)
    assert [entry.name for entry in path.parent.iterdir()] == [".env"]


def test_a_file_that_is_not_there_holds_nothing(path: Path) -> None:
    assert env_file.read(path) == {}


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("A=1", "1"),
        ("  A = 1  ", "1"),
        ('A="a b"', "a b"),
        ("A='", "'"),
        ("A=", ""),
        ("A=b=c", "b=c"),
        ("#A=1", None),
        ("A", None),
        ("1A=1", None),
    ],
)
def test_a_line_is_read_as_compose_reads_it(path: Path, line: str, value: str | None) -> None:
    path.write_text(f"{line}\n")
    assert env_file.read(path).get("A") == value
