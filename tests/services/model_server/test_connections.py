"""HTTP on a connection, without sockets and without time passing: a transport that remembers, a clock that is set."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from email.utils import parsedate_to_datetime
from typing import Any

import pytest

from services.model_server.connections import Connection, Limits, Shared
from tests.services.model_server.parts import run

GET = b"GET /a HTTP/1.1\r\nhost: x\r\n\r\n"
POST = b"POST /a HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\n\r\n"


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


class Transport(asyncio.Transport):
    """Keeps what is written. `stuck` bytes stay in its buffer, as if the client did not read."""

    def __init__(self) -> None:
        super().__init__({"sockname": ("127.0.0.1", 80), "peername": ("127.0.0.1", 4000)})
        self.written = b""
        self.stuck = 0
        self.closed = self.aborted = self.eof = self.paused = False

    def write(self, data: Any) -> None:
        assert not self.eof
        self.written += bytes(data)

    def get_write_buffer_size(self) -> int:
        return self.stuck

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.eof = True

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = self.aborted = True

    def is_closing(self) -> bool:
        return self.closed


class Client:
    """One connection to an application, seen from the other side."""

    def __init__(self, shared: Shared, clock: Clock) -> None:
        self.transport, self.shared, self.clock = Transport(), shared, clock
        self.connection = Connection(shared)
        self.connection.connection_made(self.transport)

    async def send(self, data: bytes) -> None:
        self.connection.data_received(data)
        await settle()

    async def wait(self, seconds: float) -> None:
        self.clock.now += seconds
        self.shared.tick()
        await settle()

    @property
    def statuses(self) -> list[int]:
        return [status for status, _, _ in self.answers]

    @property
    def answers(self) -> list[tuple[int, dict[bytes, bytes], bytes]]:
        return read_answers(self.transport.written)


def read_answers(data: bytes) -> list[tuple[int, dict[bytes, bytes], bytes]]:
    answers = []
    while data:
        head, _, rest = data.partition(b"\r\n\r\n")
        line, *lines = head.split(b"\r\n")
        headers = dict(line.split(b": ", 1) for line in lines)
        length = int(headers.get(b"content-length", b"0"))
        answers.append((int(line.split()[1]), headers, rest[:length]))
        data = rest[length:]
    return answers


async def settle(rounds: int = 20) -> None:
    """Lets everything that is ready to run come to its turn."""
    for _ in range(rounds):
        await asyncio.sleep(0)


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """Answers with method, path and body."""
    body = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        body += message["body"]
        if not message["more_body"]:
            break
    answer = f"{scope['method']} {scope['path']} ".encode() + body
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(answer))]})
    await send({"type": "http.response.body", "body": answer})


def into(statuses: list[int]) -> Any:
    """Returns what notes every status that somebody heard, as often as it was heard."""
    return lambda status, times, request_id="": statuses.extend([status] * times)


def with_client(
    work: Callable[[Client], Awaitable[None]], app: Any = echo, refused: list[int] | None = None, **limits: Any
) -> None:
    async def bounded() -> None:
        clock = Clock()
        told = into(refused if refused is not None else [])
        shared = Shared(app, Limits(**limits), asyncio.get_running_loop(), on_refused=told, clock=clock)
        await work(Client(shared, clock))
        for task in shared.tasks:
            task.cancel()

    run(bounded())


def test_requests_are_answered_one_after_the_other_on_one_connection() -> None:
    async def work(client: Client) -> None:
        await client.send(GET)
        await client.send(POST + b"body")
        assert [body for _, _, body in client.answers] == [b"GET /a ", b"POST /a body"]
        assert not client.transport.closed

    with_client(work)


def test_requests_sent_at_once_are_answered_in_their_order() -> None:
    async def work(client: Client) -> None:
        await client.send(POST + b"one!" + GET + POST + b"two!")
        assert [body for _, _, body in client.answers] == [b"POST /a one!", b"GET /a ", b"POST /a two!"]
        assert not client.transport.paused

    with_client(work)


@pytest.mark.parametrize("step", [1, 2, 7, 50])
def test_where_a_request_is_cut_into_packets_makes_no_difference(step: int) -> None:
    data = (
        POST
        + b"body"
        + b"POST /b%20c?d=e HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
    )

    async def work(client: Client) -> None:
        for start in range(0, len(data), step):
            await client.send(data[start : start + step])
        assert [body for _, _, body in client.answers] == [b"POST /a body", b"POST /b c abcde"]

    with_client(work)


def test_nothing_more_is_read_while_requests_wait_for_their_turn() -> None:
    release = asyncio.Event()

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/slow":
            await release.wait()
        await echo(scope, receive, send)

    async def work(client: Client) -> None:
        await client.send(GET + GET.replace(b"/a", b"/slow") + GET * 3)
        assert client.statuses == [200]
        assert client.transport.paused
        release.set()
        await settle()
        assert client.statuses == [200] * 5
        assert not client.transport.paused

    with_client(work, app=slow)


def test_an_answer_is_one_write(monkeypatch: pytest.MonkeyPatch) -> None:
    writes: list[bytes] = []

    async def work(client: Client) -> None:
        monkeypatch.setattr(client.transport, "write", writes.append)
        await client.send(GET)
        assert len(writes) == 1

    with_client(work)


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
        b"GET / HTTP/1.0\r\n\r\n",
    ],
)
def test_who_asks_for_it_is_hung_up_on_after_the_answer(data: bytes) -> None:
    async def work(client: Client) -> None:
        await client.send(data)
        ((status, headers, _),) = client.answers
        assert (status, headers[b"connection"], client.transport.closed) == (200, b"close", True)

    with_client(work)


def test_an_offer_of_another_protocol_is_answered_in_this_one() -> None:
    upgrade = b"connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAA\r\n"

    async def work(client: Client) -> None:
        offer = b"POST /a HTTP/1.1\r\nhost: x\r\n" + upgrade + b"content-length: 4\r\n\r\nbody"
        await client.send(offer)
        await client.send(GET + offer * 1200)
        await settle(1200 * 4)
        assert [body for _, _, body in client.answers] == [b"POST /a body", b"GET /a ", *[b"POST /a body"] * 1200]

    with_client(work)


@pytest.mark.parametrize(
    "value", [b"Upgrade, HTTP2-Settings, close", b"close, Upgrade", b"upgrade\r\nconnection: Close "]
)
def test_an_offer_of_another_protocol_may_be_the_last_request(value: bytes) -> None:
    async def work(client: Client) -> None:
        offer = b"POST /a HTTP/1.1\r\nhost: x\r\nconnection: %b\r\nupgrade: h2c\r\ncontent-length: 4\r\n\r\n" % value
        await client.send(offer + b"body")
        ((status, headers, body),) = client.answers
        assert (status, headers[b"connection"], body) == (200, b"close", b"POST /a body")
        assert client.transport.closed

    with_client(work)


def test_an_old_client_that_offers_another_protocol_is_still_an_old_one() -> None:
    versions = []

    async def noting(scope: Any, receive: Any, send: Any) -> None:
        versions.append(scope["http_version"])
        await echo(scope, receive, send)

    async def work(client: Client) -> None:
        await client.send(b"GET /a HTTP/1.0\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n")
        assert client.statuses == [200]
        assert client.transport.closed

    with_client(work, app=noting)
    assert versions == ["1.0"]


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET /a HTTP/1.1\r\n", 400),
        (b"GET http://x/a HTTP/1.1\r\n", 400),
        (b"GET /a HTTP/1.1\r\nhost: x\r\nHost: x\r\n", 400),
        (b"GET /a HTTP/1.0\r\nhost: x\r\nhost: y\r\n", 400),
        (b"GET /a HTTP/1.1\r\nconnection: upgrade\r\nupgrade: h2c\r\n", 400),
        (b"GET /a HTTP/1.1\r\nHOST: x\r\n", 200),
        (b"GET /a HTTP/1.1\r\nhost:\r\n", 200),
        (b"GET /a HTTP/1.0\r\n", 200),
        (b"GET /a HTTP/1.0\r\nhost: x\r\n", 200),
    ],
)
def test_a_request_of_http_1_1_names_one_host(head: bytes, status: int) -> None:
    async def work(client: Client) -> None:
        await client.send(head + b"\r\n")
        assert client.statuses == [status]

    with_client(work)


@pytest.mark.parametrize(
    ("codings", "status"),
    [
        (b"transfer-encoding: gzip, chunked", 501),
        (b"transfer-encoding: gzip\r\ntransfer-encoding: chunked", 501),
        (b"transfer-encoding: identity, Chunked ", 501),
        (b"transfer-encoding: gzip", 400),
        (b"transfer-encoding: chunked, gzip", 400),
        (b"transfer-encoding: chunked;a=b", 400),
        (b"Transfer-Encoding:  Chunked ", 200),
    ],
)
def test_a_body_is_in_chunks_and_packed_in_no_other_way(codings: bytes, status: int) -> None:
    asked = []

    async def noting(scope: Any, receive: Any, send: Any) -> None:
        asked.append(scope["path"])
        await echo(scope, receive, send)

    async def work(client: Client) -> None:
        head = b"POST /a HTTP/1.1\r\nhost: x\r\n" + codings
        await client.send(head + b"\r\n\r\n3\r\nabc\r\n0\r\n\r\n")
        assert client.statuses == [status]
        assert asked == ["/a"] * (status == 200)

    with_client(work, app=noting)


def test_what_a_connection_refuses_by_itself_has_a_date_and_an_id() -> None:
    told: list[tuple[int, int, str]] = []

    async def work(client: Client) -> None:
        client.shared.on_refused = lambda *what: told.append(what)
        second = Client(client.shared, client.clock)
        await client.send(b"nonsense\r\n\r\n")
        found = [answer for one in (second, client) for answer in one.answers]
        ids = [headers[b"x-request-id"].decode() for _, headers, _ in found]
        assert told == [(503, 1, ids[0]), (400, 1, ids[1])]
        assert len(set(ids)) == 2
        for _, headers, body in found:
            assert parsedate_to_datetime(headers[b"date"].decode()).year > 2000
            assert json.loads(body)["error"]

    with_client(work, connections=1)


def test_a_body_is_asked_for_only_when_the_application_wants_it() -> None:
    head = b"POST /a HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 4\r\n\r\n"

    async def refuse(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 413, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})

    async def work(client: Client) -> None:
        await client.send(head)
        assert client.transport.written == b"HTTP/1.1 100 Continue\r\n\r\n"
        await client.send(b"body")
        assert client.statuses == [100, 200]

    async def work_refused(client: Client) -> None:
        await client.send(head)
        assert client.statuses == [413]

    with_client(work)
    with_client(work_refused, app=refuse)


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nhost: x\r\nbad header: x\r\n\r\n", 400),
        (b"CONNECT example.org:443 HTTP/1.1\r\nhost: example.org\r\n\r\n", 400),
        (b"GET /\xff HTTP/1.1\r\nhost: x\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
        (
            b"GET / HTTP/1.1\r\nhost: x\r\n" + b"".join(b"h%d: %b\r\n" % (i, b"x" * 90) for i in range(20)) + b"\r\n",
            431,
        ),
        (b"GET /" + b"a" * 2000 + b" HTTP/1.1\r\nhost: x\r\n\r\n", 431),
        (b"GET /" + b"a" * 2000, 431),
        (b"GET / HTTP/1.1\r\nhost: x\r\nx: " + b"a" * 2000, 431),
    ],
)
def test_what_is_no_request_or_too_long_is_refused_and_hung_up_on(data: bytes, status: int) -> None:
    refused: list[int] = []

    async def work(client: Client) -> None:
        await client.send(data)
        assert client.statuses == [status]
        assert client.transport.eof or client.transport.closed
        await client.send(GET)  # nothing more is read
        assert client.statuses == [status]
        await client.wait(3)
        assert client.transport.closed

    with_client(work, refused=refused, header_bytes=1024)
    assert refused == [status]


def test_a_chunk_or_a_trailer_without_an_end_is_too_long_as_well() -> None:
    async def extension(client: Client) -> None:
        await client.send(b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n")
        await client.send(b"1;" + b"x" * 2000)
        assert client.statuses == [431]

    async def trailer(client: Client) -> None:
        await client.send(b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n")
        await client.send(b"trailer: " + b"x" * 2000)
        assert client.statuses == [431]

    with_client(extension, header_bytes=1024)
    with_client(trailer, header_bytes=1024)


def test_what_follows_a_good_request_does_not_spoil_its_answer() -> None:
    async def work(client: Client) -> None:
        await client.send(GET + b"nonsense\r\n\r\n")
        assert client.statuses == [200]
        await client.wait(3)
        assert client.transport.closed

    with_client(work)


def test_headers_must_come_in_time() -> None:
    async def work(client: Client) -> None:
        await client.send(GET[:9])
        await client.wait(6)
        await client.send(GET[9:12])  # a byte now and then does not help
        await client.wait(3)
        assert not client.answers
        await client.wait(1)
        assert client.statuses == [408]

    with_client(work, header_s=10)


def test_a_connection_without_a_request_is_closed_sooner_than_an_idle_one() -> None:
    async def work_fresh(client: Client) -> None:
        await client.wait(10)
        assert client.transport.closed

    async def work_used(client: Client) -> None:
        await client.send(GET)
        await client.wait(74)
        assert not client.transport.closed
        await client.wait(1)
        assert client.transport.closed

    with_client(work_fresh, header_s=10, idle_s=75)
    with_client(work_used, header_s=10, idle_s=75)


def test_a_body_must_come_in_time_and_not_drop_by_drop() -> None:
    async def in_drops(client: Client) -> None:
        await client.send(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 100000\r\n\r\n")
        for _ in range(6):
            await client.wait(1)
            await client.send(b"x" * 100)
        assert client.statuses == [408]

    async def steady(client: Client) -> None:
        await client.send(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 100000\r\n\r\n")
        for _ in range(59):
            await client.wait(1)
            await client.send(b"x" * 1500)
        assert not client.answers
        await client.wait(1)
        assert client.statuses == [408]

    with_client(in_drops, body_rate=1000, body_s=60)
    with_client(steady, body_rate=1000, body_s=60)


def test_the_time_of_the_application_is_not_the_clients() -> None:
    release = asyncio.Event()

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        await release.wait()
        await echo(scope, receive, send)

    async def work(client: Client) -> None:
        await client.send(POST + b"body")
        await client.wait(500)
        release.set()
        await settle()
        assert client.statuses == [200]

    with_client(work, app=slow)


def test_who_does_not_take_its_answer_is_cut_off() -> None:
    async def work(client: Client) -> None:
        client.transport.stuck = 10_000
        await client.send(GET)
        await client.wait(39)
        assert not client.transport.aborted
        await client.wait(1)
        assert client.transport.aborted

    async def work_taken(client: Client) -> None:
        client.transport.stuck = 10_000
        await client.send(GET)
        await client.wait(39)
        client.transport.stuck = 0
        await client.wait(20)
        assert not client.transport.closed

    with_client(work, write_s=30, body_rate=1000, idle_s=300)
    with_client(work_taken, write_s=30, body_rate=1000, idle_s=300)


def test_no_request_is_begun_while_the_answers_before_it_are_not_taken() -> None:
    async def work(client: Client) -> None:
        client.connection.pause_writing()
        await client.send(GET)
        assert not client.answers
        assert client.transport.paused
        client.connection.resume_writing()
        await settle()
        assert client.statuses == [200]
        assert not client.transport.paused

    with_client(work)


def test_a_body_is_not_read_faster_than_the_application_takes_it() -> None:
    release = asyncio.Event()

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        await release.wait()
        await echo(scope, receive, send)

    async def work(client: Client) -> None:
        await client.send(b"POST /a HTTP/1.1\r\nhost: x\r\ncontent-length: 400000\r\n\r\n" + b"x" * 300_000)
        assert client.transport.paused
        release.set()
        await settle()
        await client.send(b"x" * 100_000)
        assert len(client.answers[0][2]) == len(b"POST /a ") + 400_000
        assert not client.transport.paused

    with_client(work, app=slow)


def test_an_early_answer_ends_the_connection_after_the_client_could_read_it() -> None:
    async def early(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 413, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})

    async def work(client: Client) -> None:
        await client.send(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 100000000\r\n\r\nxxx")
        ((status, headers, _),) = client.answers
        assert (status, headers[b"connection"]) == (413, b"close")
        assert client.transport.eof
        await client.send(b"x" * 100_000)
        assert not client.transport.closed
        await client.wait(2)
        assert client.transport.closed

    with_client(work, app=early)


def test_work_for_a_client_that_hung_up_is_given_up() -> None:
    ended = []

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(scope.get("gone"))

    async def work(client: Client) -> None:
        await client.send(GET)
        client.connection.connection_lost(None)
        await settle()
        assert ended == [True]
        assert not client.shared.tasks
        assert not client.shared.open

    with_client(work, app=slow)


def test_one_connection_too_many_is_told_so() -> None:
    refused: list[int] = []

    async def work(client: Client) -> None:
        second = Client(client.shared, client.clock)
        ((status, headers, _),) = second.answers
        assert (status, headers[b"retry-after"], headers[b"connection"]) == (503, b"1", b"close")
        await second.wait(2)
        assert second.transport.closed
        assert not client.transport.closed

    with_client(work, refused=refused, connections=1)
    assert refused == [503]


def test_a_flood_of_connections_is_not_even_told() -> None:
    async def work(client: Client) -> None:
        clients = [Client(client.shared, client.clock) for _ in range(100)]
        assert len(client.shared.open) <= 66
        assert clients[-1].transport.aborted
        assert clients[-1].transport.written == b""

    with_client(work, connections=1)


def test_who_connects_in_the_last_moment_has_a_second_to_ask() -> None:
    async def work(client: Client) -> None:
        client.shared.draining = True
        late, silent = Client(client.shared, client.clock), Client(client.shared, client.clock)
        await client.wait(0.9)
        await late.send(GET)
        assert late.statuses == [200]
        assert not silent.transport.closed
        await client.wait(0.1)
        assert silent.transport.closed

    with_client(work)


def test_draining_closes_idle_connections_now_and_busy_ones_after_their_answer() -> None:
    release = asyncio.Event()

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/slow":
            await release.wait()
        await echo(scope, receive, send)

    async def work(client: Client) -> None:
        busy = Client(client.shared, client.clock)
        await client.send(GET)
        await busy.send(b"GET /slow HTTP/1.1\r\nhost: x\r\n\r\n")
        client.shared.drain()
        assert client.transport.closed
        assert not busy.transport.closed
        release.set()
        await settle()
        ((status, headers, _),) = busy.answers
        assert (status, headers[b"connection"], busy.transport.closed) == (200, b"close", True)

    with_client(work, app=slow)


@pytest.mark.parametrize("value", [b"a\r\nx: y", b"a\nx: y", b"a\rx: y"])
def test_a_line_break_in_a_header_of_the_answer_is_an_error_of_the_server(value: bytes) -> None:
    errors: list[BaseException] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(
            {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0"), (b"x", value)]}
        )

    async def work(client: Client) -> None:
        client.shared.on_error = errors.append
        await client.send(GET)
        assert client.statuses == [500]
        assert b"x: y" not in client.transport.written

    with_client(work, app=app)
    assert len(errors) == 1
