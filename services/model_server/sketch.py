"""How a terminal shows a sample and an answer: a picture in shades, a row by its columns, the best labels.

Only the standard library.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

SHADES = " ░▒▓█"
_WIDEST = 64
_MOST_COLUMNS = 40
_LONGEST_CELL = 60


def picture(values: Any, span: Sequence[float] | None, colours: bool = False) -> str:
    """Draws an image in shades, two characters to a pixel; "" if the sample is none.

    Args:
        values: Rows of grey pixels, or of pixels with one channel (grey), three or four (red, green, blue, and more).
        span: The darkest and the brightest value; those of the image if not given.
        colours: Whether to paint colour images in colours, by escape sequences that terminals know.
    """
    pixels = _pixels(values)
    if not pixels:
        return ""
    step = -(-len(pixels[0]) // _WIDEST)  # every second pixel of an image that is too wide, or every third
    pixels = [row[::step] for row in pixels[::step]]
    flat = [part for row in pixels for pixel in row for part in pixel]
    low, high = span or (min(flat), max(flat))
    bright = [
        [[max(0.0, min(1.0, (c - low) / ((high - low) or 1.0))) for c in pixel] for pixel in row] for row in pixels
    ]
    if colours and len(pixels[0][0]) == 3:
        return "\n".join("".join(_painted(pixel) for pixel in row) + "\x1b[0m" for row in bright)
    return "\n".join("".join(2 * _shade(pixel) for pixel in row).rstrip() for row in bright)


def _pixels(values: Any) -> list[list[tuple[float, ...]]] | None:
    """Returns an image as rows of pixels of one or three numbers; None if the sample is no image."""
    if not (isinstance(values, list) and values and all(isinstance(row, list) and row for row in values)):
        return None
    rows = [[tuple(cell) if isinstance(cell, list) else (cell,) for cell in row] for row in values]
    kinds = {(len(row), len(pixel)) for row in rows for pixel in row}
    numbers = all(isinstance(part, (int, float)) for row in rows for pixel in row for part in pixel)
    if len(kinds) != 1 or not numbers or next(iter(kinds))[1] not in (1, 3, 4):
        return None
    return [[pixel[:3] for pixel in row] for row in rows]


def _shade(pixel: Sequence[float]) -> str:
    # The eye takes green for brighter than red, and red for brighter than blue (Rec. 601).
    brightness = pixel[0] if len(pixel) == 1 else 0.299 * pixel[0] + 0.587 * pixel[1] + 0.114 * pixel[2]
    return SHADES[round(brightness * (len(SHADES) - 1))]


def _painted(pixel: Sequence[float]) -> str:
    red, green, blue = (round(255 * part) for part in pixel)
    return f"\x1b[48;2;{red};{green};{blue}m  "


def table(row: Any, columns: Sequence[dict[str, Any]]) -> list[str]:
    """Returns a line for each cell of a table's row: the column's name and the value."""
    width = max(11, min(30, max(len(column["name"]) for column in columns)))
    lines = [f"{column['name'][:width]:<{width}} {_cell(cell)}" for column, cell in zip(columns, row, strict=True)]
    more = len(lines) - _MOST_COLUMNS
    return lines if more <= 0 else [*lines[:_MOST_COLUMNS], f"… and {more} more columns"]


def _cell(cell: Any) -> str:
    if isinstance(cell, float):
        return _number(cell)
    text = "missing" if cell is None else str(cell)[:_LONGEST_CELL]
    return text if text.isprintable() else repr(text)


def _number(value: float) -> str:
    """Writes a number short: what is a float32 needs no more digits than tell it from its neighbours, 2207.2."""
    try:
        (single,) = struct.unpack("f", struct.pack("f", value))
    except OverflowError:
        return str(value)
    if single != value:
        return str(value)
    texts = (f"{value:.{digits}g}" for digits in range(6, 10))
    return next(text for text in texts if struct.pack("f", float(text)) == struct.pack("f", value))


def top(scores: Sequence[float], labels: Sequence[str], count: int = 3) -> list[tuple[str, float]]:
    """Returns the best (label, score) pairs, best first; one score with two labels is that of the second."""
    if len(scores) == 1 and len(labels) == 2:
        pairs = [(labels[1], scores[0]), (labels[0], 1.0 - scores[0])]  # at one half the answer is the second
    else:
        names = list(labels) if len(labels) == len(scores) else [f"output {index}" for index in range(len(scores))]
        pairs = list(zip(names, scores, strict=True))
    return sorted(pairs, key=lambda pair: -pair[1])[:count]


def verdict(scores: Sequence[float], golden: dict[str, Any], form: dict[str, Any]) -> list[str]:
    """Returns the lines with the truth and the answer: labels, right or wrong; or a value and how far off it is."""
    if form["task"] == "regression":
        target = f" ({form['target']})" if form["target"] else ""
        off = abs(scores[0] - golden["value"])
        return [f"true value  {golden['value']:.6g}{target}", f"{'answer':<11} {scores[0]:.6g}   off by {off:.3g}"]
    best = top(scores, form["labels"])
    lines = [f"true label  {golden['label']}"]
    for rank, (label, score) in enumerate(best):
        mark = ("   right" if label == golden["label"] else "   wrong") if rank == 0 else ""
        lines.append(f"{'answer' if rank == 0 else '':<11} {label:<12} {score:7.2%}{mark}")
    return lines
