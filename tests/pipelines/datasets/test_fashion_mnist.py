from __future__ import annotations

import gzip
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pipelines.datasets import fashion_mnist
from pipelines.datasets.fashion_mnist import LABELS, FashionMnist
from pipelines.datasets.mnist import Mnist
from pipelines.datasets.prepared import prepare
from pipelines.datasets.published import IDX, STARTS
from pipelines.datasets.sealed import open_sealed
from pipelines.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable

    WriteFashion = Callable[..., dict[str, NDArray[np.uint8]]]

REAL = Path(__file__).resolve().parents[4] / "shared" / "data" / "fashion-mnist-900"


DOWNLOAD = fashion_mnist._download


@pytest.fixture(autouse=True)
def no_download(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fashion_mnist, "_download", lambda: pytest.fail("tried to download"))


@pytest.mark.skipif(not REAL.is_dir(), reason=f"the real files are not at {REAL}")
def test_the_real_files_are_read_split_and_sealed(tmp_path: Path) -> None:
    source = FashionMnist().load(REAL)
    assert source.samples.x.shape[1:] == (28, 28)
    assert source.samples.x.dtype == np.uint8
    assert source.samples.x[:].max() == 255
    assert source.official_test is not None
    assert set(source.samples.y.tolist()) == set(source.official_test.y.tolist()) == set(range(10))
    data = prepare(FashionMnist(), REAL, tmp_path)
    train, validation = data.read()
    assert len(train) + len(validation) == len(source.samples)
    sealed = open_sealed(FashionMnist(), REAL, sha256=data.sha256, split_sha256=data.split_sha256)
    np.testing.assert_array_equal(sealed.x[:], source.official_test.x[:])
    seen = {sample.tobytes() for part in (train, validation) for sample in np.asarray(part.x)}
    assert not seen & {sample.tobytes() for sample in sealed.x[:]}


@pytest.mark.parametrize("packed", [True, False], ids=["gzipped", "plain"])
@pytest.mark.parametrize("place", [".", "fashion_mnist"])
def test_the_four_files_are_found_in_the_folder_or_its_subfolder(
    tmp_path: Path, write_fashion: WriteFashion, packed: bool, place: str
) -> None:
    arrays = write_fashion(tmp_path / place, packed=packed)
    source = FashionMnist().load(tmp_path)
    assert source.official_test is not None
    np.testing.assert_array_equal(source.samples.x, arrays[IDX[0]])
    np.testing.assert_array_equal(source.samples.y, arrays[IDX[1]])
    np.testing.assert_array_equal(source.official_test.x, arrays[IDX[2]])
    np.testing.assert_array_equal(source.official_test.y, arrays[IDX[3]])
    assert source.samples.y.dtype == source.official_test.y.dtype == np.int64
    assert source.facts.shape == (28, 28)
    assert (source.facts.low, source.facts.high) == (0.0, 255.0)
    assert source.facts.labels == LABELS


def test_gzipped_and_plain_files_may_be_mixed(tmp_path: Path, write_fashion: WriteFashion) -> None:
    write_fashion(tmp_path)
    packed = tmp_path / f"{IDX[2]}.gz"
    (tmp_path / IDX[2]).write_bytes(gzip.decompress(packed.read_bytes()))
    digest = FashionMnist().load(tmp_path).sha256()
    packed.unlink()
    assert FashionMnist().load(tmp_path).sha256() == digest


@pytest.mark.parametrize("missing", IDX)
@pytest.mark.parametrize("place", [".", "fashion_mnist"])
def test_a_folder_that_lacks_one_of_the_four_names_it(
    tmp_path: Path, write_fashion: WriteFashion, missing: str, place: str
) -> None:
    write_fashion(tmp_path / place)
    (tmp_path / place / f"{missing}.gz").unlink()
    with pytest.raises(DataError) as caught:
        FashionMnist().load(tmp_path)
    said = str(caught.value)
    assert f"lacks {missing}.gz" in said
    assert str(tmp_path / place) in said
    assert sum(part in said for part in IDX) == 1


@pytest.mark.parametrize("part", IDX)
@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda content: content[:-9], "cannot be read"),
        (lambda content: gzip.compress(gzip.decompress(content)[:-1]), "its header promises"),
        (lambda content: gzip.compress(b"\x50\x4b\x03\x04" + gzip.decompress(content)[4:]), "is not an IDX file"),
        (lambda content: b"<html>404</html>", "is not an IDX file"),
    ],
    ids=["cut", "short", "wrong magic", "a web page"],
)
def test_a_damaged_file_is_named(
    tmp_path: Path, write_fashion: WriteFashion, part: str, damage: Any, words: str
) -> None:
    write_fashion(tmp_path)
    path = tmp_path / f"{part}.gz"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DataError) as caught:
        FashionMnist().load(tmp_path)
    assert str(path) in str(caught.value)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("replaced", "words"),
    [
        ({IDX[1]: np.full(40, 10, np.uint8)}, "train labels hold 10; expected 0 to 9"),
        ({IDX[3]: np.full(20, 255, np.uint8)}, "test labels hold 255; expected 0 to 9"),
        (
            {IDX[1]: np.zeros(39, np.uint8)},
            "do not belong together: images (40, 28, 28) of uint8, labels (39,) of uint8",
        ),
        ({IDX[3]: np.zeros((20, 2), np.uint8)}, "labels (20, 2)"),
        ({IDX[0]: np.zeros((40, 784), np.uint8)}, "images (40, 784)"),
        ({IDX[2]: np.zeros((20, 14, 14), np.uint8)}, "images (20, 14, 14)"),
        ({IDX[0]: np.zeros(40, np.uint8), IDX[1]: np.zeros((40, 28, 28), np.uint8)}, "labels (40, 28, 28)"),
    ],
)
def test_files_that_do_not_fit_one_another_are_said_not_to(
    tmp_path: Path, write_fashion: WriteFashion, replaced: dict[str, NDArray[np.uint8]], words: str
) -> None:
    write_fashion(tmp_path, replaced=replaced)
    with pytest.raises(DataError) as caught:
        FashionMnist().load(tmp_path)
    assert words in str(caught.value)


@pytest.mark.parametrize("spec", [Mnist(), FashionMnist()], ids=["mnist", "fashion_mnist"])
def test_files_of_the_other_data_set_with_these_names_are_told_apart(
    tmp_path: Path, write_fashion: WriteFashion, spec: Mnist | FashionMnist
) -> None:
    other, (title, start) = next((name, known) for name, known in STARTS.items() if name != spec.name)
    labels = np.array([*start, *([1] * 28)], np.uint8)
    write_fashion(tmp_path, replaced={IDX[1]: labels})
    with pytest.raises(DataError) as caught:
        spec.load(tmp_path)
    assert f"The files in {tmp_path} are {title}'s" in str(caught.value)
    assert f"into the subfolder {spec.name}, or say dataset: {other}" in str(caught.value)


def test_a_subfolder_of_its_own_comes_before_files_that_may_be_anothers(
    tmp_path: Path, write_fashion: WriteFashion
) -> None:
    write_fashion(tmp_path, replaced={IDX[1]: np.zeros(40, np.uint8)})
    arrays = write_fashion(tmp_path / "fashion_mnist")
    np.testing.assert_array_equal(FashionMnist().load(tmp_path).samples.y, arrays[IDX[1]])


def test_an_empty_data_set_cannot_be_split(tmp_path: Path, write_fashion: WriteFashion) -> None:
    nothing = {IDX[0]: np.zeros((0, 28, 28), np.uint8), IDX[1]: np.zeros(0, np.uint8)}
    write_fashion(tmp_path / "data", replaced=nothing)
    with pytest.raises(DataError, match="cannot be split"):
        prepare(FashionMnist(), tmp_path / "data", tmp_path / "cache")


def test_the_makers_test_part_is_not_split_off_again(tmp_path: Path, write_fashion: WriteFashion) -> None:
    arrays = write_fashion(tmp_path / "data")
    spec = FashionMnist(validation_share=0.25)
    data = prepare(spec, tmp_path / "data", tmp_path / "cache")
    assert data.counts == {"train": 30, "validation": 10}
    sealed = open_sealed(spec, tmp_path / "data", sha256=data.sha256, split_sha256=data.split_sha256)
    np.testing.assert_array_equal(sealed.x[:], arrays[IDX[2]])


def pretend_keras(monkeypatch: pytest.MonkeyPatch, load_data: Any) -> None:
    """Has Keras's download do `load_data`, and keeps Keras itself out."""
    monkeypatch.setattr(fashion_mnist, "_download", DOWNLOAD)
    datasets = ModuleType("keras.datasets")
    datasets.fashion_mnist = SimpleNamespace(load_data=load_data)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "keras", ModuleType("keras"))
    monkeypatch.setitem(sys.modules, "keras.datasets", datasets)


@pytest.mark.parametrize("named", [True, False], ids=["with a folder", "without a folder"])
@pytest.mark.parametrize("problem", [OSError("no route to host"), Exception("URL fetch failure on https://…")], ids=str)
def test_where_neither_folder_nor_download_helps_it_is_said_what_to_put_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, problem: Exception, named: bool
) -> None:
    def load_data() -> None:
        print("Downloading data from …")
        raise problem

    pretend_keras(monkeypatch, load_data)
    with pytest.raises(DataError) as caught:
        FashionMnist().load(tmp_path if named else None)
    said = str(caught.value)
    for part in IDX:
        assert f"{part}.gz" in said
    assert "REGATTA_DATA=FOLDER" in said
    assert type(problem).__name__ in said
    assert (f"{tmp_path / 'fashion_mnist'} and {tmp_path}" if named else "REGATTA_DATA is not set") in said


def test_without_files_keras_downloads_in_silence(
    monkeypatch: pytest.MonkeyPatch, write_fashion: WriteFashion, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arrays = list(write_fashion(tmp_path / "elsewhere").values())

    def load_data() -> Any:
        print("Downloading data from …")
        return tuple(arrays[:2]), tuple(arrays[2:])

    pretend_keras(monkeypatch, load_data)
    assert FashionMnist().load(None).sha256() == FashionMnist().load(tmp_path / "elsewhere").sha256()
    assert capsys.readouterr().out == ""
