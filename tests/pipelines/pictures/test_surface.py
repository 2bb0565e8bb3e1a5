from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipelines.pictures import brush
from pipelines.pictures.surface import surface, surface_grid
from pipelines.tasks import Task

NOTHING = np.zeros((0, 2)), np.zeros(0)


def drawn(png: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(png))
    image.load()
    assert image.format == "PNG"
    return image.convert("RGB")


def asked(answer: Any, low: float = -6, high: float = 6, side: int = 50) -> Any:
    """What a model that computes `answer(x1, x2)` says at the grid's points."""
    points = surface_grid(low, high, side)
    answers = np.asarray(answer(points[:, 0], points[:, 1]), np.float32)
    return answers.reshape(side, side, *answers.shape[1:])


def at(image: Image.Image, x: float, y: float, low: float = -6, high: float = 6) -> tuple[int, int, int]:
    """The colour at a place of the square, whose frame is found in the picture."""
    left, top, side = frame(image)
    place = left + (x - low) / (high - low) * side, top + (high - y) / (high - low) * side
    seen = image.getpixel((min(round(place[0]), left + side - 1), min(round(place[1]), top + side - 1)))
    assert isinstance(seen, tuple)
    return seen[0], seen[1], seen[2]


def frame(image: Image.Image) -> tuple[int, int, int]:
    return 27, 25, image.width - 36


def kind_of(color: tuple[int, int, int]) -> str:
    red, _, blue = color
    if min(color) > 225:
        return "white"
    if max(color) - min(color) < 22:
        return "grey"
    return "orange" if red > blue else "blue"


def test_the_grid_holds_the_middles_of_cells_row_by_row_from_the_top_left() -> None:
    grid = surface_grid(-1, 1, 2)

    assert grid.dtype == np.float32
    assert grid.tolist() == [[-0.5, 0.5], [0.5, 0.5], [-0.5, -0.5], [0.5, -0.5]]


@pytest.mark.parametrize(
    ("answer", "left", "right", "top", "bottom"),
    [
        (lambda x, y: x > 0, "orange", "blue", None, None),
        (lambda x, y: x < 0, "blue", "orange", None, None),
        (lambda x, y: y > 0, None, None, "blue", "orange"),
        (lambda x, y: 0.5 + 0 * x, "white", "white", "white", "white"),
        (lambda x, y: np.where(x > 0, np.nan, 1), "blue", "grey", None, None),
    ],
)
def test_a_probability_is_drawn_where_the_model_gave_it(
    answer: Any, left: str | None, right: str | None, top: str | None, bottom: str | None
) -> None:
    image = drawn(surface(asked(answer), *NOTHING, task=Task.BINARY, low=-6, high=6))

    seen = [kind_of(at(image, *place)) for place in ((-4, 0.5), (4, 0.5), (0.5, 4), (0.5, -4))]
    for found, wanted in zip(seen, (left, right, top, bottom), strict=True):
        assert wanted is None or found == wanted


def test_a_number_is_drawn_between_the_lowest_and_the_highest_of_the_truth() -> None:
    x = np.array([[-5.5, 5.5], [5.5, 5.5]])
    image = drawn(
        surface(asked(lambda x, y: 100 + 10 * x), x, np.array([40.0, 160.0]), task=Task.REGRESSION, low=-6, high=6)
    )

    assert [kind_of(at(image, place, 0)) for place in (-5, 0, 5)] == ["orange", "white", "blue"]


def test_of_several_classes_each_has_its_colour_and_a_border_is_pale() -> None:
    def answer(x: Any, y: Any) -> Any:
        scores = np.stack([-x, x, 3 * y], axis=1)
        raised = np.exp(scores - scores.max(axis=1, keepdims=True))
        return raised / raised.sum(axis=1, keepdims=True)

    image = drawn(surface(asked(answer), *NOTHING, task=Task.MULTICLASS, low=-6, high=6))

    for place, number in (((-5, -5), 0), ((5, -5), 1), ((0, 5), 2)):
        expected = brush.rgb(brush.mixed(brush.class_color(number), brush.WHITE, 0.22))
        assert max(abs(a - b) for a, b in zip(at(image, *place), expected, strict=True)) < 14
    assert min(at(image, 0, -5)) > 200


@pytest.mark.parametrize(
    ("task", "truth", "grid"),
    [
        (Task.BINARY, [0, 1, 1], (lambda x, y: 0 * x)),
        (Task.BINARY, [0.0, 1.0, 1.0], (lambda x, y: 0 * x)),
        (Task.REGRESSION, [-1.0, 0.5, 1.0], (lambda x, y: 0 * x)),
        (Task.MULTICLASS, [0, 3, 1], (lambda x, y: np.eye(4)[np.zeros(len(x), int)])),
    ],
)
def test_samples_are_dots_in_the_colour_of_their_truth_with_white_rims(task: Task, truth: Any, grid: Any) -> None:
    places = [(-3.0, 2.0), (3.0, 2.0), (0.0, -3.0)]
    png = surface(asked(grid), np.array(places), np.array(truth), task=task, low=-6, high=6, size_px=600)
    image = drawn(png)

    for place, value in zip(places, truth, strict=True):
        color = brush.scale_color((value + 1) / 2) if task is Task.REGRESSION else brush.class_color(int(value))
        wanted = brush.rgb(color)
        assert max(abs(a - b) for a, b in zip(at(image, *place), wanted, strict=True)) < 20
        left, top, side = frame(image)
        x, y = left + (place[0] + 6) / 12 * side, top + (6 - place[1]) / 12 * side
        around = image.crop((round(x - 6), round(y - 6), round(x + 6), round(y + 6)))
        assert any(min(pixel) > 235 for _, pixel in around.getcolors(200) or [])  # type: ignore[arg-type]


def test_the_axes_and_the_legend_say_what_is_what(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    write = brush.write

    def listening(draw: Any, place: Any, words: str, **how: Any) -> float:
        said.append(words)
        return write(draw, place, words, **how)

    monkeypatch.setattr(brush, "write", listening)
    cells = asked(lambda x, y: x > 0)
    surface(
        cells, *NOTHING, task=Task.BINARY, low=-6, high=6, title="epoch 7", note="val_loss 0.2", labels=("out", "in")
    )

    ticks = ["\N{MINUS SIGN}6", "\N{MINUS SIGN}4", "\N{MINUS SIGN}2", "0", "2", "4", "6"]
    assert [word for word in said if word in ticks] == [tick for tick in ticks for _axis in range(2)]
    assert said[-4:] == ["epoch 7", "val_loss 0.2", "out", "in"]
    said.clear()
    x = np.array([[0.0, 0.0], [1.0, 1.0]])
    surface(cells, x, np.array([-2.5, 1200.0]), task=Task.REGRESSION, low=0, high=0.5)
    assert said[-2:] == ["\N{MINUS SIGN}2.5", "1.2e+03"]
    assert "0.5" in said


@pytest.mark.parametrize(
    "changes",
    [
        {"grid": np.full((50, 50), np.nan, np.float32)},
        {"grid": np.full((50, 50), np.inf, np.float32)},
        {"grid": np.array([[-1e38, 1e38], [0, np.nan]], np.float32)},
        {"grid": np.full((50, 50), np.nan, np.float32), "task": Task.REGRESSION, "y": np.array([np.nan, np.nan])},
        {"y": np.array([5.0, 5.0]), "task": Task.REGRESSION},
        {"grid": np.full((9, 9, 3), np.nan, np.float32), "task": Task.MULTICLASS},
        {"grid": np.full((9, 9, 30), 1 / 30, np.float32), "task": Task.MULTICLASS, "labels": ("a long name",) * 30},
        {"grid": np.full((9, 9, 1), 1.0, np.float32), "task": Task.MULTICLASS, "y": np.zeros(2)},
        {"x": np.array([[-7.0, 0.0], [1e9, np.nan]])},
        {"low": 0.0, "high": 1e-7},
        {"low": -1e6, "high": 3e6},
        {"title": "two\nlines", "note": "long " * 100, "size_px": 200},
        {"labels": ("日本語 🚣", "")},
    ],
)
def test_odd_models_and_odd_names_still_make_a_picture(changes: dict[str, Any]) -> None:
    usual: dict[str, Any] = {
        "grid": asked(lambda x, y: x > 0),
        "x": np.array([[0.0, 0.0], [1.0, 2.0]]),
        "y": np.array([0, 1]),
        "task": Task.BINARY,
        "low": -6,
        "high": 6,
    }
    with np.errstate(all="raise", over="ignore"):
        drawn(surface(**{**usual, **changes}))


def test_a_sample_outside_of_the_square_is_not_drawn() -> None:
    cells = asked(lambda x, y: 0.5 + 0 * x)
    without = surface(cells, *NOTHING, task=Task.BINARY, low=-6, high=6)

    assert surface(cells, np.array([[6.5, 0.0]]), np.array([1]), task=Task.BINARY, low=-6, high=6) == without
    assert surface(cells, np.array([[5.5, 0.0]]), np.array([1]), task=Task.BINARY, low=-6, high=6) != without


def test_the_same_is_drawn_the_same_and_is_small() -> None:
    chance = np.random.default_rng(0)
    x, cells = chance.uniform(-6, 6, (200, 2)), asked(lambda x, y: 1 / (1 + np.exp(-x * y)))
    y = (x.prod(axis=1) > 0).astype(np.int64)
    first, second = (surface(cells, x, y, task=Task.BINARY, low=-6, high=6, title="epoch 1") for _ in range(2))

    assert first == second
    assert len(first) < 20_000


def test_two_tones_of_one_colour_never_stand_for_two_of_sixteen_classes() -> None:
    colors = [brush.class_color(number) for number in range(16)]

    assert len(set(colors)) == 16
