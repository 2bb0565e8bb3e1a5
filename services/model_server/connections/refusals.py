"""Answers to what no dialect has seen: no request at all, too long, too slow, one connection too many."""

from __future__ import annotations

from services.model_server.connections.exchange import status_line

_SENTENCES = {
    400: b"This is no HTTP/1.1 request that the server understands.",
    408: b"The request came too slowly.",
    431: b"The headers are too long.",
    500: b"The server failed on this request; its log says why.",
    503: b"The server has too many open connections. Try again later.",
}


def refusal(status: int) -> bytes:
    """Returns a whole answer, with the shape of error that most dialects have."""
    body = b'{"error":"%b"}' % _SENTENCES[status]
    retry = b"retry-after: 1\r\n" if status == 503 else b""
    head = b"content-type: application/json\r\ncontent-length: %d\r\n%bconnection: close\r\n\r\n" % (len(body), retry)
    return status_line(status) + head + body
