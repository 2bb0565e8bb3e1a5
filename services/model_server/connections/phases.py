"""What a connection waits for, and how long it may."""

from __future__ import annotations

from enum import Enum

from services.model_server.connections.shared import Limits

# A client may be slow for this long before its average counts: windows open, disks spin up.
_RATE_GRACE_S = 5.0
# After an answer to half a request the rest is thrown away for this long, so that the answer is read before the reset.
_LINGER_S = 2.0


class Phase(Enum):
    """What a connection waits for."""

    FRESH = 0
    """The first byte of its first request."""
    IDLE = 1
    """The first byte of another request."""
    HEAD = 2
    """The rest of the headers."""
    BODY = 3
    """The rest of the body."""
    WORK = 4
    """The application."""
    LINGER = 5
    """The client to close: its last answer is written."""


# To look a member up in its class costs more than to look at the clock, and every request does it some times.
FRESH, IDLE, HEAD, BODY, WORK, LINGER = Phase


def is_over(phase: Phase, waited_s: float, received: int, limits: Limits) -> bool:
    """Says whether a connection has waited too long for its client.

    Args:
        phase: What it waits for.
        waited_s: Since when it does.
        received: Bytes of the body that have come.
        limits: What a client may take.
    """
    match phase:
        case Phase.FRESH | Phase.HEAD:
            return waited_s >= limits.header_s
        case Phase.IDLE:
            return waited_s >= limits.idle_s
        case Phase.BODY:
            return waited_s >= limits.body_s or received < limits.body_rate * (waited_s - _RATE_GRACE_S)
        case Phase.LINGER:
            return waited_s >= _LINGER_S
    return False
