"""What is refused, and who is told: the registry gets a tag, and loses it when the version loads well after all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from services.model_server.settings import Ref
from tests.services.model_server.parts import FolderStore, Server, flip_byte, run, seal, serving, write_package

ROWS = [[[1.0, 2.0], [3.0, 4.0]]]
CHAMPION = Ref("tiny", "champion")


async def champion(server: Server) -> str:
    response = await server.client.post("/v1/models/tiny:predict", json={"instances": ROWS})
    assert response.status_code == 200, response.text
    return str(response.headers["x-model-version"])


async def rejected(server: Server) -> str:
    (entry,) = (await server.client.get("/models")).json()["models"]
    return str(entry["rejected"]["reason"])


def test_a_flipped_byte_in_any_file_of_a_package_is_refused(store: FolderStore, tmp_path: Path) -> None:
    files = [path for path in (tmp_path / "v1").rglob("*") if path.is_file()]
    assert len(files) == 5

    async def work() -> None:
        async with serving(store) as server:
            for version, path in enumerate(files, 2):
                folder = write_package(tmp_path / f"v{version}", seed=version)
                damaged = folder / path.relative_to(tmp_path / "v1")
                flip_byte(damaged, len(damaged.read_bytes()) // 2)
                store.add(folder, "tiny", str(version))
                await server.poll()
                assert await champion(server) == "1", f"{damaged.name} was served damaged"
                assert store.tags["tiny", str(version)].startswith("REJECTED: ")

    run(work())


def test_a_wrong_answer_under_right_digests_is_refused_by_the_golden_samples(
    store: FolderStore, tmp_path: Path
) -> None:
    async def work() -> None:
        async with serving(store) as server:
            folder = write_package(tmp_path / "v2", seed=2)
            (folder / "model.onnx").write_bytes((tmp_path / "v1" / "model.onnx").read_bytes())
            seal(folder)
            store.add(folder, "tiny", "2")
            await server.poll()
            assert await champion(server) == "1"
            assert "gives another answer" in store.tags["tiny", "2"]

    run(work())


def test_the_tag_of_a_rejected_version_goes_when_it_loads_well(store: FolderStore, tmp_path: Path) -> None:
    async def work() -> None:
        async with serving(store) as server:
            flip_byte(write_package(tmp_path / "v2", seed=2) / "model.onnx")
            store.add(tmp_path / "v2", "tiny", "2")
            await server.poll()
            assert "model.onnx is damaged" in store.tags["tiny", "2"]
            write_package(tmp_path / "v2", seed=2)
            server.engine.slots[CHAMPION].rejection.retry_at = 0.0
            await server.poll()
            assert store.tags == {}

    run(work())


def test_a_registry_that_takes_no_tags_changes_nothing_else(store: FolderStore, tmp_path: Path) -> None:
    def refuse(*_: Any) -> None:
        raise PermissionError("read only")

    store.refused = store.accepted = refuse  # type: ignore[assignment, method-assign]

    async def work() -> None:
        async with serving(store) as server:
            flip_byte(write_package(tmp_path / "v2", seed=2) / "model.onnx")
            store.add(tmp_path / "v2", "tiny", "2")
            await server.poll()
            assert await champion(server) == "1"
            assert "REJECTED" in await rejected(server)
            assert "read only" in server.events("registry_not_tagged")[-1]["reason"]

    run(work())
