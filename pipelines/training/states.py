"""Files that a later attempt at a trial goes on from. They know nothing of what is in them.

All attempts of a trial share one folder. An attempt writes in turn to two files of its own, `state-0002-a.bin` and
`state-0002-b.bin`, so the state before survives one that is spoilt, and an attempt that was given up but is still alive
spoils nothing of the one that took its place.

A file is a line that names the form, the SHA-256 of the rest, and the rest (see `pipelines.training.packing`). It is
written beside and renamed in one step, so that a process that dies leaves it whole. It is not synced to the disk, which
would cost more than an epoch of a small model; what a power cut tears, the digest shows.
"""

from __future__ import annotations

import hashlib
import logging
import re
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.training.packing import pack, unpack

FILES = "checkpoints"
"""Folder of an attempt for what callbacks write."""
_FORM = b"regatta-state 1\n"
_NAME = re.compile(r"state-(\d{4,})-[ab]\.(bin|part)")
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class State:
    """What one attempt left.

    Attributes:
        attempt: Who wrote it.
        step: How far the attempt was; more is newer.
        content: What it wrote.
    """

    attempt: int
    step: int
    content: Any


def newest_state(folder: Path, attempt: int) -> State | None:
    """The state that this attempt goes on from: the newest whole one of the latest attempt before it that left any.

    A file that is torn, or none of ours, is passed over for the one before.
    """
    found = _newest(folder, attempt)
    return None if found is None else found[1]


def newest_state_file(folder: Path, attempt: int) -> Path | None:
    """The file of `newest_state`: what another machine needs to go on from it."""
    found = _newest(folder, attempt)
    return None if found is None else found[0]


class StateWriter:
    """Writes the states of one attempt, and sees to it that writing takes little of its time.

    A write that is quick may come after every epoch. After a slow one there is a pause, so that writing takes no more
    than a tenth of the time. A state that cannot be written, for lack of space above all, is not worth a trial: it
    trains on without, and tries again after a while.
    """

    def __init__(
        self,
        folder: Path,
        attempt: int,
        *,
        clock: Callable[[], float] = time.monotonic,
        quick_s: float = 0.05,
        share: float = 0.1,
        again_after_s: float = 30.0,
        first_after_s: float = 0.0,
    ) -> None:
        """Takes the folder that all attempts share, which attempt this is, what is quick enough, and when to begin."""
        self._folder = folder
        self._attempt = attempt
        self._clock = clock
        self._quick_s = quick_s
        self._share = share
        self._again_after_s = again_after_s
        self._not_before = clock() + first_after_s
        self._written = 0
        self.newest: Path | None = None
        """The file that was written last."""

    def due(self) -> bool:
        """Whether it is time for a state."""
        return self._clock() >= self._not_before

    def write(self, step: int, content: Callable[[], Any]) -> bool:
        """Writes what `content` returns, and says whether that worked out."""
        begun = self._clock()
        try:
            pieces = pack({"step": step, "content": content()})
            self._write(pieces)
        except OSError as error:
            _log.warning("State of step %d in %s was not written: %s", step, self._folder, error)
            self._not_before = self._clock() + self._again_after_s
            return False
        took = self._clock() - begun
        self._not_before = begun if took <= self._quick_s else begun + took / self._share
        if not self._written:
            self._remove_those_before()
        self._written += 1
        return True

    def _write(self, pieces: list[Any]) -> None:
        digest = hashlib.sha256()
        for piece in pieces:
            digest.update(piece)
        self._folder.mkdir(parents=True, exist_ok=True)
        target = self._folder / f"state-{self._attempt:04d}-{'ab'[self._written % 2]}.bin"
        beside = target.with_suffix(".part")
        try:
            with beside.open("wb") as handle:
                handle.write(_FORM + digest.digest())
                handle.writelines(pieces)
            beside.replace(target)
            self.newest = target
        except BaseException:
            with suppress(OSError):
                beside.unlink(missing_ok=True)
            raise

    def _remove_those_before(self) -> None:
        """Files of older attempts; from now on this attempt's own are newer."""
        for path, number in _files(self._folder):
            if number < self._attempt:
                with suppress(OSError):
                    path.unlink(missing_ok=True)


def _newest(folder: Path, attempt: int) -> tuple[Path, State] | None:
    attempts: dict[int, list[Path]] = {}
    for path, number in _files(folder):
        if number < attempt and path.suffix == ".bin":
            attempts.setdefault(number, []).append(path)
    for number in sorted(attempts, reverse=True):
        whole = [(path, state) for path in attempts[number] if (state := _read(path, number)) is not None]
        if whole:
            return max(whole, key=lambda found: found[1].step)
    return None


def _files(folder: Path) -> list[tuple[Path, int]]:
    """What states there are, with their attempts."""
    try:
        found = [(path, _NAME.fullmatch(path.name)) for path in sorted(folder.iterdir())]
    except OSError:
        return []
    return [(path, int(match[1])) for path, match in found if match]


def _read(path: Path, attempt: int) -> State | None:
    try:
        data = memoryview(path.read_bytes())
    except OSError:
        return None
    start = len(_FORM) + hashlib.sha256().digest_size
    body = data[start:]
    if data[: len(_FORM)] != _FORM or data[len(_FORM) : start] != hashlib.sha256(body).digest():
        return None
    held = unpack(body)
    return State(attempt, held["step"], held["content"])
