"""A request that waits before the gate until it is decided whether it is let in."""

from __future__ import annotations

from dataclasses import dataclass, field

from services.model_server.connections.repeats import Repeat

_NOTHING = memoryview(b"")


@dataclass(slots=True)
class Held:
    """One request, as far as it has come.

    Attributes:
        version: Of HTTP.
        keep_alive: Whether its client wants the connection to stay.
        body: What has come of the body.
        complete: Whether all of it has.
        repeat: What is known of its head, if that came before.
        rest: All of the body of such a request.
    """

    version: str
    keep_alive: bool
    body: list[bytes] = field(default_factory=list)
    complete: bool = False
    repeat: Repeat | None = None
    rest: memoryview = _NOTHING
