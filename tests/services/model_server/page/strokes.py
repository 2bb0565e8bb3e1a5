"""Digits as a hand draws them: strokes in the unit square, y down, two ways for most."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np

Stroke = list[tuple[float, float]]


def arc(x: float, y: float, wide: float, tall: float, start: float, end: float, points: int = 14) -> Stroke:
    """A part of an ellipse; angles in degrees, 0 to the right, 90 down."""
    angles = np.radians(np.linspace(start, end, points))
    return [(x + wide * math.cos(angle), y + tall * math.sin(angle)) for angle in angles]


DIGITS: dict[str, list[list[Stroke]]] = {
    "0": [[arc(0.5, 0.5, 0.26, 0.38, -90, 270, 24)], [arc(0.5, 0.5, 0.3, 0.36, -60, 300, 24)]],
    "1": [[[(0.5, 0.12), (0.5, 0.88)]], [[(0.36, 0.28), (0.52, 0.12), (0.52, 0.88)]]],
    "2": [
        [[*arc(0.5, 0.32, 0.24, 0.2, -170, 40), (0.26, 0.88), (0.78, 0.88)]],
        [[*arc(0.48, 0.3, 0.22, 0.18, -150, 50), (0.28, 0.84), (0.5, 0.8), (0.76, 0.86)]],
    ],
    "3": [
        [[*arc(0.46, 0.31, 0.22, 0.19, -150, 90), *arc(0.46, 0.69, 0.25, 0.2, -90, 150)]],
        [[(0.28, 0.14), (0.68, 0.14), (0.46, 0.44), *arc(0.46, 0.66, 0.24, 0.22, -90, 150)]],
    ],
    "4": [
        [[(0.52, 0.1), (0.22, 0.6), (0.8, 0.6)], [(0.62, 0.36), (0.62, 0.9)]],
        [[(0.3, 0.12), (0.26, 0.52), (0.72, 0.52)], [(0.68, 0.12), (0.64, 0.9)]],
    ],
    "5": [
        [[(0.72, 0.12), (0.32, 0.12), (0.3, 0.46), *arc(0.46, 0.65, 0.25, 0.22, -110, 150)]],
        [[(0.34, 0.12), (0.31, 0.44), *arc(0.46, 0.66, 0.24, 0.21, -100, 140)], [(0.34, 0.12), (0.72, 0.12)]],
    ],
    "6": [
        [[(0.62, 0.1), (0.42, 0.3), (0.3, 0.58), *arc(0.5, 0.68, 0.2, 0.2, 180, -180, 20)]],
        [[(0.56, 0.1), (0.34, 0.44), *arc(0.5, 0.67, 0.21, 0.2, 190, -150, 20)]],
    ],
    "7": [
        [[(0.25, 0.14), (0.74, 0.14), (0.44, 0.88)]],
        [[(0.25, 0.14), (0.74, 0.14), (0.44, 0.88)], [(0.36, 0.52), (0.68, 0.5)]],
    ],
    "8": [
        [[*arc(0.5, 0.3, 0.18, 0.18, 90, 450, 18), *arc(0.5, 0.69, 0.21, 0.2, -90, 270, 18)]],
        [[*arc(0.5, 0.3, 0.19, 0.17, 60, -240, 16), *arc(0.5, 0.68, 0.2, 0.2, -120, 240, 18)]],
    ],
    "9": [
        [[*arc(0.5, 0.32, 0.2, 0.2, 0, -360, 20), (0.68, 0.6), (0.6, 0.9)]],
        [[*arc(0.5, 0.32, 0.2, 0.2, 10, -350, 20), (0.7, 0.88)]],
    ],
}


def dense(stroke: Stroke, apart: float = 0.02) -> Stroke:
    """Points as close as a moving mouse leaves them."""
    points = [stroke[0]]
    for (x, y), (to_x, to_y) in pairwise(stroke):
        steps = max(1, round(math.hypot(to_x - x, to_y - y) / apart))
        points += [(x + (to_x - x) * step / steps, y + (to_y - y) * step / steps) for step in range(1, steps + 1)]
    return points


def drawn(digit: str, seed: int) -> list[Stroke]:
    """A digit somewhere on the pad, in a size of its own, slanted and stretched as hands do it."""
    random = np.random.default_rng([ord(digit), seed])
    strokes = [dense(stroke) for stroke in DIGITS[digit][seed % len(DIGITS[digit])]]
    turn, slant = random.uniform(-0.16, 0.16), random.uniform(-0.2, 0.12)
    size, aspect = random.uniform(0.4, 1.0), random.uniform(0.8, 1.5)
    rotation = np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
    form = rotation @ np.array([[1, slant], [0, 1]]) @ np.diag([aspect, 1.0]) * size
    middle = 0.5 + random.uniform(-0.5, 0.5, 2) * (1 - size) * 0.8
    moved = [[middle + form @ (np.array(point) - 0.5) for point in stroke] for stroke in strokes]
    return [[(float(np.clip(x, 0.02, 0.98)), float(np.clip(y, 0.02, 0.98))) for x, y in stroke] for stroke in moved]
