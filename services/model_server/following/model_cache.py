"""Model versions on disk, by content: what was once verified can be served again without the registry.

    blobs/<sha256 of manifest.json>/...      packages; a folder appears whole or not at all
    versions/<name>/<version>.json           which blob a registered version is
    aliases/<name>/<alias>.json              which version an alias named, and when the registry last said so
    incoming/                                downloads under way; swept at start
    locks/                                   who downloads a version of which model now

Several servers may share one cache: every change is a rename.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from services.model_server.errors import PackageRejected
from services.model_server.package import MANIFEST, named_files, verify
from services.model_server.settings import ANY_MODEL, Ref

_OLD_DOWNLOAD_S = 24 * 3600.0
# How often a package is moved to its place while other servers bring, lose and remove the same one.
_TRIES = 5


@dataclass(frozen=True)
class Target:
    """A model version as the registry knows it.

    `created_ms` is part of its identity: a registry that was wiped gives version 1 again, with other content.
    `champion_since` is no part of it: an ISO time, or "" if it is none or the registry does not say.
    """

    name: str
    version: str
    run_id: str
    source: str
    created_ms: int
    champion_since: str = field(default="", compare=False, kw_only=True)


@dataclass(frozen=True)
class Stored(Target):
    """A verified version on disk: `digest` is the sha256 of its manifest, `folder` holds its named files."""

    digest: str
    folder: Path


class ModelCache:
    """The folder MODEL_SERVER_CACHE. Knows no registry."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @contextlib.contextmanager
    def locked(self, target: Target) -> Iterator[None]:
        """Keeps other processes from the versions of a model until the block ends, or this process does.

        Without a lock the block is run as well: what two bring is the same, and what is here can be served from a disk
        that is full or read-only.
        """
        with contextlib.ExitStack() as held:
            with contextlib.suppress(OSError):
                folder = self.root / "locks"
                folder.mkdir(parents=True, exist_ok=True)
                file = held.enter_context((folder / _safe(target.name)).open("ab"))
                fcntl.flock(file, fcntl.LOCK_EX)  # which a network disk may not have
            yield

    def incoming(self) -> Path:
        """Makes an empty folder to download into, on the same disk as the blobs."""
        folder = self.root / "incoming"
        folder.mkdir(parents=True, exist_ok=True)
        for left, changed in _by_age(folder):
            if time.time() - changed > _OLD_DOWNLOAD_S:
                shutil.rmtree(left, ignore_errors=True)
        return Path(tempfile.mkdtemp(dir=folder))

    def adopt(self, target: Target, download: Path) -> Stored:
        """Verifies a download and moves its named files into the cache. The download is gone afterwards.

        Raises:
            PackageRejected: the download is incomplete or damaged.
        """
        try:
            digest = verify(download)
            blob = self._blob(digest)
            stored = Stored(**asdict(target), digest=digest, folder=blob)
            if not self._is_whole(stored):  # not here yet, or damaged since another version brought it
                clean = self.incoming()
                for name in (*named_files(download), MANIFEST):
                    (clean / name).parent.mkdir(parents=True, exist_ok=True)
                    (download / name).replace(clean / name)
                clean.chmod(0o755)  # mkdtemp makes it private; another user's server may share the cache
                self._put(clean, stored)
            self._write(self._version_file(target.name, target.version), _facts(stored))
            return stored
        finally:
            shutil.rmtree(download, ignore_errors=True)

    def find(self, target: Target) -> Stored | None:
        """Returns the version if it is here whole and is the one meant. A damaged copy is thrown away."""
        stored = self._read_version(target.name, target.version)
        names = [part.name for part in fields(Target) if part.compare]
        if stored is None or any(getattr(stored, name) != getattr(target, name) for name in names):
            return None
        return stored if self._is_whole(stored) else None

    def confirm(self, ref: Ref, target: Target, when: float) -> None:
        """Notes that the registry said at Unix time `when` that an alias names this version."""
        if ref.alias:
            self._write(self._alias_file(ref), {"version": target.version, "confirmed_at": when})

    def forget(self, ref: Ref) -> None:
        """Notes that the registry has no such alias any more."""
        if ref.alias:
            self._alias_file(ref).unlink(missing_ok=True)

    def last_known(self, ref: Ref) -> tuple[Stored, float] | None:
        """Returns what a ref named when the registry was last heard, and that Unix time; None if it is not here."""
        version, when = ref.version, 0.0
        if ref.alias:
            facts = _read(self._alias_file(ref))
            if facts is None:
                return None
            version, when = str(facts.get("version")), float(facts.get("confirmed_at", 0.0))
        stored = self._read_version(ref.name, str(version))
        if stored is None or not self._is_whole(stored):
            return None
        if not ref.alias:
            when = self._version_file(ref.name, str(version)).stat().st_mtime
        return stored, when

    def known_refs(self, ref: Ref) -> list[Ref]:
        """Returns the ref itself, or for `*` every cached model that had the alias."""
        if ref.name != ANY_MODEL:
            return [ref]
        names = sorted(path.parent.name for path in self.root.glob(f"aliases/*/{_safe(ref.alias or '')}.json"))
        return [Ref(unquote(name), ref.alias) for name in names]

    def prune(self, in_use: set[str], keep: int = 8) -> None:
        """Removes old blobs: all that are not `in_use`, not behind an alias and not among the newest `keep`."""
        blobs = [path for path, _ in reversed(_by_age(self.root / "blobs"))]
        needed = set(in_use)
        for path in self.root.glob("aliases/*/*.json"):
            facts = _read(path) or {}
            stored = self._read_version(unquote(path.parent.name), str(facts.get("version")))
            if stored is not None:
                needed.add(stored.digest)
        for blob in blobs[keep:]:
            if blob.name not in needed:
                self._discard(blob)

    def _put(self, clean: Path, stored: Stored) -> None:
        """Moves a verified folder to its place; where another server was first, its equal content stays."""
        stored.folder.parent.mkdir(parents=True, exist_ok=True)
        for tries_left in reversed(range(_TRIES)):
            try:
                clean.replace(stored.folder)
                return
            except OSError:
                if self._is_whole(stored):
                    shutil.rmtree(clean, ignore_errors=True)
                    return
                if not tries_left:
                    raise

    def _is_whole(self, stored: Stored) -> bool:
        if not stored.folder.exists():
            return False
        try:
            if verify(stored.folder) == stored.digest:
                return True
        except (PackageRejected, OSError):
            pass
        self._discard(stored.folder)
        return False

    def _discard(self, blob: Path) -> None:
        """Removes a blob at once for all servers: none may read half of it."""
        try:
            aside = self.incoming()
        except OSError:  # a disk so full that it takes no folder
            shutil.rmtree(blob, ignore_errors=True)
            return
        with contextlib.suppress(OSError):  # another server was faster
            blob.replace(aside / blob.name)
        shutil.rmtree(aside, ignore_errors=True)

    def _read_version(self, name: str, version: str) -> Stored | None:
        facts = _read(self._version_file(name, version))
        try:
            return None if facts is None else Stored(**facts, folder=self._blob(facts["digest"]))
        except (TypeError, KeyError):
            return None  # written by another release of this server

    def _blob(self, digest: str) -> Path:
        return self.root / "blobs" / digest

    def _version_file(self, name: str, version: str) -> Path:
        return self.root / "versions" / _safe(name) / f"{_safe(version)}.json"

    def _alias_file(self, ref: Ref) -> Path:
        return self.root / "aliases" / _safe(ref.name) / f"{_safe(ref.alias or '')}.json"

    def _write(self, path: Path, facts: dict[str, Any]) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
        try:
            with os.fdopen(handle, "w") as file:
                json.dump(facts, file)
            Path(temporary).replace(path)
        except OSError:  # a full disk; nothing half written may stay to fill it further
            Path(temporary).unlink(missing_ok=True)
            raise


def _facts(stored: Stored) -> dict[str, Any]:
    facts = asdict(stored)
    del facts["folder"]  # the cache may be moved or mounted elsewhere
    del facts["champion_since"]  # who starts without the registry cannot know whether it still is
    return facts


def _by_age(folder: Path) -> list[tuple[Path, float]]:
    """Returns what is in a folder with the Unix time of its last change, oldest first. Others may remove it."""
    found = []
    for path in folder.glob("*"):
        with contextlib.suppress(FileNotFoundError):
            found.append((path, path.stat().st_mtime))
    return sorted(found, key=lambda entry: entry[1])


def _read(path: Path) -> dict[str, Any] | None:
    try:
        facts = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return facts if isinstance(facts, dict) else None


def _safe(name: str) -> str:
    # A registered name is any text; dots stay readable but must not climb out of the folder.
    return quote(name, safe="").replace(".", "%2E")
