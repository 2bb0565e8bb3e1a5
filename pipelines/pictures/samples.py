"""A look at what a data set holds: some of its images, its points in the plane, or the first rows of its table."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pipelines.inputs import Column, InputFacts
from pipelines.pictures import brush

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image, ImageDraw

WIDTH_PX = 900
_MARGIN, _HEAD = 24, 58
_ROWS = 4  # of images
_SMALL_PX, _LARGE_PX = 72, 128  # small images are drawn at a whole multiple of their size, large ones made smaller
_TABLE_ROWS, _ROW_PX = 12, 27
_NARROWEST, _WIDEST = 56, 170  # columns of a table
_MOST_DOTS = 1500
_PLOT_PX = 560


def sample_grid(x: Any, y: NDArray[Any], facts: InputFacts) -> bytes:
    """Draws samples of a data set with what is to be learned of them.

    Images come in a grid with their label below each, the classes in turn, or spread evenly over the numbers that are
    to be predicted; points as dots in the colour of their class or number; of a table, the first rows.

    Args:
        x: Raw samples, (n, *facts.shape); only those that are shown are read.
        y: int64 (n,) class numbers, or float32 (n,) numbers.
        facts: The form of a sample, and the names of things.

    Returns:
        A PNG, 900 pixels wide.
    """
    import numpy as np

    truth = np.asarray(y).reshape(-1)
    match facts.kind:
        case "image":
            return _images(x, truth, facts)
        case "points":
            return _points(x, truth, facts)
        case _:
            return _table(x, truth, facts)


def chosen(truth: NDArray[Any], classes: int, most: int) -> NDArray[np.int64]:
    """Places of at most `most` samples: classes in turn, or evenly spread over the numbers where `classes` is 0."""
    import numpy as np

    if not classes:
        ranked = np.argsort(truth, kind="stable")
        return ranked[np.linspace(0, len(ranked) - 1, min(most, len(ranked))).round().astype(np.int64)]
    there = np.unique(truth)
    if len(there) > most:
        there = there[np.linspace(0, len(there) - 1, most).round().astype(np.int64)]
    each = math.ceil(most / max(1, len(there)))
    found = [np.flatnonzero(truth == number)[:most] for number in there]
    turns = [[places[turn] for places in found if turn < len(places)] for turn in range(max(each, most))]
    return np.array([place for turn in turns for place in turn][:most], np.int64)


# images


def _images(x: Any, truth: NDArray[Any], facts: InputFacts) -> bytes:
    import numpy as np

    height, width = facts.shape[:2]
    longer = max(height, width)
    scale = max(1, _SMALL_PX // longer) if longer <= _SMALL_PX else min(1.0, _LARGE_PX / longer)
    tall, wide = max(1, round(height * scale)), max(1, round(width * scale))
    columns = max(1, (WIDTH_PX - 2 * _MARGIN + 14) // (max(wide, 64) + 14))
    if facts.labels and columns % len(facts.labels) <= columns // 3:
        columns -= columns % len(facts.labels)  # so that each class has columns of its own
    cell = (WIDTH_PX - 2 * _MARGIN + 14) / columns
    places = chosen(truth, len(facts.labels), columns * _ROWS)
    pixels = np.asarray(x[places], np.float32) if len(places) else np.zeros((0, *facts.shape), np.float32)
    rows = max(1, math.ceil(len(places) / columns))
    image, draw = _sheet(_HEAD + rows * (tall + 32) + 10)
    _write_head(draw, len(truth), _image_words(facts), facts)
    for rank, (place, tile) in enumerate(zip(places, _tiles(pixels, facts), strict=True)):
        left = _MARGIN + rank % columns * cell + (cell - 14 - wide) / 2
        top = _HEAD + rank // columns * (tall + 32)
        image.paste(_resized(tile, wide, tall), (round(left), top))
        draw.rectangle((round(left) - 1, top - 1, round(left) + wide, top + tall), outline=brush.LINE)
        words = _truth_words(truth[place], facts)
        middle = (left + wide / 2, top + tall + 6)
        brush.write(draw, middle, words, color=brush.MUTED, anchor="ma", fit_px=cell - 8)
    photos = len(facts.shape) == 3 and facts.shape[2] in (3, 4)
    return brush.png_of_photos(image) if photos else brush.png(image)


def _tiles(pixels: NDArray[np.float32], facts: InputFacts) -> list[Image.Image]:
    """Raw images as pictures: grey, colour, or the mean of channels that are no colours."""
    import numpy as np
    from PIL import Image

    known = pixels[np.isfinite(pixels)]
    low = facts.low if facts.low is not None else float(known.min(initial=0.0))
    high = facts.high if facts.high is not None else float(known.max(initial=1.0))
    bytes_ = (np.nan_to_num((pixels - low) / ((high - low) or 1.0)).clip(0, 1) * 255 + 0.5).astype(np.uint8)
    if bytes_.ndim == 4 and bytes_.shape[3] not in (3, 4):
        bytes_ = bytes_.mean(axis=3).astype(np.uint8)
    return [Image.fromarray(one).convert("RGBA" if one.shape[-1:] == (4,) else "RGB") for one in bytes_]


def _resized(tile: Image.Image, wide: int, tall: int) -> Image.Image:
    from PIL import Image

    sharp = tile.width <= wide  # so that small images show their pixels
    tile = tile.resize((wide, tall), Image.Resampling.NEAREST if sharp else Image.Resampling.LANCZOS)
    if tile.mode == "RGBA":
        paper = Image.new("RGBA", tile.size, brush.WHITE)
        tile = Image.alpha_composite(paper, tile).convert("RGB")
    return tile


def _image_words(facts: InputFacts) -> str:
    height, width, *channels = facts.shape
    kind = {(): "grey images", (1,): "grey images", (3,): "colour images", (4,): "colour images"}
    words = kind.get(tuple(channels), f"images of {channels[0] if channels else 1} channels")
    span = "" if facts.low is None or facts.high is None else f", values from {facts.low:g} to {facts.high:g}"
    return f"{words}, {width} \N{MULTIPLICATION SIGN} {height} pixels{span}"


# points


def _points(x: Any, truth: NDArray[Any], facts: InputFacts) -> bytes:
    import numpy as np

    places = np.linspace(0, len(truth) - 1, min(_MOST_DOTS, len(truth))).round().astype(np.int64)
    shown = np.asarray(x[places], np.float64).reshape(-1, 2) if len(places) else np.zeros((0, 2))
    low, high = _borders(shown, facts)
    image, draw = _sheet(_HEAD + _PLOT_PX + 46)
    _write_head(draw, len(truth), "points in the plane", facts)
    left, bottom = _MARGIN + 40, _HEAD + _PLOT_PX
    for mark in brush.ticks(low, high, 8):
        along, words = (mark - low) / (high - low) * _PLOT_PX, f"{mark:g}".replace("-", "\N{MINUS SIGN}")
        draw.line((left + along, _HEAD, left + along, bottom), fill=brush.FAINT)
        draw.line((left, bottom - along, left + _PLOT_PX, bottom - along), fill=brush.FAINT)
        brush.write(draw, (left + along, bottom + 6), words, color=brush.MUTED, anchor="ma")
        brush.write(draw, (left - 7, bottom - along), words, color=brush.MUTED, anchor="rm")
    draw.rectangle((left, _HEAD, left + _PLOT_PX, bottom), outline=brush.LINE)
    names = [column.name for column in facts.columns[:2]] or ["x", "y"]
    brush.write(draw, (left + _PLOT_PX / 2, bottom + 24), names[0], color=brush.MUTED, anchor="ma")
    brush.write(draw, (left + 6, _HEAD + 5), names[-1], color=brush.MUTED)
    sound = truth[np.isfinite(truth)]
    span = (float(sound.min()), float(sound.max())) if len(sound) else (0.0, 1.0)
    radius = 4.0 if len(places) <= 400 else 3.0
    for place, (across, up) in zip(places, ((shown - low) / (high - low) * _PLOT_PX).tolist(), strict=True):
        if 0 <= across <= _PLOT_PX and 0 <= up <= _PLOT_PX:
            brush.put_dot(image, left + across, bottom - up, _color(truth[place], facts, span), radius)
    _write_key(image, draw, truth, facts, span, left + _PLOT_PX + 34)
    return brush.png(image)


def _borders(shown: NDArray[np.float64], facts: InputFacts) -> tuple[float, float]:
    import numpy as np

    if facts.low is not None and facts.high is not None and facts.high > facts.low:
        return facts.low, facts.high
    known = shown[np.isfinite(shown)]
    low, high = (float(known.min()), float(known.max())) if known.size else (-1.0, 1.0)
    room = (high - low) * 0.06 or 1.0
    return low - room, high + room


def _color(value: Any, facts: InputFacts, span: tuple[float, float]) -> str:
    if facts.labels:
        return brush.class_color(int(value))
    share = (float(value) - span[0]) / ((span[1] - span[0]) or 1.0)
    if not math.isfinite(share):
        return brush.NOTHING
    return brush.scale_color(round(share * 64) / 64)


def _write_key(
    image: Image.Image,
    draw: ImageDraw.ImageDraw,
    truth: NDArray[Any],
    facts: InputFacts,
    span: tuple[float, float],
    left: float,
) -> None:
    """What the colours mean: the classes with their sizes, or numbers along the scale."""
    entries: list[tuple[float, str, str]]
    entries = [(number, name, f"{int((truth == number).sum()):,}") for number, name in enumerate(facts.labels)]
    if not facts.labels:
        steps = [span[1] - (span[1] - span[0]) * step / 4 for step in range(5)]
        entries = [(value, f"{value:.3g}".replace("-", "\N{MINUS SIGN}"), "") for value in steps]
    most = (_PLOT_PX - 10) // 24
    for rank, (value, name, count) in enumerate(entries[:most]):
        y = _HEAD + 12 + 24 * rank
        brush.put_dot(image, left, y, _color(value, facts, span), 4.0)
        told = brush.write(draw, (left + 14, y), name, size=12, anchor="lm", fit_px=WIDTH_PX - left - 100)
        brush.write(draw, (left + 22 + told, y), count, color=brush.MUTED, anchor="lm")
    if len(entries) > most:
        brush.write(draw, (left, _HEAD + 12 + 24 * most), f"and {len(entries) - most} more", color=brush.MUTED)


# tables


def _table(x: Any, truth: NDArray[Any], facts: InputFacts) -> bytes:
    import numpy as np

    count = min(_TABLE_ROWS, len(truth))
    rows = np.asarray(x[np.arange(count)], np.float64).reshape(count, -1) if count else np.zeros((0, facts.shape[0]))
    columns = facts.columns or tuple(Column(f"column {number}") for number in range(facts.shape[0]))
    target = ([facts.target or "target"], [_truth_words(value, facts) for value in truth[:count]])
    told = [([column.name], [_cell(column, value) for value in rows[:, place]]) for place, column in enumerate(columns)]
    widths = [_width(head + cells) for head, cells in (*told, target)]
    fitting = 0
    left_over = WIDTH_PX - 2 * _MARGIN - widths[-1]
    while fitting < len(told) and widths[fitting] <= left_over - (0 if fitting == len(told) - 1 else 24):
        left_over -= widths[fitting]
        fitting += 1
    image, draw = _sheet(_HEAD + _ROW_PX * (count + 1) + 16)
    more = "" if fitting == len(told) else f", the first {fitting} of them shown"
    _write_head(draw, len(truth), f"rows of {len(columns)} columns{more}", facts)
    spread = left_over / (fitting + 1) if fitting == len(told) else 0.0
    left: float = _MARGIN
    _draw_stripes(draw, count)
    for (head, cells), width, column in zip(told[:fitting], widths, columns, strict=False):
        _write_column(draw, left, width + spread, head[0], cells, words=column.words is not None)
        left += width + spread
    if fitting < len(told):
        for row in range(count + 1):
            brush.write(draw, (left + 8, _middle(row)), "…", color=brush.MUTED, anchor="lm")
        left = WIDTH_PX - _MARGIN - widths[-1]
    end = WIDTH_PX - _MARGIN
    draw.line((left, _HEAD, left, _HEAD + _ROW_PX * (count + 1)), fill=brush.LINE)
    _write_column(draw, left, end - left, target[0][0], target[1], words=bool(facts.labels), color=brush.BLUE)
    return brush.png(image)


def _cell(column: Column, value: float) -> str:
    if column.words is None:
        return f"{value:.5g}".replace("-", "\N{MINUS SIGN}") if math.isfinite(value) else ""
    code = int(value) if math.isfinite(value) else 0
    return column.words[code - 1] if 1 <= code <= len(column.words) else ""


def _width(words: Sequence[str]) -> int:
    longest = max(brush.font(12, bold=rank == 0).getlength(one) for rank, one in enumerate(words))
    return min(max(math.ceil(longest) + 20, _NARROWEST), _WIDEST)


def _middle(row: int) -> float:
    return _HEAD + _ROW_PX * (row + 0.5)


def _draw_stripes(draw: ImageDraw.ImageDraw, count: int) -> None:
    for row in range(1, count + 1, 2):
        top = _HEAD + _ROW_PX * row
        draw.rectangle((_MARGIN, top, WIDTH_PX - _MARGIN, top + _ROW_PX - 1), fill=brush.FAINT)
    draw.line((_MARGIN, _HEAD + _ROW_PX - 1, WIDTH_PX - _MARGIN, _HEAD + _ROW_PX - 1), fill=brush.MUTED)


def _write_column(
    draw: ImageDraw.ImageDraw,
    left: float,
    width: float,
    head: str,
    cells: Sequence[str],
    *,
    words: bool,
    color: str = brush.INK,
) -> None:
    """One column: words from the left, numbers to the right, a dash for what is missing."""
    x, anchor = (left + 10, "lm") if words else (left + width - 10, "rm")
    brush.write(draw, (x, _middle(0)), head, size=12, bold=True, color=color, anchor=anchor, fit_px=width - 16)
    for row, cell in enumerate(cells, start=1):
        shade = color if cell else brush.NOTHING
        brush.write(draw, (x, _middle(row)), cell or "–", size=12, color=shade, anchor=anchor, fit_px=width - 16)


# all of them


def _sheet(height: int) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    from PIL import Image, ImageDraw

    image = Image.new("RGB", (WIDTH_PX, height), brush.WHITE)
    return image, ImageDraw.Draw(image)


def _write_head(draw: ImageDraw.ImageDraw, count: int, form: str, facts: InputFacts) -> None:
    sought = f"{len(facts.labels)} classes" if facts.labels else "a number"
    sought += f" to predict: {facts.target}" if facts.target else " to predict"
    title = brush.write(draw, (_MARGIN, 18), f"{count:,} samples", size=15, bold=True)
    told = f"{form}; {sought}"
    brush.write(
        draw, (_MARGIN + title + 12, 21), told, size=12, color=brush.MUTED, fit_px=WIDTH_PX - 2 * _MARGIN - title
    )


def _truth_words(value: Any, facts: InputFacts) -> str:
    if facts.labels:
        return facts.labels[int(value)]
    return f"{float(value):.4g}".replace("-", "\N{MINUS SIGN}")
