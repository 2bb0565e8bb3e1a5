"""One process's server over real sockets, on this event loop: TLS, slow clients, hostile bytes, the drain."""

from __future__ import annotations

import asyncio
import datetime
import errno
import gc
import io
import ipaddress
import json
import os
import resource
import socket
import ssl
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from services.model_server import alive
from services.model_server.errors import SettingsError
from services.model_server.events import EventLog
from services.model_server.host.door import Door, turn_new_ones_away
from services.model_server.host.tls import Certificate
from services.model_server.metrics.board import ACCEPTING, TAKEN, Board, Reader
from services.model_server.server import Server
from services.model_server.settings import Settings
from services.model_server.startup import check, raise_descriptors, take_port
from tests.services.model_server.parts import FolderStore, run, serving

BODY = b'{"instances":[[[1,2],[3,4]]]}'
POST = b"POST /v1/models/tiny:predict HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(BODY) + BODY


class Running:
    """A server that runs, and where."""

    def __init__(self, server: Server, parts: Any, port: int) -> None:
        self.server, self.parts, self.port = server, parts, port

    async def connect(self, context: ssl.SSLContext | None = None) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        name = None if context is None else "localhost"
        return await asyncio.open_connection("127.0.0.1", self.port, ssl=context, server_hostname=name)


@asynccontextmanager
async def listening(store: FolderStore, **values: Any) -> AsyncIterator[Running]:
    """Runs a server on a free port until the block ends."""
    settings = Settings(port=0, **{"linger_s": 0.0, "drain_s": 2.0} | values)
    certificate = None
    if settings.tls_cert is not None and settings.tls_key is not None:
        certificate = Certificate(settings.tls_cert, settings.tls_key)
    async with serving(store, **values) as parts:
        parts.app.router.lifespan_context = _nothing
        listener = take_port(settings)
        port = listener.getsockname()[1]
        server = Server(parts.app, settings, listener, parts.app.state.log, certificate=certificate)
        running = asyncio.create_task(server.run())
        await until(lambda: hasattr(server, "_door") and server._door.is_open)
        try:
            yield Running(server, parts, port)
        finally:
            server.stop("the test is over")
            await running


@asynccontextmanager
async def _nothing(_: Any) -> AsyncIterator[None]:
    yield


def with_server(store: FolderStore, work: Callable[[Running], Awaitable[None]], **values: Any) -> None:
    async def bounded() -> None:
        async with listening(store, **values) as running:
            await work(running)

    run(bounded())


async def answer(reader: asyncio.StreamReader) -> tuple[int, dict[str, str], bytes]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    headers = dict(line.split(": ", 1) for line in head[1:-2])
    return int(head[0].split()[1]), headers, await reader.readexactly(int(headers["content-length"]))


def write_certificate(folder: Path, name: str = "localhost") -> tuple[Path, Path]:
    """Writes a self-signed certificate for localhost and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]),
            critical=False,
        )
        .sign(key, hashes.SHA256())
    )
    folder.mkdir(parents=True, exist_ok=True)
    cert_file, key_file = folder / "cert.pem", folder / "key.pem"
    cert_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return cert_file, key_file


def test_a_request_over_tls_is_answered_and_plain_http_is_not(store: FolderStore, tmp_path: Path) -> None:
    cert, key = write_certificate(tmp_path / "tls")

    async def work(running: Running) -> None:
        reader, writer = await running.connect(ssl.create_default_context(cafile=str(cert)))
        writer.write(POST)
        assert (await answer(reader))[0] == 200
        writer.close()
        plain, plain_writer = await running.connect()
        plain_writer.write(POST)
        assert not (await plain.read()).startswith(b"HTTP/1.1 2")
        plain_writer.close()

    with_server(store, work, tls_cert=cert, tls_key=key)


@pytest.mark.parametrize("encrypted", [False, True])
def test_a_health_check_finds_the_server_by_its_settings(
    store: FolderStore, tmp_path: Path, encrypted: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    cert, key = write_certificate(tmp_path / "tls")
    tls = {"tls_cert": cert, "tls_key": key} if encrypted else {}
    environ = {f"MODEL_SERVER_{name.upper()}": str(path) for name, path in tls.items()}

    async def work(running: Running) -> None:
        told = environ | {"MODEL_SERVER_PORT": str(running.port), "MODEL_SERVER_HOST": "0.0.0.0"}
        assert await asyncio.to_thread(alive.main, told) == 0
        settings = Settings(port=running.port, **tls)
        assert await asyncio.to_thread(alive.ask, settings, "/nothing") == "/nothing says 404."

    with_server(store, work, **tls)
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        port = str(nobody.getsockname()[1])
    assert alive.main(environ | {"MODEL_SERVER_PORT": port}) == 1
    assert alive.main({"MODEL_SERVER_PORT": "x"}) == 2
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith(f"127.0.0.1 port {port} does not answer: ")
    assert second.startswith("MODEL_SERVER_PORT is 'x'")


def test_a_renewed_certificate_is_used_without_a_restart_and_a_wrong_one_is_not(
    store: FolderStore, tmp_path: Path
) -> None:
    cert, key = write_certificate(tmp_path / "tls")
    new_cert, new_key = write_certificate(tmp_path / "new")

    async def served(running: Running) -> bytes:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        _, writer = await running.connect(context)
        certificate: bytes = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        writer.close()
        return certificate

    async def work(running: Running) -> None:
        def events(used: bool) -> list[Any]:
            return [e for e in running.parts.events("certificate_changed") if e["used"] == used]

        first = await served(running)
        cert.write_bytes(new_cert.read_bytes())  # the key is still the old one
        await until(lambda: bool(events(False)))
        assert "another certificate" in events(False)[0]["reason"]
        assert await served(running) == first
        key.write_bytes(new_key.read_bytes())
        await until(lambda: bool(events(True)))
        assert await served(running) == ssl.PEM_cert_to_DER_cert(new_cert.read_text())

    with_server(store, work, tls_cert=cert, tls_key=key)


async def until(condition: Callable[[], bool]) -> None:
    """Waits until something is so; `run` bounds it."""
    while not condition():
        await asyncio.sleep(0.01)


def test_wrong_tls_files_are_one_sentence(tmp_path: Path) -> None:
    cert, key = write_certificate(tmp_path / "one")
    _, other_key = write_certificate(tmp_path / "two")
    (tmp_path / "text").write_text("not PEM")
    for pair, told in (
        ((cert, other_key), "do not go together: the key belongs to another certificate."),
        ((tmp_path / "text", key), "do not go together: one of them is not PEM, or the key has a password."),
        ((cert, tmp_path / "missing"), "MODEL_SERVER_TLS_KEY is "),
        ((tmp_path / "missing", key), "cannot be read: No such file or directory."),
    ):
        with pytest.raises(SettingsError) as caught:
            check(Settings(cache=tmp_path / "cache", tls_cert=pair[0], tls_key=pair[1]))
        (sentence,) = caught.value.mistakes
        assert told in sentence


def test_files_that_settings_name_are_checked_together(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    missing = tmp_path / "missing"
    settings = Settings(
        cache=tmp_path / "file" / "cache", api_key_file=tmp_path / "file", tls_cert=missing, tls_key=missing
    )
    with pytest.raises(SettingsError) as caught:
        check(settings)
    assert [sentence.split(" is ")[0] for sentence in caught.value.mistakes] == [
        "MODEL_SERVER_CACHE",
        "MODEL_SERVER_API_KEY_FILE",
        "MODEL_SERVER_TLS_CERT",
    ]


@pytest.mark.parametrize(("flag", "reason"), [(os.ST_RDONLY, "Read-only file system"), (0, "Permission denied")])
def test_a_cache_that_cannot_be_written_is_told_with_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flag: int, reason: str
) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    monkeypatch.setattr(os, "statvfs", lambda path: SimpleNamespace(f_flag=flag))
    with pytest.raises(SettingsError) as caught:
        check(Settings(cache=tmp_path))
    (sentence,) = caught.value.mistakes
    assert sentence == (
        f"MODEL_SERVER_CACHE is '{tmp_path}', which cannot be written: {reason}. "
        "Set it to a folder that this server may write, on a disk with room."
    )


def test_a_client_that_sends_its_headers_too_slowly_is_told_408(store: FolderStore) -> None:
    async def work(running: Running) -> None:
        reader, writer = await running.connect()
        writer.write(b"POST /v1/models/tiny:predict HTTP/1.1\r\nhost: x\r\nx: ")
        status, headers, body = await answer(reader)
        assert (status, headers["connection"]) == (408, "close")
        assert "slowly" in json.loads(body)["error"]
        assert await reader.read() == b""
        writer.close()

    with_server(store, work, header_s=0.2)


def test_a_client_that_never_reads_its_answers_is_cut_off_and_costs_no_memory(store: FolderStore) -> None:
    async def work(running: Running) -> None:
        raw = socket.socket()
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        raw.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(raw, ("127.0.0.1", running.port))
        request = b"GET /v1/models/tiny/metadata HTTP/1.1\r\nhost: x\r\n\r\n"

        async def flood() -> None:
            while True:
                await loop.sock_sendall(raw, request * 500)

        with raw, pytest.raises(OSError, match=r"reset|pipe"):
            await flood()
        await until(lambda: not running.server._shared.open)

    with_server(store, work, write_s=0.3, body_rate=10_000_000)


def test_a_body_above_the_limit_is_refused_while_the_client_still_sends_it(store: FolderStore) -> None:
    async def work(running: Running) -> None:
        reader, writer = await running.connect()
        writer.write(b"POST /v1/models/tiny:predict HTTP/1.1\r\nhost: x\r\ncontent-length: 50000000\r\n\r\n")
        writer.write(b"x" * 5_000_000)  # more than the sockets hold
        status, headers, _ = await answer(reader)
        assert (status, headers["connection"]) == (413, "close")
        writer.close()

    with_server(store, work, max_body_bytes=1000)


@pytest.mark.parametrize(
    ("soft", "hard", "connections", "raised"),
    [
        (1024, 4096, 1024, 2304),
        (1024, 2000, 1024, 2000),
        (1024, resource.RLIM_INFINITY, 10_000, 20_256),
        (65536, 65536, 1024, None),
        (resource.RLIM_INFINITY, resource.RLIM_INFINITY, 1024, None),
    ],
)
def test_there_are_descriptors_for_all_connections_where_the_system_allows_it(
    monkeypatch: pytest.MonkeyPatch, soft: int, hard: int, connections: int, raised: int | None
) -> None:
    told: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: (soft, hard))
    monkeypatch.setattr(resource, "setrlimit", lambda _, limits: told.append(limits))
    raise_descriptors(Settings(connections=connections))
    assert told == ([] if raised is None else [(raised, hard)])


@pytest.mark.parametrize(("hard", "advised"), [(64, 16), (1024, 976), (1072, None), (resource.RLIM_INFINITY, None)])
def test_a_limit_below_the_connections_is_told_with_what_would_fit(
    monkeypatch: pytest.MonkeyPatch, hard: int, advised: int | None
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (hard, hard))
    monkeypatch.setattr(resource, "setrlimit", lambda *_: None)
    few = raise_descriptors(Settings(connections=1024))
    assert (few is None) == (advised is None)
    if few is not None:
        assert f"may have {hard} files open" in few
        assert few.endswith(f"set MODEL_SERVER_CONNECTIONS to {advised}.")


@pytest.mark.parametrize(
    ("line", "status"),
    [
        ("OPTIONS *", 200),
        ("GET *", 404),
        ("POST *", 404),
        ("GET /ping/", 404),
        ("GET /metrics/", 404),
        ("GET /livez/", 404),
        ("GET /models/", 404),
        ("GET /predict/tiny/", 404),
        ("GET //livez", 404),
        ("GET /page", 404),
        ("GET /a%0Ab", 404),
        ("GET /predict/a%0Ab%2Fc", 404),
        ("GET /v1", 404),
        ("GET /v1%0A", 404),
        ("GET /v2/%0A", 404),
        ("OPTIONS /livez", 405),
        ("OPTIONS /nowhere", 404),
    ],
)
def test_an_address_that_nobody_has_is_answered_in_the_usual_form(store: FolderStore, line: str, status: int) -> None:
    async def work(running: Running) -> None:
        reader, writer = await running.connect()
        writer.write(f"{line} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".encode())
        found, headers, body = await answer(reader)
        assert found == status
        assert headers["x-request-id"]
        if status == 200:
            assert (headers["allow"], body) == ("GET, HEAD, OPTIONS, POST", b"")
        else:
            assert list(json.loads(body)) == ["error"]
        assert running.parts.events("request_failed") == []
        writer.close()

    with_server(store, work)


def test_whoever_asks_for_the_whole_server_needs_no_key(store: FolderStore) -> None:
    async def work(running: Running) -> None:
        reader, writer = await running.connect()
        writer.write(b"OPTIONS * HTTP/1.1\r\nhost: x\r\n\r\nGET /a%0Ab HTTP/1.1\r\nhost: x\r\n\r\n")
        assert [(await answer(reader))[0] for _ in range(2)] == [200, 401]
        writer.close()

    with_server(store, work, api_key="s3cret")


def test_refusals_are_counted_and_logged_like_answers(store: FolderStore) -> None:
    async def work(running: Running) -> None:
        reader, writer = await running.connect()
        writer.write(b"nonsense\r\n\r\n")
        status, headers, _ = await answer(reader)
        assert status == 400
        writer.close()
        reader, writer = await running.connect()
        writer.write(b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        page = (await reader.read()).decode()
        assert 'model_server_requests_total{model="",protocol="http",status="400",version=""} 1.0' in page
        assert "model_server_connections 1.0" in page
        noted = running.parts.events("request")
        assert [event["status"] for event in noted] == [400, 200]
        assert noted[0]["id"] == headers["x-request-id"]
        writer.close()

    with_server(store, work)


def test_work_for_a_client_that_hangs_up_is_given_up_and_logged_as_499(store: FolderStore) -> None:
    async def work(running: Running) -> None:
        (model,) = running.parts.engine.loaded()
        begun, ended = asyncio.Event(), asyncio.Event()

        async def submit(rows: Any, deadline: float) -> Any:
            begun.set()
            try:
                await asyncio.Event().wait()
            finally:
                ended.set()

        model.batcher.at_once, model.batcher.submit = (lambda _: None), submit
        _, writer = await running.connect()
        writer.write(POST)
        await begun.wait()
        writer.close()
        await ended.wait()
        await until(lambda: bool(running.parts.events("request")))
        assert running.parts.events("request")[0]["status"] == 499

    with_server(store, work)


def test_all_idle_descriptors_in_use_is_no_end(store: FolderStore, monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(running: Running) -> None:
        listener = running.server._door._listener
        fails = [OSError(24, "Too many open files") for _ in range(3)]

        class Poor:
            def __getattr__(self, name: str) -> Any:
                return getattr(listener, name)

            def accept(self) -> Any:
                if fails:
                    raise fails.pop()
                return listener.accept()

        running.server._door._listener = Poor()  # type: ignore[assignment]
        reader, writer = await running.connect()
        writer.write(POST)
        assert (await answer(reader))[0] == 200
        (said,) = running.parts.events("no_descriptors")  # once, however often it is tried
        assert "ulimit -n" in said["reason"]
        assert fails == []
        writer.close()

    with_server(store, work)


def test_what_waits_in_the_queue_of_the_port_is_answered_before_it_closes(store: FolderStore) -> None:
    async def work() -> None:
        async with listening(store) as running:
            reader, writer = await running.connect()
            writer.write(POST)
            assert (await answer(reader))[0] == 200
            # Nothing is taken from here on: as if all this came in the moment of the signal.
            asyncio.get_running_loop().remove_reader(running.server._door._listener)
            late = [await running.connect() for _ in range(5)]
            for _, late_writer in late:
                late_writer.write(POST)
            running.server.stop("SIGTERM")
            for late_reader, late_writer in late:
                status, headers, _ = await answer(late_reader)
                assert (status, headers["connection"]) == (200, "close")
                late_writer.close()
            assert await reader.read() == b"", "an idle connection is closed"
            writer.close()

    run(work())


@pytest.mark.skipif(sys.platform != "linux", reason="other kernels have no such filters")
def test_a_socket_that_is_about_to_close_makes_no_more_connections_and_keeps_those_it_has() -> None:
    listener = take_port(Settings(port=0))
    address = listener.getsockname()
    with listener, socket.create_connection(address) as early:
        turn_new_ones_away(listener)
        with socket.socket() as late:
            late.setblocking(False)
            assert late.connect_ex(address) == errno.EINPROGRESS, "it hears nothing"
            taken, _ = listener.accept()
            with taken:
                early.sendall(b"a")
                assert taken.recv(1) == b"a"
                taken.sendall(b"b")
                assert early.recv(1) == b"b"
            listener.setblocking(False)
            with pytest.raises(BlockingIOError):
                listener.accept()


def test_what_outlasts_the_drain_is_told_so(store: FolderStore) -> None:
    async def work(running: Running) -> None:
        (model,) = running.parts.engine.loaded()
        begun = asyncio.Event()

        async def submit(rows: Any, deadline: float) -> Any:
            begun.set()
            await asyncio.Event().wait()

        model.batcher.at_once, model.batcher.submit = (lambda _: None), submit
        reader, writer = await running.connect()
        writer.write(POST)
        await begun.wait()
        running.server.stop("SIGTERM")
        status, headers, body = await answer(reader)
        assert (status, headers["retry-after"], headers["connection"]) == (503, "1", "close")
        assert b"shutting down" in body
        writer.close()

    with_server(store, work, drain_s=0.4)


def test_a_parent_that_dies_ends_the_process(store: FolderStore) -> None:
    async def work() -> None:
        async with serving(store) as parts:
            parts.app.router.lifespan_context = _nothing
            settings = Settings(port=0, linger_s=0, drain_s=1)
            read, write = os.pipe()
            server = Server(parts.app, settings, take_port(settings), parts.app.state.log, parent=read)
            running = asyncio.create_task(server.run())
            os.close(write)
            await running
            os.close(read)
            assert parts.events("draining")[0]["signal"] == "parent died"

    run(work())


def test_who_has_more_connections_leaves_the_next_one_to_another_process(tmp_path: Path) -> None:
    mine, other = Board(tmp_path / "0.board"), Board(tmp_path / "1.board")
    taken: list[socket.socket] = []

    async def work() -> None:
        listener = take_port(Settings(port=0))
        address = listener.getsockname()
        reader = Reader(tmp_path / "1.board")
        door = Door(listener, EventLog(io.BytesIO()), taken.append, lambda: len(taken), mine, lambda: [reader])
        door.open()
        with socket.create_connection(address), socket.create_connection(address):
            await until(lambda: len(taken) == 2)
            assert list(mine.values[ACCEPTING : TAKEN + 1]) == [1, 0, 2], "nobody else is there"
        other.values[ACCEPTING], other.values[TAKEN] = 1, 1
        with socket.create_connection(address):
            door._ready()
            assert len(taken) == 2, "the other one has fewer"
            await until(lambda: len(taken) == 3)  # and did not take it
        other.values[TAKEN] = 3
        with socket.create_connection(address):
            door._ready()
            assert len(taken) == 4, "now it has as many"
        door.close()
        assert mine.values[ACCEPTING] == 0

    try:
        run(work())
    finally:
        for client in taken:
            client.close()
        mine.close()
        other.close()


@pytest.mark.parametrize(
    ("registry_up", "waited_s", "times"), [(None, 1.0, 0), (False, 1.0, 0), (True, 0.1, 1), (False, 31.0, 1)]
)
def test_the_garbage_collector_looks_no_more_at_what_asks_the_registry(
    store: FolderStore, monkeypatch: pytest.MonkeyPatch, registry_up: bool | None, waited_s: float, times: int
) -> None:
    frozen: list[int] = []
    monkeypatch.setattr(gc, "freeze", lambda: frozen.append(1))

    async def work() -> None:
        async with serving(store, poll=False) as parts:
            with socket.socket() as listener:
                server = Server(parts.app, Settings(port=0), listener, parts.app.state.log)
                parts.app.state.engine.stats.registry_up = registry_up
                server._settle(waited_s)
                server._settle(waited_s)

    run(work())
    assert len(frozen) == times
