"""The desk of a worker on a node, as its trainer sees it: files are files, and somebody else sees to their journey."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipelines.afar.attempts import FarAttempt
from pipelines.afar.bringing import Bringer
from pipelines.afar.line import Line
from pipelines.afar.parts import PART_BYTES, Arrivals
from pipelines.afar.places import NodePlace
from pipelines.records import (
    CheckpointWritten,
    Ended,
    EpochEnded,
    Event,
    FileWritten,
    PictureDrawn,
    StateWritten,
    TrialSpec,
)
from pipelines.training.base import Best


class FarDesk:
    """See `pipelines.executors.base.Desk`. The trainer's thread calls it, and no other."""

    def __init__(self, line: Line, place: NodePlace, bringer: Bringer, *, most_state_bytes: int) -> None:
        """Takes the wire, where files are, and who brings those that take long.

        Args:
            line: The wire.
            place: The worker's folders.
            bringer: Brings checkpoints and large files, in a thread of its own.
            most_state_bytes: A larger state is not sent.
        """
        self._line = line
        self._place = place
        self._bringer = bringer
        self._most_state_bytes = most_state_bytes
        self._arrivals = Arrivals(place.root)
        self._attempts: dict[tuple[int, int], FarAttempt] = {}

    def take(self) -> TrialSpec | None:
        """The next attempt, with this node's paths; what it goes on from is there already."""
        found = self._line.take()
        if found is None:
            return None
        for part in found.state:
            self._arrivals.take(part)
        spec = self._place.here(found.spec)
        self._attempts[spec.number, spec.attempt] = FarAttempt(spec, found.uid, Best(spec.direction))
        return spec

    def offer(self, places: int) -> None:
        """Says that there is room."""
        self._line.offer(places)

    def say(self, message: Event) -> Sequence[Any]:
        """Sends an event, with the file that it is about where that is small."""
        attempt = self._attempts.get((message.trial, message.attempt))
        if attempt is None:
            self._line.say(message)
            return self._line.answers()
        match message:
            case StateWritten(path=path):
                self._send_state(attempt, Path(path))
            case CheckpointWritten(kind="best"):
                attempt.checkpoint = message  # it may be replaced by that of a better epoch
            case CheckpointWritten(path=path) if attempt.uid and _size(path) > PART_BYTES:
                attempt.large.append((message, attempt.artifact_folder(Path(path))))
            case CheckpointWritten(path=path) | FileWritten(path=path) | PictureDrawn(path=path):
                self._send_file(attempt, message, path)
            case Ended():
                self._end(attempt, message)
            case _:
                if isinstance(message, EpochEnded):
                    attempt.note(message)
                self._line.say(message)
        return self._line.answers()

    def _send_state(self, attempt: FarAttempt, path: Path) -> None:
        size = _size(str(path))
        if size > self._most_state_bytes:
            print(f"A state of trial {attempt.spec.number} has {size >> 20} MiB and stays on this node.", flush=True)
            return
        files = attempt.changed_files(self._most_state_bytes)
        if size + sum(_size(str(file)) for file in files) > PART_BYTES:
            self._bringer.state(attempt, [*files, path])
        elif not self._bringer.is_busy_with(attempt):
            for each in (*files, path):
                self._line.send(each, self._place.name(str(each)), *attempt.key)
        else:
            self._bringer.state(attempt, [*files, path])  # after what is on its way

    def _send_file(self, attempt: FarAttempt, event: CheckpointWritten | FileWritten | PictureDrawn, path: str) -> None:
        if not attempt.uid:
            return  # nobody asks for it
        name = self._place.name(path)
        if Path(path).is_file():  # an earlier attempt's picture is where that sent it, if anywhere
            self._line.send(Path(path), name, *attempt.key)
        self._line.say(replace(event, path=name))

    def _end(self, attempt: FarAttempt, ended: Ended) -> None:
        """Tells of the end: when everything that belongs to the attempt has gone."""
        del self._attempts[attempt.key]
        if ended.paused or not attempt.uid:
            attempt.checkpoint, attempt.large = None, []
        if attempt.checkpoint or attempt.large or self._bringer.is_busy_with(attempt):
            self._bringer.bring(attempt, ended)
        else:
            self._line.say(ended)
            attempt.remove()


def _size(path: str) -> int:
    try:
        return Path(path).stat().st_size
    except OSError:
        return 0
