"""Requests with the same JSON and other numbers: what follows from the JSON is kept, and the answers are the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

from services.model_server.protocols.open_inference import known
from tests.services.model_server.parts import FolderStore, Server, expected, run, serving, write_package

HEADER = "inference-header-content-length"


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    made = FolderStore(tmp_path / "cache")
    made.add(write_package(tmp_path / "v1"), "tiny", "1")
    return made


def body(rows: NDArray[Any], datatype: str = "FP32", **more: Any) -> tuple[bytes, dict[str, str]]:
    tensor = {"name": "image", "shape": list(rows.shape), "datatype": datatype}
    head = {"inputs": [{**tensor, "parameters": {"binary_data_size": rows.nbytes}}]} | more
    encoded = json.dumps(head).encode()
    return encoded + rows.tobytes(), {HEADER: str(len(encoded))}


async def ask(server: Server, content: bytes, headers: dict[str, str], path: str = "/v2/models/tiny/infer") -> Any:
    response: httpx.Response = await server.client.post(path, content=content, headers=headers)
    assert response.status_code == 200, response.text
    start = response.headers.get(HEADER)
    if start is None:
        return response.json()
    told = json.loads(response.content[: int(start)])
    return told, np.frombuffer(response.content[int(start) :], np.float32)


def memory(server: Server) -> dict[Any, Any]:
    found: dict[Any, Any] = server.engine.find("tiny").memory
    return found


@pytest.mark.parametrize("datatype", ["FP32", "FP16", "UINT8"])
@pytest.mark.parametrize("shape", [(3, 2, 2), (1, 2, 2), (2, 2)])
@pytest.mark.parametrize("binary", [True, False])
def test_the_numbers_of_each_request_are_answered(
    tmp_path: Path, store: FolderStore, datatype: str, shape: tuple[int, ...], binary: bool
) -> None:
    dtype = {"FP32": np.float32, "FP16": np.float16, "UINT8": np.uint8}[datatype]

    async def work() -> None:
        async with serving(store) as server:
            for seed in range(4):
                rows = np.random.default_rng(seed).integers(0, 17, shape).astype(dtype)
                told = await ask(server, *body(rows, datatype, parameters={"binary_data_output": binary}))
                right = expected(tmp_path / "v1", rows.reshape(-1, 2, 2).astype(np.float32))
                if binary:
                    told, found = told
                else:
                    found = np.array(told["outputs"][0]["data"])
                np.testing.assert_allclose(found.reshape(right.shape), right, rtol=1e-5)
                assert told["outputs"][0]["shape"] == [*right.shape][3 - len(shape) :]
                assert len(memory(server)) == 1

    run(work())


def test_the_same_json_before_a_body_of_another_length_is_looked_at_anew(store: FolderStore) -> None:
    async def work() -> None:
        async with serving(store) as server:
            content, headers = body(np.ones((2, 2, 2), np.float32))
            await ask(server, content, headers)
            for wrong in (content[:-4], content + b"more"):
                response = await server.client.post("/v2/models/tiny/infer", content=wrong, headers=headers)
                assert response.status_code == 400

    run(work())


def test_classes_and_ids_are_answered_each_time(store: FolderStore) -> None:
    async def work() -> None:
        async with serving(store) as server:
            wanted = [{"name": "probabilities", "parameters": {"classification": 2}}]
            for seed in range(3):
                rows = np.random.default_rng(seed).uniform(0, 16, (1, 2, 2)).astype(np.float32)
                told = await ask(server, *body(rows, id="mine", outputs=wanted))
                assert told["id"] == "mine"
                assert len(told["outputs"][0]["data"]) == 2

    run(work())


def test_another_version_has_a_memory_of_its_own(tmp_path: Path, store: FolderStore) -> None:
    async def work() -> None:
        async with serving(store) as server:
            rows = np.ones((1, 2, 2), np.float32)
            sent = body(rows, parameters={"binary_data_output": True})
            await ask(server, *sent)
            store.add(write_package(tmp_path / "v2", seed=2), "tiny", "2")
            await server.poll()
            for _ in range(2):
                told, found = await ask(server, *sent)
                assert told["model_version"] == "2"
                np.testing.assert_allclose(found.reshape(1, 3), expected(tmp_path / "v2", rows), rtol=1e-5)

    run(work())


def test_a_client_that_writes_other_json_each_time_does_not_fill_the_memory(store: FolderStore) -> None:
    async def work() -> None:
        async with serving(store) as server:
            rows = np.ones((1, 2, 2), np.float32)
            for number in range(2 * known._MOST + 5):
                await ask(server, *body(rows, id=str(number)))
                assert len(memory(server)) <= known._MOST
            before = len(memory(server))
            await ask(server, *body(rows, id="x" * known._LONGEST_BYTES))
            assert len(memory(server)) == before

    run(work())
