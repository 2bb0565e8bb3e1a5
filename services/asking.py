"""Who answers at an address of this machine, and who holds a port."""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping
from typing import Any

import psutil


def answers(address: str, path: str) -> bool:
    """Whether GET `address` + `path` gives a 200 within two seconds."""
    return _get(address, path) is not None


def read_json(address: str, path: str, headers: Mapping[str, str] | None = None) -> Any:
    """The JSON behind GET `address` + `path`; None where there is none within two seconds."""
    try:
        return json.loads(_get(address, path, headers) or b"null")
    except ValueError:
        return None


def _get(address: str, path: str, headers: Mapping[str, str] | None = None) -> bytes | None:
    """The body of a 200, else None. Asks directly, past any proxy."""
    connection = http.client.HTTPConnection(address.removeprefix("http://"), timeout=2)
    try:
        connection.request("GET", path, headers=headers or {})
        response = connection.getresponse()
        return response.read() if response.status == 200 else None
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def port_holder(port: int) -> str | None:
    """Names the process that listens on the port, as far as this user may know it."""
    try:
        for connection in psutil.net_connections("tcp"):
            if (
                connection.status == psutil.CONN_LISTEN
                and getattr(connection.laddr, "port", None) == port
                and connection.pid
            ):
                process = psutil.Process(connection.pid)
                return f"process {process.pid} ({' '.join(process.cmdline())[:80] or process.name()})"
    except psutil.Error:
        pass
    return None
