"""Brings a folder of files to nodes: through the object store, once a node, whole or not at all."""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_PIECE_BYTES = 32 << 20


@dataclass(frozen=True)
class Crate:
    """A file in pieces. `pieces` stand for its bytes, in order, by whatever means they are fetched."""

    name: str
    size: int
    sha256: str
    pieces: tuple[Any, ...]


@dataclass(frozen=True)
class Cargo:
    """A folder of files; its name tells its content."""

    name: str
    crates: tuple[Crate, ...]

    def to_plain(self) -> tuple[str, list[tuple[str, int, str, list[Any]]]]:
        """As plain types, for whoever has none of our classes yet."""
        return self.name, [(each.name, each.size, each.sha256, list(each.pieces)) for each in self.crates]

    @classmethod
    def from_plain(cls, told: tuple[str, list[tuple[str, int, str, list[Any]]]]) -> Cargo:
        """From such."""
        name, crates = told
        return cls(name, tuple(Crate(each, size, sha256, tuple(pieces)) for each, size, sha256, pieces in crates))


def load(folder: Path, put: Callable[[bytes], Any]) -> Cargo:
    """Packs the files of a folder, which may be larger than the memory."""
    return Cargo(folder.name, tuple(_packed(path, put) for path in sorted(folder.iterdir()) if path.is_file()))


def unload(cargo: Cargo, home: Path, fetch: Callable[[Any], bytes]) -> Path:
    """Lays the folder below `home/data`, unless it is there; several processes of a node may ask at once.

    Raises:
        OSError: It cannot be written, or what came is not what was sent.
    """
    base = home / "data"
    base.mkdir(parents=True, exist_ok=True)
    target = base / cargo.name
    with _alone(base / f".{cargo.name}.lock"):
        if target.is_dir():  # it was renamed to that in one step
            return target
        building = Path(tempfile.mkdtemp(prefix=".unloading-", dir=base))
        try:
            for crate in cargo.crates:
                _unpack(crate, building / crate.name, fetch)
            building.rename(target)
        finally:
            shutil.rmtree(building, ignore_errors=True)  # gone already where it was renamed
    return target


def _packed(path: Path, put: Callable[[bytes], Any]) -> Crate:
    digest, pieces = hashlib.sha256(), []
    with path.open("rb") as handle:
        while piece := handle.read(_PIECE_BYTES):
            digest.update(piece)
            pieces.append(put(piece))
    return Crate(path.name, path.stat().st_size, digest.hexdigest(), tuple(pieces))


def _unpack(crate: Crate, path: Path, fetch: Callable[[Any], bytes]) -> None:
    digest, size = hashlib.sha256(), 0
    with path.open("wb") as handle:
        for piece in crate.pieces:
            data = fetch(piece)
            digest.update(data)
            size += handle.write(data)
    if (size, digest.hexdigest()) != (crate.size, crate.sha256):
        raise OSError(f"{crate.name} has not arrived as it was sent: {size} bytes of {crate.size} came")


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    with path.open("a") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
