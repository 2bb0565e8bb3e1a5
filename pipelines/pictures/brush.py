"""What pictures that are drawn with Pillow share: colours, letters, round dots, and files of few colours."""

from __future__ import annotations

import io
import math
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image, ImageDraw, ImageFont

INK, MUTED, LINE, FAINT, NOTHING = "#1c2530", "#66717d", "#d5dae0", "#f6f8f9", "#c3cad1"
ORANGE, WHITE, BLUE = "#f59322", "#ffffff", "#0877bd"
"""The TensorFlow Playground's colours: orange for the first class and the low end, blue for the second and the high."""
CLASS_COLORS = (ORANGE, BLUE, "#1b9e77", "#a8327d", "#5bc5ea", "#c9b416", "#55606b", "#e89bc0")
"""Colours of classes that those who cannot tell red from green can tell; later classes have them in a paler tone."""
_FINER = 8
_COLORS = 160


@lru_cache(maxsize=32)
def font(size: int, *, bold: bool = False) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which comes with matplotlib (found without importing it, which costs a tenth of a second)."""
    from importlib.util import find_spec
    from pathlib import Path

    from PIL import ImageFont

    found = find_spec("matplotlib")
    assert found is not None, "matplotlib is one of Regatta's requirements"
    assert found.origin is not None
    folder = Path(found.origin).parent / "mpl-data" / "fonts" / "ttf"
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(str(folder / name), size, layout_engine=ImageFont.Layout.BASIC)


def write(
    draw: ImageDraw.ImageDraw,
    place: tuple[float, float],
    words: str,
    *,
    size: int = 11,
    color: str = INK,
    bold: bool = False,
    anchor: str = "la",
    fit_px: float = math.inf,
) -> float:
    """Writes one line, cut to `fit_px` where it is longer, and returns its width in pixels."""
    letters = font(size, bold=bold)
    words = fitting(words, letters, fit_px)
    draw.text(place, words, fill=color, font=letters, anchor=anchor)
    return letters.getlength(words)


def fitting(words: str, letters: ImageFont.FreeTypeFont, fit_px: float) -> str:
    """The words as one line without what cannot be drawn, and no wider than `fit_px`."""
    words = "".join(sign if sign.isprintable() else " " for sign in words)
    if letters.getlength(words) <= fit_px:
        return words
    short, long = 0, len(words)
    while short < long:  # the most letters that fit, with an ellipsis behind them
        middle = (short + long + 1) // 2
        short, long = (middle, long) if letters.getlength(words[:middle] + "…") <= fit_px else (short, middle - 1)
    return words[:short].rstrip() + "…" if short else ""


@lru_cache(maxsize=512)
def dot(color: str, radius: float) -> Image.Image:
    """A dot with a white rim and a hint of shadow around it, on nothing; smooth at its edge."""
    from PIL import Image, ImageDraw

    reach = math.ceil(radius + 2)
    side = (2 * reach + 1) * _FINER
    large = Image.new("RGBA", (side, side), (255, 255, 255, 0))
    draw = ImageDraw.Draw(large)
    for grown, fill in ((1.6, "#1c253060"), (1.1, WHITE), (0.0, color)):
        near, far = side / 2 - (radius + grown) * _FINER, side / 2 + (radius + grown) * _FINER
        draw.ellipse((near, near, far, far), fill=fill)
    return large.resize((2 * reach + 1, 2 * reach + 1), Image.Resampling.BOX)


def put_dot(image: Image.Image, x: float, y: float, color: str, radius: float) -> None:
    """Draws a dot whose middle is at (x, y)."""
    drawn = dot(color, radius)
    image.paste(drawn, (round(x - drawn.width / 2), round(y - drawn.height / 2)), drawn)


def class_color(number: int) -> str:
    """The colour of a class, by its number from 0."""
    color = CLASS_COLORS[number % len(CLASS_COLORS)]
    laps = min(number // len(CLASS_COLORS), 2)
    return mixed(color, WHITE, 0.45 * laps / 2) if laps else color


def mixed(one: str, other: str, share: float) -> str:
    """The colour on the way from `one` to `other`, `share` (0 to 1) of it."""
    pairs = zip(rgb(one), rgb(other), strict=True)
    return "#" + "".join(f"{round(a + (b - a) * share):02x}" for a, b in pairs)


def rgb(color: str) -> tuple[int, int, int]:
    """The numbers of `#rrggbb`."""
    return int(color[1:3], 16), int(color[3:5], 16), int(color[5:7], 16)


def scale_color(share: float) -> str:
    """Orange at 0, white at a half, blue at 1."""
    share = min(max(share, 0.0), 1.0)
    return mixed(ORANGE, WHITE, share * 2) if share < 0.5 else mixed(WHITE, BLUE, share * 2 - 1)


def png(image: Image.Image, *, hurried: bool = False) -> bytes:
    """The picture as a PNG with a palette, several times smaller than without; `hurried` bends faint colours a bit."""
    from PIL import Image

    file = io.BytesIO()
    method = Image.Quantize.FASTOCTREE if hurried else Image.Quantize.MAXCOVERAGE
    image.quantize(_COLORS, method=method, dither=Image.Dither.NONE).save(file, "PNG", compress_level=6)
    return file.getvalue()


def png_of_photos(image: Image.Image) -> bytes:
    """The picture as a PNG with all its colours."""
    file = io.BytesIO()
    image.save(file, "PNG", compress_level=6)
    return file.getvalue()


def ticks(low: float, high: float, most: int) -> list[float]:
    """Round numbers from `low` to `high`, at most about `most` of them."""
    rough = (high - low) / max(1, most)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
    return [step * number for number in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]
