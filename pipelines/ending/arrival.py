"""Waits until a sweep's journal has arrived at its server."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from pipelines.errors import RegattaError
from pipelines.telling import Reasons, say
from pipelines.tracking.journal import Journal
from pipelines.tracking.sender import Sender

if TYPE_CHECKING:
    from rich.console import Console

_STALLED_S = 60.0
"""How long the end of a sweep waits for a server that takes nothing; the journal keeps it all either way."""
_NEVER_REACHED_S = 30.0
"""The same for a server that was never there, and is not starting either."""
_LAST_CALL_S = 15.0
"""And at least so long from the sweep's end on: a server that went away may be coming back this moment."""
_MOST_REASONS = 3
"""How many that a server gives for taking nothing are told."""
_STARTING = "which is still starting"
_LOOK_S = 0.1
"""How often it is looked whether enough has arrived."""


class Arrival:
    """The journal of one sweep, on its way."""

    def __init__(
        self, server: str, journal: Journal, sender: Sender, console: Console, revive: Callable[[], object]
    ) -> None:
        """Takes who writes and who delivers; `revive` starts a server of our own again, where it went away."""
        self._server, self._journal, self._sender, self._console = server, journal, sender, console
        self._revive = revive

    def wait(self, enough: Callable[[], bool] = lambda: False) -> bool:
        """Waits for all of it, or for `enough` of it, for as long as it moves; False where it does not."""
        sender, patience, before = self._sender, 0.0, -1
        reasons = Reasons(_MOST_REASONS)
        last_call = time.monotonic() + _LAST_CALL_S
        revived = False
        while not enough() and not sender.flush(self._journal.written, _LOOK_S):
            if sender.delivered != before:
                before, patience = sender.delivered, time.monotonic() + _STALLED_S
            problem, starting = sender.problem, sender.starting
            if reasons.is_news(_STARTING if starting else problem):
                if not (starting or revived):
                    revived = True
                    with suppress(RegattaError):
                        self._revive()
                left = self._journal.written - before
                say(
                    self._console,
                    f"Waiting for the MLflow server at {self._server}{f', {_STARTING}' if starting else ''}: {left} "
                    f"entries to deliver. They are safe in the journal.{'' if starting else f' ({problem})'}",
                    "" if starting else "yellow",
                )
            now = time.monotonic()
            hopeless = now > last_call and not starting and sender.never_reached(_NEVER_REACHED_S)
            if now > patience or hopeless:
                return False
        return True
