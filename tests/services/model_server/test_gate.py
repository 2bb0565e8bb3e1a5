"""Who is not let in while a crowd stays hears it in the words of the dialect, and may ask again on the connection."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from services.model_server.connections import Gate, Limits, Shared, TurnedAway
from services.model_server.queueing.crowd import Crowd
from tests.services.model_server.parts import FolderStore, run, serving
from tests.services.model_server.queueing.test_crowd import stay
from tests.services.model_server.test_connections import Client, Clock, echo, into, settle

BODY = b"POST /v1/models/m:predict HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\n\r\nbody"
GET = b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n"
ANSWERS = {"/v1/": TurnedAway(429, b"application/json", b'{"error":"v1"}'), "": TurnedAway(503, b"text/plain", b"all")}


def crowded(work: Callable[[Callable[[], Client]], Awaitable[None]]) -> list[int]:
    """Runs a test with connections of a server where few are let in; returns the statuses that were counted."""
    counted: list[int] = []

    async def inner() -> None:
        clock, loop = Clock(), asyncio.get_running_loop()
        crowd = Crowd(4, clock)
        stay(crowd, clock)
        gate = Gate(crowd, loop, ANSWERS, on_refused=into(counted))
        shared = Shared(
            echo,
            Limits(),
            loop,
            on_refused=into(counted),
            clock=clock,
            gate=gate,
        )
        await work(lambda: Client(shared, clock))

    run(inner())
    return counted


def test_the_last_two_are_let_in_at_one_turn_and_the_others_hear_that_they_are_not() -> None:
    async def work(client: Callable[[], Client]) -> None:
        clients = [client() for _ in range(7)]
        for one in clients:
            one.connection.data_received(BODY)
        await settle()
        assert [one.statuses for one in clients] == [[429]] * 5 + [[200]] * 2
        _, headers, body = clients[0].answers[0]
        assert (headers[b"retry-after"], headers[b"content-type"], body) == (
            b"1",
            b"application/json",
            ANSWERS["/v1/"].body,
        )

    assert crowded(work) == [429] * 5


def test_who_was_sent_away_asks_again_on_the_same_connection_and_is_let_in() -> None:
    async def work(client: Callable[[], Client]) -> None:
        clients = [client() for _ in range(3)]
        for one in clients:
            one.connection.data_received(BODY)
        await settle()
        await clients[0].send(BODY)
        assert clients[0].statuses == [429, 200]
        assert not clients[0].transport.closed

    crowded(work)


def test_it_is_told_before_its_body_has_come_and_the_rest_of_that_goes_nowhere() -> None:
    async def work(client: Callable[[], Client]) -> None:
        clients = [client() for _ in range(3)]
        for one in clients:
            one.connection.data_received(BODY[:-3])
        await settle()
        assert clients[0].statuses == [429]
        await clients[0].send(b"ody")
        assert clients[0].statuses == [429]
        await clients[0].send(GET)
        assert clients[0].statuses == [429, 200]

    crowded(work)


@pytest.mark.parametrize(
    ("request_bytes", "closed"),
    [
        (b"POST /x HTTP/1.0\r\ncontent-length: 0\r\n\r\n", True),
        (b"POST /x HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 0\r\n\r\n", True),
        (b"POST /x HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n", False),
    ],
)
def test_a_connection_ends_after_the_answer_if_the_client_wants_it_so(request_bytes: bytes, closed: bool) -> None:
    async def work(client: Callable[[], Client]) -> None:
        clients = [client() for _ in range(3)]
        for one in clients:
            one.connection.data_received(request_bytes)
        await settle()
        status, headers, body = clients[0].answers[0]
        assert (status, body) == (503, b"all")
        assert (headers.get(b"connection") == b"close") is closed
        assert clients[0].transport.closed is closed

    crowded(work)


def test_a_client_that_hangs_up_before_it_is_told_leaves_nothing_behind() -> None:
    async def work(client: Callable[[], Client]) -> None:
        clients = [client() for _ in range(3)]
        for one in clients:
            one.connection.data_received(BODY[:-3])
        for one in (clients[0], clients[2]):  # one who would not have been let in, and one who would
            one.connection.connection_lost(None)
        await settle()
        assert len(clients[1].shared.open) == 1
        assert not clients[0].transport.written + clients[2].transport.written

    assert 429 not in crowded(work)


def test_a_body_that_comes_in_pieces_is_whole_for_who_is_let_in() -> None:
    async def work(client: Callable[[], Client]) -> None:
        one = client()
        one.connection.data_received(BODY[:-3])
        one.connection.data_received(BODY[-3:-1])
        await settle()
        await one.send(BODY[-1:])
        assert one.answers[0][2] == b"POST /v1/models/m:predict body"

    crowded(work)


def test_one_who_sends_the_next_request_at_once_hears_the_answers_in_their_order() -> None:
    async def work(client: Callable[[], Client]) -> None:
        one = client()
        await one.send(BODY + GET + BODY)
        assert one.statuses[:2] == [429, 200], "the first was not looked at with the others, the second is a probe"
        assert len(one.statuses) == 3
        assert not one.transport.closed

    crowded(work)


@pytest.mark.parametrize(
    ("sent", "statuses"),
    [(BODY + b"no request\r\n\r\n", [429, 400]), (BODY.replace(b"/v1/", b"http://[/"), [400])],
    ids=["what follows is no request", "the address is none"],
)
def test_what_is_no_request_is_told_so_behind_what_was_one(sent: bytes, statuses: list[int]) -> None:
    async def work(client: Callable[[], Client]) -> None:
        one = client()
        await one.send(sent)
        assert one.statuses == statuses
        assert one.transport.eof

    assert crowded(work) == statuses


@pytest.mark.parametrize(
    "first",
    [GET, b"POST /x HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 4\r\n\r\n"],
    ids=["a probe", "one that waits for a hundred"],
)
def test_some_are_let_in_whatever_happens(first: bytes) -> None:
    async def work(client: Callable[[], Client]) -> None:
        crowd, late = [client() for _ in range(5)], client()
        for one in (*crowd, late):
            one.connection.data_received(first if one is late else BODY)
        await settle()
        await late.send(b"" if first is GET else b"body")
        assert b"200" in late.transport.written

    crowded(work)


def test_each_dialect_has_its_own_words(tmp_path: Path) -> None:
    async def work() -> dict[str, Any]:
        async with serving(FolderStore(tmp_path / "cache")) as server:
            return dict(server.app.state.turned_away)

    told = run(work())
    assert {address: one.status for address, one in told.items()} == {
        "/v1/": 429, "/v2/": 503, "/invocations": 429, "": 429,
    }  # fmt: skip
    bodies = {address: json.loads(one.body) for address, one in told.items()}
    assert set(bodies["/invocations"]) == {"error_code", "message"}
    assert all("error" in bodies[address] for address in ("/v1/", "/v2/", ""))
    assert all(len(one.body) <= 256 for one in told.values())
