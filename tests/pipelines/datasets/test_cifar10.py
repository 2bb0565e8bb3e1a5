from __future__ import annotations

import hashlib
import io
import sys
import tarfile
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pipelines.datasets import cifar10
from pipelines.datasets.cifar10 import ADDRESS, ARCHIVE, BATCHES, FOLDER, SHA256, Cifar10
from pipelines.errors import DataError

PER_BATCH = 4


@pytest.fixture(autouse=True)
def no_download(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cifar10, "_download", lambda: pytest.fail("tried to download"))


DOWNLOAD = cifar10._download


def made() -> tuple[dict[str, bytes], NDArray[np.uint8], NDArray[np.uint8]]:
    """The six files' contents, and the images and labels that are in them, the test part last."""
    random = np.random.default_rng(5)
    images = random.integers(0, 256, (6 * PER_BATCH, 32, 32, 3), dtype=np.uint8)
    labels = random.integers(0, 10, 6 * PER_BATCH, dtype=np.uint8)
    records = [
        bytes([label]) + b"".join(image[:, :, channel].tobytes() for channel in range(3))
        for image, label in zip(images, labels, strict=True)
    ]
    parts = [b"".join(records[start : start + PER_BATCH]) for start in range(0, len(records), PER_BATCH)]
    return dict(zip(BATCHES, parts, strict=True)), images, labels


def archived(contents: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, content in contents.items():
            entry = tarfile.TarInfo(f"{FOLDER}/{name}")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return packed.getvalue()


def write(folder: Path, form: str, contents: dict[str, bytes]) -> None:
    if form == "archive":
        folder.mkdir(parents=True, exist_ok=True)
        (folder / ARCHIVE).write_bytes(archived(contents))
        return
    place = folder / FOLDER if form == "unpacked" else folder
    place.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        (place / name).write_bytes(content)


@pytest.mark.parametrize("form", ["unpacked", "loose", "archive"])
@pytest.mark.parametrize("place", [".", "cifar10"])
def test_the_makers_binary_files_are_read_packed_or_not(tmp_path: Path, form: str, place: str) -> None:
    contents, images, labels = made()
    write(tmp_path / place, form, contents)
    source = Cifar10().load(tmp_path)
    assert source.official_test is not None
    np.testing.assert_array_equal(source.samples.x[:], images[:-PER_BATCH])
    np.testing.assert_array_equal(source.samples.y, labels[:-PER_BATCH])
    np.testing.assert_array_equal(source.official_test.x[:], images[-PER_BATCH:])
    np.testing.assert_array_equal(source.official_test.y, labels[-PER_BATCH:])
    assert source.samples.x.dtype == np.uint8
    assert source.samples.y.dtype == np.int64
    assert source.facts.shape == (32, 32, 3)
    assert source.facts.labels[:2] == ("airplane", "automobile")


def test_an_npz_file_gives_the_same_with_labels_in_a_column_as_keras_has_them(tmp_path: Path) -> None:
    contents, images, labels = made()
    write(tmp_path / "a", "unpacked", contents)
    (tmp_path / "b").mkdir()
    np.savez(
        tmp_path / "b" / "cifar10.npz",
        x_train=images[:-PER_BATCH],
        y_train=labels[:-PER_BATCH, None],
        x_test=images[-PER_BATCH:],
        y_test=labels[-PER_BATCH:, None],
    )
    assert Cifar10().load(tmp_path / "a").sha256() == Cifar10().load(tmp_path / "b").sha256()


@pytest.mark.parametrize("missing", BATCHES)
def test_a_folder_that_lacks_a_batch_names_it(tmp_path: Path, missing: str) -> None:
    contents, _, _ = made()
    write(tmp_path, "unpacked", contents)
    (tmp_path / FOLDER / missing).unlink()
    with pytest.raises(DataError) as caught:
        Cifar10().load(tmp_path)
    assert str(caught.value) == f"{tmp_path} lacks {FOLDER}/{missing} of CIFAR-10's 6 files."


@pytest.mark.parametrize("form", ["unpacked", "archive"])
@pytest.mark.parametrize("content", [b"", b"x" * 3072, b"x" * 3074], ids=len)
def test_a_batch_that_is_cut_short_is_named(tmp_path: Path, form: str, content: bytes) -> None:
    contents, _, _ = made()
    write(tmp_path, form, contents | {"data_batch_3.bin": content})
    with pytest.raises(DataError) as caught:
        Cifar10().load(tmp_path)
    assert "data_batch_3.bin" in str(caught.value)
    assert f"holds {len(content)} bytes" in str(caught.value)


def test_labels_that_are_no_class_are_told(tmp_path: Path) -> None:
    contents, _, _ = made()
    write(tmp_path, "unpacked", contents | {"test_batch.bin": b"\x0a" * 3073})
    with pytest.raises(DataError, match="test labels hold 10; expected 0 to 9"):
        Cifar10().load(tmp_path)


@pytest.mark.parametrize("damage", ["cut", "no archive", "lacks a batch"])
def test_a_damaged_archive_is_named(tmp_path: Path, damage: str) -> None:
    contents, _, _ = made()
    whole = archived(contents)
    without = archived({name: content for name, content in contents.items() if name != "test_batch.bin"})
    broken = {"cut": whole[: len(whole) // 2], "no archive": b"<html>404</html>", "lacks a batch": without}
    (tmp_path / ARCHIVE).write_bytes(broken[damage])
    with pytest.raises(DataError) as caught:
        Cifar10().load(tmp_path)
    assert str(caught.value).startswith(f"{tmp_path / ARCHIVE} cannot be read")


def test_what_is_downloaded_is_the_binary_archive_with_its_digest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    contents, images, _ = made()
    (tmp_path / ARCHIVE).write_bytes(archived(contents))
    asked: list[Any] = []

    def get_file(name: str, address: str, **checks: str) -> str:
        asked.append((name, address, checks))
        return str(tmp_path / ARCHIVE)

    utils = ModuleType("keras.utils")
    utils.get_file = get_file  # type: ignore[attr-defined]
    monkeypatch.setattr(cifar10, "_download", DOWNLOAD)
    monkeypatch.setitem(sys.modules, "keras", ModuleType("keras"))
    monkeypatch.setitem(sys.modules, "keras.utils", utils)
    np.testing.assert_array_equal(Cifar10().load(None).samples.x[:], images[:-PER_BATCH])
    assert asked == [(ARCHIVE, ADDRESS, {"file_hash": SHA256, "hash_algorithm": "sha256"})]
    assert len(bytes.fromhex(SHA256)) == hashlib.sha256().digest_size


def test_where_nothing_helps_it_is_said_what_to_put_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_network() -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(cifar10, "_download", no_network)
    with pytest.raises(DataError) as caught:
        Cifar10().load(tmp_path)
    said = str(caught.value)
    for words in (*BATCHES, ARCHIVE, "cifar10.npz", f"{tmp_path / 'cifar10'} and {tmp_path}", "REGATTA_DATA=FOLDER"):
        assert words in said
