"""Pictures of what a judged model gets wrong: that there is what there should be, where it should be."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from pipelines.inputs import InputFacts
from pipelines.pictures import brush
from pipelines.pictures.judged import WIDTH_PX, calibration_picture, confusion_picture, mistakes_picture

GREY = InputFacts((8, 8), 0.0, 16.0, tuple("0123456789"))


def opened(content: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(content))
    image.load()
    return image.convert("RGB")


def near(image: Image.Image, color: str, reach: int = 40) -> int:
    """Pixels whose colour is about that one."""
    pixels = np.asarray(image, np.int64)
    return int((np.abs(pixels - np.array(brush.rgb(color))).max(axis=2) < reach).sum())


def test_a_matrix_without_mistakes_is_blue_on_its_diagonal_and_has_no_orange() -> None:
    right = opened(confusion_picture((np.eye(4, dtype=int) * 5).tolist(), list("abcd")))
    wrong = opened(confusion_picture(np.full((4, 4), 5).tolist(), list("abcd")))

    assert right.width == WIDTH_PX
    assert near(right, brush.BLUE) > 4 * 40 * 40
    assert near(right, brush.ORANGE, 60) == 0
    assert near(wrong, brush.mixed(brush.WHITE, brush.ORANGE, 0.6), 30) > 12 * 30 * 30


@pytest.mark.parametrize("classes", [1, 2, 26, 100, 300])
def test_any_number_of_classes_fits(classes: int) -> None:
    labels = [f"a class with a long name, number {number}" for number in range(classes)]

    image = opened(confusion_picture(np.ones((classes, classes), int).tolist(), labels))

    assert image.width == WIDTH_PX
    assert image.height < 1100


@pytest.mark.parametrize(
    ("of", "bins"),
    [
        ("confidence", [(None, None, 0)] * 9 + [(0.95, 0.9, 100)]),
        ("probability", [(0.05 + 0.1 * place, 0.05 + 0.1 * place, 10) for place in range(10)]),
        ("prediction", [(-100.0 * place, -90.0 * place, 3) for place in range(10)]),
        ("prediction", [(5.0, 5.0, 3)]),
        ("confidence", [(None, None, 0)] * 10),
        ("prediction", [(float("nan"), 1.0, 2)]),
    ],
)
def test_bins_of_any_kind_are_drawn(of: str, bins: list[tuple[float | None, float | None, int]]) -> None:
    image = opened(calibration_picture(bins, of=of, error=0.05, unit="price"))

    drawn = sum(said is not None and found is not None and said == said for said, found, _ in bins)
    assert image.width == WIDTH_PX
    assert (near(image, brush.BLUE, 20) > 20) is (drawn > 0)


@pytest.mark.parametrize(
    ("shape", "count"), [((8, 8), 1), ((8, 8), 24), ((28, 28, 1), 3), ((32, 32, 3), 7), ((200, 50, 3), 2), ((8, 8), 0)]
)
def test_the_worst_mistakes_are_shown_as_they_are(shape: tuple[int, ...], count: int) -> None:
    facts = InputFacts(shape, 0.0, 255.0, ("cat", "dog"))
    x = np.full((count, *shape), 255, np.uint8)
    x[:, : shape[0] // 2] = 0

    image = opened(mistakes_picture(x, [("cat", "a dog with a very long name indeed", 0.9)] * count, facts))

    assert image.width == WIDTH_PX
    black = near(image, "#000000", 8)
    assert black >= count * 96 * 96 * min(shape[:2]) / max(shape[:2]) / 2 * 0.9
    assert (black > 0) is (count > 0)
