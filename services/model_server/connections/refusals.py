"""Answers to what no dialect has seen: no request at all, too long, too slow, one connection too many."""

from __future__ import annotations

import itertools
import os

from services.model_server.connections.exchange import status_line

_prefix, _numbers = os.urandom(4).hex(), itertools.count(1)
_SENTENCES = {
    400: b"This is no HTTP/1.1 request that the server understands.",
    408: b"The request came too slowly.",
    431: b"The headers are too long.",
    500: b"The server failed on this request; its log says why.",
    501: b"The server takes no Transfer-Encoding but chunked.",
    503: b"The server has too many open connections. Try again later.",
}


def new_id() -> str:
    """Returns an id for an answer whose request may have had one, or not come so far."""
    return f"{_prefix}-{next(_numbers):x}"


def refusal(status: int, date: bytes, request_id: str) -> bytes:
    """Returns a whole answer, with the shape of error that most dialects have.

    Args:
        status: One that has a sentence here.
        date: A line of the head.
        request_id: Of the answer.
    """
    body = b'{"error":"%b"}' % _SENTENCES[status]
    head = [status_line(status), date, b"content-type: application/json\r\ncontent-length: %d\r\n" % len(body)]
    head.append(b"x-request-id: %b\r\n" % request_id.encode())
    if status == 503:
        head.append(b"retry-after: 1\r\n")
    return b"".join((*head, b"connection: close\r\n\r\n", body))
