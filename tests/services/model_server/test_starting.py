"""A start from the cache: at once if the registry is away, soon if it is slow, and not at all against its word."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest

from services.model_server.settings import Ref
from tests.services.model_server.parts import FolderStore, run, serving, write_package

ROWS = [[[1.0, 2.0], [3.0, 4.0]]]
CHAMPION, PREVIOUS = Ref("tiny", "champion"), Ref("tiny", "previous")


@pytest.fixture
def pair(store: FolderStore, tmp_path: Path) -> FolderStore:
    """Version 2 is the champion, version 1 the one before."""
    store.add(write_package(tmp_path / "v2", seed=2), "tiny", "2")
    store.aliases[PREVIOUS] = "1"
    return store


async def champion(server: Any) -> str:
    response = await server.client.post("/v1/models/tiny:predict", json={"instances": ROWS})
    return str(response.headers["x-model-version"])


def test_champion_and_previous_start_from_the_cache_and_answers_say_how_stale_they_are(
    pair: FolderStore, tmp_path: Path
) -> None:
    async def work() -> None:
        async with serving(pair):
            pass
        for ref, version in pair.aliases.items():
            pair.confirm(ref, pair.target("tiny", version) or pytest.fail("no such version"), 1000.0)
        later = FolderStore(tmp_path / "cache")
        later.away = True
        async with serving(later) as server:
            for path, version in (("", "2"), ("/labels/previous", "1")):
                answer = await server.client.post(f"/v1/models/tiny{path}:predict", json={"instances": ROWS})
                assert answer.headers["x-model-version"] == version
                assert int(answer.headers["x-model-stale-seconds"]) > 1e9
            assert all(event["stale_s"] > 1e9 for event in server.events("model_available"))
            later.versions, later.aliases, later.away = pair.versions, pair.aliases, False
            await server.poll()
            answer = await server.client.post("/v1/models/tiny:predict", json={"instances": ROWS})
            assert "x-model-stale-seconds" not in answer.headers
            assert later.fetched == []

    run(work())


def test_a_start_does_not_wait_long_for_the_registry_and_follows_it_when_it_answers(
    pair: FolderStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = threading.Event()

    async def work() -> None:
        async with serving(pair):
            pass
        pair.add(write_package(tmp_path / "v3", seed=3), "tiny", "3")
        wanted = pair.wanted

        def slow(refs: Any) -> Any:
            assert answers.wait(20)
            return wanted(refs)

        monkeypatch.setattr(pair, "wanted", slow)
        monkeypatch.setattr("services.model_server.rollout._FIRST_ANSWER_S", 0.0)
        async with serving(pair, poll=False) as server:
            early = asyncio.create_task(type(server.rollout).run(server.rollout))
            while not server.engine.ready:
                await asyncio.sleep(0)
            answer = await server.client.post("/v1/models/tiny:predict", json={"instances": ROWS})
            assert (answer.headers["x-model-version"], "x-model-stale-seconds" in answer.headers) == ("2", True)
            assert (await server.client.get("/models")).json()["registry"]["reachable"] is None  # slow is not away
            answers.set()
            while (await champion(server)) != "3":
                await asyncio.sleep(0)
            early.cancel()

    run(work())


def test_what_the_registry_does_not_know_any_more_is_not_served_from_the_cache(store: FolderStore) -> None:
    async def work() -> None:
        async with serving(store):
            pass
        del store.aliases[CHAMPION]
        async with serving(store, poll=False, models="tiny") as server:
            polling = asyncio.create_task(type(server.rollout).run(server.rollout))
            await server.rollout._heard.wait()
            await server.rollout._start_from_cache()
            await server.rollout.settle()
            assert not server.engine.ready
            polling.cancel()

    run(work())
