"""Bodies packed by gzip or deflate: every call that reads a body of its dialect takes them, within one limit."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.services.model_server.parts import FolderStore, Server, ask, run, serving, write_kind, write_package
from tests.services.model_server.test_connections import settle
from tests.services.model_server.test_shortcuts import JSON_REQUESTS, BinaryClient, rows, served, taken

__all__ = ["taken"]  # a fixture

ONE = [[1.0, 2.0], [3.0, 4.0]]
PACKED: dict[str, Callable[[bytes], bytes]] = {"gzip": gzip.compress, "x-gzip": gzip.compress, "deflate": zlib.compress}
JSON = {"content-type": "application/json"}
CALLS: dict[str, tuple[str, Any, dict[str, str]]] = {
    "predict": ("/v1/models/tiny:predict", {"instances": [ONE]}, {}),
    "classify": ("/v1/models/tiny:classify", {"examples": [{"image": [1, 2, 3, 4]}]}, {}),
    "invocations": ("/invocations", {"inputs": [ONE]}, JSON),
    "own": ("/predict/tiny", {"inputs": [ONE]}, {}),
    "explain": ("/explain/tiny", {"inputs": ONE}, {}),
    "feedback": ("/feedback", {"model": "tiny", "inputs": ONE, "label": "zero"}, {}),
}


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    made = FolderStore(tmp_path / "cache")
    made.add(write_package(tmp_path / "v1"), "tiny", "1")
    return made


def told(answer: Any) -> Any:
    """An answer without what is another each time."""
    return {key: value for key, value in answer.json().items() if key != "model"}


@pytest.mark.parametrize("call", CALLS)
def test_a_packed_body_is_answered_as_the_body_itself(store: FolderStore, call: str) -> None:
    path, body, headers = CALLS[call]
    content = json.dumps(body).encode()
    plain = ask(store, "POST", path, content, headers, feedback=True)
    assert plain.status_code == 200, plain.text
    for encoding, pack in PACKED.items():
        answer = ask(store, "POST", path, pack(content), {**headers, "content-encoding": encoding}, feedback=True)
        assert (answer.status_code, told(answer)) == (200, told(plain)), encoding


@pytest.mark.parametrize("path", ["/invocations", "/predict/words"])
def test_packed_csv_is_read(tmp_path: Path, path: str) -> None:
    store = FolderStore(tmp_path / "cache")
    store.add(write_kind(tmp_path / "words", "binary words", name="words"), "words", "1")
    content = gzip.compress(b"age,city,income,size\n39,Oslo,1200.5,1\n" + b"61,Rome,7,2\n" * 2000)
    answer = ask(store, "POST", path, content, {"content-type": "text/csv", "content-encoding": "gzip"})
    assert len(answer.json()["predictions"]) == 2001


@pytest.mark.parametrize("call", CALLS)
def test_what_unpacks_to_more_than_a_body_may_be_is_refused(store: FolderStore, call: str) -> None:
    path, body, headers = CALLS[call]
    for encoding, pack in PACKED.items():
        bomb = pack(json.dumps(body).ljust(4 << 20).encode())
        headers = {**headers, "content-encoding": encoding}
        answer = ask(store, "POST", path, bomb, headers, feedback=True, max_body_bytes=100_000)
        assert answer.status_code == 413
        assert "unpacks to more than 100000 bytes (MODEL_SERVER_MAX_BODY_BYTES)" in answer.text


@pytest.mark.parametrize(
    ("encoding", "body", "why"),
    [
        ("gzip", b"{}", "it is not gzip, or damaged"),
        ("gzip", gzip.compress(b"{}")[:-3], "cut off"),
        ("br", b"", "with gzip or deflate"),
    ],
)
@pytest.mark.parametrize("call", CALLS)
def test_what_cannot_be_unpacked_is_refused_by_each_dialect_in_its_way(
    store: FolderStore, call: str, encoding: str, body: bytes, why: str
) -> None:
    path, _, headers = CALLS[call]
    answer = ask(store, "POST", path, body, {**headers, "content-encoding": encoding}, feedback=True)
    # TF Serving has no code for media.
    assert answer.status_code == (415 if encoding == "br" and not path.startswith("/v1/") else 400)
    assert why in answer.text


def test_what_bodies_become_counts_towards_what_all_bodies_may_take(store: FolderStore) -> None:
    content = gzip.compress(json.dumps({"instances": [ONE]}).ljust(200_000).encode())

    async def work() -> list[int]:
        async with serving(store, bodies_bytes=250_000) as server:
            stats, codes = server.engine.stats, []
            for held in (0, 100_000):
                stats.body_bytes = held  # of another request
                answer = await server.client.post(
                    "/v1/models/tiny:predict", content=content, headers={"content-encoding": "gzip"}
                )
                codes.append(answer.status_code)
                assert stats.body_bytes == held
            return codes

    assert run(work()) == [200, 429]


@pytest.mark.parametrize("dialect", [name for name in JSON_REQUESTS if name != "infer"])
def test_packed_bodies_never_take_the_short_way(store: FolderStore, taken: list[bool], dialect: str) -> None:
    path, made = JSON_REQUESTS[dialect]

    async def work(server: Server, client_of: Callable[[], BinaryClient]) -> None:
        client = client_of()
        for seed in range(4):
            body = gzip.compress(json.dumps(made(rows(seed).tolist())).encode(), mtime=0)
            head = b"POST %b HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-encoding: gzip\r\n" % path
            client.transport.written = b""
            client.connection.data_received(head + b"content-length: %d\r\n\r\n%b" % (len(body), body))
            await settle(60)
            assert client.statuses == [200]

    served(store, work)
    assert taken == []
