"""What a trial told so far, so that an attempt that goes on with it can tell it again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from typing import Any

from pipelines.records import CallbackActed, EpochEnded, Event, PictureDrawn, TrialSpec, Verdict
from pipelines.training.base import Emit
from pipelines.training.timing import Stopwatch

_TOLD: dict[str, type[EpochEnded | CallbackActed | PictureDrawn]] = {
    kind.__name__: kind for kind in (EpochEnded, CallbackActed, PictureDrawn)
}


class Story:
    """Stands before `emit`: notes what makes up the record of a trial, and how long telling it takes."""

    def __init__(self, spec: TrialSpec, emit: Emit, watch: Stopwatch) -> None:
        """Takes the attempt, who is told, and where the time is counted."""
        self._spec = spec
        self._emit = emit
        self._watch = watch
        self._told: list[Event] = []  # what is not among the lines yet
        self._lines: list[bytes] = []  # each is encoded once, however often the whole is kept
        self._muted = False

    def __call__(self, event: Event) -> Verdict:
        """Tells an event, as `emit` does."""
        kind = type(event).__name__
        if kind in _TOLD:
            if self._muted:
                return Verdict.GO_ON
            self._told.append(event)
        with self._watch.during("tracking"):
            return self._emit(event)

    @contextmanager
    def muted(self) -> Iterator[None]:
        """Drops, for a while, what was told already: callbacks that begin anew do again what they did at first."""
        self._muted = True
        try:
            yield
        finally:
            self._muted = False

    def kept(self) -> bytes:
        """The story so far."""
        for event in self._told:
            line = {"kind": type(event).__name__, **asdict(event)}
            self._lines.append(json.dumps(line, separators=(",", ":")).encode())
        self._told.clear()
        return b"\n".join(self._lines)

    def retell(self, kept: bytes) -> Verdict:
        """Tells an earlier attempt's story as this attempt's own; returns the verdict on its last epoch."""
        verdict = Verdict.GO_ON
        for line in kept.splitlines():
            data: dict[str, Any] = json.loads(line)
            event = replace(_TOLD[data.pop("kind")](**data), attempt=self._spec.attempt)
            if isinstance(event, EpochEnded):
                verdict = self(replace(event, retold=True))
            else:
                self(event)
        return verdict
