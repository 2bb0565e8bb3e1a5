from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from pipelines.datasets.base import Source
from pipelines.datasets.npz import Npz
from pipelines.errors import DataError
from pipelines.inputs import Column
from pipelines.tasks import Task

Load = Callable[..., Source]
RANDOM = np.random.default_rng(6)
IMAGES = RANDOM.integers(0, 200, (8, 5, 4), dtype=np.uint8)
TABLE = RANDOM.normal(size=(8, 3))
CLASSES = np.arange(8) % 2


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Writes arrays and loads them; what is no array is a setting."""

    def loads(task: Task | None = None, **given: Any) -> Source:
        arrays = {name: value for name, value in given.items() if isinstance(value, np.ndarray)}
        settings = {name: value for name, value in given.items() if name not in arrays}
        np.savez(tmp_path / "data.npz", allow_pickle=True, **arrays)  # the objects of one case
        return Npz.model_validate({"path": "data.npz", **settings}).load(tmp_path, task)

    return loads


@pytest.mark.parametrize(
    ("x", "dtype", "low", "high"),
    [
        (IMAGES, np.uint8, 0, 255),
        (IMAGES[..., None], np.uint8, 0, 255),
        (np.repeat(IMAGES[..., None], 3, axis=3), np.uint8, 0, 255),
        (np.repeat(IMAGES[..., None], 4, axis=3), np.uint8, 0, 255),
        (IMAGES.astype(">u2") * 300, np.uint16, 0, 65535),
        (IMAGES > 100, np.uint8, 0, 1),
        (IMAGES.astype(np.int8), np.int8, IMAGES.astype(np.int8).min(), IMAGES.astype(np.int8).max()),
        (IMAGES.astype(np.int64), np.float32, IMAGES.min(), IMAGES.max()),
        (IMAGES / 255, np.float32, 0, 1),
        (IMAGES.astype(np.float32) / 100 - 1, np.float32, -1, 1),
        (IMAGES.astype(np.float16), np.float32, IMAGES.min(), IMAGES.max()),
        (np.full((8, 2, 2), 7.0), np.float32, 7, 8),
        (np.zeros((8, 2, 2)), np.float32, 0, 1),
    ],
    ids=lambda value: f"{value.dtype}{value.shape}" if isinstance(value, np.ndarray) else None,
)
def test_images_keep_small_types_and_have_the_range_of_their_type_or_data(
    load: Load, x: Any, dtype: Any, low: float, high: float
) -> None:
    source = load(x=x, y=CLASSES)
    assert (source.facts.kind, source.facts.shape, source.facts.columns) == ("image", x.shape[1:], ())
    assert source.samples.x.dtype == np.dtype(dtype)
    if source.facts.high != 1 or low != -1:
        assert (source.facts.low, source.facts.high) == (low, high)
    np.testing.assert_allclose(source.samples.x[:].astype(float), x.astype(float), rtol=1e-3)


def test_the_range_may_be_said(load: Load) -> None:
    facts = load(x=IMAGES.astype(float), y=CLASSES, low=0, high=255).facts
    assert (facts.low, facts.high) == (0.0, 255.0)
    facts = load(x=IMAGES, y=CLASSES, high=199).facts
    assert (facts.low, facts.high) == (0.0, 199.0)


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, np.int64, np.uint8, ">f4", np.bool_])
def test_a_table_is_float32_whatever_it_was(load: Load, dtype: Any) -> None:
    x = (TABLE * 10).astype(dtype)
    source = load(x=x, y=CLASSES)
    assert (source.facts.kind, source.facts.shape) == ("table", (3,))
    assert source.facts.columns == (Column("x0"), Column("x1"), Column("x2"))
    assert (source.facts.low, source.facts.high) == (None, None)
    assert source.samples.x.dtype == np.float32
    np.testing.assert_array_equal(source.samples.x[:], x.astype(np.float32))


def test_nan_is_a_missing_number_in_a_table(load: Load) -> None:
    x = np.where(TABLE > 1, np.nan, TABLE)
    np.testing.assert_array_equal(load(x=x, y=CLASSES).samples.x[:], x.astype(np.float32))


def test_names_are_what_the_recipe_says(load: Load) -> None:
    source = load(
        images=TABLE, classes=CLASSES, x="images", y="classes", labels=["no", 1], columns=["a", "b", 2], target="c"
    )
    assert source.facts.labels == ("no", "1")
    assert source.facts.columns == (Column("a"), Column("b"), Column("2"))
    assert source.facts.target == "c"


def test_arrays_of_a_test_part_are_one(load: Load) -> None:
    source = load(x=IMAGES, y=CLASSES, x_t=IMAGES[:3], y_t=CLASSES[:3], x_test="x_t", y_test="y_t")
    assert source.official_test is not None
    np.testing.assert_array_equal(source.official_test.x[:], IMAGES[:3])
    assert source.official_test.y.tolist() == [0, 1, 0]
    assert Npz(path="a", x_test="x_t", y_test="y_t").held_out_share is None
    assert Npz(path="a", test_share=0.3).held_out_share == 0.3


@pytest.mark.parametrize(
    ("y", "task", "labels"),
    [
        (CLASSES, None, ("0", "1")),
        (CLASSES.astype(np.uint8)[:, None], None, ("0", "1")),
        (np.array(["a", "b"] * 4), None, ("a", "b")),
        (CLASSES + 5, Task.BINARY, ("5", "6")),
        (CLASSES, Task.REGRESSION, ()),
        (TABLE[:, 0], None, ()),
    ],
)
def test_what_is_predicted_may_be_classes_or_a_number(
    load: Load, y: Any, task: Task | None, labels: tuple[str, ...]
) -> None:
    source = load(task, x=TABLE, y=y)
    assert source.facts.labels == labels
    assert source.samples.y.dtype == (np.int64 if labels else np.float32)


def changed(array: Any, value: float, at: int = 3) -> Any:
    copy = np.array(array, np.float64)
    copy[at] = value
    return copy


PART = {"u": CLASSES, "x_test": "t", "y_test": "u"}
WRONG: list[tuple[dict[str, Any], str]] = [
    ({"x": TABLE}, "{path} has no array 'y'; it has x. Say which is which: x, y, x_test, y_test."),
    ({"x_train": TABLE, "y": CLASSES}, "{path} has no array 'x'; it has x_train, y."),
    ({"x": TABLE, "y": CLASSES, "xtest": TABLE, "x_test": "x_test", "y_test": "y"}, "did you mean 'xtest'?"),
    ({"x": np.array([{}], object), "y": CLASSES}, "The array 'x' of {path} holds Python objects"),
    ({"x": TABLE, "y": CLASSES[:7]}, "{path} has 8 samples in x and 7 in y."),
    ({"x": TABLE[:, 0], "y": CLASSES}, "got (8,). For one column, give x.reshape(-1, 1)."),
    ({"x": TABLE[:, 0], "y": CLASSES}, "x of {path} must be (n, h, w) or (n, h, w, c) for images"),
    ({"x": np.zeros((8, 3, 9, 9)), "y": CLASSES}, "Its channels come first: give x.transpose(0, 2, 3, 1)."),
    ({"x": np.zeros((8, 9, 9, 5)), "y": CLASSES}, "got (8, 9, 9, 5)."),
    ({"x": np.zeros((8, 2, 2, 2, 1)), "y": CLASSES}, "got (8, 2, 2, 2, 1)."),
    ({"x": np.zeros((8, 0)), "y": CLASSES}, "got (8, 0)."),
    ({"x": np.zeros((8, 4, 0)), "y": CLASSES}, "got (8, 4, 0)."),
    ({"x": np.zeros((0, 4)), "y": CLASSES[:0]}, "x of {path} is empty: there are no samples."),
    ({"x": np.array(["a"] * 8)[:, None], "y": CLASSES}, "x of {path} must hold numbers, got <U1."),
    ({"x": TABLE.astype(complex), "y": CLASSES}, "x of {path} must hold numbers, got complex128."),
    ({"x": changed(TABLE, np.inf), "y": CLASSES}, "infinity or a number too large for float32, first in row 3"),
    ({"x": changed(TABLE, 1e39), "y": CLASSES}, "first in row 3, column 0 (from 0). Mend it, or make it NaN if it is"),
    ({"x": changed(IMAGES, np.nan), "y": CLASSES}, "x of {path} holds NaN, infinity or a number too"),
    ({"x": changed(IMAGES, -np.inf), "y": CLASSES}, "first in sample 3 (from 0). Mend it or leave it out."),
    ({"x": TABLE, "y": CLASSES, "columns": ["a", "b"]}, "{path}: `columns` names 2 columns, and x has 3."),
    ({"x": IMAGES, "y": CLASSES, "columns": ["a"]}, "names 1 columns, and x has none, being (8, 5, 4)."),
    ({"x": TABLE, "y": CLASSES, "labels": ["a"]}, "y of {path} has one class alone, 'a'"),
    ({"x": TABLE, "y": CLASSES + 1}, "y of {path} holds whole numbers, 2 different ones from 1 to 2: they may be"),
    ({"x": IMAGES.astype(float), "y": CLASSES, "low": 500}, "the range of x must go up, got low 500 and high "),
    ({"x": IMAGES, "y": CLASSES, "t": IMAGES[:, :4], **PART}, "t of {path} has samples"),
    ({"x": IMAGES, "y": CLASSES, "t": IMAGES / 255, **PART}, "t of {path} holds float64"),
    ({"x": IMAGES, "y": CLASSES, "t": IMAGES[:3], **PART}, "3 samples in t and 8 in u."),
    ({"x": IMAGES, "y": CLASSES, "t": IMAGES[:0], **PART}, "t of {path} is empty"),
]  # fmt: skip


@pytest.mark.parametrize(("given", "sentence"), WRONG)
def test_arrays_that_cannot_be_learned_are_told(
    load: Load, tmp_path: Path, given: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(DataError) as caught:
        load(**given)
    assert sentence.format(path=tmp_path / "data.npz") in str(caught.value)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "{path} cannot be read (No data left in file). Put a whole copy of the file there."),
        (b"<html>404</html>", "{path} cannot be read (it is no NumPy file)."),
        (b"PK\x03\x04rest", "{path} cannot be read (File is not a zip file)."),
    ],
)
def test_a_file_that_is_no_npz_is_told(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "data.npz"
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        Npz(path=str(path)).load(None)
    assert words.format(path=path) in str(caught.value)


def test_a_damaged_or_missing_file_is_told(tmp_path: Path) -> None:
    path = tmp_path / "data.npz"
    np.savez_compressed(path, x=RANDOM.normal(size=(100, 20)), y=np.arange(100) % 2)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"data\.npz cannot be read \("):
        Npz(path=str(path)).load(None)
    with path.open("wb") as file:
        np.save(file, TABLE)
    with pytest.raises(DataError, match=r"holds one array without a name\. Save both: np\.savez"):
        Npz(path=str(path)).load(None)
    with pytest.raises(DataError, match=r"The data 'none\.npz' was not found"):
        Npz(path="none.npz").load(tmp_path)
    with pytest.raises(DataError, match="cannot be read"):
        Npz(path=str(tmp_path)).load(None)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"x_test": "a"}, "`x_test` and `y_test` go together"),
        ({"low": 3, "high": 3}, "`low` must be below `high`, got 3 and 3"),
        ({"labels": [True]}, "must be a text, got True"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Npz.model_validate({"path": "a.npz", **settings})
    assert words in str(caught.value)
