"""The server follows the registry, and nothing that happens there takes away what works here."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from services.model_server.errors import RegistryUnavailable
from services.model_server.following.model_cache import Target
from services.model_server.rollout import MISSING_POLLS
from services.model_server.settings import Ref
from tests.services.model_server.parts import FolderStore, Server, expected, flip_byte, run, serving, write_package

ROWS = [[[1.0, 2.0], [3.0, 4.0]]]


async def predict(server: Server) -> tuple[str, Any]:
    response = await server.client.post("/v1/models/tiny:predict", json={"instances": ROWS})
    assert response.status_code == 200, response.text
    return response.headers["x-model-version"], response.json()["predictions"]


async def slot_of(server: Server) -> dict[str, Any]:
    (entry,) = (await server.client.get("/models")).json()["models"]
    assert isinstance(entry, dict)
    return entry


def test_the_server_is_live_before_and_ready_after_a_model_is_loaded(store: FolderStore) -> None:
    async def work() -> None:
        async with serving(store, poll=False) as server:
            assert (await server.client.get("/livez")).status_code == 200
            early = await server.client.get("/readyz")
            assert (early.status_code, early.json()["ready"]) == (503, False)
            assert early.json()["reasons"]
            await server.poll()
            assert (await server.client.get("/readyz")).json() == {"ready": True, "live": True, "reasons": []}

    run(work())


def test_a_moved_alias_is_followed(store: FolderStore, tmp_path: Path) -> None:
    async def work() -> None:
        async with serving(store) as server:
            assert (await predict(server))[0] == "1"
            store.add(write_package(tmp_path / "v2", seed=2), "tiny", "2")
            await server.poll()
            version, answer = await predict(server)
            assert version == "2"
            np.testing.assert_allclose(answer, expected(tmp_path / "v2", ROWS), rtol=1e-5)
            text = (await server.client.get("/metrics")).text
            assert 'version="2"' in text
            assert 'version="1"' not in text  # the series of the unloaded version have ended

    run(work())


def test_no_request_fails_while_the_model_changes(store: FolderStore, tmp_path: Path) -> None:
    async def work() -> set[str]:
        versions: set[str] = set()
        async with serving(store) as server:
            answers = {
                "1": expected(tmp_path / "v1", ROWS),
                "2": expected(write_package(tmp_path / "v2", seed=2), ROWS),
            }

            async def load() -> None:
                while versions != {"1", "2"}:
                    version, answer = await predict(server)
                    np.testing.assert_allclose(answer, answers[version], rtol=1e-5)
                    versions.add(version)
                    await asyncio.sleep(0)  # a client over sockets lets others run, one without need not

            clients = [asyncio.create_task(load()) for _ in range(4)]
            store.add(tmp_path / "v2", "tiny", "2")
            await server.poll()
            await asyncio.gather(*clients)
        return versions

    assert run(work()) == {"1", "2"}


def break_graph(folder: Path) -> None:
    flip_byte(folder / "model.onnx")


def break_answers(folder: Path) -> None:
    write_package(folder, seed=3, golden_shift=0.5)


def break_name(folder: Path) -> None:
    write_package(folder, seed=3, contract={"input": {"name": "pixels", "dtype": "float32", "shape": [None, 2, 2]}})


def lose_a_file(folder: Path) -> None:
    (folder / "golden.npz").unlink()


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (break_graph, "model.onnx is damaged"),
        (break_answers, "gives another answer"),
        (break_name, "the contract says pixels"),
        (lose_a_file, "golden.npz is missing"),
    ],
)
def test_a_bad_version_is_rejected_and_the_good_one_goes_on(
    store: FolderStore, tmp_path: Path, damage: Callable[[Path], None], reason: str
) -> None:
    async def work() -> None:
        async with serving(store) as server:
            damage(write_package(tmp_path / "v3", seed=3))
            store.add(tmp_path / "v3", "tiny", "3")
            await server.poll()
            assert (await predict(server))[0] == "1"
            entry = await slot_of(server)
            assert (entry["state"], entry["version"]) == ("AVAILABLE", "1")
            assert entry["rejected"]["version"] == "3"
            assert entry["rejected"]["reason"].startswith("REJECTED: ")
            assert reason in entry["rejected"]["reason"]
            status = (await server.client.get("/v1/models/tiny")).json()
            assert [(v["version"], v["state"]) for v in status["model_version_status"]] == [
                ("3", "END"),
                ("1", "AVAILABLE"),
            ]
            assert reason in status["model_version_status"][0]["status"]["error_message"]
            assert (await server.client.get("/readyz")).status_code == 200
            text = (await server.client.get("/metrics")).text
            assert 'model_server_rejected_total{model="tiny"} 1.0' in text
            assert 'model_server_rejected_now{model="tiny",version="3"} 1.0' in text
            assert reason in server.events("model_rejected")[0]["reason"]

    run(work())


def test_a_rejected_version_is_tried_again_later_and_served_when_it_is_repaired(
    store: FolderStore, tmp_path: Path
) -> None:
    async def work() -> None:
        async with serving(store) as server:
            break_graph(write_package(tmp_path / "v2", seed=2))
            store.add(tmp_path / "v2", "tiny", "2")
            await server.poll()
            write_package(tmp_path / "v2", seed=2)
            await server.poll()
            assert (await predict(server))[0] == "1"  # not before its time
            assert store.fetched.count("2") == 1
            (slot,) = server.engine.slots.values()
            slot.rejection.retry_at = 0.0
            await server.poll()
            assert (await predict(server))[0] == "2"
            assert (await slot_of(server))["rejected"] is None

    run(work())


def test_waiting_times_between_tries_grow(store: FolderStore, tmp_path: Path) -> None:
    async def work() -> list[float]:
        async with serving(store) as server:
            server.rollout._loader._settings = server.rollout._loader._settings.model_copy(update={"poll_s": 2.0})
            break_graph(write_package(tmp_path / "v2", seed=2))
            store.add(tmp_path / "v2", "tiny", "2")
            (slot,) = server.engine.slots.values()
            for _ in range(10):
                await server.poll()
                slot.rejection.retry_at = 0.0
            return [event["next_try_s"] for event in server.events("model_rejected")]

    waits = run(work())
    assert waits[:3] == [4.0, 8.0, 16.0]
    assert waits[-1] == 300.0


def test_moving_the_alias_back_ends_the_rejection(store: FolderStore, tmp_path: Path) -> None:
    async def work() -> None:
        async with serving(store) as server:
            break_graph(write_package(tmp_path / "v2", seed=2))
            store.add(tmp_path / "v2", "tiny", "2")
            await server.poll()
            store.aliases[Ref("tiny", "champion")] = "1"
            await server.poll()
            assert (await slot_of(server))["rejected"] is None

    run(work())


def test_a_rollback_is_served_from_the_cache(store: FolderStore, tmp_path: Path) -> None:
    async def work() -> None:
        async with serving(store) as server:
            store.add(write_package(tmp_path / "v2", seed=2), "tiny", "2")
            await server.poll()
            store.aliases[Ref("tiny", "champion")] = "1"
            shutil.rmtree(tmp_path / "v1")  # the registry's files are gone; the cache has them
            await server.poll()
            assert (await predict(server))[0] == "1"

    run(work())


def test_a_registry_that_goes_away_changes_nothing_but_the_staleness(store: FolderStore) -> None:
    async def work() -> None:
        async with serving(store) as server:
            store.away = True
            for _ in range(MISSING_POLLS + 1):
                await server.poll()
            assert (await predict(server))[0] == "1"
            body = (await server.client.get("/models")).json()
            assert body["registry"]["reachable"] is False
            assert body["models"][0]["staleness_s"] is not None
            assert "model_server_registry_up 0.0" in (await server.client.get("/metrics")).text
            assert len(server.events("registry_away")) == 1  # said once, not at every poll

    run(work())


def test_a_new_server_starts_from_the_cache_when_the_registry_is_away(store: FolderStore, tmp_path: Path) -> None:
    async def work() -> None:
        async with serving(store):
            pass
        store.confirm(Ref("tiny", "champion"), store.target("tiny", "1") or pytest.fail("no version 1"), 1000.0)
        later = FolderStore(tmp_path / "cache")
        later.away = True
        async with serving(later) as server:
            assert (await predict(server))[0] == "1"
            assert (await slot_of(server))["staleness_s"] > 1e9
            store.add(write_package(tmp_path / "v2", seed=2), "tiny", "2")
            later.versions, later.aliases, later.away = store.versions, store.aliases, False
            await server.poll()
            assert (await predict(server))[0] == "2"
            assert (await slot_of(server))["staleness_s"] < 60

    run(work())


def test_the_registrys_last_word_is_kept_when_the_clock_is_set_back(
    store: FolderStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work() -> None:
        async with serving(store) as server:
            before = time.time() - 3600.0
            monkeypatch.setattr("services.model_server.rollout.time", SimpleNamespace(time=lambda: before))
            await server.poll()
            _, when = store.last_known([Ref("tiny", "champion")])[Ref("tiny", "champion")]
            assert when == before

    run(work())


def test_a_damaged_cache_is_not_served(store: FolderStore, tmp_path: Path) -> None:
    async def work() -> None:
        async with serving(store):
            pass
        (blob,) = (tmp_path / "cache" / "blobs").iterdir()
        flip_byte(blob / "model.onnx")
        later = FolderStore(tmp_path / "cache")
        later.away = True
        async with serving(later, models="tiny") as server:
            ready = await server.client.get("/readyz")
            assert ready.status_code == 503
            assert "not in the cache, and the registry is away" in ready.json()["error"]

    run(work())


def test_a_new_server_falls_back_to_the_last_good_version_when_the_champion_is_bad(
    store: FolderStore, tmp_path: Path
) -> None:
    async def work() -> None:
        async with serving(store):
            pass
        break_graph(write_package(tmp_path / "v2", seed=2))
        store.add(tmp_path / "v2", "tiny", "2")
        async with serving(store) as server:
            assert (await predict(server))[0] == "1"
            assert (await slot_of(server))["rejected"]["version"] == "2"

    run(work())


def test_a_champion_that_is_bad_from_the_start_is_told_everywhere(tmp_path: Path) -> None:
    async def work() -> None:
        store = FolderStore(tmp_path / "cache")
        break_graph(write_package(tmp_path / "v1"))
        store.add(tmp_path / "v1", "tiny", "1")
        async with serving(store, models="tiny") as server:
            ready = await server.client.get("/readyz")
            assert ready.status_code == 503
            assert "tiny@champion: version 1 REJECTED: model.onnx is damaged" in ready.json()["error"]
            answer = await server.client.post("/v1/models/tiny:predict", json={"instances": ROWS})
            assert answer.status_code == 503
            assert "retry-after" in answer.headers
            assert (await server.client.get("/v1/models/tiny")).status_code == 503
            assert (await slot_of(server))["state"] == "REJECTED"

    run(work())


def test_a_registry_that_was_wiped_and_counts_from_one_again_is_followed(store: FolderStore, tmp_path: Path) -> None:
    async def work() -> None:
        async with serving(store) as server:
            write_package(tmp_path / "again", seed=9)
            store.versions["tiny", "1"] = tmp_path / "again"  # version 1, another source
            await server.poll()
            np.testing.assert_allclose((await predict(server))[1], expected(tmp_path / "again", ROWS), rtol=1e-5)

    run(work())


def test_an_alias_that_was_taken_away_ends_the_service_after_some_polls(store: FolderStore) -> None:
    async def work() -> None:
        async with serving(store) as server:
            del store.aliases[Ref("tiny", "champion")]
            await server.poll()
            assert (await predict(server))[0] == "1"  # it may only be on its way to another version
            for _ in range(MISSING_POLLS):
                await server.poll()
            answer = await server.client.post("/v1/models/tiny:predict", json={"instances": ROWS})
            assert answer.status_code == 404
            assert (await server.client.get("/readyz")).status_code == 503
            assert 'model="tiny"' not in (await server.client.get("/metrics")).text

    run(work())


def test_fixed_versions_and_aliases_are_served_beside_each_other(store: FolderStore, tmp_path: Path) -> None:
    async def work() -> None:
        store.add(write_package(tmp_path / "v2", seed=2), "tiny", "2")
        async with serving(store, models="tiny,tiny/1") as server:
            assert server.events("model_rejected") == []
            assert (await predict(server))[0] == "2"
            for version in ("1", "2"):
                answer = await server.client.post(
                    f"/v1/models/tiny/versions/{version}:predict", json={"instances": ROWS}
                )
                assert answer.headers["x-model-version"] == version

    run(work())


def test_a_store_that_breaks_in_an_unforeseen_way_does_not_end_the_rollout(store: FolderStore) -> None:
    async def work() -> None:
        async with serving(store) as server:

            def broken(_: Any) -> Any:
                raise PermissionError("disk")

            store.wanted = broken  # type: ignore[method-assign, assignment]
            await server.poll()
            assert (await predict(server))[0] == "1"

    run(work())


def test_a_version_that_cannot_be_downloaded_says_so(store: FolderStore, tmp_path: Path) -> None:
    async def work() -> None:
        def fetch(target: Target) -> Any:
            raise RegistryUnavailable("it could not be downloaded: the artifact store is away")

        store.fetch = fetch  # type: ignore[method-assign]
        async with serving(store) as server:
            assert "artifact store is away" in (await slot_of(server))["rejected"]["reason"]

    run(work())


def test_old_packages_leave_the_cache_and_named_ones_stay(store: FolderStore, tmp_path: Path) -> None:
    async def work() -> None:
        async with serving(store) as server:
            for version in range(2, 13):
                store.add(write_package(tmp_path / f"v{version}", seed=version), "tiny", str(version))
                await server.poll()
            await server.rollout._loader.background.do(store.prune, {model.digest for model in server.engine.loaded()})
            blobs = {path.name for path in (tmp_path / "cache" / "blobs").iterdir()}
            (served,) = server.engine.loaded()
            assert served.digest in blobs
            assert len(blobs) <= 9

    run(work())


def test_a_draining_server_is_not_ready_but_answers(store: FolderStore) -> None:
    async def work() -> None:
        async with serving(store) as server:
            server.engine.draining = True
            assert (await server.client.get("/readyz")).status_code == 503
            response = await server.client.post("/v1/models/tiny:predict", json={"instances": ROWS})
            assert response.status_code == 200
            assert response.headers["connection"] == "close"

    run(work())


@pytest.mark.parametrize(
    ("models", "told"),
    [
        ("*", ["apple@champion", "pear@champion", "tiny@champion", "apple@previous"]),
        ("tiny,*", ["tiny@champion", "apple@champion", "pear@champion", "apple@previous"]),
        ("pear,tiny/1,apple", ["pear@champion", "tiny/1", "apple@champion", "apple@previous"]),
    ],
)
def test_models_are_told_as_asked_for_and_then_by_name_whenever_they_were_found(
    store: FolderStore, tmp_path: Path, models: str, told: list[str]
) -> None:
    for name in ("pear", "apple"):
        store.add(write_package(tmp_path / name, name=name), name, "1")
    store.add(tmp_path / "apple", "apple", "2", alias="previous")

    async def work() -> None:
        async with serving(store, models=models) as server:

            async def wanted() -> list[str]:
                return [model["wanted"] for model in (await server.client.get("/models")).json()["models"]]

            assert await wanted() == told
            for name in ("apple", "pear"):  # taken away, and set again
                version = store.aliases.pop(Ref(name, "champion"))
                for _ in range(MISSING_POLLS):
                    await server.poll()
                store.aliases[Ref(name, "champion")] = version
                await server.poll()
                assert await wanted() == told

    run(work())


def test_a_model_that_the_registry_does_not_have_is_a_warning_once(store: FolderStore, tmp_path: Path) -> None:
    async def work() -> None:
        async with serving(store, models="tiny,nosuch,iris/2") as server:
            for _ in range(MISSING_POLLS + 2):
                await server.poll()
            missing = server.events("model_missing")
            assert [event["model"] for event in missing] == ["nosuch@champion", "iris/2"]
            assert {event["level"] for event in missing} == {"warning"}
            reasons = (await server.client.get("/readyz")).json()["reasons"]
            assert reasons == [f"{event['model']}: {event['reason']}." for event in missing]
            store.add(write_package(tmp_path / "n", name="nosuch"), "nosuch", "1")
            await server.poll()
            del store.aliases[Ref("nosuch", "champion")]
            for _ in range(MISSING_POLLS + 2):
                await server.poll()
            assert len(server.events("model_unloaded")) == 1
            assert len(server.events("model_missing")) == 2  # the line that it was unloaded says why
            store.away = True
            for _ in range(3):
                await server.poll()
            away = server.events("model_missing")[2:]
            assert [event["model"] for event in away] == ["nosuch@champion", "iris/2"]
            assert all("registry is away" in event["reason"] for event in away)

    run(work())


def test_since_when_a_version_is_champion_is_told_also_if_it_becomes_known_later_and_after_a_rollback(
    store: FolderStore, tmp_path: Path
) -> None:
    store.add(write_package(tmp_path / "v2", seed=2), "tiny", "2")
    store.champion_since["tiny", "2"] = "2026-11-26T09:11:00+00:00"

    async def work() -> None:
        async with serving(store) as server:

            async def since() -> str | None:
                (entry, *_) = (await server.client.get("/models")).json()["models"]
                assert entry["loaded_at"]
                told: str | None = entry["champion_since"]
                return told

            assert await since() == "2026-11-26T09:11:00+00:00"
            store.aliases |= {Ref("tiny", "champion"): "1", Ref("tiny", "previous"): "2"}
            await server.poll()
            assert await since() is None
            store.champion_since["tiny", "1"] = "2026-11-27T07:00:00+00:00"
            await server.poll()
            assert await since() == "2026-11-27T07:00:00+00:00"
            store.aliases |= {Ref("tiny", "champion"): "2", Ref("tiny", "previous"): "1"}
            store.champion_since["tiny", "2"] = "2026-11-27T08:00:00+00:00"
            await server.poll()
            assert await since() == "2026-11-27T08:00:00+00:00"
        store.away = True
        async with serving(store) as server:  # what the cache has may be champion no more
            assert server.engine.find("tiny").version == "2"
            (entry, *_) = (await server.client.get("/models")).json()["models"]
            assert entry["champion_since"] is None

    run(work())
