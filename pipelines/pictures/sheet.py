"""A sheet of paper measured in pixels: plain lines, dots and texts on a matplotlib figure that has no axes.

One figure per thread is kept and cleared; nothing global is set.
"""

from __future__ import annotations

import io
import math
import threading
from functools import lru_cache
from typing import Any

WIDTH_PX, HEIGHT_PX = 900, 540
INK = "#1c2530"
COLORS = 64
FONT = "DejaVu Sans"  # it comes with matplotlib

Box = tuple[float, float, float, float]
"""Left, bottom, width, height."""
Floats = list[float]
_kept = threading.local()


class Sheet:
    """A figure in pixels, from the lower left, that is drawn over and over by one thread."""

    def __init__(self) -> None:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
        from matplotlib.lines import Line2D
        from matplotlib.transforms import IdentityTransform

        self._figure = Figure(figsize=(WIDTH_PX / 100, HEIGHT_PX / 100), dpi=100, facecolor="white")
        self._canvas: Any = FigureCanvasAgg(self._figure)
        self._line, self._pixels = Line2D, IdentityTransform()

    def cleared(self) -> Sheet:
        """Takes everything off it."""
        self._figure.clear()
        return self

    def line(
        self,
        xs: Floats,
        ys: Floats,
        color: str,
        thick: float,
        order: int = 2,
        dash: Any = None,
        clip: Box | None = None,
    ) -> None:
        """A line through points; what of it lies outside of `clip` is not drawn."""
        from matplotlib.transforms import Bbox

        style = (0, dash) if dash else "solid"
        line = self._line(xs, ys, color=color, lw=thick, ls=style, zorder=order, transform=self._pixels)
        self._figure.add_artist(line)
        if clip:
            line.set_clip_box(Bbox.from_bounds(*clip))

    def dots(self, xs: Floats, ys: Floats, color: str, size: float, marker: str = "o", ring: str = "") -> None:
        """Markers."""
        edge: dict[str, Any] = {"mec": ring or color, "mew": 1.4, "transform": self._pixels}
        self._figure.add_artist(self._line(xs, ys, color=color, marker=marker, ms=size, ls="none", zorder=4, **edge))

    def text(self, x: float, y: float, words: str, size: float = 9.5, fit_px: float = math.inf, **how: Any) -> None:
        """One line of words, cut to about `fit_px`."""
        most = fit_px / (size * 0.82)  # about a letter's width
        words = _drawable(words if len(words) <= most else words[: int(most) - 1] + "…")
        style: dict[str, Any] = {"color": INK, "fontsize": size, "family": FONT, "zorder": 5, "parse_math": False}
        self._figure.text(x, y, words, transform=self._pixels, **style | how)

    def png(self) -> bytes:
        """The figure as a PNG; few colours are in it, so a palette makes the file small and quick to write."""
        from PIL import Image

        self._canvas.draw()
        image = Image.frombuffer("RGBA", (WIDTH_PX, HEIGHT_PX), self._canvas.buffer_rgba(), "raw", "RGBA", 0, 1)
        file = io.BytesIO()
        fast = Image.Quantize.FASTOCTREE
        image.convert("RGB").quantize(COLORS, method=fast, dither=Image.Dither.NONE).save(file, "PNG")
        return file.getvalue()


def fresh_sheet() -> Sheet:
    """This thread's sheet, blank."""
    sheet: Sheet = getattr(_kept, "sheet", None) or Sheet()
    _kept.sheet = sheet
    return sheet.cleared()


@lru_cache(maxsize=256)
def _drawable(words: str) -> str:
    """Replaces what the font cannot draw: matplotlib would warn, to nobody's use."""
    from matplotlib.font_manager import findfont, get_font

    known = get_font(findfont(FONT)).get_charmap()
    return "".join(sign if ord(sign) in known and sign.isprintable() else "\N{WHITE SQUARE}" for sign in words)
