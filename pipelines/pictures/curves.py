"""The picture of one trial: its curves over epochs as an SVG.

It is laid out in pixels and written down as plain lines and texts, which takes less than a millisecond: after every
trial, there is time for that.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from pipelines.pictures.sheet import HEIGHT_PX, INK, WIDTH_PX, Box, Floats, Sheet

ACCENT, TRAIN, MUTED, GRID, WARN = "#0b7285", "#8a94a0", "#66717d", "#e6e9ed", "#b4452f"
LEFT, LABEL_ROOM, GUTTER = 62, 100, 56  # room for tick labels, for the labels at a curve's end, between the columns
SMALL = 12.5
HIGHEST = 1e300  # stores keep an infinity as the largest double; beyond this a number is not meant as one
MOST_SIDE_PANELS = 3
RATES = ("learning_rate", "lr")

Curves = Mapping[str, Sequence[tuple[int, float]]]
Points = list[tuple[int, float]]


def loss_curve(curves: Curves, *, title: str, best_epoch: int | None) -> bytes:
    """Draws what a trial did: losses on the left, other metrics on the right, the learning rate below if it changes.

    A metric and its `val_` twin share a panel. Values that are not finite leave gaps, and the picture says where. What
    has a `/` in its name, such as `diagnostics/hidden_1/mean`, is for those who look closer, and is left out.

    Args:
        curves: Points (epoch from 0, value) by metric, in order of epochs; `learning_rate` is one of them.
        title: One line, shown as it is.
        best_epoch: The epoch to mark, or None.

    Returns:
        An SVG of 800 x 500 pixels, readable also where it is shown at 640.
    """
    curves = {name: points for name, points in curves.items() if "/" not in name}
    pairs = _pairs(name for name in curves if name not in RATES)
    epochs = [epoch for points in curves.values() for epoch, _ in points]
    sheet = Sheet()
    sheet.text(LEFT, HEIGHT_PX - 30, title, size=18, weight="bold", fit_px=WIDTH_PX - LEFT - 10)
    subtitle = _subtitle(curves, pairs, best_epoch) if epochs else "No epoch was recorded."
    sheet.text(LEFT, HEIGHT_PX - 51, subtitle, color=MUTED, fit_px=WIDTH_PX - LEFT - 10)
    if not epochs:
        return sheet.svg(title, subtitle)
    missing = _missing_sentence(curves)
    sheet.text(LEFT, 10, missing, color=WARN, size=SMALL, fit_px=WIDTH_PX - LEFT - 10)
    span, floor, top = (min(epochs), max(epochs)), 48 + (16 if missing else 0), HEIGHT_PX - 92
    rate = [point for name in RATES for point in curves.get(name, ()) if _is_number(point[1])]
    strip = 76 if len({value for _, value in rate}) > 1 else 0
    side = [pair for pair in pairs if pair[0] != "loss"]
    left_column = pairs[:1] if len(side) < len(pairs) else []
    columns = [column for column in (left_column, side[:MOST_SIDE_PANELS]) if column] or [[]]
    width = (WIDTH_PX - LEFT - LABEL_ROOM - (LABEL_ROOM + GUTTER) * (len(columns) - 1)) / len(columns)
    for place, column in enumerate(columns):
        left, bottom = LEFT + place * (width + LABEL_ROOM + GUTTER), floor
        if strip and place == 0:
            _draw_rate(sheet, rate, (left, bottom, width, 34), span)
            bottom += strip
        else:
            _draw_epochs(sheet, (left, bottom, width, 0), span)
        height = (top - bottom - 34 * (len(column) - 1)) / max(1, len(column))
        for rank, pair in enumerate(reversed(column)):
            _draw_panel(sheet, pair, curves, (left, bottom + (height + 34) * rank, width, height), span, best_epoch)
    if side[MOST_SIDE_PANELS:]:
        rest = ", ".join(pair[0] for pair in side[MOST_SIDE_PANELS:])
        sheet.text(WIDTH_PX - 10, top + 25, f"not drawn: {rest}", color=MUTED, size=SMALL, ha="right", fit_px=300)
    return sheet.svg(title, ". ".join(filter(None, (subtitle, missing))))


@dataclass(frozen=True)
class _Panel:
    """A box in pixels (left, bottom, width, height) and the data ranges that fill it."""

    box: Box
    epochs: tuple[int, int]
    low: float
    high: float
    log: bool

    @classmethod
    def around(
        cls, box: Box, epochs: tuple[int, int], values: Floats, log_above: float = 100, keep: Floats | None = None
    ) -> _Panel:
        """The panel that shows `values`; with `keep` given, those far off may be cut off that are not in it."""
        low, high = (min(values), max(values)) if values else (math.nan, math.nan)
        log = low > 0 and high / low > log_above
        if log:
            low, high = math.log10(low), math.log10(high)
        elif keep is not None and values:
            low, high = _without_far_off(values, keep)
        room = (high / 2 - low / 2) * (0.16 if box[3] > 60 else 0.3) or abs(high) * 0.05 or 0.5
        return cls(box, epochs, low - room, high + room, log)

    def x(self, epoch: float) -> float:
        first, last = self.epochs
        share = (epoch - first) / (last - first) if last > first else 0.5
        return self.box[0] + 8 + share * (self.box[2] - 16)

    def y(self, value: float) -> float:
        value = math.log10(value) if self.log else value
        return self.box[1] + (value / 2 - self.low / 2) / (self.high / 2 - self.low / 2) * self.box[3]

    def holds(self, value: float) -> bool:
        """Whether the value lies inside the panel."""
        return self.low <= (math.log10(value) if self.log else value) <= self.high

    def ticks(self) -> list[tuple[float, str]]:
        """Round values inside the panel, with their labels."""
        if math.isnan(self.low):
            return []
        if self.log:
            every = max(1, math.ceil((self.high - self.low) * 34 / self.box[3]))
            return [(10.0**k, f"{10.0**k:g}") for k in range(math.ceil(self.low), math.floor(self.high) + 1, every)]
        step = _round_step((self.high / 2 - self.low / 2) * 2 / max(3, self.box[3] / 44))
        numbers = range(math.ceil(self.low / step), math.floor(self.high / step) + 1)
        return [(step * number, f"{step * number:.6g}") for number in numbers]


def _draw_panel(
    sheet: Sheet, pair: tuple[str, str], curves: Curves, box: Box, span: tuple[int, int], best_epoch: int | None
) -> None:
    left, bottom, width, height = box
    points = [[point for point in curves.get(name, ()) if _is_number(point[1])] for name in pair]
    values = [value for stretch in points for _, value in stretch]
    keep = [value for stretch in points for epoch, value in stretch if epoch == best_epoch or epoch == stretch[-1][0]]
    panel = _Panel.around(box, span, values, keep=keep)
    sheet.text(left, bottom + height + 9, f"{pair[0]}{_scale_note(panel, values)}", weight="bold", fit_px=width)
    for value, label in panel.ticks():
        sheet.line([left, left + width], [panel.y(value)] * 2, GRID, 1.1, order=0)
        sheet.text(left - 7, panel.y(value), label, color=MUTED, size=SMALL, ha="right", va="center")
    best = best_epoch if best_epoch is not None and span[0] <= best_epoch <= span[1] else None
    if best is not None:
        x = panel.x(best)
        sheet.line([x, x], [bottom, bottom + height], ACCENT, 1.25, order=1, dash=(4, 4))
        if height > 150:
            side, shift = ("right", -5) if x > left + width - 84 else ("left", 5)
            sheet.text(
                x + shift, bottom + height - 4, f"best epoch {best}", color=ACCENT, size=SMALL, ha=side, va="top"
            )
    labels: list[tuple[float, str, str]] = []
    for name, kind, color, thick in ((pair[0], "train", TRAIN, 2.2), (pair[1], "val", ACCENT, 2.9)):
        drawn = _draw_curve(sheet, panel, curves.get(name, ()), color, thick)
        if drawn:
            labels.append((panel.y(drawn[-1][1]), f"{kind} {drawn[-1][1]:.4g}", color))
        if best is not None and best in dict(drawn):
            sheet.dots([panel.x(best)], [panel.y(dict(drawn)[best])], color, 9, ring="#ffffff")
    if not labels:
        sheet.text(left + width / 2, bottom + height / 2, "no finite value", color=WARN, ha="center", va="center")
    for y, label, color in _apart(labels, 15):
        sheet.text(left + width + 4, y, label, color=MUTED if color == TRAIN else color, size=13, va="center")


def _draw_curve(sheet: Sheet, panel: _Panel, points: Sequence[tuple[int, float]], color: str, thick: float) -> Points:
    """Draws unbroken stretches as lines, a lone point as a dot, a value that is no number as a cross on the floor."""
    drawn: Points = []
    clip = None if all(panel.holds(value) for _, value in points if _is_number(value)) else panel.box
    for finite, group in groupby(points, key=lambda point: _is_number(point[1])):
        stretch = list(group)
        xs = [panel.x(epoch) for epoch, _ in stretch]
        if not finite:
            sheet.dots(xs, [panel.box[1] + 5] * len(xs), WARN, 8, marker="x")
            continue
        drawn += stretch
        ys = [panel.y(value) for _, value in stretch]
        if len(stretch) > 1:
            sheet.line(xs, ys, color, thick, order=3, clip=clip)
        elif panel.holds(stretch[0][1]):
            sheet.dots(xs, ys, color, 7)
    return drawn


def _draw_rate(sheet: Sheet, rate: Points, box: Box, span: tuple[int, int]) -> None:
    left, bottom, width, height = box
    panel = _Panel.around(box, span, [value for _, value in rate], log_above=10)
    scale = " (log scale)" if panel.log else ""
    sheet.text(left, bottom + height + 7, "learning rate" + scale, weight="bold", size=13)
    xs, ys = [panel.x(rate[0][0])], [panel.y(rate[0][1])]
    for epoch, value in rate[1:]:  # it holds for an epoch and jumps to the next one's
        xs += [panel.x(epoch)] * 2
        ys += [ys[-1], panel.y(value)]
    sheet.line(xs, ys, INK, 1.8, order=3)
    sheet.text(left - 7, ys[0], f"{rate[0][1]:.3g}", color=MUTED, size=SMALL, ha="right", va="center")
    sheet.text(left + width + 4, ys[-1], f"{rate[-1][1]:.3g}", size=13, va="center")
    _draw_epochs(sheet, box, span)


def _draw_epochs(sheet: Sheet, box: Box, span: tuple[int, int]) -> None:
    panel = _Panel(box, span, 0.0, 1.0, log=False)
    left, bottom, width, _ = box
    sheet.line([left, left + width], [bottom] * 2, MUTED, 1.1)
    step = max(1, round(_round_step((span[1] - span[0]) / max(2.0, width / 48))))
    for epoch in range(-(-span[0] // step) * step, span[1] + 1, step):
        sheet.line([panel.x(epoch)] * 2, [bottom, bottom - 4], MUTED, 1.1)
        sheet.text(panel.x(epoch), bottom - 7, str(epoch), color=MUTED, size=SMALL, ha="center", va="top")
    sheet.text(left + width / 2, bottom - 21, "epoch, counted from 0", color=MUTED, size=SMALL, ha="center", va="top")


def _is_number(value: float) -> bool:
    return math.isfinite(value) and abs(value) < HIGHEST


def _without_far_off(values: Floats, keep: Floats) -> tuple[float, float]:
    """The lowest and the highest value to draw, without those so far off that they would flatten all others."""
    ordered = sorted(values)
    quarter = len(ordered) // 4
    low, high = ordered[quarter], ordered[-1 - quarter]
    reach = 3 * (high / 2 - low / 2) * 2
    low, high = min(low - reach, *keep, high), max(high + reach, *keep, low)
    if ordered[-1] / 16 - ordered[0] / 16 <= high / 2 - low / 2:  # they do not
        return ordered[0], ordered[-1]
    return max(low, ordered[0]), min(high, ordered[-1])


def _scale_note(panel: _Panel, values: Floats) -> str:
    if panel.log:
        return " (log scale)"
    below = sum(not panel.holds(value) and value < panel.low for value in values)
    above = sum(not panel.holds(value) and value > panel.high for value in values)
    said = [f"{count} {word}" for count, word in ((below, "below"), (above, "above")) if count]
    return f" ({' and '.join(said)} the panel)" if said else ""


def _pairs(names: Iterable[str]) -> list[tuple[str, str]]:
    """Metrics with their validation twins, `loss` first and then in the order they came."""
    bases = dict.fromkeys(name.removeprefix("val_") for name in names)
    return [(base, f"val_{base}") for base in sorted(bases, key=lambda base: base != "loss")]


def _subtitle(curves: Curves, pairs: list[tuple[str, str]], best_epoch: int | None) -> str:
    count = len({epoch for points in curves.values() for epoch, _ in points})
    words = [f"{count} epoch{'' if count == 1 else 's'}"]
    if best_epoch is not None:
        values = [(name, dict(curves.get(name, ())).get(best_epoch)) for pair in pairs for name in reversed(pair)]
        said = [f"{name} {value:.4g}" for name, value in values if value is not None and _is_number(value)][:3]
        words.append(f"best epoch {best_epoch}" + (f" with {', '.join(said)}" if said else ""))
    return "; ".join(words)


def _missing_sentence(curves: Curves) -> str:
    gaps = {name: [epoch for epoch, value in points if not _is_number(value)] for name, points in curves.items()}
    said = [f"{name} at {_ranges(epochs)}" for name, epochs in gaps.items() if epochs]
    return f"Not a finite number (×): {'; '.join(said)}" if said else ""


def _ranges(epochs: list[int]) -> str:
    runs = [[e for _, e in run] for _, run in groupby(enumerate(epochs), key=lambda pair: pair[1] - pair[0])]
    return "epoch " + ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}–{run[-1]}" for run in runs)


def _round_step(rough: float) -> float:
    """The smallest of 1, 2, 5 times a power of ten that is not below `rough`."""
    if rough <= 0:
        return 1.0
    power: float = 10.0 ** math.floor(math.log10(rough))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)


def _apart(labels: list[tuple[float, str, str]], distance: float) -> list[tuple[float, str, str]]:
    """Moves labels that would overlap to `distance` pixels from each other, keeping their order and their middle."""
    ordered = sorted(labels)
    if len(ordered) == 2 and ordered[1][0] - ordered[0][0] < distance:
        middle = (ordered[0][0] + ordered[1][0]) / 2
        return [(middle - distance / 2, *ordered[0][1:]), (middle + distance / 2, *ordered[1][1:])]
    return ordered
