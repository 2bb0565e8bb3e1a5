"""A head that comes again is not parsed again, and nobody can tell but by the time it takes."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.model_server.connections import Gate, Limits, Shared, TurnedAway, connection
from services.model_server.connections.repeats import TRIES, learn
from services.model_server.queueing.crowd import Crowd
from tests.services.model_server.parts import run
from tests.services.model_server.queueing.test_crowd import stay
from tests.services.model_server.test_connections import GET, POST, Client, Clock, echo, into, settle, with_client

OTHER = b"POST /b?c=d HTTP/1.1\r\nhost: x\r\nx-more: 1\r\ncontent-length: 4\r\n\r\n"


class Offering:
    """Echoes, and offers to answer what comes behind the same head. `late` keeps those answers until `finish`."""

    def __init__(self, late: bool = False, takes: bool = True) -> None:
        self.late, self.takes = late, takes
        self.usual: list[bytes] = []
        self.again: list[bytes] = []
        self.waiting: list[tuple[dict[str, Any], bytes]] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        offer = scope.get("offer")

        async def noted() -> Any:
            message = await receive()
            self.usual.append(message.get("body", b""))
            return message

        await echo(scope, noted, send)
        if offer is not None:
            offer(self.take)

    def take(self, scope: Any, body: memoryview) -> bool:
        if not self.takes:
            return False
        self.again.append(bytes(body))
        self.waiting.append((scope, b"%b %b %b" % (scope["method"].encode(), scope["raw_path"], bytes(body))))
        if not self.late:
            self.finish()
        return True

    def finish(self) -> None:
        for scope, body in self.waiting:
            scope["answer"](200, [(b"content-length", b"%d" % len(body))], body)
        self.waiting.clear()


def bodies(client: Client) -> list[bytes]:
    return [body for _, _, body in client.answers]


def test_what_comes_behind_the_same_head_is_answered_by_what_was_offered() -> None:
    app = Offering()

    async def work(client: Client) -> None:
        for body in (b"one!", b"two!", b"tree"):
            await client.send(POST + body)
        assert bodies(client) == [b"POST /a one!", b"POST /a two!", b"POST /a tree"]
        await client.send(OTHER + b"four")
        await client.send(POST + b"five")
        assert bodies(client)[3:] == [b"POST /b four", b"POST /a five"]

    with_client(work, app)
    assert app.usual == [b"one!", b"four", b"five"]
    assert app.again == [b"two!", b"tree"]


def test_a_head_of_another_length_is_the_same_head() -> None:
    app = Offering()

    async def work(client: Client) -> None:
        for body in (b"one!", b"three", b"", b"a body of many bytes", b"one!"):
            await client.send(POST.replace(b": 4", b": %d" % len(body)) + body)
        assert bodies(client) == [
            b"POST /a " + body for body in (b"one!", b"three", b"", b"a body of many bytes", b"one!")
        ]

    with_client(work, app)
    assert app.usual == [b"one!"]


def test_what_takes_the_usual_way_behind_a_head_of_another_length_is_told_that_length() -> None:
    told: list[bytes] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        told.append(dict(scope["headers"])[b"content-length"])
        await echo(scope, receive, send)

    async def work(client: Client) -> None:
        for body in (b"one!", b"three", b"seventeen", b"four"):
            await client.send(POST.replace(b": 4", b": %d" % len(body)) + body)

    with_client(work, app)
    assert told == [b"4", b"5", b"9", b"4"]


def test_what_is_not_taken_goes_the_usual_way() -> None:
    app = Offering(takes=False)

    async def work(client: Client) -> None:
        for body in (b"one!", b"two!", b"tree"):
            await client.send(POST + body)
        assert bodies(client) == [b"POST /a one!", b"POST /a two!", b"POST /a tree"]

    with_client(work, app)
    assert app.usual == [b"one!", b"two!", b"tree"]


REQUESTS = (
    GET,
    POST + b"body",
    POST + b"\r\n\r\n",
    POST + POST[:4],
    POST.replace(b": 4", b": 0"),
    POST.replace(b": 4", b": 5") + b"more!",
    POST.replace(b": 4", b": 12") + b"twelve bytes",
    POST.replace(b": 4", b":  5 ") + b"space",
    OTHER + b"more",
    POST.replace(b"host", b"expect: 100-continue\r\nhost") + b"body",
    b"POST /a HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n",
    b"\r\n" + POST + b"body",
    POST.replace(b": 4", b": 04") + b"body",
    POST.replace(b"content", b"content-length: 4\r\ncontent") + b"body",
)
ENDS = (
    POST.replace(b"HTTP/1.1", b"HTTP/1.0") + b"body",
    POST.replace(b"host", b"connection: close\r\nhost") + b"body",
    POST + b"body" + b"nonsense\r\n\r\n",
    POST.replace(b": 4", b": four") + b"body",
)


@settings(max_examples=300, deadline=None)
@given(
    requests=st.lists(st.sampled_from(REQUESTS), max_size=8),
    end=st.sampled_from((b"", *ENDS)),
    cuts=st.lists(st.integers(0, 400), max_size=3),
    whole=st.booleans(),
    late=st.booleans(),
)
def test_the_answers_are_those_of_a_connection_that_remembers_nothing(
    requests: list[bytes], end: bytes, cuts: list[int], whole: bool, late: bool
) -> None:
    pieces = [*requests, end] if whole else []
    if not whole:
        data, places = b"".join((*requests, end)), sorted({0, *cuts})
        pieces = [data[start:stop] for start, stop in zip(places, [*places[1:], None], strict=True)]

    def answers(tries: int) -> tuple[bytes, list[int], bool]:
        refused: list[int] = []
        seen: list[tuple[bytes, bool]] = []

        async def work(client: Client) -> None:
            client.connection._tries = tries
            for piece in filter(None, pieces):
                client.connection.data_received(piece)
                await settle()
                app.finish()
                await settle()
            seen.append((client.transport.written, client.transport.closed or client.transport.eof))

        app = Offering(late)
        with_client(work, app, refused)
        return (*seen[0][:1], refused, seen[0][1])

    remembering, plain = answers(TRIES), answers(0)
    assert _undated(remembering[0]) == _undated(plain[0])
    assert remembering[1:] == plain[1:]


def _undated(written: bytes) -> list[bytes]:
    """What was written, without what no two answers have in common."""
    return [line for line in written.split(b"\r\n") if not line.startswith((b"date: ", b"x-request-id: "))]


def test_a_client_that_writes_another_head_each_time_is_looked_at_a_few_times_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looks: list[bytes] = []

    def noted(data: bytes, *rest: Any) -> Any:
        looks.append(data)
        return learn(data, *rest)

    monkeypatch.setattr(connection, "learn", noted)

    async def work(client: Client) -> None:
        for number in range(3 * TRIES):
            await client.send(POST.replace(b"host", b"x-request-id: %d\r\nhost" % number) + b"body")
        assert client.statuses == [200] * 3 * TRIES

    with_client(work)
    assert len(looks) == TRIES


def test_long_heads_are_not_kept() -> None:
    app, head = Offering(), POST.replace(b"host: x", b"host: " + b"x" * 5000)

    async def work(client: Client) -> None:
        for _ in range(3):
            await client.send(head + b"body")
        assert client.statuses == [200] * 3

    with_client(work, app)
    assert app.again == []


def test_who_hangs_up_before_the_answer_gets_none() -> None:
    app = Offering(late=True)

    async def work(client: Client) -> None:
        await client.send(POST + b"one!")
        await client.send(POST + b"two!")
        written = client.transport.written
        client.connection.connection_lost(None)
        ((scope, _),) = app.waiting
        assert scope["gone"]
        app.finish()
        assert client.transport.written == written

    with_client(work, app)


def test_one_behind_it_waits_for_its_turn() -> None:
    app = Offering(late=True)

    async def work(client: Client) -> None:
        await client.send(POST + b"one!")
        client.connection.data_received(POST + b"two!")
        client.connection.data_received(POST + b"tree")
        await settle()
        assert bodies(client) == [b"POST /a one!"]
        app.finish()
        await settle()
        assert bodies(client) == [b"POST /a one!", b"POST /a two!", b"POST /a tree"]

    with_client(work, app)


def test_a_server_that_drains_closes_behind_the_answer() -> None:
    app = Offering(late=True)

    async def work(client: Client) -> None:
        await client.send(POST + b"one!")
        await client.send(POST + b"two!")
        client.shared.drain()
        assert not client.transport.closed
        app.finish()
        assert client.answers[-1][1][b"connection"] == b"close"
        assert client.transport.closed

    with_client(work, app)


def test_a_client_that_reads_nothing_is_not_answered_for_ever() -> None:
    app = Offering()

    async def work(client: Client) -> None:
        await client.send(POST + b"one!")
        client.connection.pause_writing()
        await client.send(POST + b"two!")
        assert bodies(client) == [b"POST /a one!"]
        client.connection.resume_writing()
        await settle()
        assert bodies(client) == [b"POST /a one!", b"POST /a two!"]

    with_client(work, app)
    assert app.again == []


def test_who_waits_before_the_gate_with_a_known_head_is_let_in_or_turned_away_with_his_own_body() -> None:
    app = Offering()
    counted: list[int] = []

    async def work() -> None:
        clock, loop = Clock(), asyncio.get_running_loop()
        crowd = Crowd(4, clock)
        gate = Gate(crowd, loop, {"": TurnedAway(503, b"text/plain", b"full")}, on_refused=into(counted))
        shared = Shared(
            app,
            Limits(),
            loop,
            on_refused=into(counted),
            clock=clock,
            gate=gate,
        )
        clients = [Client(shared, clock) for _ in range(5)]
        for client in clients:
            await client.send(POST + b"one!")
        stay(crowd, clock)
        for number, client in enumerate(clients):
            client.connection.data_received(POST + b"no %d" % number)
        await settle()
        assert [client.statuses for client in clients] == [[200, 503]] * 3 + [[200, 200]] * 2
        assert [bodies(client)[1] for client in clients[3:]] == [b"POST /a no 3", b"POST /a no 4"]
        for client in clients:
            assert not client.connection.busy

    run(work())
    assert counted == [503] * 3
