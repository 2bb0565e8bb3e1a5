"""The layers of a network side by side as one epoch left them: gradients, activations, saturated and dead units."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from pipelines.pictures import brush
from pipelines.pictures.curves import ACCENT, GRID, WARN

if TYPE_CHECKING:
    from PIL import Image, ImageDraw

LAYERS = "layers"
"""The series in which the pictures of a training are kept."""
WIDTH_PX = 640
SATURATED, DEAD = brush.ORANGE, brush.INK
_PALE = brush.mixed(ACCENT, brush.WHITE, 0.62)
_LEFT, _RIGHT, _TITLE, _HEADING, _FOOT = 58, 12, 28, 30, 8
_GRADIENT, _ACTIVATION, _SHARE = 132, 92, 66  # heights of the panels
_LONGEST_NAME, _LINE = 92, 12
_MOST_DECADES = 16  # of the logarithmic axis; a gradient below is drawn as if it were 0
_LOWEST, _HIGHEST = 1e-37, 1e37  # of a float32 that is not on the way to 0 or infinity


Warned = Collection[tuple[str, str]]
"""Pairs of a layer's name and a measure of it."""


@dataclass(frozen=True)
class LayerState:
    """What one layer was like when an epoch ended; what has no meaning for it is None.

    Attributes:
        name: As it stands in metrics.
        gradient: Norm of the loss's gradient with respect to the kernel.
        mean: Of the activations.
        deviation: Of the activations.
        saturated: Share of the activations, 0 to 1.
        dead: Share of the units, 0 to 1.
    """

    name: str
    gradient: float | None = None
    mean: float | None = None
    deviation: float | None = None
    saturated: float | None = None
    dead: float | None = None


@dataclass(frozen=True)
class Scales:
    """The ranges of the axes. They only ever grow, so that what moves between two epochs is a layer and not an axis.

    Attributes:
        decades: Powers of ten at the ends of the gradients' axis; None before there was a gradient above 0.
        values: Ends of the activations' axis; None before there was a finite activation.
    """

    decades: tuple[int, int] | None = None
    values: tuple[float, float] | None = None

    def grown(self, states: Sequence[LayerState]) -> Scales:
        """With room for these layers, and some more where an axis has to give way."""
        decades, values = self.decades, self.values
        powers = [math.log10(g) for g in _finite(state.gradient for state in states) if _LOWEST < g < _HIGHEST]
        if powers:
            low, high = min(powers), max(powers)
            if decades is None:
                decades = math.floor(low) - 1, math.ceil(high) + 1
            else:
                first, last = decades
                decades = (
                    first if low >= first else math.floor(low) - 1,
                    last if high <= last else math.ceil(high) + 1,
                )
            decades = max(decades[0], decades[1] - _MOST_DECADES), decades[1]
        ends: list[float] = [end for state in states for end in _reach(state)]
        if ends:
            low, high = min(0.0, *ends), max(0.0, *ends)
            before = values or (0.0, 0.0)
            room = 0.15 * (max(high, before[1]) - min(low, before[0])) or 1.0
            values = (
                before[0] if low >= before[0] and values else low - room * (low < 0),
                before[1] if high <= before[1] and values else high + room,
            )
        return Scales(decades, values)


def layers_picture(
    states: Sequence[LayerState],
    scales: Scales,
    *,
    title: str = "",
    note: str = "",
    warned: Warned = (),
) -> bytes:
    """Draws layers side by side, from the input on the left to the output on the right.

    Above stands the gradient of each layer's kernel on a logarithmic axis, below it the activations as their mean and a
    deviation to both sides, at the bottom the share of saturated or dead units. A panel for which no layer has a number
    is left out. A gradient of 0 has no bar but says so, one that is no finite number is a cross at the top.

    Args:
        states: The layers in the order of the work; from about 40 on, only every so many have their name below.
        scales: The axes.
        title: Bold, at the top.
        note: Behind the title, less loud.
        warned: Pairs of a layer's name and a measure (`gradient`, `saturated`, `dead`) that are drawn in red.

    Returns:
        A PNG, 640 pixels wide.
    """
    from PIL import Image, ImageDraw

    parts = [
        (_GRADIENT, partial(_draw_gradients, decades=scales.decades or (-1, 1), warned=warned), _gradient_of),
        (_ACTIVATION, partial(_draw_activations, values=scales.values or (-1.0, 1.0)), _mean_of),
        (_SHARE, partial(_draw_shares, warned=warned), _share),
    ]
    panels = [(height, panel) for height, panel, of in parts if any(of(state) is not None for state in states)]
    names = _Names.of([state.name for state in states], (WIDTH_PX - _LEFT - _RIGHT) / max(1, len(states)))
    inside = sum(height + _HEADING for height, _ in panels)
    image = Image.new("RGB", (WIDTH_PX, _TITLE + inside + names.height + _FOOT), brush.WHITE)
    draw = ImageDraw.Draw(image)
    told = brush.write(draw, (_LEFT, 7), title, size=13, bold=True, fit_px=300) + 10 if title else 0.0
    brush.write(draw, (_LEFT + told, 9), note, color=brush.MUTED, fit_px=WIDTH_PX - _LEFT - _RIGHT - told)
    if not inside:
        brush.write(draw, (_LEFT, _TITLE), "no dense or convolutional layer is measured", color=brush.MUTED)
    top = _TITLE
    for height, panel in panels:
        top += _HEADING
        panel(draw, _Frame(top, top + height, len(states)), states)
        top += height
    names.draw(image, draw, top + 5)
    return brush.png(image, hurried=True)


@dataclass(frozen=True)
class _Frame:
    """Where a panel lies in the picture, and its columns."""

    top: int
    bottom: int
    count: int

    @property
    def column(self) -> float:
        return (WIDTH_PX - _LEFT - _RIGHT) / max(1, self.count)

    def middle(self, place: int) -> float:
        return _LEFT + (place + 0.5) * self.column

    def bar(self, place: int) -> tuple[int, int]:
        half = max(1.0, min(18.0, self.column * 0.32))
        return round(self.middle(place) - half), round(self.middle(place) + half)

    def y(self, share: float) -> float:
        return self.bottom - min(max(share, 0.0), 1.0) * (self.bottom - self.top)

    def rule(self, draw: ImageDraw.ImageDraw, share: float, words: str) -> None:
        """A line across with its number."""
        y = round(self.y(share))
        draw.line((_LEFT, y, WIDTH_PX - _RIGHT, y), fill=GRID)
        brush.write(draw, (_LEFT - 6, y), words, size=10, color=brush.MUTED, anchor="rm")

    def floor(self, draw: ImageDraw.ImageDraw) -> None:
        draw.line((_LEFT, self.bottom, WIDTH_PX - _RIGHT, self.bottom), fill=brush.MUTED)

    def heading(self, draw: ImageDraw.ImageDraw, words: str, rest: str) -> float:
        """The panel's name, and behind it what is drawn; returns where they end."""
        x = _LEFT + brush.write(draw, (_LEFT, self.top - 20), words, bold=True) + 8
        return x + brush.write(draw, (x, self.top - 19), rest, size=10, color=brush.MUTED)


def _draw_gradients(
    draw: ImageDraw.ImageDraw,
    frame: _Frame,
    states: Sequence[LayerState],
    *,
    decades: tuple[int, int],
    warned: Warned,
) -> None:
    low, high = decades
    red = "; red: far below that of a layer behind it" if any(what == "gradient" for _, what in warned) else ""
    frame.heading(draw, "gradient", f"norm of the loss's gradient by the layer's kernel, log scale{red}")
    every = -(-(high - low) * 18 // (frame.bottom - frame.top))
    for power in range(high, low - 1, -every):
        frame.rule(draw, (power - low) / (high - low), _power(power))
    frame.floor(draw)
    for place, state in enumerate(states):
        gradient = state.gradient
        if gradient is None:
            continue
        color = WARN if (state.name, "gradient") in warned else ACCENT
        x, (left, right) = frame.middle(place), frame.bar(place)
        if not math.isfinite(gradient):
            _cross(draw, x, frame.top + 6)
            continue
        share = (math.log10(gradient) - low) / (high - low) if gradient > _LOWEST else 0.0
        top = frame.y(share)
        if share > 0:
            draw.rectangle((left, round(top), right, frame.bottom - 1), fill=color)
        words = _short(gradient) if gradient > _LOWEST else "0"
        if frame.column >= 34:
            brush.write(draw, (x, max(top - 3, frame.top + 9)), words, size=9, color=color, anchor="ms")
        elif share <= 0:
            brush.write(draw, (x, frame.bottom - 3), "0", size=9, color=color, anchor="ms")


def _draw_activations(
    draw: ImageDraw.ImageDraw, frame: _Frame, states: Sequence[LayerState], *, values: tuple[float, float]
) -> None:
    low, high = values
    frame.heading(draw, "activations", "mean, and one standard deviation to both sides")
    for mark in brush.ticks(low, high, 4):
        frame.rule(draw, (mark - low) / (high - low), f"{mark:.4g}".replace("-", "\N{MINUS SIGN}"))
    for place, state in enumerate(states):
        if state.mean is None or state.deviation is None:
            continue
        x, ends = frame.middle(place), _reach(state)
        if not ends:
            _cross(draw, x, frame.top + 6)
            continue
        below, above = (frame.y((end - low) / (high - low)) for end in ends)
        half = max(1.0, min(7.0, frame.column * 0.2))
        draw.rectangle((round(x - half), round(above), round(x + half), round(below)), fill=_PALE)
        y = round(frame.y((state.mean - low) / (high - low)))
        draw.rectangle((round(x - half) - 2, y - 1, round(x + half) + 2, y), fill=ACCENT)


def _draw_shares(draw: ImageDraw.ImageDraw, frame: _Frame, states: Sequence[LayerState], *, warned: Warned) -> None:
    x = frame.heading(draw, "share", "of")
    kinds = (
        ("saturated activations", SATURATED, any(state.saturated is not None for state in states)),
        ("dead units", DEAD, any(state.dead is not None for state in states)),
    )
    for words, color, there in kinds:
        if there:
            draw.rectangle((x + 8, frame.top - 17, x + 15, frame.top - 10), fill=color)
            x += 20 + brush.write(draw, (x + 20, frame.top - 19), words, size=10, color=brush.MUTED)
    for share in (0.0, 0.5, 1.0):
        frame.rule(draw, share, f"{share:.0%}")
    frame.floor(draw)
    for place, state in enumerate(states):
        found = _share(state)
        if found is None:
            continue
        what, value = found
        color, loud = SATURATED if what == "saturated" else DEAD, (state.name, what) in warned
        left, right = frame.bar(place)
        if value > 0:
            top = min(round(frame.y(value)), frame.bottom - 2)
            draw.rectangle((left, top, right, frame.bottom - 1), fill=color)
            if loud:
                draw.rectangle((left, top, right, top + 2), fill=WARN)
        if frame.column >= 30:
            inside = value > 0.8  # above its bar, the number would leave the panel
            outside = WARN if loud else brush.MUTED
            ink = outside if not inside else brush.WHITE if what == "dead" else brush.INK
            y = frame.y(value) + (13 if inside else -3)
            brush.write(draw, (frame.middle(place), y), f"{value:.0%}", size=9, color=ink, anchor="ms")


@dataclass(frozen=True)
class _Names:
    """The layers' names below their columns: upright where they are short enough, else turned."""

    words: list[str]
    column: float
    turned: bool

    @classmethod
    def of(cls, words: list[str], column: float) -> _Names:
        letters = brush.font(10)
        return cls(words, column, any(letters.getlength(word) > column - 4 for word in words))

    @property
    def height(self) -> int:
        longest = max((brush.font(10).getlength(word) for word in self.words), default=0.0)
        return round(min(longest, _LONGEST_NAME)) + 8 if self.turned else _LINE + 6

    def draw(self, image: Image.Image, draw: ImageDraw.ImageDraw, top: int) -> None:
        every = math.ceil(_LINE / self.column) if self.turned else 1
        for place, word in enumerate(self.words):
            x = _LEFT + (place + 0.5) * self.column
            if not self.turned:
                brush.write(draw, (x, top), word, size=10, anchor="ma")
            elif place % every == 0:
                slip = _turned(word)
                image.paste(slip, (round(x - slip.width / 2), top))


def _turned(word: str) -> Image.Image:
    """A name on a slip of paper, to be read from below."""
    from PIL import Image, ImageDraw

    letters = brush.font(10)
    word = brush.fitting(word, letters, _LONGEST_NAME)
    slip = Image.new("RGB", (max(1, math.ceil(letters.getlength(word))), _LINE), brush.WHITE)
    brush.write(ImageDraw.Draw(slip), (0, 0), word, size=10)
    return slip.transpose(Image.Transpose.ROTATE_90)


def _gradient_of(state: LayerState) -> float | None:
    return state.gradient


def _mean_of(state: LayerState) -> float | None:
    return state.mean


def _share(state: LayerState) -> tuple[str, float] | None:
    """Which share the layer's activation gives a meaning, and its value."""
    for what, value in (("saturated", state.saturated), ("dead", state.dead)):
        if value is not None and math.isfinite(value):
            return what, value
    return None


def _reach(state: LayerState) -> tuple[float, ...]:
    """From a deviation below the mean to one above it; nothing where that is no sensible number."""
    if state.mean is None or state.deviation is None:
        return ()
    ends = state.mean - state.deviation, state.mean + state.deviation
    return ends if all(abs(end) < _HIGHEST for end in ends) else ()


def _finite(values: Iterable[float | None]) -> list[float]:
    return [value for value in values if value is not None and math.isfinite(value)]


def _cross(draw: ImageDraw.ImageDraw, x: float, y: float) -> None:
    """Stands for what is not a finite number."""
    draw.line((x - 4, y - 4, x + 4, y + 4), fill=WARN, width=2)
    draw.line((x - 4, y + 4, x + 4, y - 4), fill=WARN, width=2)


def _short(value: float) -> str:
    """A number in at most about six letters."""
    if 0.01 <= value < 1000:
        return f"{value:.2g}" if value < 100 else f"{value:.0f}"
    mantissa, power = f"{value:.0e}".split("e")
    return f"{mantissa}e{int(power)}".replace("-", "\N{MINUS SIGN}")


def _power(power: int) -> str:
    return f"{10.0**power:g}" if -3 <= power <= 3 else f"1e{power}".replace("-", "\N{MINUS SIGN}")
