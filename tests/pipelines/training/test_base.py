from __future__ import annotations

import math

import pytest

from pipelines.training.base import Best

NAN, INF = math.nan, math.inf


@pytest.mark.parametrize(
    ("direction", "values", "improved", "value", "epoch"),
    [
        ("minimize", [3.0, 2.0, 2.0, 1.0], [True, True, False, True], 1.0, 3),
        ("minimize", [1.0, 2.0, 1.0], [True, False, False], 1.0, 0),
        ("maximize", [1.0, 2.0, 1.0, 3.0], [True, True, False, True], 3.0, 3),
        ("maximize", [-1.0, -2.0, 0.0], [True, False, True], 0.0, 2),
        ("minimize", [NAN, 5.0, NAN, 4.0], [False, True, False, True], 4.0, 3),
        ("minimize", [-INF, 5.0], [False, True], 5.0, 1),
        ("maximize", [INF, 5.0], [False, True], 5.0, 1),
        ("minimize", [NAN, INF], [False, False], None, None),
        ("minimize", [], [], None, None),
    ],
)
def test_the_best_is_the_first_finite_value_that_none_beats(
    direction: str, values: list[float], improved: list[bool], value: float | None, epoch: int | None
) -> None:
    best = Best(direction)
    assert [best.improved_by(found, number) for number, found in enumerate(values)] == improved
    assert (best.value, best.epoch) == (value, epoch)
