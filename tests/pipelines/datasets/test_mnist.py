from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pipelines.datasets.mnist import Mnist
from pipelines.datasets.published import IDX, KEYS
from pipelines.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable

    WriteFashion = Callable[..., dict[str, NDArray[np.uint8]]]


def arrays() -> dict[str, NDArray[Any]]:
    random = np.random.default_rng(4)
    return {
        "x_train": random.integers(0, 256, (30, 28, 28), dtype=np.uint8),
        "y_train": np.arange(30, dtype=np.uint8) % 10,
        "x_test": random.integers(0, 256, (10, 28, 28), dtype=np.uint8),
        "y_test": np.arange(10, dtype=np.uint8),
    }


def write(path: Path, made: dict[str, Any]) -> None:
    np.savez(path, allow_pickle=True, **made)  # the objects of one case; reading never allows them


@pytest.mark.parametrize("place", [".", "mnist"])
def test_the_four_files_are_found_in_the_folder_or_its_subfolder(
    tmp_path: Path, write_fashion: WriteFashion, place: str
) -> None:
    written = write_fashion(tmp_path / place)
    source = Mnist().load(tmp_path)
    np.testing.assert_array_equal(source.samples.x[:], written[IDX[0]])
    np.testing.assert_array_equal(source.samples.y, written[IDX[1]])
    assert source.facts.labels == tuple("0123456789")


@pytest.mark.parametrize("place", [".", "mnist"])
def test_keras_own_file_is_read_too(tmp_path: Path, place: str) -> None:
    made = arrays()
    (tmp_path / place).mkdir(exist_ok=True)
    write(tmp_path / place / "mnist.npz", made)
    source = Mnist().load(tmp_path)
    assert source.official_test is not None
    np.testing.assert_array_equal(source.samples.x[:], made["x_train"])
    np.testing.assert_array_equal(source.samples.y, made["y_train"])
    np.testing.assert_array_equal(source.official_test.x[:], made["x_test"])
    np.testing.assert_array_equal(source.official_test.y, made["y_test"])
    assert source.samples.y.dtype == np.int64


def test_whole_files_come_before_a_form_that_lacks_some(tmp_path: Path, write_fashion: WriteFashion) -> None:
    write_fashion(tmp_path)
    (tmp_path / f"{IDX[3]}.gz").unlink()
    write(tmp_path / "mnist.npz", arrays())
    assert len(Mnist().load(tmp_path).samples) == 30


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"y_test": None}, "has no array 'y_test'; did you mean 'x_test'?; it has x_train, y_train, x_test"),
        ({"x_train": np.zeros((30, 784), np.uint8)}, "train files do not belong together: images (30, 784)"),
        ({"x_train": np.zeros((30, 28, 28), np.float32)}, "images (30, 28, 28) of float32"),
        ({"y_train": np.zeros(29, np.uint8)}, "labels (29,) of uint8"),
        ({"y_train": np.zeros(30, np.float32)}, "labels (30,) of float32"),
        ({"y_test": np.full(10, 10)}, "test labels hold 10; expected 0 to 9"),
        ({"y_test": np.full(10, -1)}, "test labels hold -1; expected 0 to 9"),
        ({"y_test": np.array([{}] * 10, dtype=object)}, "holds Python objects, which only pickle could read"),
    ],
)
def test_a_file_of_keras_form_that_is_wrong_is_told(tmp_path: Path, changed: dict[str, Any], words: str) -> None:
    write(tmp_path / "mnist.npz", {key: value for key, value in (arrays() | changed).items() if value is not None})
    with pytest.raises(DataError) as caught:
        Mnist().load(tmp_path)
    assert words in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"<html>404</html>", b"PK\x03\x04"])
def test_a_file_that_is_no_npz_is_told(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "mnist.npz").write_bytes(content)
    with pytest.raises(DataError) as caught:
        Mnist().load(tmp_path)
    assert str(caught.value).startswith(f"{tmp_path / 'mnist.npz'} cannot be read")


def test_without_files_keras_downloads_and_if_it_cannot_all_forms_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = arrays()
    answers = iter([((made["x_train"], made["y_train"]), (made["x_test"], made["y_test"]))])
    datasets = ModuleType("keras.datasets")
    datasets.mnist = SimpleNamespace(load_data=lambda: next(answers))  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "keras", ModuleType("keras"))
    monkeypatch.setitem(sys.modules, "keras.datasets", datasets)
    assert len(Mnist().load(tmp_path).samples) == 30
    with pytest.raises(DataError) as caught:
        Mnist().load(tmp_path)
    said = str(caught.value)
    assert "the download failed (StopIteration)" in said
    for name in (*(f"{part}.gz" for part in IDX), "mnist.npz", str(tmp_path), "REGATTA_DATA=FOLDER"):
        assert name in said
    assert set(KEYS) == set(made)
