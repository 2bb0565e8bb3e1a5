"""A sheet of paper measured in pixels: plain lines, dots and texts, written down as SVG. Nothing global is set."""

from __future__ import annotations

import math
from itertools import groupby
from unicodedata import east_asian_width
from xml.sax.saxutils import escape

WIDTH_PX, HEIGHT_PX = 800, 500
INK = "#1c2530"
_LETTERS = "'DejaVu Sans',Verdana,'Segoe UI',Helvetica,Arial,sans-serif"
_LETTER_WIDTH = 0.6
"""Of its size, about, for a letter of these."""
_ANCHORS = {"left": "", "center": ' text-anchor="middle"', "right": ' text-anchor="end"'}
_DROP = {"baseline": 0.0, "center": 0.36, "top": 0.76}
"""How far below a place the baseline of a text is, in its sizes."""
_MOST_PER_PX = 4
"""Points of a line in one column of pixels; more than these nobody could see."""

Box = tuple[float, float, float, float]
"""Left, bottom, width, height."""
Floats = list[float]


class Sheet:
    """A picture in pixels, counted from the lower left. A higher layer is nearer; texts are nearest."""

    def __init__(self) -> None:
        self._shapes: list[tuple[int, str]] = []
        self._texts: list[str] = []
        self._clips: dict[Box, int] = {}

    def line(
        self,
        xs: Floats,
        ys: Floats,
        color: str,
        thick: float,
        order: int = 2,
        dash: tuple[float, float] | None = None,
        clip: Box | None = None,
    ) -> None:
        """A line through points; what of it lies outside of `clip` is not drawn.

        Args:
            xs: Pixels from the left.
            ys: Pixels from below.
            color: Of the line.
            thick: Its thickness.
            order: Its layer.
            dash: Lengths of the dashes and of the gaps between them.
            clip: What of the sheet it may touch.
        """
        places = list(zip(xs, ys, strict=True))
        if len(places) > _MOST_PER_PX * WIDTH_PX:
            places = _thinned(places)
        points = " ".join(f"{x:.1f},{HEIGHT_PX - y:.1f}" for x, y in places)
        more = f' stroke-dasharray="{dash[0]:g} {dash[1]:g}"' if dash else ""
        if clip is not None:
            more += f' clip-path="url(#c{self._clips.setdefault(clip, len(self._clips))})"'
        self._shapes.append(
            (order, f'<polyline points="{points}" fill="none" stroke="{color}" stroke-width="{thick:g}"{more}/>')
        )

    def dots(self, xs: Floats, ys: Floats, color: str, size: float, marker: str = "o", ring: str = "") -> None:
        """Markers: discs of a diameter, with a `ring` of another colour, or crosses (`x`)."""
        half = size / 2
        for x, y in zip(xs, ys, strict=True):
            down = HEIGHT_PX - y
            if marker == "x":
                path = f"M{x - half:.1f} {down - half:.1f}l{size:g} {size:g}m0 {-size:g}l{-size:g} {size:g}"
                self._shapes.append((4, f'<path d="{path}" stroke="{color}" stroke-width="2"/>'))
            else:
                rim = f' stroke="{ring}" stroke-width="2"' if ring else ""
                self._shapes.append((4, f'<circle cx="{x:.1f}" cy="{down:.1f}" r="{half:g}" fill="{color}"{rim}/>'))

    def text(
        self,
        x: float,
        y: float,
        words: str,
        size: float = 13,
        fit_px: float = math.inf,
        *,
        color: str = INK,
        weight: str = "normal",
        ha: str = "left",
        va: str = "baseline",
    ) -> None:
        """One line of words, cut to about `fit_px`; `ha` and `va` say which point of it is at (x, y)."""
        words = escape(_fitting(printable(words), fit_px / (size * _LETTER_WIDTH)))
        if words:
            bold = ' font-weight="bold"' if weight == "bold" else ""
            place = f'x="{x:.1f}" y="{HEIGHT_PX - y + _DROP[va] * size:.1f}"'
            self._texts.append(f'<text {place} font-size="{size:g}" fill="{color}"{_ANCHORS[ha]}{bold}>{words}</text>')

    def svg(self, title: str, description: str) -> bytes:
        """The sheet as an SVG, in UTF-8; title and description are for those who have it read to them."""
        clips = "".join(
            f'<clipPath id="c{number}"><rect x="{x:.1f}" y="{HEIGHT_PX - y - high:.1f}" width="{wide:.1f}" '
            f'height="{high:.1f}"/></clipPath>'
            for (x, y, wide, high), number in self._clips.items()
        )
        told = f"<title>{escape(printable(title))}</title><desc>{escape(printable(description))}</desc>"
        shapes = [shape for _, shape in sorted(self._shapes, key=lambda shape: shape[0])]
        begins = (
            f'<svg xmlns="http://www.w3.org/2000/svg" role="img" viewBox="0 0 {WIDTH_PX} {HEIGHT_PX}" '
            f'width="{WIDTH_PX}" height="{HEIGHT_PX}" font-family="{_LETTERS}" stroke-linejoin="round">'
        )
        paper = f'<rect width="{WIDTH_PX}" height="{HEIGHT_PX}" fill="#ffffff"/>'
        defined = f"<defs>{clips}</defs>" if clips else ""
        return "\n".join((begins, told, defined, paper, *shapes, *self._texts, "</svg>\n")).encode()


def printable(words: str) -> str:
    """The words without what cannot be drawn, and what XML may not hold."""
    if words.isprintable():
        return words
    return "".join(sign if sign.isprintable() else "\N{WHITE SQUARE}" for sign in words)


def _fitting(words: str, most: float) -> str:
    """As much of the words as there is room for, told in letters; those of the far east take the room of two."""
    if len(words) <= most and words.isascii():
        return words
    taken = 0
    for place, sign in enumerate(words):
        taken += 2 if east_asian_width(sign) in "WF" else 1
        if taken > most:
            return words[: max(0, place - 1)] + "…"
    return words


def _thinned(places: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Of each column of pixels the first point, the lowest, the highest and the last, in their order."""
    kept: list[tuple[float, float]] = []
    for _, column in groupby(enumerate(places), key=lambda found: int(found[1][0])):
        points = list(column)
        lowest = min(points, key=lambda found: found[1][1])
        highest = max(points, key=lambda found: found[1][1])
        kept += [place for _, place in sorted({points[0], lowest, highest, points[-1]})]
    return kept
