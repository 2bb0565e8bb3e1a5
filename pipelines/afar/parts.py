"""Files in parts: small enough that whoever talks beside them is not kept waiting, and whole or not there at all."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from pipelines.afar.words import FilePart

PART_BYTES = 1 << 20
_WORTH_PACKING = 64 << 10
_GAIN = 0.9


def cut(path: Path, name: str, trial: int, attempt: int) -> Iterator[FilePart]:
    """The parts of a file, in order; an empty file is one part.

    Raises:
        OSError: It cannot be read.
    """
    size = path.stat().st_size
    with path.open("rb") as handle:
        offset = 0
        while True:
            data = handle.read(PART_BYTES)
            last = offset + len(data) >= size or not data
            packed = zlib.compress(data, 1) if len(data) >= _WORTH_PACKING else data
            worth = len(packed) < _GAIN * len(data)
            yield FilePart(trial, attempt, name, offset, packed if worth else data, worth, last)
            offset += len(data)
            if last:
                return


class Arrivals:
    """Files on their way here. One is at its place when its last part has come, and not before."""

    def __init__(self, root: Path) -> None:
        """Takes the folder below which names stand for files."""
        self._root = root

    def take(self, part: FilePart) -> Path | None:
        """Takes a part; returns the file when it is whole with it. A part out of order is no part of anything.

        Raises:
            OSError: The disk is full or gone.
        """
        path = self._root / part.name
        beside = path.with_name(f".writing-{path.name}")
        if part.offset == 0:
            path.parent.mkdir(parents=True, exist_ok=True)
        elif not beside.is_file() or beside.stat().st_size != part.offset:
            return None
        with beside.open("wb" if part.offset == 0 else "ab") as handle:
            handle.write(zlib.decompress(part.data) if part.packed else part.data)
        if not part.last:
            return None
        beside.replace(path)
        return path

    def forget(self, folder: str) -> None:
        """Removes what of an attempt's folder is not whole, as the rest will not come."""
        for path in (self._root / folder).rglob(".writing-*"):
            with suppress(OSError):
                path.unlink()
