"""Copies a `REGATTA_HOME`, also while a sweep writes in it. Run by itself, it writes a tar to standard output.

What came of an event is copied before what tells of the event, and what was noted about a delivery before what was
delivered. So no copy tells of a thing that it does not hold:

1. how far journals are delivered: MLflow's copy, made after it, has all of that;
2. states that trials go on from: what they have learnt by then, the journals, copied later, tell epoch by epoch;
3. the databases: what they say has happened, the journals say too;
4. other files: checkpoints, artifacts;
5. journals, up to their last whole line;
6. files that are new or other by now, and the journals again where one tells of a checkpoint that was missed.

What a restored journal tells and a restored MLflow lacks, is delivered when a sweep or `regatta sync` comes by.
"""

from __future__ import annotations

import json
import os
import sqlite3
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import closing
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath
from typing import IO

from services.backup.archive import Members

PARTS = ("studies", "trainings", "mlflow", "lanes")
"""The folders of a home that are kept; the others hold what can be made again, and what runs."""
_DELIVERIES, _JOURNAL, _STATES = "delivery-*.json", "journal.jsonl", "states"
_FLEETING = ("*.writing", "*.part", "*.tmp", "*-wal", "*-shm", "*-journal", "lock", "*.sock")
_ROUNDS = 5
_TAIL = 1 << 16


class HomeCopy:
    """A copy of one home that is being made."""

    def __init__(self, home: Path, into: Members, below: str = "") -> None:
        """Takes the home, where copies go, and the folder there that they are below."""
        self._home = home
        self._into = into
        self._below = below
        self._seen: dict[Path, tuple[int, int]] = {}

    def copy_deliveries(self) -> None:
        """The first step."""
        for path in self._files():
            if fnmatch(path.name, _DELIVERIES):
                self._into.add_file(self._name(path), path)

    def copy_rest(self) -> list[str]:
        """All further steps; MLflow's database is copied here where it is a file of the home.

        Returns:
            Names of checkpoints that a journal tells of and that could not be copied.
        """
        for path in self._files():
            if self._is_state(path):
                self._into.add_file(self._name(path), path)
        for path in self._files():
            if self._is_database(path):
                self._copy_database(path)
        self._copy_files()
        missed: set[str] = set()
        for _ in range(_ROUNDS):
            told = {name for path in self._files() if path.name == _JOURNAL for name in self._copy_journal(path)}
            self._copy_files()
            missed = told - set(self._into.files)
            if not missed:
                break
        return sorted(missed)

    def _files(self) -> Iterator[Path]:
        """All files that are kept; some of them may be gone by the time that somebody looks."""
        for part in PARTS:
            for folder, _, names in os.walk(self._home / part):
                for name in sorted(names):
                    path = Path(folder, name)
                    if not any(fnmatch(name, fleeting) for fleeting in _FLEETING) and not path.is_symlink():
                        yield path

    def _is_database(self, path: Path) -> bool:
        """Whether it is an SQLite file of Optuna's or of MLflow's, and no artifact with such a name."""
        return path.name == "optuna.db" or (path.parent == self._home / "mlflow" and path.suffix == ".db")

    def _is_state(self, path: Path) -> bool:
        """Whether a trial goes on from it; one that is newer than the journal has epochs that nobody tells of."""
        part, *folders = path.relative_to(self._home).parts
        return part != "mlflow" and _STATES in folders

    def _copy_files(self) -> None:
        """Those that have no step of their own, and were not copied as they are now."""
        for path in self._files():
            if path.name == _JOURNAL or fnmatch(path.name, _DELIVERIES):
                continue
            if self._is_database(path) or self._is_state(path):
                continue
            try:
                now = path.stat()
            except FileNotFoundError:
                continue
            mark = now.st_size, now.st_mtime_ns
            if self._seen.get(path) != mark and self._into.add_file(self._name(path), path):
                self._seen[path] = mark

    def _copy_journal(self, path: Path) -> set[str]:
        """Copies whole lines, and returns names of the checkpoints that they say are on this disk."""
        with path.open("rb") as journal:
            size = _whole_lines(journal)
            journal.seek(0)
            self._into.add_stream(self._name(path), journal, size, os.fstat(journal.fileno()).st_mtime)
            journal.seek(0)
            return {self._name(path.parent / kept) for kept in _checkpoints(journal, size)}

    def _copy_database(self, path: Path) -> None:
        """By SQLite's own way to copy a database that others write to."""
        with tempfile.TemporaryDirectory(prefix="regatta-backup-") as folder:
            copied = Path(folder, path.name)
            address = f"{path.absolute().as_uri()}?mode=ro"
            with closing(sqlite3.connect(address, uri=True)) as source, closing(sqlite3.connect(copied)) as target:
                source.backup(target)
                target.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # one file, which goes on with its write-ahead log
            self._into.add_file(self._name(path), copied)

    def _name(self, path: Path) -> str:
        return PurePosixPath(self._below, path.relative_to(self._home)).as_posix()


def _whole_lines(journal: IO[bytes]) -> int:
    """Bytes up to the end of the last line that is whole."""
    end = journal.seek(0, os.SEEK_END)
    while end:
        start = max(0, end - _TAIL)
        journal.seek(start)
        newline = journal.read(end - start).rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        end = start
    return 0


def _checkpoints(journal: IO[bytes], size: int) -> set[str]:
    """Paths of the checkpoints that a journal says are kept beside it."""
    kept: dict[str, str] = {}
    read = 0
    for line in journal:
        read += len(line)
        if read > size:
            break
        if line.startswith((b'{"kind":"checkpoint"', b'{"kind":"dropped"')):
            entry = json.loads(line)
            if entry["kind"] == "dropped":
                kept.pop(entry["sha256"], None)
            elif not entry.get("delivered"):
                kept[entry["sha256"]] = entry["path"]
    return set(kept.values())


def main(arguments: list[str]) -> int:
    """`python -m services.backup.copying deliveries|rest HOME`: a tar of that step on standard output."""
    step, home = arguments
    with tarfile.open(fileobj=sys.stdout.buffer, mode="w|", format=tarfile.PAX_FORMAT) as tar:
        members = Members(tar)
        copy = HomeCopy(Path(home), members)
        if step == "deliveries":
            copy.copy_deliveries()
        else:
            for name in copy.copy_rest():
                print(name, file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
