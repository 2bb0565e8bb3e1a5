"""Requests with the same head on one connection: answered without a task, and in everything else as ever."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from services.model_server.connections import Limits, Shared
from services.model_server.protocols.endpoint import Endpoint
from services.model_server.settings import Ref
from tests.services.model_server.parts import FolderStore, Server, expected, run, serving, write_package
from tests.services.model_server.test_connections import Client, Clock, settle

HEADER = b"inference-header-content-length"


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    made = FolderStore(tmp_path / "cache")
    made.add(write_package(tmp_path / "v1"), "tiny", "1")
    return made


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether each request that could be answered without a task was."""
    seen: list[bool] = []
    again = Endpoint._again

    def noted(*given: Any) -> bool:
        seen.append(again(*given))
        return seen[-1]

    monkeypatch.setattr(Endpoint, "_again", noted)
    return seen


class BinaryClient(Client):
    """Sends binary requests, and reads their answers."""

    def content(self, rows: NDArray[Any], *headers: bytes, path: bytes = b"/v2/models/tiny/infer") -> bytes:
        tensor = {
            "name": "image",
            "shape": list(rows.shape),
            "datatype": "FP32",
            "parameters": {"binary_data_size": rows.nbytes},
        }
        head = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
        body = head + rows.astype(np.float32).tobytes()
        lines = (b"host: x", *headers, b"%b: %d" % (HEADER, len(head)), b"content-length: %d" % len(body))
        return b"POST %b HTTP/1.1\r\n%b\r\n\r\n%b" % (path, b"\r\n".join(lines), body)

    async def ask(self, rows: NDArray[Any], *headers: bytes, **more: Any) -> tuple[int, dict[bytes, bytes], Any]:
        self.transport.written = b""
        self.connection.data_received(self.content(rows, *headers, **more))
        await settle(60)
        ((status, told, body),) = self.answers
        if status != 200:
            return status, told, body
        return status, told, np.frombuffer(body[int(told[HEADER]) :], np.float32)


Made = Callable[..., BinaryClient]


def served(store: FolderStore, work: Callable[[Server, Made], Awaitable[None]], **settings: Any) -> None:
    async def inner() -> None:
        async with serving(store, **settings) as server:
            clock = Clock()
            shared = Shared(server.app, Limits(), asyncio.get_running_loop(), clock=time.perf_counter)
            await work(server, lambda: BinaryClient(shared, clock))

    run(inner())


def rows(seed: int, count: int = 1) -> NDArray[np.float32]:
    return np.random.default_rng(seed).integers(0, 17, (count, 2, 2)).astype(np.float32)


@pytest.mark.parametrize("company", [1, 5])
@pytest.mark.parametrize("count", [1, 3])
def test_every_answer_is_that_of_its_own_numbers(
    tmp_path: Path, store: FolderStore, taken: list[bool], company: int, count: int
) -> None:
    async def work(server: Server, client_of: Made) -> None:
        server.engine.company = company
        clients = [client_of() for _ in range(4)]
        for round_ in range(5):
            for client in clients:
                client.transport.written = b""
            for number, client in enumerate(clients):
                client.connection.data_received(client.content(rows(10 * round_ + number, count)))
            await settle(60)
            for number, client in enumerate(clients):
                ((status, headers, body),) = client.answers
                right = expected(tmp_path / "v1", rows(10 * round_ + number, count))
                found = np.frombuffer(body[int(headers[HEADER]) :], np.float32)
                assert (status, headers[b"x-model-version"]) == (200, b"1")
                np.testing.assert_allclose(found.reshape(right.shape), right, rtol=1e-5)

    served(store, work)
    assert taken.count(True) >= 4 * 3  # the first request on each connection is parsed; the model's JSON is learned


def test_counters_log_and_headers_are_those_of_the_usual_way(store: FolderStore, taken: list[bool]) -> None:
    async def work(server: Server, client_of: Made) -> None:
        client = client_of()
        trace = b"traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
        answers = [await client.ask(rows(seed), trace) for seed in range(6)]
        lines = server.events("request")
        assert [line["rows"] for line in lines] == [1] * 6
        assert {line["path"] for line in lines} == {"/v2/models/tiny/infer"}
        assert {line["trace"] for line in lines} == {"0af7651916cd43dd8448eb211c80319c"}
        assert len({line["span"] for line in lines}) == 6
        ids = [headers[b"x-request-id"].decode() for _, headers, _ in answers]
        assert [line["id"] for line in lines] == ids
        assert len(set(ids)) == 6
        assert {tuple(headers) for _, headers, _ in answers} == {tuple(answers[0][1])}
        assert server.engine.find("tiny").stats.answered.count == 6
        page = (await server.client.get("/metrics")).text
        wanted = 'model_server_requests_total{model="tiny",protocol="open_inference",status="200",version="1"} 6.0'
        assert wanted in page
        assert "infer;dur=" in answers[-1][1][b"server-timing"].decode()

    served(store, work)
    assert taken[-3:] == [True] * 3


def test_the_next_champion_answers_from_the_next_request_on(
    tmp_path: Path, store: FolderStore, taken: list[bool]
) -> None:
    async def work(server: Server, client_of: Made) -> None:
        client = client_of()
        for seed in range(4):
            await client.ask(rows(seed))
        store.add(write_package(tmp_path / "v2", seed=2), "tiny", "2")
        await server.poll()
        for seed in range(4):
            _, headers, found = await client.ask(rows(seed))
            assert headers[b"x-model-version"] == b"2"
            np.testing.assert_allclose(found, expected(tmp_path / "v2", rows(seed)).ravel(), rtol=1e-5)
        del store.aliases[Ref("tiny", "champion")]
        for _ in range(4):
            await server.poll()
        assert (await client.ask(rows(1)))[0] == 404

    served(store, work)
    assert taken == [True] * 7 + [False]


def test_a_request_on_another_scale_is_refused_also_behind_a_known_head(tmp_path: Path, taken: list[bool]) -> None:
    store = FolderStore(tmp_path / "cache")
    store.add(write_package(tmp_path / "v1"), "tiny", "1")

    async def work(server: Server, client_of: Made) -> None:
        client = client_of()
        for seed in range(4):
            assert (await client.ask(rows(seed, 4)))[0] == 200
        assert server.engine.find("tiny").scale is not None
        status, _, body = await client.ask(rows(1, 4) * 100 + 1000)
        assert (status, b"another scale" in body) == (400, True)
        strange = server.engine.find("tiny").stats.strange_rows
        assert (await client.ask(rows(1, 4)))[0] == 200
        assert server.engine.find("tiny").stats.strange_rows == strange

    served(store, work)


def test_a_key_that_has_ended_is_not_taken_any_more(tmp_path: Path, store: FolderStore, taken: list[bool]) -> None:
    file = tmp_path / "keys"
    file.write_text("old\n")

    async def work(server: Server, client_of: Made) -> None:
        client = client_of()
        for seed in range(4):
            assert (await client.ask(rows(seed), b"x-api-key: old"))[0] == 200
        file.write_text("another\n")
        server.app.state.keys.look()
        assert (await client.ask(rows(1), b"x-api-key: old"))[0] == 401
        assert (await client.ask(rows(1), b"x-api-key: another"))[0] == 200

    served(store, work, api_key_file=file)
    assert taken[-2:] == [True, False]


def test_a_browser_of_another_origin_gets_its_headers_every_time(store: FolderStore, taken: list[bool]) -> None:
    async def work(server: Server, client_of: Made) -> None:
        client = client_of()
        for seed in range(5):
            _, headers, _ = await client.ask(rows(seed), b"origin: https://a.example")
            assert headers[b"access-control-allow-origin"] == b"https://a.example"

    served(store, work, cors=["https://a.example"])
    assert taken == []


def test_a_client_that_waits_for_less_is_told_in_time(store: FolderStore, taken: list[bool]) -> None:
    async def work(server: Server, client_of: Made) -> None:
        client = client_of()
        hurried = b"x-envoy-expected-rq-timeout-ms: 0"
        statuses = [(await client.ask(rows(seed), hurried))[0] for seed in range(4)]
        assert statuses == [503] * 4

    served(store, work)
    assert not any(taken)


def test_the_traffic_is_shown_to_who_learns_from_it(store: FolderStore, taken: list[bool]) -> None:
    shown: list[tuple[float, str]] = []

    async def work(server: Server, client_of: Made) -> None:
        server.engine.note = lambda model, answer, request_id: shown.append((float(answer.rows.sum()), request_id))
        client = client_of()
        for seed in range(5):
            await client.ask(rows(seed))

    served(store, work)
    assert [total for total, _ in shown] == [float(rows(seed).sum()) for seed in range(5)]
    assert taken[-2:] == [True, True]


def test_a_model_that_fails_is_told_as_ever_and_the_others_are_answered(
    store: FolderStore, taken: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work(server: Server, client_of: Made) -> None:
        server.engine.company = 5
        clients = [client_of() for _ in range(3)]
        for client in clients:
            for seed in range(4):
                assert (await client.ask(rows(seed)))[0] == 200
        compute = server.engine.find("tiny").predictor.run

        def picky(given: NDArray[Any]) -> NDArray[Any]:
            if (given == 16.5).any():
                raise ValueError("half a pixel")
            outputs: NDArray[Any] = compute(given)
            return outputs

        monkeypatch.setattr(server.engine.find("tiny").predictor, "run", picky)
        for number, client in enumerate(clients):
            client.transport.written = b""
            client.connection.data_received(client.content(np.full((1, 2, 2), 16.5 if number == 1 else 3, np.float32)))
        await settle(60)
        assert [client.statuses for client in clients] == [[200], [500], [200]]
        assert b"half a pixel" in clients[1].answers[0][2]

    served(store, work)
    assert taken[-3:] == [True] * 3


def test_a_model_that_has_no_time_now_is_waited_for_as_ever(
    tmp_path: Path, store: FolderStore, taken: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work(server: Server, client_of: Made) -> None:
        client = client_of()
        for seed in range(3):
            await client.ask(rows(seed))
        monkeypatch.setattr(server.engine.find("tiny").batcher, "_busy", True)
        client.transport.written = b""
        client.connection.data_received(client.content(rows(7)))
        await settle()
        assert client.answers == []
        monkeypatch.setattr(server.engine.find("tiny").batcher, "_busy", False)
        server.engine.find("tiny").batcher._drain()
        await settle(60)
        ((status, headers, body),) = client.answers
        found = np.frombuffer(body[int(headers[HEADER]) :], np.float32)
        np.testing.assert_allclose(found, expected(tmp_path / "v1", rows(7)).ravel(), rtol=1e-5)
        assert status == 200
        assert server.engine.find("tiny").stats.answered.count == 4

    served(store, work)
    assert taken == [True, True, False]


def _examples(x: Any) -> Any:
    flat = [{"image": row} for row in np.asarray(x, float).reshape(len(x), -1).tolist()] if _is_batch(x) else x
    return {"examples": flat}


def _is_batch(x: Any) -> bool:
    return isinstance(x, list) and np.asarray(x, object).ndim == 3


def _tensors(x: Any) -> Any:
    shape = list(np.asarray(x, object).shape)
    return {"id": "a", "inputs": [{"name": "image", "shape": shape, "datatype": "FP32", "data": x}]}


JSON_REQUESTS: dict[str, tuple[bytes, Callable[[Any], Any]]] = {
    "predict": (b"/v1/models/tiny:predict", lambda x: {"instances": x}),
    "predict in columns": (b"/v1/models/tiny/labels/champion:predict", lambda x: {"inputs": x}),
    "classify": (b"/v1/models/tiny:classify", _examples),
    "invocations": (b"/invocations", lambda x: {"instances": x}),
    "invocations as it is": (b"/invocations?scale=as-is", lambda x: {"inputs": x}),
    "own": (b"/predict/tiny?top_k=2", lambda x: {"inputs": x}),
    "infer": (b"/v2/models/tiny/infer", _tensors),
}
BODIES: tuple[Any, ...] = (
    rows(1).tolist(),
    rows(2, 3).tolist(),
    (rows(3, 2) / 3).tolist(),
    rows(4)[0].tolist(),
    [[1, 2], [3]],
    "text",
    [[[1.0, True], [2.0, 3.0]]],
    (rows(5, 4) * 100 + 1000).tolist(),
    [],
    rows(6, 1).tolist(),
)


@pytest.mark.parametrize("dialect", JSON_REQUESTS)
def test_json_of_any_length_is_answered_as_on_a_connection_of_its_own(
    store: FolderStore, taken: list[bool], dialect: str
) -> None:
    path, made = JSON_REQUESTS[dialect]

    def told(client: BinaryClient) -> tuple[int, list[bytes], bytes]:
        ((status, headers, body),) = client.answers
        return status, sorted(headers), body

    async def work(server: Server, client_of: Made) -> None:
        client, statuses = client_of(), []
        for x in BODIES:
            body = json.dumps(made(x)).encode()
            head = b"POST %b HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
            found = []
            for one in (client, client_of()):
                one.transport.written = b""
                one.connection.data_received(head % (path, len(body)) + body)
                await settle(60)
                found.append(told(one))
            assert found[0] == found[1]
            statuses.append(found[0][0])
        assert statuses.count(200) >= 5
        assert statuses.count(400) >= 3

    served(store, work)
    assert taken.count(True) >= 4
    assert taken[-1] is True


def test_a_body_that_is_longer_than_it_may_be_is_refused_also_behind_a_known_head(
    store: FolderStore, taken: list[bool]
) -> None:
    async def work(server: Server, client_of: Made) -> None:
        client, statuses = client_of(), []
        for spaces in (0, 10, 1000):
            body = json.dumps({"inputs": rows(1).tolist()}).encode() + b" " * spaces
            client.transport.written = b""
            client.connection.data_received(
                b"POST /predict/tiny HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)
            )
            await settle(60)
            ((status, _, _),) = client.answers
            statuses.append(status)
        assert statuses == [200, 200, 413]

    served(store, work, max_body_bytes=1000)
    assert taken == [True, False]
