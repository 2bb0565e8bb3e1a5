from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipelines.inputs import Column, InputFacts
from pipelines.pictures import brush, sample_grid
from pipelines.pictures.samples import chosen

DIGITS = InputFacts((8, 8), 0, 16, tuple("0123456789"))
PLANE = InputFacts((2,), -6, 6, ("out", "in"), kind="points", columns=(Column("x1"), Column("x2")))
HOUSES = InputFacts(
    (4,),
    None,
    None,
    (),
    kind="table",
    columns=(Column("rooms"), Column("town", ("Bergen", "Oslo")), Column("age"), Column("garden", ("no", "yes"))),
    target="price",
)
CHANCE = np.random.default_rng(5)


def drawn(png: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(png))
    image.load()
    assert image.format == "PNG"
    assert image.width == 900
    return image.convert("RGB")


def has(image: Image.Image, color: str, within: int = 3) -> bool:
    wanted = brush.rgb(color)
    flat = np.asarray(image).reshape(-1, 3).astype(int)
    return bool((np.abs(flat - wanted).max(axis=1) <= within).any())


@pytest.fixture
def words(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every text that is put into a picture."""
    said: list[str] = []
    write = brush.write

    def listening(draw: Any, place: Any, text: str, **how: Any) -> float:
        said.append(text)
        return write(draw, place, text, **how)

    monkeypatch.setattr(brush, "write", listening)
    return said


def test_images_are_shown_with_their_labels_classes_in_turn(words: list[str]) -> None:
    y = np.sort(CHANCE.integers(0, 10, 400))
    drawn(sample_grid(CHANCE.integers(0, 17, (400, 8, 8)), y, DIGITS))

    assert words == [
        "400 samples",
        "grey images, 8 × 8 pixels, values from 0 to 16; 10 classes to predict",
        *("0123456789" * 4),
    ]


@pytest.mark.parametrize(
    ("counts", "most", "expected"),
    [
        ([3, 3, 3], 6, [0, 1, 2, 0, 1, 2]),
        ([9, 1, 3], 8, [0, 1, 2, 0, 2, 0, 2, 0]),
        ([1, 0, 2], 9, [0, 2, 2]),
        ([1] * 100, 5, [0, 25, 50, 74, 99]),
        ([0], 4, []),
    ],
)
def test_classes_are_mixed_evenly(counts: list[int], most: int, expected: list[int]) -> None:
    truth = np.repeat(np.arange(len(counts)), counts)
    places = chosen(truth, len(counts), most)

    assert truth[places].tolist() == expected
    assert len(set(places.tolist())) == len(expected)


def test_of_numbers_samples_from_the_smallest_to_the_largest_are_shown() -> None:
    truth = CHANCE.permutation(1001).astype(np.float32)

    assert truth[chosen(truth, 0, 5)].tolist() == [0, 250, 500, 750, 1000]
    assert truth[chosen(truth[:2], 0, 5)].tolist() == sorted(truth[:2].tolist())
    assert chosen(truth[:0], 0, 5).tolist() == []


@pytest.mark.parametrize(
    ("value", "low", "high", "expected"),
    [(0, 0, 255, "#000000"), (255, 0, 255, "#ffffff"), (51, 0, 255, "#333333"), (0, -1, 1, "#808080")],
)
def test_a_pixel_is_as_bright_as_its_value_between_lowest_and_highest(
    value: int, low: float, high: float, expected: str
) -> None:
    facts = InputFacts((4, 4), low, high, ("a",))
    image = drawn(sample_grid(np.full((1, 4, 4), value), np.zeros(1, np.int64), facts))

    assert has(image.crop((40, 70, 60, 90)), expected)


@pytest.mark.parametrize(
    ("shape", "expected"),
    [((6, 6, 3), "#ff8000"), ((6, 6, 4), "#ff8000"), ((150, 90, 3), "#ff8000"), ((6, 6, 2), "#c0c0c0")],
)
def test_colours_are_shown_as_they_are_and_other_channels_as_their_mean(shape: tuple[int, ...], expected: str) -> None:
    pixel = [255, 128, 0, 255][: shape[2]]
    image = drawn(sample_grid(np.full((3, *shape), pixel), np.zeros(3, np.int64), InputFacts(shape, 0, 255, ("a",))))

    assert has(image, expected)


def test_a_small_image_shows_its_pixels_and_a_large_one_is_made_smaller() -> None:
    checks = np.indices((8, 8)).sum(axis=0) % 2 * 255
    small = drawn(sample_grid(checks[None], np.zeros(1, np.int64), InputFacts((8, 8), 0, 255, ("a",))))
    large = drawn(sample_grid(np.zeros((1, 700, 500)), np.zeros(1, np.int64), InputFacts((700, 500), 0, 255, ("a",))))

    inside = np.asarray(small.crop((26, 60, 90, 124)))
    assert (np.minimum(inside, 255 - inside) <= 3).all()  # black and white, and nothing between
    assert large.height < 700


def test_points_lie_where_they_are_in_the_colour_of_their_class(words: list[str]) -> None:
    image = drawn(sample_grid(np.array([[-6.0, 6.0], [0.0, 0.0]]), np.array([0, 1]), PLANE))

    assert has(image.crop((60, 54, 69, 63)), brush.ORANGE)
    assert has(image.crop((338, 332, 350, 344)), brush.BLUE)
    assert words[:2] == ["2 samples", "points in the plane; 2 classes to predict"]
    assert words[-6:] == ["x1", "x2", "out", "1", "in", "1"]


def test_points_with_numbers_have_a_scale(words: list[str]) -> None:
    facts = InputFacts((2,), None, None, (), kind="points", target="height")
    sample_grid(CHANCE.normal(size=(300, 2)), np.linspace(-1, 3, 300), facts)

    assert "points in the plane; a number to predict: height" in words
    assert [word for word in words[-10:] if word] == ["3", "2", "1", "0", "\N{MINUS SIGN}1"]


def test_a_table_shows_names_words_for_codes_the_target_and_what_is_missing(words: list[str]) -> None:
    x = np.array([[3, 2, 41.5, 1], [np.nan, 1, -2, 2], [5, 0, 0.000123456, 3], [1, 1, 1, 1]])
    drawn(sample_grid(x, np.array([1.5, 2e6, -3, 0.25]), HOUSES))

    assert words == [
        *("4 samples", "rows of 4 columns; a number to predict: price"),
        *("rooms", "3", "–", "5", "1"),
        *("town", "Oslo", "Bergen", "–", "Bergen"),
        *("age", "41.5", "\N{MINUS SIGN}2", "0.00012346", "1"),
        *("garden", "no", "yes", "–", "no"),
        *("price", "1.5", "2e+06", "\N{MINUS SIGN}3", "0.25"),
    ]


def test_of_a_long_and_wide_table_the_first_rows_and_columns_are_shown_and_it_says_so(words: list[str]) -> None:
    names = [f"measurement {number}" for number in range(40)]
    facts = InputFacts((40,), None, None, ("no", "yes"), kind="table", columns=tuple(map(Column, names)), target="ill")
    drawn(sample_grid(np.arange(40 * 500.0).reshape(500, 40), np.arange(500) % 2, facts))

    heads = [word for word in words if word in names]
    assert heads == names[: len(heads)]
    assert 3 < len(heads) < 12
    assert words[1] == f"rows of 40 columns, the first {len(heads)} of them shown; 2 classes to predict: ill"
    assert words[-13:] == ["ill", *(["no", "yes"] * 6)]


class OnlyIndexed:
    """Rows that are read when they are asked for, and that nobody may read as a whole."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape = shape
        self.read = 0

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, places: Any) -> Any:
        assert isinstance(places, np.ndarray)
        self.read += len(places)
        return np.zeros((len(places), *self.shape[1:]))


@pytest.mark.parametrize("facts", [DIGITS, PLANE, HOUSES], ids=lambda facts: facts.kind)
def test_only_what_is_shown_is_read(facts: InputFacts) -> None:
    rows = OnlyIndexed((100_000, *facts.shape))
    drawn(sample_grid(rows, np.zeros(100_000, np.int64), facts))

    assert 0 < rows.read <= 1_500


@pytest.mark.parametrize(
    ("x", "y", "facts"),
    [
        (np.zeros((0, 8, 8)), np.zeros(0, np.int64), DIGITS),
        (np.zeros((0, 2)), np.zeros(0, np.int64), PLANE),
        (np.zeros((0, 4)), np.zeros(0, np.float32), HOUSES),
        (np.full((2, 8, 8), np.nan), np.array([0, 1]), DIGITS),
        (np.full((2, 8, 8), 7), np.array([0, 1]), InputFacts((8, 8), None, None, ("a", "b"))),
        (np.zeros((2, 1, 900)), np.array([0.5, np.nan]), InputFacts((1, 900), 0, 1, ())),
        (np.zeros((2, 900, 1)), np.array([0, 1]), InputFacts((900, 1), 0, 1, ("日本語 🚣", "long " * 50))),
        (np.full((3, 2), 2.0), np.ones(3), InputFacts((2,), None, None, (), kind="points")),
        (np.array([[np.nan, 1], [2, np.inf], [3, 4]]), [1, np.nan, 2], InputFacts((2,), None, None, (), kind="points")),
        (np.full((1, 2), np.nan), [np.nan], InputFacts((2,), None, None, (), kind="points")),
        (np.zeros((9, 2)), np.arange(9) % 2, InputFacts((2,), -1, 1, ("a",) * 60, kind="points")),
        (np.full((3, 2), np.inf), np.ones(3), InputFacts((2,), None, None, ("a", "b"), kind="table", target="t\nt")),
    ],
)
def test_odd_data_still_makes_a_picture(x: Any, y: Any, facts: InputFacts) -> None:
    with np.errstate(all="raise"):
        drawn(sample_grid(x, y, facts))
