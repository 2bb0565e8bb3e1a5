"""A request that waits before the gate until it is decided whether it is let in."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class Held:
    """One request, as far as it has come.

    Attributes:
        version: Of HTTP.
        keep_alive: Whether its client wants the connection to stay.
        body: What has come of the body.
        complete: Whether all of it has.
    """

    version: str
    keep_alive: bool
    body: list[bytes] = field(default_factory=list)
    complete: bool = False
