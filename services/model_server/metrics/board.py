"""Numbers of one process that others can read, and that outlive it: named places in a file mapped into memory.

A worker counts by adding to a place, which costs no system call. Its siblings read the file when somebody asks for the
metrics, and the process that takes a dead worker's place goes on with its numbers.
"""

from __future__ import annotations

import json
import mmap
from collections import deque
from collections.abc import Iterator
from pathlib import Path

_CELLS = 2**20
_CELL = 8
# Places at the start with a meaning of their own.
PID, BEAT, ACCEPTING, READY, TAKEN = range(5)
_FIRST = 16
# Where counting goes on, unread, if every place is taken: some thousand swaps of models without a restart.
_SPILL = 256

Key = tuple[str, ...]


class Cells:
    """A run of numbers in memory: an own one, or a place on a board."""

    __slots__ = ("at", "size", "values")

    def __init__(self, values: memoryview[float], at: int, size: int) -> None:
        self.values, self.at, self.size = values, at, size

    @classmethod
    def loose(cls, size: int) -> Cells:
        """Makes a run of zeros that nobody else sees."""
        return cls(memoryview(bytearray(size * _CELL)).cast("d"), 0, size)

    def read(self) -> list[float]:
        """Returns the numbers as they are now."""
        return list(self.values[self.at : self.at + self.size])


class Board:
    """The places of one process. Only that process writes, on one thread."""

    def __init__(self, path: Path | None = None) -> None:
        """Opens a board, with the numbers that are on it.

        Args:
            path: Where it is kept; beside it lies a file with the keys. None keeps it in memory of this process alone.
        """
        self._keys = None
        self._places: dict[Key, tuple[int, int]] = {}
        self._free: dict[int, deque[int]] = {}
        self._next = _FIRST
        if path is None:
            self._map = mmap.mmap(-1, _CELLS * _CELL)
        else:
            with path.open("a+b") as file:
                file.truncate(_CELLS * _CELL)  # sparse: only what is used takes space
                self._map = mmap.mmap(file.fileno(), _CELLS * _CELL)
            keys = path.with_suffix(".keys")
            self._places = _read_keys(keys)
            self._next = max((at + size for at, size in self._places.values()), default=_FIRST)
            fresh = path.with_suffix(".new")
            self._keys = fresh.open("wb", buffering=0)
            for key, (at, size) in self._places.items():
                self._write(key, at, size)
            fresh.replace(keys)  # at once: a reader sees the old keys or the new ones, without what was dropped
        self.values = memoryview(self._map).cast("d")

    def close(self) -> None:
        """Ends writing; the numbers stay for who opens it next."""
        if self._keys is not None:
            self._keys.close()

    def __contains__(self, key: Key) -> bool:
        return key in self._places

    def __iter__(self) -> Iterator[Key]:
        """Yields the keys of all places; places may be given up meanwhile."""
        return iter(list(self._places))

    def place(self, key: Key, size: int = 1) -> Cells:
        """Returns the place of a key; a new one starts with zeros."""
        known = self._places.get(key)
        if known is not None and known[1] == size:
            return Cells(self.values, known[0], size)
        at = self._next
        if at + size <= _CELLS - _SPILL:
            self._next += size
        elif self._free.get(size):
            at = self._free[size].popleft()  # the one dropped first: no reader looks at it any more
        else:
            return Cells(self.values, _CELLS - _SPILL, size)
        self.values[at : at + size] = memoryview(bytes(size * _CELL)).cast("d")
        self._places[key] = at, size
        self._write(key, at, size)
        return Cells(self.values, at, size)

    def drop(self, key: Key) -> None:
        """Gives a place up."""
        at, size = self._places.pop(key)
        self._free.setdefault(size, deque()).append(at)
        self._write(key, -1, size)

    def read(self) -> Iterator[tuple[Key, list[float]]]:
        """Yields every key with its numbers."""
        for key, (at, size) in self._places.items():
            yield key, list(self.values[at : at + size])

    def _write(self, key: Key, at: int, size: int) -> None:
        if self._keys is not None:
            self._keys.write(json.dumps([at, size, *key]).encode() + b"\n")


class Reader:
    """Another process's board."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._values: memoryview[float] | None = None

    def head(self) -> list[float]:
        """Returns the numbers with a meaning of their own; zeros while the board does not exist."""
        values = self._open()
        return [0.0] * _FIRST if values is None else list(values[:_FIRST])

    def read(self) -> Iterator[tuple[Key, list[float]]]:
        """Yields every key with its numbers."""
        values = self._open()
        if values is not None:
            for key, (at, size) in _read_keys(self._path.with_suffix(".keys")).items():
                yield key, list(values[at : at + size])

    def _open(self) -> memoryview[float] | None:
        if self._values is None:
            try:
                with self._path.open("rb") as file:
                    self._values = memoryview(mmap.mmap(file.fileno(), _CELLS * _CELL, access=mmap.ACCESS_READ)).cast(
                        "d"
                    )
            except (OSError, ValueError):  # not there yet, or not at its full size yet
                return None
        return self._values


def clear_head(path: Path) -> None:
    """Takes down what a process said of itself, when it is dead; what it counted stays."""
    try:
        with path.open("r+b") as file:
            file.write(bytes(_FIRST * _CELL))
    except OSError:  # it died before it had a board
        return


def _read_keys(path: Path) -> dict[Key, tuple[int, int]]:
    places: dict[Key, tuple[int, int]] = {}
    try:
        lines = path.read_bytes().splitlines()
    except OSError:
        return places
    for line in lines:
        try:
            at, size, *key = json.loads(line)
        except ValueError:  # its writer died in the middle of the last line
            continue
        if at < 0:
            places.pop(tuple(key), None)
        else:
            places[tuple(key)] = at, size
    return places
