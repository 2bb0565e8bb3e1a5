from __future__ import annotations

import json
import threading
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from pipelines.datasets import prepared
from pipelines.datasets.digits import Digits
from pipelines.datasets.prepared import PreparedData, open_prepared, prepare
from pipelines.datasets.sealed import open_sealed
from pipelines.errors import DataError, HomeError
from pipelines.tasks import Task

LOAD = Digits.load


def rows(x: NDArray[np.generic]) -> list[bytes]:
    return [sample.tobytes() for sample in np.asarray(x)]


def test_the_prepared_arrays_are_train_and_validation_as_they_were_split(tmp_path: Path) -> None:
    data = prepare(Digits(), None, tmp_path / "cache")
    train, validation = data.read()
    assert (len(train), len(validation)) == (1149, 288)
    assert data.counts == {"train": 1149, "validation": 288}
    assert train.x.dtype == np.uint8
    assert train.x.shape[1:] == data.facts.shape == (8, 8)
    assert train.y.dtype == np.int64


def test_no_sealed_sample_lies_in_the_prepared_folder(tmp_path: Path) -> None:
    data = prepare(Digits(), None, tmp_path)
    sealed = open_sealed(Digits(), None, sha256=data.sha256, split_sha256=data.split_sha256)
    train, validation = data.read()
    everyone = rows(Digits().load(None).samples.x[:])
    assert len(set(everyone)) == len(everyone)  # no image of this data set stands there twice
    seen = set(rows(train.x[:])) | set(rows(validation.x[:]))
    unseen = np.asarray(sealed.x[:])
    assert not seen & set(rows(unseen))
    assert seen | set(rows(unseen)) == set(everyone)
    stored = b"".join(path.read_bytes() for path in data.folder.iterdir())
    assert sum(row in stored for row in rows(train.x[:50])) == 50  # so this would be seen
    assert not any(row in stored for row in rows(unseen) if any(row))
    assert sorted(path.name for path in data.folder.iterdir()) == [
        "facts.json", "train-x.npy", "train-y.npy", "validation-x.npy", "validation-y.npy",
    ]  # fmt: skip


def test_preparing_again_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = prepare(Digits(), None, tmp_path)
    monkeypatch.setattr(np, "save", lambda *_, **__: pytest.fail("written again"))
    assert prepare(Digits(), None, tmp_path) == first == open_prepared(first.folder)
    assert list(tmp_path.iterdir()) == [first.folder]


@pytest.mark.parametrize("other", [Digits(split_seed=1), Digits(validation_share=0.3), Digits(test_share=0.3)])
def test_another_split_has_another_folder(tmp_path: Path, other: Digits) -> None:
    first, second = prepare(Digits(), None, tmp_path), prepare(other, None, tmp_path)
    assert first.folder != second.folder
    assert first.sha256 == second.sha256
    assert first.split_sha256 != second.split_sha256


def test_two_processes_may_prepare_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    both_have_built = threading.Barrier(2, timeout=30)
    move = prepared._move_into_place

    def move_together(building: Path, target: Path) -> None:
        both_have_built.wait()
        move(building, target)

    monkeypatch.setattr(prepared, "_move_into_place", move_together)
    found: list[PreparedData] = []
    threads = [threading.Thread(target=lambda: found.append(prepare(Digits(), None, tmp_path))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(found) == 2
    assert found[0] == found[1]
    assert list(tmp_path.iterdir()) == [found[0].folder]  # nothing half made is left
    assert len(found[0].read()[0]) == 1149


def test_a_folder_that_was_left_half_made_is_not_taken_for_whole(tmp_path: Path) -> None:
    whole = prepare(Digits(), None, tmp_path / "a")
    half = tmp_path / "b" / whole.folder.name
    half.mkdir(parents=True)  # what a crash between mkdir and rename cannot leave, but a hand can
    assert prepare(Digits(), None, tmp_path / "b").folder == half
    assert json.loads((half / "facts.json").read_text())["sha256"] == whole.sha256


def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(HomeError, match=f"Cannot write the prepared data to {tmp_path / 'file'}"):
        prepare(Digits(), None, tmp_path / "file")


def test_a_full_disk_leaves_no_folder_that_looks_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(np, "save", full)
        with pytest.raises(HomeError, match="No space left on device"):
            prepare(Digits(), None, tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert len(prepare(Digits(), None, tmp_path).read()[1]) == 288


def test_the_seal_opens_on_the_split_of_the_search(tmp_path: Path) -> None:
    spec = Digits(split_seed=5)
    data = prepare(spec, None, tmp_path)
    sealed = open_sealed(spec, None, sha256=data.sha256, split_sha256=data.split_sha256)
    assert len(sealed) == 360
    assert sealed.y.dtype == np.int64


def test_the_seal_stays_shut_for_another_split(tmp_path: Path) -> None:
    data = prepare(Digits(), None, tmp_path)
    with pytest.raises(
        DataError, match=r"The split is not the one that the trials trained on .*prove nothing"
    ) as caught:
        open_sealed(Digits(split_seed=1), None, sha256=data.sha256, split_sha256=data.split_sha256)
    assert data.split_sha256[:12] in str(caught.value)


def test_the_seal_stays_shut_for_other_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = prepare(Digits(), None, tmp_path)

    def other_data(spec: Digits, folder: Path | None, task: Task | None = None) -> object:
        source = LOAD(spec, folder, task)
        np.asarray(source.samples.x)[0, 0, 0] += 1
        return source

    monkeypatch.setattr(Digits, "load", other_data)
    with pytest.raises(DataError, match="The data set is not the one that the trials trained on") as caught:
        open_sealed(Digits(), None, sha256=data.sha256, split_sha256=data.split_sha256)
    assert data.sha256[:12] in str(caught.value)
