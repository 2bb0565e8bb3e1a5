"""The server's log: one JSON object per line. Requests are lines too, and can be switched off."""

from __future__ import annotations

import asyncio
import select
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, BinaryIO

import orjson

_FLUSH_S = 0.1
_FLUSH_LINES = 256


class EventLog:
    """Writes events at once and request lines in small groups, so that a request does not pay for a system call."""

    def __init__(self, stream: BinaryIO | None = None, requests: bool = True, worker: int | None = None) -> None:
        """Takes a place to write to.

        Args:
            stream: Open for bytes; stderr if not given.
            requests: Whether requests are lines, too.
            worker: The number of this process among several that write to the same stream.
        """
        self._more = {} if worker is None else {"worker": worker}
        self._stream = stream if stream is not None else sys.stderr.buffer
        self.requests = requests
        self._lines: list[bytes] = []
        self._timer: asyncio.TimerHandle | None = None

    def __call__(self, event: str, level: str = "info", **facts: Any) -> None:
        """Writes one event now."""
        self.flush()
        self._write([self._line(event, level, facts)])

    def request(self, **facts: Any) -> None:
        """Writes one request line, within a tenth of a second. On the event loop only."""
        self._lines.append(self._line("request", "info", facts))
        if len(self._lines) >= _FLUSH_LINES:
            self.flush()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_FLUSH_S, self.flush)

    def flush(self) -> None:
        """Writes the lines that wait."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        lines, self._lines = self._lines, []
        if lines:
            self._write(lines)

    def _line(self, event: str, level: str, facts: dict[str, Any]) -> bytes:
        line = {"at": datetime.now(UTC), "level": level, "event": event, **self._more, **facts}
        return orjson.dumps(line, default=str, option=orjson.OPT_APPEND_NEWLINE | orjson.OPT_UTC_Z)

    def _write(self, lines: list[bytes]) -> None:
        try:
            for piece in _pieces(lines) if self._more else (b"".join(lines),):
                self._stream.write(piece)
                self._stream.flush()
        except (OSError, ValueError):  # nobody reads the log any more; that is no reason to stop answering
            pass


def _pieces(lines: list[bytes]) -> Iterator[bytes]:
    """Yields whole lines in pieces that a pipe takes at once: longer ones could be mixed with another process's."""
    piece = b""
    for line in lines:
        if piece and len(piece) + len(line) > select.PIPE_BUF:
            yield piece
            piece = b""
        piece += line
    yield piece
