"""A connection under bytes that nobody would send, in pieces that nobody would choose."""

from __future__ import annotations

import asyncio
import itertools

from hypothesis import given
from hypothesis import strategies as st

from services.model_server.connections import Limits, Shared
from tests.services.model_server.parts import run
from tests.services.model_server.test_connections import Client, Clock, echo, into, settle

GOOD = (
    b"GET /a HTTP/1.1\r\nhost: x\r\n\r\n",
    b"POST /b?c=d HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\n\r\nxyz",
    b"POST /c HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\ntrailer: x\r\n\r\n",
    b"POST /d HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: h2c\r\ncontent-length: 2\r\n\r\nhi",
    b"POST /e HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 1\r\n\r\nx",
    b"HEAD /f HTTP/1.1\r\nhost: x\r\n\r\n",
)
PIECES = (
    *GOOD,
    b"GET / HTTP/1.0\r\n\r\n",
    b"CONNECT a:1 HTTP/1.1\r\nhost: x\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nhost: x\r\n\r\n",
    b"GET http://x/y HTTP/1.1\r\nhost: x\r\n\r\n",
    b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n",
    b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 99999999999999999999999\r\n\r\n",
    b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nffffffffffffffffff\r\n",
    b"GET / HTTP/9.9\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"\r\n",
    b"\0",
)


def answers_to(pieces: list[bytes]) -> tuple[list[int], list[int], bool]:
    """Returns what was answered, what the application was not asked, and whether the connection is closed."""
    errors: list[BaseException] = []
    refused: list[int] = []

    async def work() -> tuple[list[int], bool]:
        clock = Clock()
        shared = Shared(
            echo,
            Limits(header_bytes=1024),
            asyncio.get_running_loop(),
            on_refused=into(refused),
            on_error=errors.append,
            clock=clock,
        )
        client = Client(shared, clock)
        for piece in pieces:
            await client.send(piece)
        await settle(60)
        statuses = [status for status in client.statuses if status != 100] if b"HEAD" not in b"".join(pieces) else []
        for _ in range(5):
            await client.wait(100)
        assert client.transport.closed, "in the end nothing stays open"
        for task in shared.tasks:
            assert task.done()
        return statuses, client.transport.closed

    statuses, closed = run(work())
    assert not errors
    return statuses, refused, closed


@given(st.lists(st.one_of(st.sampled_from(PIECES), st.binary(max_size=300)), max_size=8))
def test_whatever_comes_is_answered_or_refused_and_never_an_error(pieces: list[bytes]) -> None:
    _, refused, closed = answers_to(pieces)
    assert set(refused) <= {400, 408, 431}
    assert closed


@given(
    st.lists(st.sampled_from(GOOD[:5]), min_size=1, max_size=6),
    st.lists(st.integers(min_value=0, max_value=600), max_size=12),
)
def test_good_requests_are_all_answered_however_they_are_cut(requests: list[bytes], cuts: list[int]) -> None:
    data = b"".join(requests)
    places = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    pieces = [data[start:stop] for start, stop in itertools.pairwise(places)]
    statuses, refused, _ = answers_to(pieces)
    assert statuses == [200] * len(requests)
    assert not refused
