"""What ASGI calls a scope: all that the application hears of a connection and of one request on it."""

from __future__ import annotations

import asyncio
from functools import lru_cache
from typing import Any, NamedTuple
from urllib.parse import unquote

import httptools

_ASGI = {"version": "3.0", "spec_version": "2.3"}
# Clients ask the same few addresses again and again. Longer ones are not kept: what they send must not fill the memory.
_LONGEST_KEPT = 256


class _Target(NamedTuple):
    """An address, taken apart; the names are ASGI's."""

    path: str
    raw_path: bytes
    query_string: bytes


def _read_target(target: bytes) -> _Target:
    url = httptools.parse_url(target)
    raw_path = url.path or b"/"
    path = str(raw_path, "ascii")
    return _Target(unquote(path) if "%" in path else path, raw_path, url.query or b"")


_recall_target = lru_cache(maxsize=1024)(_read_target)


def scope_of(transport: asyncio.BaseTransport) -> dict[str, Any]:
    """Returns what is the same for all requests of a connection."""
    server, client = transport.get_extra_info("sockname"), transport.get_extra_info("peername")
    return {
        "type": "http",
        "asgi": _ASGI,
        "server": server[:2] if isinstance(server, tuple) else None,
        "client": client[:2] if isinstance(client, tuple) else None,
        "scheme": "https" if transport.get_extra_info("sslcontext") else "http",
        "root_path": "",
    }


def request_scope(
    connection: dict[str, Any],
    method: bytes,
    target: bytes,
    headers: list[tuple[bytes, bytes]],
    version: str,
    arrival: float,
) -> dict[str, Any]:
    """Returns the scope of one request.

    Args:
        connection: What `scope_of` returned.
        method: In capitals.
        target: The address as it came.
        headers: Names in lower case.
        version: Of HTTP, "1.1" or "1.0".
        arrival: When its first byte came, by `time.perf_counter()`; not ASGI's, the deadline counts from there.

    Raises:
        HttpParserInvalidURLError: the target is no address.
        UnicodeDecodeError: it has bytes that an address never has.
    """
    path, raw_path, query_string = (_recall_target if len(target) <= _LONGEST_KEPT else _read_target)(target)
    return {
        **connection,
        "http_version": version,
        "method": str(method, "ascii"),
        "path": path,
        "raw_path": raw_path,
        "query_string": query_string,
        "headers": headers,
        "arrival": arrival,
    }
