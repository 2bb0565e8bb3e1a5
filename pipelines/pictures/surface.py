"""The decision surface of a model on points in the plane, in the spirit of the TensorFlow Playground."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from pipelines.pictures import brush
from pipelines.tasks import Task

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image, ImageDraw

DECISION_SURFACE = "decision_surface"
"""The series in which the pictures of a training are kept."""
_LEFT, _RIGHT, _TOP, _TICKS, _LEGEND = 27, 9, 25, 18, 19
_SHADES = 65
_PALE = 0.22  # by how much the surface is paler than the samples on it
_DOT = 2.9


def surface_grid(low: float, high: float, resolution: int) -> NDArray[np.float32]:
    """The points to ask a model for, in the order in which `surface` takes its answers.

    They are the middles of `resolution` x `resolution` cells of the square, row by row from the top left.

    Returns:
        float32 (resolution * resolution, 2).
    """
    import numpy as np

    across = low + (high - low) * (np.arange(resolution) + 0.5) / resolution
    first, second = np.meshgrid(across, across[::-1])
    return np.stack([first.ravel(), second.ravel()], axis=1).astype(np.float32)


def surface(
    grid: NDArray[Any],
    x: NDArray[Any],
    y: NDArray[Any],
    *,
    task: Task,
    low: float,
    high: float,
    size_px: int = 320,
    title: str = "",
    note: str = "",
    labels: tuple[str, ...] = (),
) -> bytes:
    """Draws what a model says of every place of a square, with samples on it as dots in the colour of their truth.

    Orange to white to blue stands for the probability of the second class, or for a number from the lowest to the
    highest of the truth. Where there are more classes, each has a colour, the stronger the surer the model is. What is
    not a number is grey.

    Args:
        grid: The model's answers at `surface_grid`: float32 (r, r) probabilities of the second class, or numbers;
            float32 (r, r, classes) probabilities where there are more classes.
        x: Samples, (n, 2); those outside the square are not drawn.
        y: Their truth, (n,): class numbers, or numbers.
        task: What the model has learned.
        low: Lowest value on both axes.
        high: Highest value on both axes.
        size_px: Width of the picture; it is somewhat higher than wide.
        title: Bold, above the square.
        note: Behind the title, less loud.
        labels: Names of the classes, for the legend.

    Returns:
        A PNG.
    """
    import numpy as np
    from PIL import Image, ImageDraw

    truth = np.asarray(y).reshape(-1)
    span = _span(truth) if task is Task.REGRESSION else (0.0, 1.0)
    side = size_px - _LEFT - _RIGHT
    image = Image.new("RGB", (size_px, _TOP + side + _TICKS + _LEGEND), brush.WHITE)
    draw = ImageDraw.Draw(image)
    cells = np.asarray(grid, np.float32)
    if task is Task.MULTICLASS:
        painted = _by_class(cells, side)
    else:
        painted = _by_number((cells - span[0]) / (span[1] - span[0]), side)
    image.paste(Image.fromarray(painted), (_LEFT, _TOP))
    if not np.isfinite(cells).any():
        middle = (_LEFT + side / 2, _TOP + side / 2)
        brush.write(draw, middle, "the model gives no finite number", anchor="mm")
    _draw_axes(draw, low, high, side)
    colors = _dot_colors(truth, task, span)
    places = (np.asarray(x, np.float64).reshape(-1, 2) - low) / (high - low)
    for (across, up), color in zip(places.tolist(), colors, strict=True):
        if 0 <= across <= 1 and 0 <= up <= 1:
            brush.put_dot(image, _LEFT + across * side, _TOP + (1 - up) * side, color, _DOT)
    told = brush.write(draw, (_LEFT, 6), title, size=12, bold=True, fit_px=side) + 8 if title else 0.0
    brush.write(draw, (_LEFT + told, 7), note, color=brush.MUTED, fit_px=side - told)
    legend = (_TOP + side + _TICKS + _LEGEND) - 10
    if task is Task.REGRESSION:
        _draw_scale(draw, span, side, legend)
    else:
        _draw_names(image, draw, _names(cells, task, labels), side, legend)
    return brush.png(image, hurried=True)


def _span(truth: NDArray[Any]) -> tuple[float, float]:
    """The lowest and the highest number of the truth, always some way apart."""
    import numpy as np

    known = truth[np.isfinite(truth)].astype(np.float64)
    low, high = (float(known.min()), float(known.max())) if known.size else (-1.0, 1.0)
    return (low, high) if high > low else (low - 1.0, high + 1.0)


def _by_number(shares: NDArray[np.float32], side: int) -> NDArray[np.uint8]:
    """Shares of the scale, (r, r), as a square of colours, uint8 (side, side, 3)."""
    import numpy as np

    table = np.array([*_shades(), brush.rgb(brush.NOTHING)], np.uint8)
    known = np.isfinite(shares)
    places = _enlarged(np.where(known, shares.clip(-0.5, 1.5), 0.5), side)
    shade = (places.clip(0, 1) * (_SHADES - 1) + 0.5).astype(np.uint8)
    if not known.all():
        shade[_enlarged(known.astype(np.float32), side) < 0.5] = _SHADES
    painted: NDArray[np.uint8] = table[shade]
    return painted


def _by_class(cells: NDArray[np.float32], side: int) -> NDArray[np.uint8]:
    """Probabilities, (r, r, classes), as a square of colours: the likeliest class's, paler where it is unsure."""
    import numpy as np

    classes = cells.shape[-1]
    known = np.asarray(np.isfinite(cells).all(axis=-1))
    large = np.stack([_enlarged(np.where(known, cells[..., each], np.float32(0)), side) for each in range(classes)])
    sure = (large.max(axis=0) - 1 / classes) / max(1 - 1 / classes, 1e-6)
    place = large.argmax(axis=0) * _SHADES + (sure.clip(0, 1) * (_SHADES - 1) + 0.5).astype(np.int64)
    if not known.all():
        place[_enlarged(known.astype(np.float32), side) < 0.5] = classes * _SHADES
    painted: NDArray[np.uint8] = np.array([*_class_shades(classes), brush.rgb(brush.NOTHING)], np.uint8)[place]
    return painted


@lru_cache(maxsize=8)
def _class_shades(classes: int) -> list[tuple[int, int, int]]:
    """Every class's colour, from white where the model cannot tell to full where it is sure."""
    strengths = [(1 - _PALE) * shade / (_SHADES - 1) for shade in range(_SHADES)]
    return [
        brush.rgb(brush.mixed(brush.WHITE, brush.class_color(number), strength))
        for number in range(classes)
        for strength in strengths
    ]


@lru_cache(maxsize=1)
def _shades() -> list[tuple[int, int, int]]:
    """The scale from orange to white to blue."""
    steps = [shade / (_SHADES - 1) for shade in range(_SHADES)]
    return [brush.rgb(brush.mixed(brush.scale_color(share), brush.WHITE, _PALE)) for share in steps]


def _enlarged(values: NDArray[Any], side: int) -> NDArray[np.float32]:
    """Values at the middles of cells, drawn out to pixels: straight from one to the next."""
    import numpy as np
    from PIL import Image

    small = Image.fromarray(np.ascontiguousarray(values, np.float32))
    return np.asarray(small.resize((side, side), Image.Resampling.BILINEAR))


def _dot_colors(truth: NDArray[Any], task: Task, span: tuple[float, float]) -> list[str]:
    if task is not Task.REGRESSION:
        return [brush.class_color(int(number)) for number in truth]
    shares = [(number - span[0]) / (span[1] - span[0]) if math.isfinite(number) else None for number in truth.tolist()]
    return [
        brush.NOTHING if share is None else brush.scale_color(round(share * (_SHADES - 1)) / (_SHADES - 1))
        for share in shares
    ]


def _draw_axes(draw: ImageDraw.ImageDraw, low: float, high: float, side: int) -> None:
    bottom = _TOP + side
    draw.rectangle((_LEFT - 1, _TOP - 1, _LEFT + side, bottom), outline=brush.LINE)
    marks = brush.ticks(low, high, 6)
    for mark in marks:
        along = (mark - low) / (high - low) * side
        words = f"{mark:g}".replace("-", "\N{MINUS SIGN}")
        draw.line((_LEFT + along, bottom + 1, _LEFT + along, bottom + 3), fill=brush.MUTED)
        brush.write(draw, (_LEFT + along, bottom + 5), words, size=10, color=brush.MUTED, anchor="ma")
        draw.line((_LEFT - 4, bottom - along, _LEFT - 2, bottom - along), fill=brush.MUTED)
        brush.write(draw, (_LEFT - 6, bottom - along), words, size=10, color=brush.MUTED, anchor="rm")


def _names(cells: NDArray[Any], task: Task, labels: tuple[str, ...]) -> list[str]:
    classes = 2 if task is Task.BINARY else cells.shape[-1]
    return [labels[number] if number < len(labels) else str(number) for number in range(classes)]


def _draw_names(image: Image.Image, draw: ImageDraw.ImageDraw, names: list[str], side: int, y: int) -> None:
    """Each class's dot and name, as far as there is room."""
    x, end = float(_LEFT + 4), _LEFT + side
    room = max(30.0, (side - 16.0 * len(names)) / len(names))
    for number, name in enumerate(names):
        if x + 34 > end:
            brush.write(draw, (x, y), "…", color=brush.MUTED, anchor="lm")
            return
        brush.put_dot(image, x, y, brush.class_color(number), _DOT)
        fit = min(room, end - x - 8)
        x += 18 + brush.write(draw, (x + 8, y), name, size=10, color=brush.MUTED, anchor="lm", fit_px=fit)


def _draw_scale(draw: ImageDraw.ImageDraw, span: tuple[float, float], side: int, y: int) -> None:
    """A bar from the lowest to the highest number."""
    low, high = (f"{value:.3g}".replace("-", "\N{MINUS SIGN}") for value in span)
    start = _LEFT + brush.write(draw, (_LEFT, y), low, size=10, color=brush.MUTED, anchor="lm") + 6
    width = side // 3
    for pixel in range(width):
        draw.line((start + pixel, y - 4, start + pixel, y + 3), fill=brush.scale_color(pixel / (width - 1)))
    draw.rectangle((start - 1, y - 5, start + width, y + 4), outline=brush.LINE)
    brush.write(draw, (start + width + 6, y), high, size=10, color=brush.MUTED, anchor="lm")
