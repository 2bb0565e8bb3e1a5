"""The cache on disk under bad luck: damage, a full disk, and another server over the same folder."""

from __future__ import annotations

import errno
import os
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from services.model_server.errors import RegistryUnavailable
from services.model_server.following.model_cache import ModelCache, Stored, Target
from services.model_server.model_store import ModelStore
from services.model_server.package import verify
from services.model_server.settings import Ref, Settings
from tests.services.model_server.parts import FolderStore, flip_byte, run, serving, write_package


def target(version: str) -> Target:
    return Target("tiny", version, f"run{version}", f"models:/m-{version}", 1)


def bring(cache: ModelCache, package: Path, version: str) -> Stored:
    download = cache.incoming()
    shutil.copytree(package, download, dirs_exist_ok=True)
    return cache.adopt(target(version), download)


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and path.parent.name != "locks"]


def test_any_damaged_file_in_the_cache_is_found_and_thrown_away(tmp_path: Path) -> None:
    package = write_package(tmp_path / "package")
    names = [path.relative_to(package) for path in files(package)]
    for name in names:
        cache = ModelCache(tmp_path / name.name)
        stored = bring(cache, package, "1")
        assert cache.find(target("1")) == stored
        flip_byte(stored.folder / name, -1)
        assert cache.find(target("1")) is None
        assert not stored.folder.exists()
        assert cache.last_known(Ref("tiny", version="1")) is None


def test_a_damaged_copy_is_replaced_by_another_version_of_the_same_content(tmp_path: Path) -> None:
    cache, package = ModelCache(tmp_path / "cache"), write_package(tmp_path / "package")
    first = bring(cache, package, "1")
    flip_byte(first.folder / "model.onnx")
    second = bring(cache, package, "2")
    assert verify(second.folder) == second.digest == first.digest


def test_a_damaged_cache_is_fetched_again_at_a_start(store: FolderStore, tmp_path: Path) -> None:
    async def work() -> None:
        async with serving(store):
            pass
        (blob,) = (tmp_path / "cache" / "blobs").iterdir()
        flip_byte(blob / "golden.npz")
        async with serving(store) as server:
            assert server.engine.ready
            assert verify(blob) == blob.name

    run(work())


def test_servers_over_one_cache_bring_the_same_version_at_the_same_time(tmp_path: Path) -> None:
    package, together = write_package(tmp_path / "package"), threading.Barrier(4)

    def server(_: int) -> str:
        cache = ModelCache(tmp_path / "cache")
        together.wait(20)
        stored = [bring(cache, package, str(version)) for version in range(20)]
        cache.prune(set(), keep=0)
        assert all(cache.find(target(str(version))) in (None, one) for version, one in enumerate(stored))
        return stored[0].digest

    with ThreadPoolExecutor(4) as threads:
        digests = set(threads.map(server, range(4)))
    assert len(digests) == 1
    assert list((tmp_path / "cache" / "incoming").iterdir()) == []


class Mlflow:
    """What the store downloads with, in place of MLflow: copies a package, or fails as a full disk does."""

    def __init__(self, package: Path, full_times: int) -> None:
        self._package, self.full_times = package, full_times

    def __call__(self, artifact_uri: str, dst_path: str, tracking_uri: str) -> str:
        shutil.copy(self._package / "model.onnx", Path(dst_path) / "model.onnx")
        if self.full_times:
            self.full_times -= 1
            try:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            except OSError as error:
                raise RuntimeError("Failed to download artifacts") from error  # MLflow wraps it so
        return str(shutil.copytree(self._package, dst_path, dirs_exist_ok=True))


def store_without_registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModelStore:
    store = ModelStore(Settings(cache=tmp_path / "cache"))
    monkeypatch.setattr(store, "_connect", lambda: None)
    return store


def full(monkeypatch: pytest.MonkeyPatch, package: Path, times: int) -> None:
    monkeypatch.setattr("mlflow.artifacts.download_artifacts", Mlflow(package, times))


def test_a_full_disk_is_emptied_of_what_nobody_needs_and_tried_once_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = store_without_registry(tmp_path, monkeypatch)
    old = bring(store.cache, write_package(tmp_path / "v1", seed=1), "1")
    named = bring(store.cache, write_package(tmp_path / "v2", seed=2), "2")
    store.confirm(Ref("tiny", "champion"), named, 1.0)
    full(monkeypatch, write_package(tmp_path / "v3", seed=3), times=1)
    third = store.fetch(target("3"))
    assert verify(third.folder) == third.digest
    assert not old.folder.exists()
    assert named.folder.exists()


def test_a_disk_that_stays_full_is_told_and_leaves_nothing_half(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = store_without_registry(tmp_path, monkeypatch)
    full(monkeypatch, write_package(tmp_path / "v3", seed=3), times=2)
    with pytest.raises(RegistryUnavailable) as caught:
        store.fetch(target("3"))
    cache = tmp_path / "cache"
    assert (
        str(caught.value) == f"the disk of the cache {cache} is full; it is tried again, and goes on when there is room"
    )
    assert files(cache) == []


def read_only(monkeypatch: pytest.MonkeyPatch, number: int = errno.EROFS) -> None:
    """From now on no folder is made, as on a disk that became read-only (root is let in everywhere else)."""

    def mkdir(path: Path, *_: Any, **__: Any) -> None:
        raise OSError(number, os.strerror(number), str(path))

    monkeypatch.setattr(Path, "mkdir", mkdir)


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (errno.EROFS, "the cache {} cannot be written: Read-only file system; it is tried again"),
        (errno.EACCES, "the cache {} cannot be written: Permission denied; it is tried again"),
        (errno.ENOSPC, "the disk of the cache {} is full; it is tried again, and goes on when there is room"),
        (errno.ENOENT, "it could not be downloaded: [Errno 2] No such file or directory: '{}/incoming'"),
    ],
)
def test_a_cache_that_takes_nothing_is_told_as_what_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, reason: str
) -> None:
    store = store_without_registry(tmp_path, monkeypatch)
    read_only(monkeypatch, number)
    with pytest.raises(RegistryUnavailable) as caught:
        store.fetch(target("3"))
    assert str(caught.value) == reason.format(tmp_path / "cache")


def test_what_is_here_is_served_from_a_disk_that_takes_no_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = store_without_registry(tmp_path, monkeypatch)
    stored = bring(store.cache, write_package(tmp_path / "v1"), "1")
    read_only(monkeypatch)
    assert store.fetch(target("1")) == stored


def test_a_note_that_a_full_disk_does_not_take_leaves_nothing_half(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache, package = ModelCache(tmp_path / "cache"), write_package(tmp_path / "package")
    stored = bring(cache, package, "1")
    cache.confirm(Ref("tiny", "champion"), stored, 1.0)
    before = sorted(files(tmp_path / "cache"))

    def dump(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("services.model_server.following.model_cache.json.dump", dump)
    with pytest.raises(OSError, match="No space left"):
        cache.confirm(Ref("tiny", "champion"), stored, 2.0)
    assert sorted(files(tmp_path / "cache")) == before
    assert cache.last_known(Ref("tiny", "champion")) == (stored, 1.0)
