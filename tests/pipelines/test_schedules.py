from __future__ import annotations

import math

import pytest
from pydantic import ValidationError

from pipelines.schedules import ExponentialDecay, OwnSchedule, Schedule, StepDecay


def rates(schedule: Schedule, epochs: int, rate: float = 1.0) -> list[float]:
    """The rate of each epoch, as Keras's callback makes it from the epoch and the rate before."""
    found = []
    for epoch in range(epochs):
        rate = schedule(epoch, rate)
        found.append(rate)
    return found


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (StepDecay(factor=0.5, every=2), [1, 1, 0.5, 0.5, 0.25]),
        (StepDecay(factor=0.1, every=1), [1, 0.1, 0.01, 0.001]),
        (StepDecay(factor=1, every=1), [1, 1, 1]),
        (ExponentialDecay(decay=math.log(2)), [1, 0.5, 0.25, 0.125]),
        (ExponentialDecay(decay=math.log(2), start_from_epoch=2), [1, 1, 0.5, 0.25]),
    ],
)
def test_a_schedule_follows_the_epoch(spec: StepDecay | ExponentialDecay, expected: list[float]) -> None:
    assert rates(spec.build(), len(expected)) == pytest.approx(expected)


def test_a_function_of_ones_own_is_imported_by_name() -> None:
    assert OwnSchedule(function="math:ldexp").build() is math.ldexp


@pytest.mark.parametrize("name", ["math", "math:", ":ldexp", "math:ld exp", "math:a.b", "os;x:y", "math.ldexp"])
def test_a_name_that_is_no_module_and_function_is_refused(name: str) -> None:
    with pytest.raises(ValidationError):
        OwnSchedule(function=name)
