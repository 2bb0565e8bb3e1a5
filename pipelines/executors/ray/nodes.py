"""What nodes of a cluster have, and whether somebody is there at all. It needs no Ray."""

from __future__ import annotations

import socket
import time
from collections.abc import Mapping

_KNOCK_S = 1.0
"""For how long a node that may be gone is waited for."""
_FOUND_IN_S = 5.0
"""For how long a cluster is looked for."""


def places_of(resources: Mapping[str, float], needs: Mapping[str, float]) -> int:
    """Workers that a node has room for."""
    return min((int(resources.get(name, 0.0) / amount + 1e-9) for name, amount in needs.items()), default=0)


def knocks(host: str, port: int) -> bool:
    """Whether somebody opens."""
    try:
        with socket.create_connection((host, port), timeout=_KNOCK_S):
            return True
    except OSError:
        return False


def find(address: str | None) -> None:
    """Makes sure that somebody is at an address: Ray would look for minutes, and then end the process.

    Raises:
        ConnectionError: Nobody is.
    """
    host, _, port = (address or "").rpartition(":")
    if not host or not port.isdecimal():
        return  # there is nothing to be found, or Ray must find it
    until = time.monotonic() + _FOUND_IN_S
    while not knocks(host.strip("[]"), int(port)):
        if time.monotonic() > until:
            raise ConnectionError("nobody answers there")
        time.sleep(_KNOCK_S / 4)


def said(resources: Mapping[str, float]) -> str:
    """What a node has, for people."""
    found = [f"{resources.get(name, 0):g} {name}" for name in ("CPU", "GPU")]
    own = [
        f"{amount:g} {name}"
        for name, amount in sorted(resources.items())
        if name not in ("CPU", "GPU", "memory", "object_store_memory") and not name.startswith(("node:", "accelerator"))
    ]
    return ", ".join([*found, *own])
