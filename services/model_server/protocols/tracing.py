"""W3C Trace Context (https://www.w3.org/TR/trace-context/): which trace a request is part of."""

from __future__ import annotations

import os
import re
from typing import NamedTuple

_PARENT = re.compile(
    r"(?!ff)(?P<version>[0-9a-f]{2})-(?P<trace>[0-9a-f]{32})-(?P<span>[0-9a-f]{16})-(?P<flags>[0-9a-f]{2})(?P<more>-.*)?"
)
_MOST_STATE = 512


class Trace(NamedTuple):
    """The trace of a request, and our own step in it: ids in lower-case hex, flags as they came."""

    trace_id: str
    parent_id: str
    span_id: str
    flags: str
    state: str | None

    def headers(self) -> list[tuple[bytes, bytes]]:
        """Returns the headers of the answer: our step as `traceparent`, and `tracestate` as it came."""
        parent = f"00-{self.trace_id}-{self.span_id}-{self.flags}".encode()
        state = [] if self.state is None else [(b"tracestate", self.state.encode("latin-1"))]
        return [(b"traceparent", parent), *state]


def read_trace(parents: list[str], states: list[str]) -> Trace | None:
    """Reads the headers of a request.

    Args:
        parents: Every `traceparent` header.
        states: Every `tracestate` header, in order.

    Returns:
        None if there is no trace, or the header is not one that the standard allows: it is as if it had not come.
    """
    match = _PARENT.fullmatch(parents[0].strip(" \t")) if len(parents) == 1 else None
    if match is None or (match["version"] == "00" and match["more"] is not None):
        return None
    if not match["trace"].strip("0") or not match["span"].strip("0"):
        return None
    # Of a later version only the sampled flag has a known meaning.
    flags = match["flags"] if match["version"] == "00" else f"{int(match['flags'], 16) & 1:02x}"
    state = ",".join(states) if states else None
    if state is not None and (len(state) > _MOST_STATE or not state.isprintable()):
        state = None
    return Trace(match["trace"], match["span"], os.urandom(8).hex(), flags, state)
