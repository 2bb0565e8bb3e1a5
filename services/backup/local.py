"""The stack of one machine: a `REGATTA_HOME`, and the databases that the environment names in place of its files."""

from __future__ import annotations

import fcntl
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from services.backup.archive import Archive, BackupError, Manifest, extract
from services.backup.copying import PARTS, HomeCopy
from services.backup.databases import BOTH, MLFLOW, OPTUNA, Database, bring_back, dump, url_of, used
from services.local import service_table
from services.processes import Stack
from services.tracking_server.settings import shown
from services.tracking_server.stores import FILES

if TYPE_CHECKING:
    from sqlalchemy import URL

KIND = "local"
HOME = "home"
"""The folder of the home's files in an archive."""


def back_up(home: Path, folder: Path, environ: Mapping[str, str], say: Callable[[str], None]) -> Path:
    """Copies a home, and the databases beside it, into an archive; a sweep may be running.

    Args:
        home: `REGATTA_HOME`.
        folder: Where the archive goes.
        environ: Says where databases and artifacts are, if not in the home.
        say: Takes sentences.

    Returns:
        The archive.

    Raises:
        BackupError: There is nothing to copy, or a database cannot be reached.
    """
    urls = {database: url_of(database, environ) for database in BOTH}
    if not any(urls.values()) and not any((home / part).is_dir() for part in PARTS):
        raise BackupError(f"There is nothing to keep in {home}: no study, no training, no records of MLflow's.")
    with Archive(folder, KIND) as archive:
        copy = HomeCopy(home, archive, HOME)
        copy.copy_deliveries()
        for database, url in urls.items():
            if url is not None:
                with tempfile.TemporaryDirectory(prefix="regatta-backup-", dir=folder) as scratch:
                    dumped = Path(scratch, "dump")
                    if dump(database, url, dumped):
                        archive.add_file(database.file, dumped)
        archive.notes += [f"{name} was gone before it could be copied." for name in copy.copy_rest()]
        artifacts = environ.get(FILES)
        if artifacts:
            archive.notes.append(f"Artifacts are in {shown(artifacts)}, and not in this file; keep that, too.")
        for note in archive.notes:
            say(note)
    return archive.path


def restore(
    source: Path,
    manifest: Manifest,
    home: Path,
    environ: Mapping[str, str],
    *,
    force: bool,
    say: Callable[[str], None],
) -> None:
    """Brings a home and its databases back from an archive that was verified.

    What is in the way is kept aside, in a folder of the home, where `force` allows it; databases are replaced.

    Raises:
        BackupError: Something runs there, or something is there and `force` is not given.
    """
    nothing_runs(home, environ)
    urls = {database: _place_of(database, manifest, environ) for database in BOTH}
    full = [str(part) for part in occupied(home)]
    full += [f"the database of {database.variable}" for database, url in urls.items() if url and used(database, url)]
    if full and not force:
        raise BackupError(
            f"There is something already: {', '.join(full)}. Nothing was changed. FORCE=1 takes the copy instead, and "
            f"keeps the folders aside."
        )
    home.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".restoring-", dir=home) as scratch:
        extract(source, lambda name: Path(scratch, name))
        for database, url in urls.items():
            if url is not None:
                bring_back(url, Path(scratch, database.file))
        put_in_place(Path(scratch, HOME), home, say)


def occupied(home: Path) -> list[Path]:
    """Folders of a home that a copy would take the place of."""
    parts = [home / part for part in PARTS]
    return [part for part in parts if part.is_dir() and any(part.iterdir())]


def put_in_place(fresh: Path, home: Path, say: Callable[[str], None]) -> None:
    """Has the folders of a copy, which are on the home's disk already, be the home's; those before are kept aside."""
    there = occupied(home)
    aside = home / time.strftime("before-restore-%Y%m%d-%H%M%S")
    for part in there:
        aside.mkdir(exist_ok=True)
        part.rename(aside / part.name)
    for name in PARTS:
        if (fresh / name).is_dir():
            shutil.rmtree(home / name, ignore_errors=True)  # it is empty
            (fresh / name).rename(home / name)
    if there:
        say(f"What was there before is kept in {aside}")


def _place_of(database: Database, manifest: Manifest, environ: Mapping[str, str]) -> URL | None:
    """Where a database goes; None where it is a file of the home, or nowhere."""
    url, dumped = url_of(database, environ), database.file in manifest.files
    as_file = {MLFLOW: f"{HOME}/mlflow/mlflow.db", OPTUNA: f"{HOME}/studies"}[database]
    if dumped and url is None:
        raise BackupError(
            f"This copy has {database.name}'s tables from a PostgreSQL server. Set {database.variable} to the URL of "
            f"a database for them."
        )
    has_file = any(name.startswith(as_file) and name.endswith(".db") for name in manifest.files)
    if url is not None and not dumped and has_file:
        raise BackupError(
            f"This copy has {database.name}'s tables in SQLite files, which {database.variable} would have nobody look "
            f"at. Bring it back without that variable."
        )
    return url if dumped else None


def nothing_runs(home: Path, environ: Mapping[str, str]) -> None:
    """Makes sure that nobody uses a home.

    Raises:
        BackupError: A service or a sweep does.
    """
    stack = Stack(home, service_table(environ), environ, lambda _: None)
    running = [name for name in stack.services if (found := stack.read(name)) and found.process()]
    if running:
        raise BackupError(f"{' and '.join(running)} run in {home}. Stop them first: make down-local")
    for lock in (home / "studies").glob("*/lock"):
        with lock.open("a") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise BackupError(f"A sweep of study '{lock.parent.name}' runs in {home}. Stop it first.") from None
