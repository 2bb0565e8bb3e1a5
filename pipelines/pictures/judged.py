"""What a judged model gets wrong, as pictures: classes that it takes for others, its probabilities, its mistakes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pipelines.inputs import InputFacts
from pipelines.pictures import brush, samples

if TYPE_CHECKING:
    from PIL import Image, ImageDraw

WIDTH_PX = 900
_MARGIN, _HEAD = 24, 58
_MOST_CLASSES = 120
"""More classes than this get no picture of their matrix that anybody could read; the numbers are in the table."""
_WRITTEN = 26
"""Classes up to which every cell has its number in it."""
_TILE_PX = 96
_MINUS = "\N{MINUS SIGN}"


def confusion_picture(confusion: Sequence[Sequence[int]], labels: Sequence[str]) -> bytes:
    """Draws how many samples of each class (rows) were taken for which (columns), each row in shares of its class.

    Args:
        confusion: Samples by true class and named class.
        labels: Names of the classes.

    Returns:
        A PNG, 900 pixels wide; of very many classes, the first ones.
    """
    count = min(len(labels), _MOST_CLASSES)
    shown = [str(label) for label in labels[:count]]
    letters = brush.font(11)
    beside = min(150, max(40, math.ceil(max(letters.getlength(label) for label in shown)) + 14))
    left = _MARGIN + 22 + beside
    cell = min(64, (WIDTH_PX - _MARGIN - left) // count)
    top = _HEAD + (26 if cell >= 18 else 8)
    image, draw = _sheet(top + cell * count + 44)
    total, right = sum(map(sum, confusion)), sum(confusion[place][place] for place in range(len(confusion)))
    title = brush.write(draw, (_MARGIN, 18), "Confusion matrix", size=15, bold=True)
    more = "" if count == len(labels) else f", the first {count} of {len(labels)} classes"
    told = f"{right:,} of {total:,} samples right; rows are the truth, columns the answer{more}"
    brush.write(draw, (_MARGIN + title + 12, 21), told, size=12, color=brush.MUTED, fit_px=WIDTH_PX - title - 60)
    for row in range(count):
        support = sum(confusion[row])
        for column in range(count):
            many = confusion[row][column]
            share = many / support if support else 0.0
            color = brush.BLUE if row == column else brush.ORANGE
            # a single mistake among hundreds of samples must be seen
            strength = 0.0 if not many else min(1.0, 0.15 + 0.85 * share if row == column else 0.2 + 1.6 * share)
            x, y = left + column * cell, top + row * cell
            draw.rectangle(
                (x, y, x + cell - 1, y + cell - 1), fill=brush.mixed(brush.WHITE, color, strength), outline=brush.LINE
            )
            if many and count <= _WRITTEN:
                ink = brush.WHITE if strength > 0.62 else brush.INK
                brush.write(draw, (x + cell / 2, y + cell / 2), str(many), color=ink, anchor="mm", fit_px=cell - 2)
        if cell >= 11:
            brush.write(
                draw, (left - 7, top + (row + 0.5) * cell), shown[row], color=brush.MUTED, anchor="rm", fit_px=beside
            )
    if cell >= 18:
        for column in range(count):
            place = (left + (column + 0.5) * cell, top - 6)
            brush.write(draw, place, shown[column], color=brush.MUTED, anchor="ms", fit_px=cell - 2)
    brush.write(
        draw,
        (left, top + cell * count + 14),
        "blue: right, orange: wrong; the stronger, the larger its share of the row",
        color=brush.MUTED,
    )
    return brush.png(image)


def calibration_picture(
    bins: Sequence[tuple[float | None, float | None, int]], *, of: str, error: float, unit: str = ""
) -> bytes:
    """Draws what a model says against what comes true, bin by bin; on the diagonal its word can be taken.

    Args:
        bins: Mean of what it says, mean of what is found, and how many samples; None where a bin has none.
        of: `confidence`, `probability` or `prediction`.
        error: Mean distance from the diagonal.
        unit: Name of what is predicted, where that is a number.

    Returns:
        A PNG, 900 pixels wide.
    """
    known = [
        (said, found, many)
        for said, found, many in bins
        if said is not None and found is not None and many and math.isfinite(said + found)
    ]
    values = [value for said, found, _ in known for value in (said, found)]
    low, high = 0.0, 1.0
    if of == "prediction" and values:
        room = (max(values) - min(values)) * 0.06 or 1.0
        low, high = min(values) - room, max(values) + room
    side, counts = 440, 96
    left, top = _MARGIN + 52, _HEAD
    bottom = top + side
    image, draw = _sheet(bottom + counts + 66)
    words = {
        "confidence": ("how sure the model is of its answer", "share of its answers that are right"),
        "probability": ("probability that the model gives the second class", "share of the samples that are it"),
        "prediction": (f"predicted {unit}".strip(), f"true {unit}".strip()),
    }[of]
    title = brush.write(draw, (_MARGIN, 18), "Calibration", size=15, bold=True)
    told = f"mean distance from the diagonal {error:.3g} (ECE)" if of != "prediction" else f"mean distance {error:.4g}"
    brush.write(draw, (_MARGIN + title + 12, 21), told, size=12, color=brush.MUTED)

    def at(value: float) -> float:
        return (value - low) / (high - low) * side

    for mark in brush.ticks(low, high, 6):
        along, number = at(mark), f"{mark:g}".replace("-", _MINUS)
        draw.line((left + along, top, left + along, bottom), fill=brush.FAINT)
        draw.line((left, bottom - along, left + side, bottom - along), fill=brush.FAINT)
        brush.write(draw, (left + along, bottom + counts + 14), number, color=brush.MUTED, anchor="ma")
        brush.write(draw, (left - 8, bottom - along), number, color=brush.MUTED, anchor="rm")
    draw.rectangle((left, top, left + side, bottom), outline=brush.LINE)
    draw.line((left, bottom, left + side, top), fill=brush.NOTHING, width=2)
    places = [(left + at(said), bottom - at(found)) for said, found, _ in known]
    if len(places) > 1:
        draw.line(places, fill=brush.BLUE, width=2)
    for x, y in places:
        brush.put_dot(image, x, y, brush.BLUE, 4.5)
    most = max((many for *_, many in known), default=1)
    for said, _, many in known:
        tall = max(2.0, many / most * (counts - 24))
        x = left + at(said)
        draw.rectangle((x - 7, bottom + counts - tall, x + 7, bottom + counts), fill=brush.NOTHING)
        brush.write(draw, (x, bottom + counts - tall - 2), f"{many:,}", size=10, color=brush.MUTED, anchor="ms")
    draw.line((left, bottom + counts, left + side, bottom + counts), fill=brush.LINE)
    brush.write(draw, (left + side / 2, bottom + counts + 34), words[0], color=brush.MUTED, anchor="ma")
    brush.write(draw, (left, top - 17), words[1], color=brush.MUTED)
    _write_bins(draw, known, left + side + 44, top, of)
    return brush.png(image)


def mistakes_picture(x: Any, told: Sequence[tuple[str, str, float | None]], facts: InputFacts) -> bytes:
    """Draws the images that a model gets most wrong, each with what it is and what the model says.

    Args:
        x: Raw images, (n, *facts.shape), the worst first.
        told: Of each the truth, the answer, and how sure the model is of it (0 to 1, or None).
        facts: The form of a sample.

    Returns:
        A PNG, 900 pixels wide.
    """
    import numpy as np

    tiles = samples._tiles(np.asarray(x, np.float32), facts)
    height, width = facts.shape[:2]
    scale = _TILE_PX / max(height, width)
    tall, wide = max(1, round(height * scale)), max(1, round(width * scale))
    columns = 6
    cell = (WIDTH_PX - 2 * _MARGIN) / columns
    rows = math.ceil(len(tiles) / columns)
    image, draw = _sheet(_HEAD + rows * (tall + 56) + 8)
    title = brush.write(draw, (_MARGIN, 18), "Worst mistakes", size=15, bold=True)
    brush.write(
        draw,
        (_MARGIN + title + 12, 21),
        "sealed samples that the model is most wrong about",
        size=12,
        color=brush.MUTED,
    )
    for rank, (tile, (truth, answer, sure)) in enumerate(zip(tiles, told, strict=True)):
        left = _MARGIN + rank % columns * cell
        top = _HEAD + rank // columns * (tall + 56)
        image.paste(samples._resized(tile, wide, tall), (round(left), top))
        draw.rectangle((round(left) - 1, top - 1, round(left) + wide, top + tall), outline=brush.LINE)
        share = "" if sure is None else f" ({sure:.0%})"
        fit = cell - 10
        brush.write(draw, (left, top + tall + 5), f"says {answer}{share}", bold=True, fit_px=fit)
        brush.write(draw, (left, top + tall + 21), f"it is {truth}", color=brush.MUTED, fit_px=fit)
    photos = len(facts.shape) == 3 and facts.shape[2] in (3, 4)
    return brush.png_of_photos(image) if photos else brush.png(image)


def _write_bins(
    draw: ImageDraw.ImageDraw, known: Sequence[tuple[float, float, int]], left: float, top: float, of: str
) -> None:
    """The same as numbers."""
    form = "{:.4g}" if of == "prediction" else "{:.3f}"
    for place, (head, right) in enumerate((("says", 70), ("is", 150), ("samples", 240))):
        brush.write(draw, (left + right, top + 6), head, size=12, bold=True, anchor="ra", fit_px=80)
        for row, entry in enumerate(known):
            words = f"{entry[2]:,}" if place == 2 else form.format(entry[place]).replace("-", _MINUS)
            brush.write(draw, (left + right, top + 30 + 22 * row), words, size=12, color=brush.MUTED, anchor="ra")


def _sheet(height: int) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    from PIL import Image, ImageDraw

    image = Image.new("RGB", (WIDTH_PX, height), brush.WHITE)
    return image, ImageDraw.Draw(image)
