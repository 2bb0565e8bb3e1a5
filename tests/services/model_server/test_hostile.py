"""Clients that lie, dawdle, flood and send bombs to a real server: no 500, no crash, no growth, nothing repeated."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import resource
import socket
import struct
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from urllib.parse import urlsplit

import httpx
import numpy as np
import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.services.model_server.parts import write_package
from tests.services.model_server.processes import DEADLINE_S, Process, Registry

SHAPE, LABELS = (28, 28), tuple("0123456789")
PREDICT, INFER, OWN = "/v1/models/tiny:predict", "/v2/models/tiny/infer", "/predict/tiny"
LIMIT_BYTES = 1 << 20
LONGEST_ERROR = 256
# What the hostile requests may leave behind in a process of some 200 MiB: caches of libraries, not what they sent.
GROWTH_MB = 32

# MLflow and SQLAlchemy warn about themselves; only our own warnings are errors.
pytestmark = [pytest.mark.filterwarnings("default"), pytest.mark.end_to_end]


class Victim:
    """A real server with short patience, and what it answers to bytes."""

    def __init__(self, process: Process) -> None:
        self.process = process
        parts = urlsplit(process.url)
        self.address = (str(parts.hostname), int(parts.port or 0))

    def connect(self) -> socket.socket:
        return socket.create_connection(self.address, timeout=DEADLINE_S)

    def talk(self, data: bytes) -> bytes:
        """Sends bytes, and returns all that comes until the server hangs up."""
        with self.connect() as client:
            with contextlib.suppress(OSError):  # it has heard enough; what it said may still be read
                client.sendall(data)
            return received(client)

    def fine(self) -> bool:
        """Whether it still predicts."""
        body = {"instances": np.zeros((1, *SHAPE)).tolist()}
        return httpx.post(self.process.url + PREDICT, json=body, timeout=DEADLINE_S).status_code == 200

    def memory_mb(self) -> float:
        return psutil.Process(self.process.pid).memory_info().rss / 2**20


def received(client: socket.socket) -> bytes:
    answer = b""
    while True:
        try:
            piece = client.recv(1 << 16)
        except ConnectionResetError:
            return answer
        if not piece:
            return answer
        answer += piece


def statuses(answer: bytes) -> list[int]:
    """The statuses of all answers in what came. Every one of them says how long it is."""
    found = []
    while answer:
        head, _, rest = answer.partition(b"\r\n\r\n")
        lines = head.split(b"\r\n")
        assert lines[0].startswith(b"HTTP/1.1 "), lines[0]
        found.append(int(lines[0][9:12]))
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(b":") for line in lines[1:])}
        length = int(headers[b"content-length"])
        body, answer = rest[:length], rest[length:]
        if found[-1] >= 400 and headers.get(b"content-type") == b"application/json":
            told = json.loads(body)
            assert len(str(told.get("error") or told.get("message"))) <= LONGEST_ERROR, told
    return found


@pytest.fixture(scope="module")
def victim(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Victim]:
    folder = tmp_path_factory.mktemp("victim")
    registry = Registry(folder)
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("MLFLOW_TRACKING_URI", registry.uri)  # the registry looks up a model's files by it
        registry.point("tiny", registry.add("tiny", write_package(folder / "v1", shape=SHAPE, labels=LABELS)))
    process = Process(
        folder / "server.log",
        MLFLOW_TRACKING_URI=registry.uri,
        MODEL_SERVER_CACHE=str(folder / "cache"),
        MODEL_SERVER_MODELS="tiny",
        MODEL_SERVER_MAX_BODY_BYTES=str(LIMIT_BYTES),
        MODEL_SERVER_HEADER_S="1",
        MODEL_SERVER_BODY_S="2",
        MODEL_SERVER_IDLE_S="60",
        MODEL_SERVER_CONNECTIONS="20000",
    )
    process.wait_ready()
    victim = Victim(process)
    assert victim.fine()
    yield victim
    try:
        assert victim.fine()
        assert process.events("request_failed") == []
        assert "Traceback" not in process.log.read_text()
        failed = [
            event for event in process.events("request") if event["status"] >= 500 and event["protocol"] != "probes"
        ]
        assert failed == []
    finally:
        process.end()


def post(path: str, body: bytes, *headers: str) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "host: x", f"content-length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


def chunked(path: str, rest: bytes) -> bytes:
    return f"POST {path} HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n".encode() + rest


GOOD = post(PREDICT, json.dumps({"instances": np.zeros((1, *SHAPE)).tolist()}).encode())
GET = b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n"
LAST = b"GET /livez HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"


@pytest.mark.parametrize(
    ("sent", "wanted"),
    [
        (GET * 99 + LAST, [200] * 100),
        (GOOD + GET + GOOD + LAST, [200] * 4),
        (GOOD[:-100], [408]),
        (GOOD.replace(b"HTTP/1.1", b"HTTP/1.0"), [200]),
        (GOOD + b"something else entirely\r\n\r\n", [200]),
        (b"GET / HTTP/2.0\r\n\r\n", [400]),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9), [400]),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200), [400]),
        (b"\x00" * 5000, [400]),
        (b"GET /livez\r\n\r\n", [400]),
        (post(PREDICT, b"{}", "content-length: 3"), [400]),
        (post(PREDICT, b"{}", "transfer-encoding: chunked"), [400]),
        (b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n", [400]),
        (b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 99999999999999999999999\r\n\r\n", [400]),
        (chunked(PREDICT, b"zz\r\n"), [400]),
        (chunked(PREDICT, b"-5\r\nhello\r\n"), [400]),
        (chunked(PREDICT, b"3\r\nhello\r\n0\r\n\r\n"), [400]),
        (chunked(PREDICT, b"ffffffffffffffffff\r\n"), [400]),
        (chunked(PREDICT, b"2\r\n{}\r\n0\r\n\r\n") + LAST, [400, 200]),
        (b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nhost: x\r\n\r\n", [431]),
        (b"GET / HTTP/1.1\r\n" + b"x: y\r\n" * 20_000 + b"\r\n", [431]),
        (b"GET / HTTP/1.1\r\nx: " + b"y" * 200_000, [431]),
        (b"GET / HTTP/1.1\r\nhost: x\r\nx-request-id: a\rb\r\n\r\n", [400]),
        (b"CONNECT example.org:443 HTTP/1.1\r\nhost: x\r\n\r\n", [400]),
        (b"BREW /livez HTTP/1.1\r\nhost: x\r\n\r\n", [400]),
    ],
    ids=range(25),
)  # fmt: skip
def test_whatever_is_no_good_http_is_refused_and_what_came_before_it_is_answered(
    victim: Victim, sent: bytes, wanted: list[int]
) -> None:
    assert statuses(victim.talk(sent)) == wanted


@st.composite
def changed(draw: st.DrawFn) -> bytes:
    """A request of which some bytes are others."""
    sent = bytearray(draw(st.sampled_from([GET, GOOD[:400] + GOOD[-400:], chunked(OWN, b"2\r\n[]\r\n0\r\n\r\n")])))
    for _ in range(draw(st.integers(1, 6))):
        place = draw(st.integers(0, min(len(sent), 300) - 1))
        sent[place : place + draw(st.integers(0, 3))] = draw(st.binary(max_size=4))
    return bytes(sent) + b"\r\n\r\n" + LAST + bytes(8)


# ten at once, as for most of them the server waits until its patience is over
@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(requests=st.lists(changed(), min_size=10, max_size=10))
def test_bytes_that_are_changed_somewhere_are_answered_or_refused(victim: Victim, requests: list[bytes]) -> None:
    with ThreadPoolExecutor(len(requests)) as clients:
        for sent, answer in zip(requests, clients.map(victim.talk, requests), strict=True):
            found = statuses(answer)
            assert all(status < 500 for status in found), (sent, found)


def test_headers_that_never_end_and_bodies_that_drip_are_ended(victim: Victim) -> None:
    slow = [victim.connect() for _ in range(40)]
    for index, client in enumerate(slow):
        client.sendall(b"GET /livez HTTP/1.1\r\nx: " if index % 2 else GOOD[:-50])
    told = [received(client) for client in slow]
    assert {tuple(statuses(answer)) for answer in told} == {(408,)}
    for client in slow:
        client.close()


@pytest.mark.parametrize("path", [PREDICT, INFER, OWN, "/invocations"])
def test_a_body_of_a_gigabyte_is_refused_before_it_has_come(victim: Victim, path: str) -> None:
    size = 1 << 30
    head = f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {size}\r\n\r\n"
    assert sent_until_answered(victim, head.encode(), b"[" * (1 << 16)) < 64 * LIMIT_BYTES
    head = f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
    assert sent_until_answered(victim, head.encode(), b"10000\r\n" + b"[" * (1 << 16) + b"\r\n") < 64 * LIMIT_BYTES


def sent_until_answered(victim: Victim, head: bytes, piece: bytes) -> int:
    """Sends pieces until the server has answered 413; returns how many bytes it was sent."""
    sent = 0
    with victim.connect() as client:
        client.sendall(head)
        client.settimeout(0.001)
        while sent < 1 << 28:
            try:
                answer = client.recv(1 << 16)
                assert statuses(answer) == [413]
                return sent
            except TimeoutError:
                pass
            try:
                sent += client.send(piece)
            except (BrokenPipeError, ConnectionResetError):
                return sent
            except TimeoutError:
                pass
    return sent


def png(width: int, height: int, rows: bytes) -> bytes:
    def part(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + part(b"IHDR", head) + part(b"IDAT", rows) + part(b"IEND", b"")


@cache  # it takes a second for each of the large ones
def deflated_zeros(size: int) -> bytes:
    packer = zlib.compressobj(9)
    return b"".join([*(packer.compress(bytes(1 << 20)) for _ in range(size >> 20)), packer.flush()])


@cache
def gzipped_zeros(size: int) -> bytes:
    return gzip.compress(bytes(size))


SMALL_PNG = png(28, 28, zlib.compress(bytes(29 * 28)))
BOMBS: dict[str, Callable[[], bytes]] = {
    "a picture of four thousand million pixels": lambda: post(
        OWN, png(65535, 65535, deflated_zeros(1 << 22)), "content-type: image/png"
    ),
    "a picture that unpacks to more than it says": lambda: post(
        OWN, png(28, 28, deflated_zeros(1 << 29)), "content-type: image/png"
    ),
    "a text in a picture that unpacks to a lot": lambda: post(
        OWN,
        SMALL_PNG[:33] + _text_chunk() + SMALL_PNG[33:],
        "content-type: image/png",
    ),
    "zeros packed by gzip": lambda: post(
        INFER, gzipped_zeros(1 << 28), "content-encoding: gzip", "inference-header-content-length: 9"
    ),
    "zeros packed by deflate": lambda: post(INFER, deflated_zeros(1 << 28), "content-encoding: deflate"),
    "brackets without an end": lambda: post(PREDICT, b'{"instances":' + b"[" * 900_000),
    "brackets with an end": lambda: post(PREDICT, b'{"instances":' + b"[" * 400_000 + b"]" * 400_000 + b"}"),
    "objects in objects": lambda: post(
        OWN, b'{"a":' * 150_000 + b"1" + b"}" * 150_000, "content-type: application/json"
    ),
    "a number of a million digits": lambda: post(PREDICT, b'{"instances":[' + b"9" * 1_000_000 + b"]}"),
    "a name of a million signs": lambda: post(PREDICT, b'{"' + b"n" * 1_000_000 + b'":1}'),
    "a tensor of more elements than there are": lambda: post(
        INFER,
        json.dumps(
            {"inputs": [{"name": "image", "shape": [2**31, 2**31], "datatype": "FP32", "data": [1]}]}
        ).encode(),
    ),
    "a table of a million columns": lambda: post(
        "/invocations", b",".join([b"a"] * 500_000) + b"\n", "content-type: text/csv"
    ),
    "a form of many parts": lambda: post(
        OWN,
        b"".join(b'--x\r\ncontent-disposition: form-data; name="f"; filename="a"\r\n\r\n\r\n' for _ in range(15_000))
        + b"--x--\r\n",
        "content-type: multipart/form-data; boundary=x",
    ),
}  # fmt: skip


def _text_chunk() -> bytes:
    data = b"a\x00\x00" + deflated_zeros(1 << 28)
    return struct.pack(">I", len(data)) + b"zTXt" + data + struct.pack(">I", zlib.crc32(b"zTXt" + data))


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_does_not_go_off(victim: Victim, name: str) -> None:
    before = victim.memory_mb()
    (status,) = statuses(once(victim, BOMBS[name]()))
    assert status in (200, 400, 413, 415, 422), status
    assert victim.memory_mb() - before < 4 * GROWTH_MB
    assert victim.fine()


def once(victim: Victim, data: bytes) -> bytes:
    """Sends one request whose connection ends with its answer."""
    return victim.talk(data.replace(b"\r\n", b"\r\nconnection: close\r\n", 1))


def test_ten_thousand_idle_connections_cost_little_and_nobody_else_is_kept_waiting(victim: Victim) -> None:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    count = min(10_000, soft // 2 - 200)
    before = victim.memory_mb()
    idle = []
    try:
        for _ in range(count):
            idle.append(victim.connect())
        assert victim.fine()
        assert victim.memory_mb() - before < count * 0.02, "20 KiB for each"
    finally:
        for client in idle:
            client.close()


def test_all_of_this_has_left_no_memory_behind(victim: Victim) -> None:
    for data in (GOOD, *(bomb() for name, bomb in BOMBS.items() if "million" not in name)):
        once(victim, data)
    before = victim.memory_mb()
    for _ in range(2):
        for data in (GOOD, *(bomb() for name, bomb in BOMBS.items() if "million" not in name)):
            once(victim, data)
    assert victim.memory_mb() - before < GROWTH_MB


def test_nothing_that_a_client_sends_comes_back_in_an_error_that_is_long(victim: Victim) -> None:
    mark = "Kilroy" * 200
    asked = [
        ("GET", f"/v1/models/{mark}", None, {}),
        ("GET", f"/v2/models/{mark}/versions/{mark}", None, {}),
        ("POST", f"/predict/{mark}", b"{}", {}),
        ("POST", f"/{mark}", b"", {}),
        ("POST", PREDICT, json.dumps({"instances": [[mark]]}).encode(), {}),
        ("POST", PREDICT, json.dumps({"signature_name": mark, "instances": [1]}).encode(), {}),
        ("POST", PREDICT, json.dumps({"instances": [{mark: 1}]}).encode(), {}),
        ("POST", f"/v1/models/tiny:{mark}", b"{}", {}),
        ("POST", "/invocations", b"{}", {"content-type": mark}),
        ("POST", "/invocations", json.dumps({mark: 1, mark + "2": 2}).encode(), {"content-type": "application/json"}),
        ("POST", "/invocations", b"{}", {"content-type": "application/json", "model": mark}),
        ("POST", INFER, json.dumps({"inputs": [{"name": mark, "shape": [1], "datatype": mark}]}).encode(), {}),
        ("POST", INFER, json.dumps({"inputs": [], "outputs": [{"name": mark}]}).encode(), {}),
        ("POST", INFER, b"{}", {"inference-header-content-length": mark}),
        ("POST", INFER, b"{}", {"content-encoding": mark}),
        ("POST", OWN, mark.encode(), {"content-type": "image/png"}),
        ("POST", OWN, mark.encode(), {"content-type": f"text/{mark}"}),
        ("POST", OWN, json.dumps({mark: mark}).encode(), {"content-type": "application/json"}),
        ("POST", f"{OWN}?top_k={mark}", b"[]", {"content-type": "application/json"}),
    ]
    with httpx.Client(base_url=victim.process.url, timeout=DEADLINE_S) as client:
        for method, path, body, headers in asked:
            answer = client.request(method, path, content=body, headers=headers)
            assert 400 <= answer.status_code < 500, (path[:40], answer.status_code)
            text = answer.text
            if "json" in answer.headers["content-type"]:
                told = answer.json()
                text = str(told.get("error") or told.get("message"))
            assert len(text.encode()) <= LONGEST_ERROR, (path[:40], text)


def test_a_picture_that_is_cut_off_anywhere_is_refused(victim: Victim) -> None:
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (28, 28), dtype=np.uint8)).save(stream, "JPEG")
    whole = stream.getvalue()
    with httpx.Client(base_url=victim.process.url, timeout=DEADLINE_S) as client:
        for size in range(0, len(whole), 7):
            answer = client.post(OWN, content=whole[:size], headers={"content-type": "image/jpeg"})
            assert answer.status_code < 500, size
