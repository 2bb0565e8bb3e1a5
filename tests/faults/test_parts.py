"""The parts themselves: a fault that does not happen would prove nothing."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import requests

from tests.faults.postgresql import Cluster
from tests.faults.proxy import Fault, Planned, Proxy, Weather


class Upstream(ThreadingHTTPServer):
    """A server that notes what it was asked to do."""

    def __init__(self) -> None:
        self.done: list[bytes] = []
        super().__init__(("127.0.0.1", 0), UpstreamHandler)


class UpstreamHandler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        assert isinstance(self.server, Upstream)
        self.server.done.append(body)
        self.send_response(201)
        self.send_header("X-Kept", "yes")
        self.end_headers()
        self.wfile.write(body * 2)

    def log_message(self, format: str, *args: Any) -> None:
        """It is quiet."""


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    server = Upstream()
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def between(upstream: Upstream) -> Iterator[Proxy]:
    made = Proxy(int(upstream.server_address[1]))
    yield made
    made.close()


def post(proxy: Proxy, content: bytes | Iterator[bytes] = b"some work") -> requests.Response:
    with requests.Session() as session:
        session.trust_env = False
        return session.post(proxy.address + "/do", data=content, timeout=10)


def test_a_fair_proxy_hands_everything_on(upstream: Upstream, between: Proxy) -> None:
    plain, chunked = post(between), post(between, iter([b"in ", b"pieces"]))

    assert (plain.status_code, plain.content, plain.headers["X-Kept"]) == (201, b"some worksome work", "yes")
    assert chunked.content == b"in piecesin pieces"
    assert upstream.done == [b"some work", b"in pieces"]


@pytest.mark.parametrize("fault", [Fault.ERROR, Fault.BUSY])
def test_an_answer_of_the_proxy_itself_never_reaches_the_server(
    upstream: Upstream, between: Proxy, fault: Fault
) -> None:
    between.weather = Weather(fault, retry_after_s=3)

    answer = post(between)

    assert answer.status_code == {Fault.ERROR: 500, Fault.BUSY: 429}[fault]
    assert answer.headers.get("Retry-After") == ("3" if fault is Fault.BUSY else None)
    assert upstream.done == []


@pytest.mark.parametrize(
    ("fault", "done"), [(Fault.RESET, []), (Fault.SWALLOW, [b"some work"]), (Fault.HALF, [b"some work"])]
)
def test_a_broken_connection_is_an_error_for_the_client_whether_or_not_the_work_is_done(
    upstream: Upstream, between: Proxy, fault: Fault, done: list[bytes]
) -> None:
    between.weather = Weather(fault)

    with pytest.raises(requests.RequestException):
        post(between)

    assert upstream.done == done
    assert between.met[fault] == 1


def test_a_proxy_that_is_down_refuses_and_one_that_is_up_again_has_its_port(upstream: Upstream, between: Proxy) -> None:
    before = between.port
    between.down()

    with pytest.raises(requests.ConnectionError):
        post(between)
    between.up()

    assert post(between).status_code == 201
    assert between.port == before


def test_a_share_of_bad_weather_meets_a_share_of_the_requests(upstream: Upstream, between: Proxy) -> None:
    between.weather = Weather(Fault.ERROR, share=0.5)

    codes = [post(between).status_code for _ in range(40)]

    assert 5 < codes.count(500) < 35
    assert len(upstream.done) == codes.count(201)


def test_a_database_is_new_and_survives_a_restart_that_cuts_connections(cluster: Cluster) -> None:
    import psycopg

    address = cluster.database().replace("+psycopg", "")
    with psycopg.connect(address) as connection:
        connection.execute("CREATE TABLE kept (what text)")
        connection.execute("INSERT INTO kept VALUES ('it')")
    cut = psycopg.connect(address)

    cluster.restart()

    with pytest.raises(psycopg.OperationalError):
        cut.execute("SELECT 1")
    cut.close()
    with psycopg.connect(address) as connection:
        assert json.dumps(connection.execute("SELECT what FROM kept").fetchall()) == '[["it"]]'


def test_a_planned_fault_meets_the_requests_that_it_is_meant_for_and_no_more(
    upstream: Upstream, between: Proxy
) -> None:
    between.plan = [Planned(Fault.ERROR, "^POST /do$", 2), Planned(Fault.BUSY, "/elsewhere")]

    codes = [post(between).status_code for _ in range(3)]

    assert codes == [500, 500, 201]
    assert [planned.times for planned in between.plan] == [0, 1]
