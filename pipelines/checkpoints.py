"""Files that are whole or absent: written beside, synced, renamed, and known by their digest."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path


def write_whole(path: Path, write: Callable[[Path], object]) -> str:
    """Has `write` make a file, moves it to `path` in one step, and returns its SHA-256.

    A process that dies on the way leaves what was at `path` before. `write` gets a path with the same ending, as Keras
    tells formats by it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".writing-{os.getpid()}-{path.name}")
    try:
        write(beside)
        with beside.open("rb+") as handle:
            os.fsync(handle.fileno())
        digest = sha256_of(beside)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
    return digest


def sha256_of(path: Path) -> str:
    """Digest of a file's bytes, in hexadecimal."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
