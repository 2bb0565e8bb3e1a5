"""Where Regatta keeps its own state: one folder, `REGATTA_HOME`, and in it one folder a study."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from pipelines.errors import HomeError


@dataclass(frozen=True)
class StudyFolder:
    """The files of one study. Nothing here outlives the folder; MLflow holds what people look at."""

    root: Path

    @property
    def storage(self) -> Path:
        """Optuna's SQLite file, written by the controller alone."""
        return self.root / "optuna.db"

    @property
    def facts(self) -> Path:
        """What the study is: its recipe, its data, the parent run's name."""
        return self.root / "study.json"

    @property
    def journal(self) -> Path:
        """The append-only record that the sender ships to MLflow."""
        return self.root / "journal.jsonl"

    @property
    def logs(self) -> Path:
        """What the workers print."""
        return self.root / "logs"

    @property
    def report(self) -> Path:
        """The sweep's HTML report."""
        return self.root / "report.html"

    def trial(self, number: int, attempt: int) -> Path:
        """The files of one attempt at one trial."""
        return self.root / "trials" / f"{number:05d}-{attempt}"

    def states(self, number: int) -> Path:
        """The states that later attempts at one trial go on from."""
        return self.root / "states" / f"{number:05d}"

    def forget_states(self, number: int) -> None:
        """Removes the states of a trial that is over; most trials are over before they have any."""
        states = self.states(number)
        if states.exists():
            shutil.rmtree(states, ignore_errors=True)

    def exists(self) -> bool:
        """Whether a study was begun here."""
        return self.facts.exists()

    @contextmanager
    def locked(self, way_out: str = "") -> Iterator[None]:
        """Keeps a second controller away from this study for as long as this one lives, however it ends.

        Args:
            way_out: What else than to wait can be done where another holds it, as a clause; "" if nothing.

        Raises:
            HomeError: Another process holds the study, or the folder cannot be written.
        """
        with _writable(self.root):
            self.root.mkdir(parents=True, exist_ok=True)
            handle = (self.root / "lock").open("a+")
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                handle.seek(0)
                holder = handle.read().strip() or "unknown"
                raise HomeError(
                    f"Study '{self.root.name}' is being run by process {holder}. Wait for it or stop it"
                    f"{f'; {way_out}' if way_out else ''}."
                ) from None
            handle.seek(0)
            handle.truncate()
            handle.write(str(os.getpid()))
            handle.flush()
            yield
        finally:
            handle.close()

    def discard(self) -> None:
        """Removes what a study that could not begin has left; studies that were set aside before stay."""
        for entry in self.root.iterdir():
            if entry.name not in {"lock", "earlier"}:
                shutil.rmtree(entry, ignore_errors=True) if entry.is_dir() else entry.unlink(missing_ok=True)

    def bring_back(self, aside: Path) -> None:
        """Undoes `set_aside`, which returned this folder."""
        for entry in aside.iterdir():
            entry.rename(self.root / entry.name)
        aside.rmdir()

    def set_aside(self) -> Path:
        """Moves what an older study of this name left to a folder beside it, and returns that folder."""
        stamp = time.strftime("%Y%m%d-%H%M%S")
        target = self.root / "earlier" / stamp
        copy = 1
        while target.exists():
            copy += 1
            target = self.root / "earlier" / f"{stamp}-{copy}"
        with _writable(self.root):
            target.mkdir(parents=True)
            for entry in self.root.iterdir():
                if entry.name not in {"lock", "earlier"}:
                    entry.rename(target / entry.name)
        return target


@dataclass(frozen=True)
class Home:
    """The folder that `REGATTA_HOME` names, `.regatta` by default."""

    root: Path

    @classmethod
    def from_environment(cls) -> Home:
        """Reads `REGATTA_HOME`."""
        return cls(Path(os.environ.get("REGATTA_HOME") or ".regatta").absolute())

    @property
    def data(self) -> Path:
        """Prepared arrays, one folder a data set and split."""
        return self.root / "data"

    @property
    def lanes(self) -> Path:
        """What was measured of trainings in lanes, which the next sweep need not measure again."""
        return self.root / "lanes"

    def study(self, name: str) -> StudyFolder:
        """The folder of the study called `name`, whether or not it exists yet."""
        return StudyFolder(self.root / "studies" / name)

    def training(self, name: str) -> StudyFolder:
        """The folder of one training outside a study; it has a journal, logs and files as a study has."""
        return StudyFolder(self.root / "trainings" / name)

    def trainings(self) -> list[str]:
        """Names of the trainings outside studies, oldest first."""
        return sorted(path.parent.name for path in (self.root / "trainings").glob("*/journal.jsonl"))

    def studies(self) -> list[str]:
        """Names of the studies that were begun here, newest first."""
        found = [path for path in (self.root / "studies").glob("*/study.json") if path.is_file()]
        return [path.parent.name for path in sorted(found, key=lambda path: path.stat().st_mtime, reverse=True)]

    def known_study(self, name: str) -> StudyFolder:
        """The folder of a study that exists.

        Raises:
            HomeError: No study of that name was begun here.
        """
        folder = self.study(name)
        if not folder.exists():
            known = ", ".join(self.studies()) or "none yet"
            raise HomeError(f"There is no study '{name}' under {self.root}. Studies here: {known}.")
        return folder


def node_home() -> Path:
    """The folder in which a machine that trains for a controller elsewhere keeps what outlives a worker.

    `REGATTA_NODE_HOME` there, or one among its temporary files.
    """
    named = os.environ.get("REGATTA_NODE_HOME")
    if named:
        return Path(named).expanduser().absolute()
    return Path(tempfile.gettempdir()) / f"regatta-node-{os.getuid()}"


def user_data_folder() -> Path | None:
    """Where the user keeps data files: `REGATTA_DATA`, or None."""
    named = os.environ.get("REGATTA_DATA")
    return Path(named).expanduser().absolute() if named else None


def storage_of(folder: StudyFolder) -> Path | str:
    """Where Optuna keeps the study: `REGATTA_STORAGE`, the URL of a database, or an SQLite file in its folder."""
    return os.environ.get("REGATTA_STORAGE") or folder.storage


def disk_is_full(error: BaseException | None) -> bool:
    """Whether a full disk is at the bottom of an exception, through whatever libraries it came up."""
    return any(
        (isinstance(one, OSError) and one.errno in (errno.ENOSPC, errno.EDQUOT)) or _SQLITE_FULL in str(one)
        for one in _chain(error)
    )


def disk_trouble(error: BaseException, home: Home) -> str | None:
    """What is wrong with the disk, as a sentence, if that is what an exception comes of; else None.

    A file that cannot be used counts where it is one of Regatta's own, in `home` or Optuna's; others are whoever
    named them to look after.
    """
    if disk_is_full(error):
        return _full(_full_place(error, home))
    for one in _chain(error):
        if isinstance(one, OSError) and one.errno in _FORBIDDEN and one.filename:
            path = Path(os.fsdecode(one.filename)) if isinstance(one.filename, str | bytes) else home.root
            if path.is_relative_to(home.root):
                return _not_usable(path, one)
        if _SQLITE_UNABLE in str(one):  # which it also says of a disk that is full
            place = _sqlite_file(home)
            with suppress(OSError):
                if shutil.disk_usage(place).free < _LEAST_ROOM:
                    return _full(place)
            return f"Cannot use Optuna's storage {place}: {_SQLITE_UNABLE}. See whether its disk is in order."
        for words in _SQLITE_FORBIDDEN:
            if words in str(one):
                return f"Cannot write to Optuna's storage {_sqlite_file(home)}: {words}. {_ELSEWHERE}"
    return None


_FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}
_SQLITE_FULL = "disk is full"
_SQLITE_FORBIDDEN = ("attempt to write a readonly database", "unable to open database file")
_SQLITE_UNABLE = "disk I/O error"
_LEAST_ROOM = 256 << 10
"""Bytes. SQLite cannot even open a database with a write-ahead log where there is less than it maps into memory."""
_ELSEWHERE = "Set REGATTA_HOME to a folder that can be written."


def _full(place: str) -> str:
    return (
        f"No space left on the disk of {place}. What was recorded before is safe; make room and run the same command "
        f"to go on."
    )


def _full_place(error: BaseException, home: Home) -> str:
    """Which disk is full: SQLite names no file, and Optuna's may be on another disk than the home."""
    for one in _chain(error):
        if _SQLITE_FULL in str(one):
            return _sqlite_file(home)
    return str(home.root)


def _sqlite_file(home: Home) -> str:
    named = os.environ.get("REGATTA_STORAGE", "")
    return named.removeprefix("sqlite:///") if named.startswith("sqlite:///") else str(home.root)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:  # a chain may bite its own tail
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _not_usable(path: Path, error: OSError) -> str:
    remedy = _ELSEWHERE if error.errno in _FORBIDDEN else f"Free some space or s{_ELSEWHERE[1:]}"
    return f"Cannot write to {path}: {error.strerror or error}. {remedy}"


@contextmanager
def _writable(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise HomeError(_not_usable(folder, error)) from None
