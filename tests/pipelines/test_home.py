from __future__ import annotations

import errno
import os
import sqlite3
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from pipelines.errors import HomeError
from pipelines.home import Home, StudyFolder, disk_trouble


def test_the_home_is_where_the_environment_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("REGATTA_HOME", str(tmp_path / "state"))
    assert Home.from_environment().root == tmp_path / "state"
    monkeypatch.chdir(tmp_path)
    for value in ("", None):
        monkeypatch.setenv("REGATTA_HOME", value) if value is not None else monkeypatch.delenv("REGATTA_HOME")
        assert Home.from_environment().root == tmp_path / ".regatta"


def test_an_attempt_has_a_folder_of_its_own(tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path)
    assert folder.trial(7, 1) != folder.trial(7, 2) != folder.trial(71, 2)


def test_an_unknown_study_names_those_that_are_there(tmp_path: Path) -> None:
    home = Home(tmp_path)
    with pytest.raises(HomeError, match="none yet"):
        home.known_study("digits")
    for age, name in enumerate(("old", "new")):
        facts = home.study(name).facts
        facts.parent.mkdir(parents=True)
        facts.write_text("{}")
        os.utime(facts, (age, age))
    assert home.studies() == ["new", "old"]
    assert home.known_study("old") == home.study("old")
    with pytest.raises(HomeError, match=r"no study 'digits'.*Studies here: new, old\."):
        home.known_study("digits")


HOLD = """
import sys
from pathlib import Path
from pipelines.home import StudyFolder
with StudyFolder(Path(sys.argv[1])).locked():
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_controller_is_kept_away_for_as_long_as_the_first_lives(tmp_path: Path, repository: Path) -> None:
    folder = StudyFolder(tmp_path / "digits")
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder.root)],
        cwd=repository, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with (
            pytest.raises(HomeError, match=f"'digits' is being run by process {holder.pid}. Wait for it or stop it.$"),
            folder.locked(),
        ):
            pytest.fail("the lock was given twice")
    finally:
        holder.kill()  # as a crash would
        holder.communicate()
    with folder.locked():
        assert (folder.root / "lock").read_text() == str(os.getpid())


def test_a_lock_is_free_after_an_error_inside_it(tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path / "digits")
    with pytest.raises(ZeroDivisionError), folder.locked():
        raise ZeroDivisionError
    with folder.locked():
        pass


def test_what_an_older_study_left_is_set_aside_whole(tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path / "digits")
    aside = []
    for content in ("one", "two"):
        with folder.locked():
            folder.facts.write_text(content)
            (folder.root / "trials").mkdir()
            aside.append(folder.set_aside())
    assert [(path / "study.json").read_text() for path in aside] == ["one", "two"]
    assert {path.name for path in folder.root.iterdir()} == {"lock", "earlier"}
    assert not folder.exists()


def test_a_home_that_cannot_be_written_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    folder = Home(tmp_path / "file").study("digits")
    with pytest.raises(HomeError, match=r"Cannot write to .*set REGATTA_HOME"), folder.locked():
        pytest.fail("there is no folder to lock")


def full(where: str | None = None) -> OSError:
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), where)


ELSEWHERE = "Set REGATTA_HOME to a folder that can be written."
FULL = "No space left on the disk of {}. What was recorded before is safe; make room and run the same command to go on."


@pytest.mark.parametrize(
    ("error", "storage", "told"),
    [
        (full(), None, FULL.format("/home")),
        (full("/elsewhere/file"), "sqlite:////db/optuna.db", FULL.format("/home")),
        (sqlite3.OperationalError("database or disk is full"), None, FULL.format("/home")),
        (
            sqlite3.OperationalError("database or disk is full"),
            "sqlite:////db/optuna.db",
            FULL.format("/db/optuna.db"),
        ),
        (
            PermissionError(errno.EACCES, "Permission denied", "/home/studies/digits/report.html"),
            None,
            f"Cannot write to /home/studies/digits/report.html: Permission denied. {ELSEWHERE}",
        ),
        (
            sqlite3.OperationalError("attempt to write a readonly database"),
            None,
            f"Cannot write to Optuna's storage /home: attempt to write a readonly database. {ELSEWHERE}",
        ),
        (PermissionError(errno.EACCES, "Permission denied", "/etc/shadow"), None, None),
        (FileNotFoundError(errno.ENOENT, "No such file or directory", "/home/x"), None, None),
        (ZeroDivisionError("ours"), None, None),
    ],
)
def test_what_a_disk_refuses_is_a_sentence_wherever_it_is_met(
    monkeypatch: pytest.MonkeyPatch, error: Exception, storage: str | None, told: str | None
) -> None:
    monkeypatch.delenv("REGATTA_STORAGE", raising=False)
    if storage is not None:
        monkeypatch.setenv("REGATTA_STORAGE", storage)
    wrapped = RuntimeError("a library's own")
    wrapped.__cause__ = error
    assert disk_trouble(error, Home(Path("/home"))) == told
    assert disk_trouble(wrapped, Home(Path("/home"))) == told


@pytest.mark.parametrize(
    ("free", "told"),
    [
        (4096, FULL),
        (1 << 30, "Cannot use Optuna's storage {}: disk I/O error. See whether its disk is in order."),
    ],
)
def test_what_sqlite_calls_an_error_of_the_disk_may_be_a_full_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, told: str
) -> None:
    monkeypatch.delenv("REGATTA_STORAGE", raising=False)
    monkeypatch.setattr("pipelines.home.shutil.disk_usage", lambda _: SimpleNamespace(free=free))
    error = sqlite3.OperationalError("disk I/O error")
    assert disk_trouble(error, Home(tmp_path)) == told.format(tmp_path)


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.ENOSPC, "Free some space or set REGATTA_HOME to a folder that can be written."),
        (errno.EROFS, ELSEWHERE),
        (errno.EACCES, ELSEWHERE),
    ],
)
def test_room_helps_a_full_disk_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, remedy: str) -> None:
    def mkdir(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "mkdir", mkdir)
    with pytest.raises(HomeError) as caught, Home(tmp_path).study("digits").locked():
        pytest.fail("there is no folder to lock")
    assert str(caught.value) == f"Cannot write to {tmp_path}/studies/digits: {os.strerror(number)}. {remedy}"
