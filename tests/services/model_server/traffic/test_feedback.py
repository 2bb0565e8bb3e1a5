"""Feedback: each request counts once, and what is told wrongly is a sentence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.model_server.traffic.feedback import MOST_ROWS, Memory
from tests.services.model_server.parts import (
    LABELS,
    FolderStore,
    Server,
    expected,
    run,
    serving,
    write_kind,
    write_package,
)

ROWS = [[[1.0, 2.0], [3.0, 4.0]], [[9.0, 1.0], [0.0, 3.0]]]
ON: dict[str, Any] = {"feedback": True, "traffic_log_s": 0}


async def ask(server: Server, rows: Any = ROWS[:1], **headers: str) -> str:
    response = await server.client.post("/v1/models/tiny:predict", json={"instances": rows}, headers=headers)
    assert response.status_code == 200, response.text
    return str(response.headers["x-request-id"])


async def tell(server: Server, status: int = 200, **body: Any) -> dict[str, Any]:
    response = await server.client.post("/feedback", json=body)
    assert response.status_code == status, response.text
    told = response.json()
    assert status == 200 or len(told["error"].encode()) <= 256
    assert isinstance(told, dict)
    return told


def answers(tmp_path: Path, rows: Any = ROWS) -> list[str]:
    return [LABELS[place] for place in expected(tmp_path / "v1", rows).argmax(1)]


def test_feedback_on_a_request_gives_the_live_accuracy(store: FolderStore, tmp_path: Path) -> None:
    right = answers(tmp_path)
    wrong = next(label for label in LABELS if label not in right)

    async def work() -> None:
        async with serving(store, **ON) as server:
            told = await tell(server, request_id=await ask(server), label=right[0])
            assert told["model"] == {"name": "tiny", "version": "1"}
            assert (told["counted"], told["rows"], told["right"], told["live"]["accuracy"]) == (True, 1, 1, 1)
            told = await tell(server, request_id=await ask(server, ROWS), labels=[right[0], wrong])
            assert (told["rows"], told["right"], told["live"]["rows"]) == (2, 1, 3)
            assert told["live"]["accuracy"] == pytest.approx(2 / 3)
            (version,) = (await server.client.get("/traffic/tiny")).json()["versions"]
            assert version["feedback"]["window"]["labels"][wrong] == {"rows": 1, "recall": 0}
            text = (await server.client.get("/metrics")).text
            assert 'model_server_feedback_rows_total{model="tiny",version="1"} 3.0' in text
            assert 'model_server_feedback_right_rows_total{model="tiny",version="1"} 2.0' in text
            assert "model_server_feedback_remembered_rows 3.0" in text

    run(work())


def test_each_request_counts_once(store: FolderStore, tmp_path: Path) -> None:
    async def work() -> None:
        async with serving(store, **ON) as server:
            request_id = await ask(server, ROWS[:1], **{"x-request-id": "mine-1"})
            assert request_id == "mine-1"
            label = answers(tmp_path)[0]
            assert (await tell(server, request_id=request_id, label=label))["counted"] is True
            again = await tell(server, request_id=request_id, label=LABELS[0])
            assert (again["counted"], again["live"]["rows"]) == (False, 1)

    run(work())


def test_feedback_with_the_inputs_themselves_asks_again_and_is_no_traffic(store: FolderStore, tmp_path: Path) -> None:
    async def work() -> None:
        async with serving(store, drift=1, **ON) as server:
            told = await tell(server, model="tiny", inputs=ROWS, labels=answers(tmp_path))
            assert (told["right"], told["live"]["accuracy"]) == (2, 1)
            assert len(server.app.state.traffic.memory) == 0
            assert server.app.state.traffic.sideline._rows == 0
            told = await tell(server, model="tiny", version="1", inputs=ROWS[0], label=answers(tmp_path)[0])
            assert told["live"]["rows"] == 3

    run(work())


def test_feedback_counts_for_the_version_that_answered(store: FolderStore, tmp_path: Path) -> None:
    async def work() -> None:
        async with serving(store, **ON) as server:
            request_id = await ask(server)
            store.add(write_package(tmp_path / "v2", seed=2), "tiny", "2")
            await server.poll()
            assert (await tell(server, request_id=request_id, label="zero"))["model"]["version"] == "1"
            assert (await tell(server, request_id=await ask(server), label="zero"))["model"]["version"] == "2"

    run(work())


def test_a_regression_gets_the_error_of_its_values(store: FolderStore, tmp_path: Path) -> None:
    folder = write_kind(tmp_path / "r", "regression numbers")
    store.add(folder, "tiny", "1")
    said = expected(folder, [[1, 2, 3]])[0, 0]

    async def work() -> None:
        async with serving(store, **ON) as server:
            told = await tell(server, request_id=await ask(server, [[1, 2, 3]]), value=float(said) + 2)
            assert told["error"] == pytest.approx(2, rel=1e-5)
            assert told["live"]["mae"] == pytest.approx(2, rel=1e-5)
            assert told["live"]["rmse"] == pytest.approx(2, rel=1e-5)
            wrong = await ask(server, [[1, 2, 3]])
            for value in ("2", True, None, 1e300):
                await tell(server, 400, request_id=wrong, value=value)
            await tell(server, 400, request_id=wrong, label="2")

    run(work())


@pytest.mark.parametrize(
    ("body", "status", "reason"),
    [
        ({"request_id": "unknown", "label": "zero"}, 404, "no such request"),
        ({"request_id": "x" * 129, "label": "zero"}, 400, "'request_id'"),
        ({"request_id": 7, "label": "zero"}, 400, "'request_id'"),
        ({"request_id": "{id}"}, 400, "'label'"),
        ({"request_id": "{id}", "label": "four"}, 400, "zero, one, two"),
        ({"request_id": "{id}", "label": ["zero"]}, 400, "zero, one, two"),
        ({"request_id": "{id}", "label": "zero", "labels": ["zero"]}, 400, "'label'"),
        ({"request_id": "{id}", "labels": []}, 400, "had 1 rows"),
        ({"request_id": "{id}", "labels": "zero"}, 400, "no list"),
        ({"request_id": "{id}", "value": 3}, 400, "'label'"),
        ({"label": "zero"}, 400, "'request_id'"),
        ({"request_id": "{id}", "inputs": ROWS, "label": "zero"}, 400, "not both"),
        ({"inputs": ROWS, "label": "zero"}, 400, "'model'"),
        ({"model": "other", "inputs": ROWS, "labels": ["zero"] * 2}, 404, "no model"),
        ({"model": "tiny", "version": 1, "inputs": ROWS, "labels": ["zero"] * 2}, 400, "texts"),
        ({"model": "tiny", "inputs": [[1]], "label": "zero"}, 400, "shape"),
        ({"model": "tiny", "inputs": ROWS, "labels": ["zero"]}, 400, "had 2 rows"),
        ({"request_id": "{id}", "label": "zero", "é" * 300: 1}, 400, "unknown keys"),
        (["request_id"], 400, "object"),
        ("{", 400, "JSON"),
    ],
)
def test_what_is_told_wrongly_is_a_sentence_and_counts_nothing(
    store: FolderStore, body: Any, status: int, reason: str
) -> None:
    async def work() -> None:
        async with serving(store, **ON) as server:
            request_id = await ask(server)
            content = body if isinstance(body, str) else json.dumps(body).replace("{id}", request_id)
            response = await server.client.post("/feedback", content=content)
            assert response.status_code == status, response.text
            assert reason in response.json()["error"]
            assert len(response.json()["error"].encode()) <= 256
            (version,) = (await server.client.get("/traffic/tiny")).json()["versions"]
            assert version["feedback"]["since_start"]["rows"] == 0

    run(work())


def test_feedback_that_is_off_is_a_404_that_says_how_to_switch_it_on(store: FolderStore) -> None:
    async def work() -> None:
        async with serving(store) as server:
            told = await tell(server, 404, request_id=await ask(server), label="zero")
            assert "MODEL_SERVER_FEEDBACK" in told["error"]

    run(work())


def test_the_api_key_guards_feedback_and_numbers(store: FolderStore) -> None:
    async def work() -> None:
        async with serving(store, api_key="secret", **ON) as server:
            await tell(server, 401, request_id="x", label="zero")
            for path in ("/traffic", "/traffic/tiny"):
                assert (await server.client.get(path)).status_code == 401
                assert (await server.client.get(path, headers={"x-api-key": "secret"})).status_code == 200

    run(work())


def test_labels_that_look_like_numbers_may_be_told_as_numbers(store: FolderStore, tmp_path: Path) -> None:
    store.add(write_package(tmp_path / "v2", seed=2, labels=("0", "1", "2")), "tiny", "2")

    async def work() -> None:
        async with serving(store, **ON) as server:
            assert (await tell(server, request_id=await ask(server), label=1))["counted"] is True
            await tell(server, 400, request_id=await ask(server), label=True)
            await tell(server, 400, request_id=await ask(server), label=1.0)

    run(work())


KEYS = st.sampled_from(
    ["request_id", "model", "version", "alias", "inputs", "label", "labels", "value", "values", "other"]
)
SIMPLE = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**400), 10**400),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=20),
    st.sampled_from(["known", "tiny", "1", "champion", "zero", ROWS, ROWS[0], ["zero", "one"]]),
)
BODIES = st.dictionaries(KEYS, st.recursive(SIMPLE, lambda some: st.lists(some, max_size=4), max_leaves=8), max_size=5)


@settings(
    max_examples=40,
    deadline=None,  # each starts a server
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(bodies=st.lists(BODIES, min_size=1, max_size=8))
def test_whatever_is_told_is_answered_and_never_with_a_500(store: FolderStore, bodies: list[dict[str, Any]]) -> None:
    async def work() -> None:
        async with serving(store, **ON) as server:
            await ask(server, ROWS, **{"x-request-id": "known"})
            for body in bodies:
                response = await server.client.post("/feedback", content=json.dumps(body))
                assert response.status_code in (200, 400, 404), response.text
                assert response.status_code == 200 or len(response.json()["error"].encode()) <= 256

    run(work())


@pytest.mark.parametrize("value", ["1" + "0" * 5000, "-1e999", "NaN", "1e30", "[1]", '"1"', "true", "null"])
def test_a_value_that_is_no_usable_number_is_a_400(store: FolderStore, tmp_path: Path, value: str) -> None:
    store.add(write_kind(tmp_path / "r", "regression numbers"), "tiny", "1")

    async def work() -> None:
        async with serving(store, **ON) as server:
            content = f'{{"request_id": "{await ask(server, [[1, 2, 3]])}", "value": {value}}}'
            response = await server.client.post("/feedback", content=content)
            assert response.status_code == 400, response.text
            assert len(response.json()["error"].encode()) <= 256

    run(work())


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_what_is_too_old_is_forgotten() -> None:
    clock = Clock()
    memory = Memory(100, ttl_s=60, clock=clock)
    memory.keep("a", ("m", "1"), np.zeros(3))
    clock.now = 59.9
    assert memory.find("a") is not None
    clock.now = 60
    assert memory.find("a") is None
    assert (len(memory), memory.rows) == (0, 0)


def test_a_huge_request_is_not_remembered_and_pushes_nothing_out() -> None:
    memory = Memory(MOST_ROWS * 2, ttl_s=60, clock=Clock())
    memory.keep("a", ("m", "1"), np.zeros(1))
    memory.keep("b", ("m", "1"), np.zeros(MOST_ROWS + 1))
    assert memory.find("a") is not None
    assert memory.find("b") is None


@given(st.lists(st.tuples(st.sampled_from("abcdefgh"), st.integers(1, 12), st.floats(0, 30)), max_size=60))
def test_the_memory_is_bounded_and_counts_right(asked: list[tuple[str, int, float]]) -> None:
    clock = Clock()
    memory = Memory(20, ttl_s=60, clock=clock)
    for request_id, rows, later in asked:
        clock.now += later
        memory.keep(request_id, ("m", "1"), np.zeros(rows))
        kept = [found for name in "abcdefgh" if (found := memory.find(name)) is not None]
        assert memory.rows == sum(len(found.said) for found in kept) <= 20
        assert len(memory) == len(kept)
        assert memory.find(request_id) is not None
