"""Which packages are installed, and which lock file they come from."""

from __future__ import annotations

import hashlib
import importlib.metadata
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

INSTALLED = "installed packages"
_LOCKS = "requirements"
_BUILDS_OF_TENSORFLOW = ("tensorflow", "tensorflow-cpu", "tensorflow-macos", "tensorflow-intel")


@dataclass(frozen=True)
class Packages:
    """The environment that a sweep runs in.

    Attributes:
        lock: The lock file that it was made from, relative to the repository; `installed packages` where it was made
            otherwise, or the lock has changed since.
        lock_sha256: Digest of that file, or of the sorted lines `name==version`.
        versions: Of every installed package, by its name in small letters with hyphens.
    """

    lock: str
    lock_sha256: str
    versions: Mapping[str, str]

    @property
    def tensorflow(self) -> str | None:
        """TensorFlow's version, whichever of its builds it is."""
        return next((self.versions[name] for name in _BUILDS_OF_TENSORFLOW if name in self.versions), None)


def installed(root: Path, *, prefix: Path | None = None, path: list[str] | None = None) -> Packages:
    """The packages of this Python.

    Args:
        root: Of Regatta's repository, which holds the locks.
        prefix: Of the environment; this one's where left out.
        path: Folders that packages are in; `sys.path` where left out.
    """
    versions = _versions(sys.path if path is None else path)
    lock = _lock(root, Path(sys.prefix) if prefix is None else prefix)
    if lock is not None:
        return Packages(lock.relative_to(root).as_posix(), hashlib.sha256(lock.read_bytes()).hexdigest(), versions)
    lines = "".join(f"{name}=={version}\n" for name, version in versions.items())
    return Packages(INSTALLED, hashlib.sha256(lines.encode()).hexdigest(), versions)


def _lock(root: Path, prefix: Path) -> Path | None:
    """The lock that the environment's stamp (`requirements/install.py` sets it) says it was made from."""
    for stamp in sorted(prefix.glob(".runtime-*")):
        lock = root / _LOCKS / f"{stamp.name.removeprefix('.runtime-')}.txt"
        if lock.is_file() and lock.stat().st_mtime <= stamp.stat().st_mtime:  # a newer one was not installed yet
            return lock
    return None


def _versions(path: list[str]) -> dict[str, str]:
    """Names and versions, sorted by name."""
    found: dict[str, str] = {}
    for package in importlib.metadata.distributions(path=path):
        try:  # a folder that an interrupted installation left has no metadata
            name: str | None = package.metadata["Name"]
        except FileNotFoundError:  # which later versions of this library, also its backport, take for an error
            continue
        if name:
            # of two, the first in the path is the one that is imported
            found.setdefault(re.sub(r"[-_.]+", "-", name).lower(), package.version)
    return dict(sorted(found.items()))
