"""The champion before this one stays loaded beside it, and is never in the way of the champion."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from pathlib import Path
from typing import Any

import pytest

from services.model_server.following.model_cache import Target
from services.model_server.package import open_package
from services.model_server.rollout import MISSING_POLLS
from services.model_server.settings import Ref
from tests.services.model_server.parts import (
    FolderStore,
    Server,
    flip_byte,
    run,
    serving,
    write_package,
)

ROWS = [[[1.0, 2.0], [3.0, 4.0]]]
CHAMPION, PREVIOUS = Ref("tiny", "champion"), Ref("tiny", "previous")


@pytest.fixture
def pair(store: FolderStore, tmp_path: Path) -> FolderStore:
    """Version 2 is the champion, version 1 the one before."""
    store.add(write_package(tmp_path / "v2", seed=2), "tiny", "2")
    store.aliases[PREVIOUS] = "1"
    return store


async def version_at(server: Server, path: str, body: Any, headers: dict[str, str] | None = None) -> str:
    response = await server.client.post(path, json=body, headers=headers)
    assert response.status_code == 200, response.text
    return str(response.headers["x-model-version"])


async def champion(server: Server) -> str:
    return await version_at(server, "/v1/models/tiny:predict", {"instances": ROWS})


async def entries(server: Server) -> dict[str, dict[str, Any]]:
    return {entry["wanted"]: entry for entry in (await server.client.get("/models")).json()["models"]}


def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Counts what is loaded, by the seed in its contract."""
    loads: list[str] = []

    def watched(folder: Path) -> Any:
        package = open_package(folder)
        loads.append(str(package.contract.source["trial"]))
        return package

    monkeypatch.setattr("services.model_server.following.preparing.open_package", watched)
    return loads


@pytest.mark.parametrize("models", ["tiny", "tiny@champion", "*"])
def test_previous_is_reachable_in_every_dialect(pair: FolderStore, models: str) -> None:
    v2 = {"inputs": [{"name": "image", "shape": [1, 2, 2], "datatype": "FP32", "data": [1, 2, 3, 4]}]}

    async def work() -> None:
        async with serving(pair, models=models) as server:
            assert await champion(server) == "2"
            for path in ("/v1/models/tiny/versions/1:predict", "/v1/models/tiny/labels/previous:predict"):
                assert await version_at(server, path, {"instances": ROWS}) == "1"
            assert await version_at(server, "/predict/tiny?alias=previous", {"inputs": ROWS}) == "1"
            assert await version_at(server, "/predict/tiny?version=1", {"inputs": ROWS}) == "1"
            assert await version_at(server, "/v2/models/tiny/versions/1/infer", v2) == "1"
            assert (await server.client.get("/v2/models/tiny")).json()["versions"] == ["1", "2"]
            status = (await server.client.get("/v1/models/tiny")).json()["model_version_status"]
            assert [(entry["version"], entry["state"]) for entry in status] == [("2", "AVAILABLE"), ("1", "AVAILABLE")]
            found = await entries(server)
            assert {wanted: (entry["version"], entry["alias"]) for wanted, entry in found.items()} == {
                "tiny@champion": ("2", "champion"),
                "tiny@previous": ("1", "previous"),
            }

    run(work())


@pytest.mark.parametrize("settings", [{"models": "tiny/2"}, {"models": "tiny", "keep_previous": False}])
def test_previous_is_not_loaded_for_a_fixed_version_or_when_it_is_switched_off(
    pair: FolderStore, settings: dict[str, Any]
) -> None:
    async def work() -> None:
        async with serving(pair, **settings) as server:
            assert [model.version for model in server.engine.loaded()] == ["2"]
            assert pair.fetched == ["2"]

    run(work())


def test_the_old_champion_becomes_previous_without_a_download_or_a_load(
    store: FolderStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work() -> None:
        loads = opened(monkeypatch)
        async with serving(store) as server:
            (first,) = server.engine.loaded()
            store.add(write_package(tmp_path / "v2", seed=2), "tiny", "2")
            store.aliases[PREVIOUS] = "1"
            await server.poll()
            assert await champion(server) == "2"
            assert server.engine.find("tiny", label="previous") is first
            assert (store.fetched, loads) == (["1", "2"], ["1", "2"])
            text = (await server.client.get("/metrics")).text
            assert 'alias="previous",digest=' in text

    run(work())


def test_a_rollback_changes_the_two_places_without_a_load(pair: FolderStore, monkeypatch: pytest.MonkeyPatch) -> None:
    async def work() -> None:
        async with serving(pair) as server:
            loads, before = opened(monkeypatch), {model.version: model for model in server.engine.loaded()}
            pair.aliases |= {CHAMPION: "1", PREVIOUS: "2"}
            await server.poll()
            assert server.engine.find("tiny") is before["1"]
            assert server.engine.find("tiny", label="previous") is before["2"]
            assert loads == []
            assert await champion(server) == "1"

    run(work())


def test_a_poll_between_the_two_moves_of_a_promotion_changes_nothing_for_clients(
    store: FolderStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work() -> None:
        loads = opened(monkeypatch)
        async with serving(store) as server:
            store.aliases[PREVIOUS] = "1"  # the champion is moved a moment later
            await server.poll()
            assert await champion(server) == "1"
            assert (await entries(server))["tiny@previous"]["version"] == "1"
            store.add(write_package(tmp_path / "v2", seed=2), "tiny", "2")
            await server.poll()
            assert (await champion(server), loads) == ("2", ["1", "2"])
            assert server.engine.find("tiny", label="previous").version == "1"
            assert (await server.client.get("/metrics")).text.count("model_server_model_info{") == 2

    run(work())


def test_the_champion_is_ready_before_previous_is_even_fetched(pair: FolderStore) -> None:
    fetch, ready = pair.fetch, threading.Event()

    def watched(target: Target) -> Any:
        if target.version == "1":
            assert ready.wait(20), "previous was fetched before the champion answered"
        return fetch(target)

    pair.fetch = watched  # type: ignore[method-assign]

    async def work() -> None:
        async with serving(pair, poll=False) as server:
            await server.rollout.step()
            while (response := await server.client.get("/readyz")).status_code != 200:
                await asyncio.sleep(0)
            assert response.json() == {"ready": True, "live": True, "reasons": []}
            early = await server.client.post("/v1/models/tiny/labels/previous:predict", json={"instances": ROWS})
            assert (early.status_code, "is loading" in early.json()["error"]) == (503, True)
            ready.set()
            await server.rollout.settle()
            assert server.engine.find("tiny", label="previous").version == "1"

    run(work())


def test_a_previous_that_is_damaged_is_told_and_is_in_nobodys_way(pair: FolderStore, tmp_path: Path) -> None:
    async def work() -> None:
        flip_byte(tmp_path / "v1" / "model.onnx")
        async with serving(pair) as server:
            assert await champion(server) == "2"
            assert (await server.client.get("/readyz")).json()["reasons"] == []
            rejected = (await entries(server))["tiny@previous"]["rejected"]
            assert "REJECTED: model.onnx is damaged" in rejected["reason"]
            answer = await server.client.post("/v1/models/tiny/labels/previous:predict", json={"instances": ROWS})
            assert answer.status_code == 503

    run(work())


def test_previous_alone_serves_nobody(pair: FolderStore) -> None:
    async def work() -> None:
        async with serving(pair) as server:
            del pair.aliases[CHAMPION]
            for _ in range(MISSING_POLLS + 1):
                await server.poll()
            assert list(server.engine.loaded()) == []
            assert (await server.client.post("/v1/models/tiny:predict", json={"instances": ROWS})).status_code == 404
            assert (await server.client.get("/readyz")).status_code == 503

    run(work())


def test_previous_goes_with_its_alias(pair: FolderStore) -> None:
    async def work() -> None:
        async with serving(pair) as server:
            del pair.aliases[PREVIOUS]
            for _ in range(MISSING_POLLS):
                await server.poll()
            assert list(await entries(server)) == ["tiny@champion"]
            assert 'version="1"' not in (await server.client.get("/metrics")).text

    run(work())


def test_thirty_swaps_leave_two_versions_and_nothing_of_the_others(store: FolderStore, tmp_path: Path) -> None:
    async def work() -> None:
        async with serving(store) as server:
            seen = [weakref.ref(model) for model in server.engine.loaded()]
            for version in range(2, 32):
                store.aliases[PREVIOUS] = str(version - 1)
                store.add(write_package(tmp_path / f"v{version}", seed=version), "tiny", str(version))
                await server.poll()
                assert await champion(server) == str(version)
                seen.append(weakref.ref(server.engine.find("tiny")))
            gc.collect()
            assert [model.version for ref in seen if (model := ref()) is not None] == ["30", "31"]
            assert store.fetched == [str(version) for version in range(1, 32)]
            series = (await server.client.get("/metrics")).text
            assert series.count("model_server_model_info{") == 2
            assert sum(line.startswith('model_server_requests_total{model="tiny"') for line in series.splitlines()) == 2

    run(work())
