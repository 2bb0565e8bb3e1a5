"""The challenger in the shadow: seen by nobody, counted, and dropped when it would be in the way."""

from __future__ import annotations

import gc
import threading
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from services.model_server.app import create_app
from services.model_server.package import open_package
from services.model_server.settings import Ref
from services.model_server.traffic.shadow import cannot_compare
from tests.services.model_server.parts import (
    LABELS,
    FolderStore,
    Server,
    expected,
    run,
    seal,
    serving,
    write_kind,
    write_package,
)

CHALLENGER = Ref("tiny", "challenger")
RANDOM = np.random.default_rng(5)
ROWS = RANDOM.uniform(0, 16, (40, 2, 2)).astype(np.float32)


@pytest.fixture
def pair(store: FolderStore, tmp_path: Path) -> FolderStore:
    """Version 1 is the champion, version 2 its challenger."""
    store.add(write_package(tmp_path / "v2", seed=2), "tiny", "2", alias="challenger")
    return store


async def ask(server: Server, rows: np.ndarray = ROWS, path: str = "/v1/models/tiny") -> Any:
    response = await server.client.post(f"{path}:predict", json={"instances": rows.tolist()})
    assert response.status_code == 200, response.text
    return response


async def shadow_of(server: Server) -> dict[str, Any]:
    await server.app.state.traffic.sideline.settle()
    (version, *_) = [
        entry for entry in (await server.client.get("/traffic/tiny")).json()["versions"] if entry["alias"] == "champion"
    ]
    found = version["shadow"]
    assert isinstance(found, dict)
    return found


def test_the_challenger_answers_as_well_and_agreement_is_counted(pair: FolderStore, tmp_path: Path) -> None:
    champion, challenger = (expected(tmp_path / version, ROWS) for version in ("v1", "v2"))
    agreed = int((champion.argmax(1) == challenger.argmax(1)).sum())
    assert 0 < agreed < len(ROWS)

    async def work() -> None:
        async with serving(pair, shadow=1, traffic_log_s=0) as server:
            answer = await ask(server)
            assert answer.headers["x-model-version"] == "1"
            found = await shadow_of(server)
            assert (found["challenger"], found["requests"], found["rows"]) == ("2", 1, len(ROWS))
            assert found["agreement"] == pytest.approx(agreed / len(ROWS))
            assert found["mean_difference"] == pytest.approx(np.abs(champion - challenger).max(1).mean(), rel=1e-5)
            assert found["champion_ms"] > 0
            assert found["challenger_ms"] > 0
            assert sum(pair["rows"] for pair in found["disagreements"]) == len(ROWS) - agreed
            text = (await server.client.get("/metrics")).text
            assert f'model_server_shadow_agreed_rows_total{{challenger="2",model="tiny",version="1"}} {agreed}' in text
            assert 'model_server_shadow_duration_seconds_count{challenger="2",model="tiny",side="challenger"' in text

    run(work())


def test_without_shadow_the_challenger_is_not_even_loaded(pair: FolderStore) -> None:
    async def work() -> None:
        async with serving(pair) as server:
            await ask(server)
            assert [model.version for model in server.engine.loaded()] == ["1"]
            body = (await server.client.get("/traffic/tiny")).json()
            assert (body["shadow"], body["versions"], body["mlflow"]) == (0, [], None)
            assert "model_server_shadow_rows_total{" not in (await server.client.get("/metrics")).text

    run(work())


def test_the_challenger_does_not_stand_in_the_way_of_readiness_or_answers_by_name(pair: FolderStore) -> None:
    async def work() -> None:
        async with serving(pair, shadow=1, traffic_log_s=0) as server:
            assert (await server.client.get("/readyz")).json()["reasons"] == []
            assert (await ask(server, path="/v1/models/tiny/labels/challenger")).headers["x-model-version"] == "2"
            assert (await server.client.get("/traffic/tiny")).json()["versions"][0]["shadow"]["why_not"]  # not itself

    run(work())


def test_only_the_share_is_sampled(pair: FolderStore) -> None:
    async def work() -> None:
        async with serving(pair, shadow=0.25, traffic_log_s=0) as server:
            chances = iter([0.1, 0.3, 0.9, 0.24])
            server.app.state.traffic._chance = lambda: next(chances)
            for _ in range(4):
                await ask(server)
                await server.app.state.traffic.sideline.settle()
            assert (await shadow_of(server))["requests"] == 2

    run(work())


def test_a_challenger_with_the_labels_in_another_order_is_compared_by_label(store: FolderStore, tmp_path: Path) -> None:
    import onnx
    from onnx import numpy_helper

    folder = write_package(tmp_path / "v2", seed=1)  # the champion itself, with its classes turned round
    graph = onnx.load(folder / "model.onnx")
    for tensor in graph.graph.initializer:
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor)[..., ::-1].copy(), tensor.name))
    store.add(write_package(folder, graph=graph, contract={"labels": LABELS[::-1]}), "tiny", "2", alias="challenger")

    async def work() -> None:
        async with serving(store, shadow=1, traffic_log_s=0) as server:
            await ask(server)
            found = await shadow_of(server)
            assert (found["agreement"], found["disagreements"]) == (1, [])
            assert found["mean_difference"] < 1e-6

    run(work())


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"shape": (3, 2)}, "other inputs"),
        ({"labels": ("zero", "one", "three")}, "other labels"),
    ],
)
def test_a_challenger_that_cannot_be_compared_says_why(
    store: FolderStore, tmp_path: Path, changes: dict[str, Any], reason: str
) -> None:
    store.add(write_package(tmp_path / "v2", seed=2, **changes), "tiny", "2", alias="challenger")

    async def work() -> None:
        async with serving(store, shadow=1, traffic_log_s=0) as server:
            await ask(server)
            found = await shadow_of(server)
            assert reason in found["why_not"]
            assert found["requests"] == 0

    run(work())


def test_models_of_other_tasks_or_columns_cannot_be_compared(tmp_path: Path) -> None:
    kinds = ("binary words", "regression words", "binary numbers", "multiclass grey")
    contracts = {kind: open_package(write_kind(tmp_path / kind.replace(" ", ""), kind)).contract for kind in kinds}
    for kind in kinds:
        assert cannot_compare(contracts[kind], contracts[kind]) is None
    assert "task" in str(cannot_compare(contracts["binary words"], contracts["regression words"]))
    assert "inputs" in str(cannot_compare(contracts["binary words"], contracts["binary numbers"]))


def test_a_regression_is_compared_by_its_values(store: FolderStore, tmp_path: Path) -> None:
    for version, alias in (("1", "champion"), ("2", "challenger")):
        store.add(write_kind(tmp_path / f"r{version}", "regression numbers"), "tiny", version, alias=alias)
    folder = tmp_path / "r2"
    (folder / "contract.json").write_text((folder / "contract.json").read_text().replace("run0", "run2"))
    seal(folder)

    async def work() -> None:
        async with serving(store, shadow=1, traffic_log_s=0) as server:
            await ask(server, np.ones((3, 3), np.float32))
            found = await shadow_of(server)
            assert (found["rows"], found["agreement"], found["mean_difference"]) == (3, None, 0)

    run(work())


def test_a_challenger_that_hangs_delays_no_request_and_what_is_too_much_is_dropped(pair: FolderStore) -> None:
    async def work() -> None:
        async with serving(pair, shadow=1, traffic_log_s=0) as server:
            challenger, go = server.engine.find("tiny", label="challenger"), threading.Event()
            answer = challenger.predictor.run

            def hang(rows: np.ndarray) -> Any:
                assert go.wait(20)
                return answer(rows)

            challenger.predictor.run = hang
            traffic = server.app.state.traffic
            traffic.sideline._most_rows = 3 * ROWS.size
            for _ in range(10):
                await ask(server)
            go.set()
            found = await shadow_of(server)
            assert (found["requests"], found["dropped_requests"]) == (3, 7)
            assert traffic.sideline._rows == 0
            text = (await server.client.get("/metrics")).text
            assert 'model_server_shadow_dropped_total{model="tiny",version="1"} 7.0' in text

    run(work())


def test_nothing_is_shadowed_while_requests_wait(pair: FolderStore) -> None:
    async def work() -> None:
        async with serving(pair, shadow=1, traffic_log_s=0) as server:
            champion = server.engine.find("tiny")
            champion.batcher._line.rows = 1
            await ask(server)
            champion.batcher._line.rows = 0
            found = await shadow_of(server)
            assert (found["requests"], found["dropped_requests"]) == (0, 1)

    run(work())


def test_a_challenger_that_fails_is_told_once_and_harms_nobody(pair: FolderStore) -> None:
    async def work() -> None:
        async with serving(pair, shadow=1, traffic_log_s=0) as server:

            def fail(_: np.ndarray) -> np.ndarray:
                raise ValueError("no")

            server.engine.find("tiny", label="challenger").predictor.run = fail
            for _ in range(3):
                await ask(server)
                await server.app.state.traffic.sideline.settle()
            assert len(server.events("traffic_failed")) == 1
            assert "model_server_traffic_failed_total 3.0" in (await server.client.get("/metrics")).text

    run(work())


def test_a_new_challenger_starts_new_numbers(pair: FolderStore, tmp_path: Path) -> None:
    async def work() -> None:
        async with serving(pair, shadow=1, traffic_log_s=0) as server:
            await ask(server)
            assert (await shadow_of(server))["challenger"] == "2"
            pair.add(write_package(tmp_path / "v3", seed=3), "tiny", "3", alias="challenger")
            await server.poll()
            await ask(server)
            found = await shadow_of(server)
            assert (found["challenger"], found["requests"]) == ("3", 1)

    run(work())


def test_numbers_outlive_their_versions_and_keep_none_of_them_in_memory(store: FolderStore, tmp_path: Path) -> None:
    async def work() -> None:
        everything: dict[str, Any] = {"shadow": 1, "drift": 1, "feedback": True, "traffic_log_s": 0}
        async with serving(store, **everything) as server:
            seen = []
            for version in range(2, 9):
                store.add(write_package(tmp_path / f"v{version}", seed=version), "tiny", str(version), "challenger")
                await server.poll()
                await ask(server)
                await ask(server)
                await server.app.state.traffic.sideline.settle()
                seen += [weakref.ref(model) for model in server.engine.loaded()]
                store.aliases[Ref("tiny", "champion")] = str(version)
                await server.poll()
            gc.collect()
            assert {model.version for ref in seen if (model := ref()) is not None} == {"8"}
            told = (await server.client.get("/traffic/tiny")).json()["versions"]
            assert [entry["version"] for entry in told] == ["7", "6", "5", "4", "3", "2", "1"]
            assert {entry["predictions"] for entry in told} == {2}
            assert {entry["shadow"]["rows"] for entry in told} == {2 * len(ROWS)}

    run(work())


def test_a_challenger_that_becomes_champion_is_loaded_with_all_its_threads(pair: FolderStore) -> None:
    async def work() -> None:
        async with serving(pair, shadow=1, traffic_log_s=0) as server:
            challenger = server.engine.find("tiny", label="challenger")
            pair.aliases[Ref("tiny", "champion")] = "2"
            await server.poll()
            assert server.engine.find("tiny").version == "2"
            assert server.engine.find("tiny") is not challenger
            await ask(server)
            (version, *_) = (await server.client.get("/traffic/tiny")).json()["versions"]
            assert version["shadow"]["why_not"]  # nobody is compared with himself

    run(work())


def test_applications_without_any_of_it_note_nothing(store: FolderStore) -> None:
    from services.model_server.settings import Settings

    assert create_app(Settings(), store).state.engine.note is None
    assert create_app(Settings(shadow=0.1), store).state.engine.note is not None
