"""All trials as lines through their parameters, and the scales that parameters and losses are drawn on."""

from __future__ import annotations

import math
import random

import pytest

from pipelines.records import TrialState
from pipelines.report import to_html
from pipelines.report.figures import axis_for
from pipelines.report.parallel import (
    BEST,
    BROKEN,
    FAILED,
    MOST_AXES,
    MOST_CHOICES,
    PRUNED,
    Parallel,
    ParallelAxis,
    parallel_of,
    parallel_told,
)
from pipelines.report.scales import by_factors, tick_text, ticks
from pipelines.report.slices import slice_figure
from pipelines.report.summary import Summary
from tests.pipelines.test_report import Page, study, trial


def spread(how: str, seed: int, count: int = 500) -> list[float]:
    chance = random.Random(seed)
    kinds = {
        "rate": lambda: 10 ** chance.uniform(-5, -1),
        "found rate": lambda: 10 ** (chance.gauss(-1.5, 0.2) if chance.random() < 0.95 else chance.uniform(-5, -1)),
        "dropout": lambda: chance.uniform(0.001, 0.5),
        "units": lambda: float(chance.randrange(8, 257)),
        "batch size": lambda: float(chance.choice([16, 32, 64, 128, 256])),
        "with zero": lambda: chance.choice([0.0, 1e-5, 1e-3, 0.1]),
        "narrow": lambda: chance.uniform(1.0, 7.0),
    }
    return [kinds[how]() for _ in range(count)]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    ("how", "log"),
    [
        ("rate", True), ("found rate", True), ("batch size", True),
        ("dropout", False), ("units", False), ("with zero", False), ("narrow", False),
    ],
)  # fmt: skip
def test_what_is_searched_by_factors_is_drawn_so(how: str, log: bool, seed: int) -> None:
    assert by_factors(spread(how, seed)) is log


@pytest.mark.parametrize(
    ("low", "high", "log", "expected"),
    [
        (0.0, 1.0, False, [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (8.0, 256.0, False, [50.0, 100.0, 150.0, 200.0, 250.0]),
        (-3.0, 3.0, False, [-2.0, 0.0, 2.0]),
        (1e-5, 0.1, True, [1e-5, 1e-4, 1e-3, 1e-2, 0.1]),
        (2e-12, 0.5, True, [1e-11, 1e-09, 1e-07, 1e-05, 1e-3, 0.1]),
        (1.5, 60.0, True, [2.0, 5.0, 10.0, 20.0, 50.0]),
        (4.0, 4.0, True, [4.0]),
        (1e-14, 3e-14, False, [1e-14, 1.5e-14, 2e-14, 2.5e-14, 3e-14]),
    ],
)
def test_ticks_are_round_and_few(low: float, high: float, log: bool, expected: list[float]) -> None:
    assert ticks(low, high, log=log) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize("exponent", [-290, -20, -3, 0, 2, 9, 290])
def test_there_are_ticks_within_any_range(exponent: int, log: bool) -> None:
    for wide in (1.0001, 1.4, 8.0, 99.0, 1e4, 1e9):
        low = 1.3 * 10.0**exponent
        found = ticks(low, low * wide, log=log)
        assert 1 <= len(found) <= 6
        assert found == sorted(found)
        assert all(low * (1 - 1e-6) <= tick <= low * wide * (1 + 1e-6) for tick in found)


def test_ticks_are_told_as_people_write_them() -> None:
    assert [tick_text(tick) for tick in (0.001, 64.0, 50_000.0, 2e6, 1e-5, -3_000.0, 1500.5)] == [
        "0.001", "64", "50,000", "2e+06", "1e-05", "-3,000", "1500"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("values", "ratio", "log"),
    [
        ([0.02, 0.3, 0.7], 30.0, True),
        ([0.03, 0.3, 0.7], 30.0, False),
        ([0.0, 0.3, 0.7, 50.0], 30.0, False),
        ([0.02, 0.3, 0.7], 100.0, False),
    ],
)
def test_an_axis_is_logarithmic_above_a_ratio_and_never_with_a_zero(
    values: list[float], ratio: float, log: bool
) -> None:
    assert axis_for(values, ratio=ratio).log is log


@pytest.mark.parametrize("declared", [False, True])
def test_what_the_recipe_draws_by_factors_is_shown_so_whatever_was_drawn(declared: bool) -> None:
    rates = [0.002, 0.003, 0.0035, 0.004, 0.0045, 0.005, 0.0055, 0.006]  # by chance from less than a decade
    trials = [trial(number, value=rate, params={"rate": rate}) for number, rate in enumerate(rates)]
    told = Summary(study(*trials, logarithmic=frozenset({"rate"} if declared else ())))

    found = parallel_of(told)
    assert found is not None
    assert [each.log for each in found.axes if each.path == "rate"] == [declared]
    figure = slice_figure(told, "rate", axis_for([0.1, 0.2], ratio=30.0))
    assert (figure.layout.xaxis.type == "log") is declared


def test_the_best_is_not_counted_twice_among_the_dots() -> None:
    trials = [trial(number, value=0.1 + number, params={"rate": number}) for number in range(4)]
    figure = slice_figure(Summary(study(*trials)), "rate", axis_for([0.1, 3.1], ratio=1000.0))

    assert {"other complete (3)", "best: trial 0"} <= {found.name for found in figure.data}


def test_a_loss_is_drawn_by_factors_sooner_than_an_accuracy() -> None:
    fall = tuple((epoch, 2.0 * 0.6**epoch) for epoch in range(9))  # 60 times
    rise = tuple((epoch, 0.015 * (1 + 7 * epoch)) for epoch in range(9))
    shown = Page(
        to_html(study(*(trial(n, value=fall[-1][1], curves={"val_loss": fall, "accuracy": rise}) for n in range(3))))
    )

    assert shown.data["curves-0"]["layout"]["yaxis"]["type"] == "log"
    assert shown.data["curves-1"]["layout"]["yaxis"]["type"] == "linear"


# parallel coordinates


def drawn(*trials: object, **other: object) -> Parallel:
    found = parallel_of(Summary(study(*trials, **other)))  # type: ignore[arg-type]
    assert found is not None
    return found


def axis(parallel: Parallel, name: str) -> ParallelAxis:
    return next(axis for axis in parallel.axes if axis.name == name)


def places(parallel: Parallel, name: str) -> dict[int, float | None]:
    return dict(zip(parallel.trials, axis(parallel, name).places, strict=True))


def test_the_objective_stands_first_and_the_important_parameters_next_to_it() -> None:
    trials = [trial(n, value=0.1 * n + 0.1, params={"a": n, "b": n, "c": "same"}) for n in range(4)]
    found = drawn(*trials, importances={"b": 0.9, "a": 0.1})

    assert [each.name for each in found.axes] == ["val_loss", "b", "a"]
    assert found.axes[0].better == "down"
    assert "The same in all trials: c." in parallel_told(found)


def test_a_parameter_by_factors_has_even_decades_and_says_so() -> None:
    found = drawn(*(trial(n, value=1.0 + n, params={"rate": 10.0 ** (n - 5)}) for n in range(5)))

    assert places(found, "rate") == pytest.approx({0: 0.0, 1: 0.25, 2: 0.5, 3: 0.75, 4: 1.0})
    assert [text for _, text in axis(found, "rate").ticks] == ["1e-05", "0.0001", "0.001", "0.01", "0.1"]
    assert "Logarithmic: rate." in parallel_told(found)


def test_a_parameter_of_another_branch_has_no_place_on_the_axis() -> None:
    found = drawn(
        trial(0, value=0.5, params={"kind": "adam", "adam.rate": 0.1}),
        trial(1, value=0.6, params={"kind": "adam", "adam.rate": 0.2}),
        trial(2, value=0.7, params={"kind": "sgd"}),
    )

    assert places(found, "rate") == {0: 0.0, 1: 1.0, 2: None}
    assert "Below an axis are the trials that have no such parameter" in parallel_told(found)


def test_choices_have_a_stretch_each_and_their_lines_do_not_lie_on_each_other() -> None:
    found = drawn(*(trial(n, value=1.0 + n, params={"kind": "ab"[n % 2]}) for n in range(10)))
    kinds = places(found, "kind")

    assert axis(found, "kind").choices == 2
    assert axis(found, "kind").ticks == [(0.25, "b"), (0.75, "a")]
    assert all((0.5 < (place or 0) < 1) == (number % 2 == 0) for number, place in kinds.items())
    assert len(set(kinds.values())) == 10


def test_of_many_choices_the_rare_ones_share_a_stretch() -> None:
    common = [trial(n, value=1.0 + n, params={"kind": f"common {n % 11:02}"}) for n in range(44)]
    rare = [trial(n, value=1.0 + n, params={"kind": f"rare {n}"}) for n in range(44, 50)]
    found = axis(drawn(*common, *rare), "kind")

    assert found.choices == MOST_CHOICES
    assert found.ticks[0][1] == "6 others"


def test_lines_are_drawn_worst_first_and_the_best_on_top() -> None:
    found = drawn(
        trial(0, value=0.5),
        trial(1, value=0.4),
        trial(2, TrialState.PRUNED, 0.1),
        trial(3, value=0.6),
        trial(4, TrialState.FAILED),
        trial(5, value=0.01, violations={"val_accuracy": 0.2}),
    )

    assert found.trials == [4, 2, 5, 3, 0, 1]
    assert found.shades == [FAILED, PRUNED, BROKEN, 0.0, 0.5, BEST]


def test_a_trial_far_off_does_not_squeeze_the_others_together() -> None:
    found = drawn(*(trial(n, value=0.2 + 0.01 * n) for n in range(20)), trial(20, TrialState.PRUNED, 50.0))
    values = places(found, "val_loss")

    assert (values[19] or 0) - (values[0] or 0) > 0.5
    assert (values[20] or 0) > 0.95


def test_all_objectives_have_an_axis_with_the_better_way() -> None:
    trials = [trial(n, value=1.0 + n, values={"val_loss": 1.0 + n, "speed": 10.0 * n}) for n in range(3)]
    found = drawn(*trials, objectives=(("val_loss", "minimize"), ("speed", "maximize")))

    assert [(each.name, each.better) for each in found.axes[:2]] == [("val_loss", "down"), ("speed", "up")]
    assert places(found, "speed") == pytest.approx({0: 0.0, 1: 0.5, 2: 1.0})


def test_more_parameters_than_there_is_room_for_are_counted() -> None:
    found = drawn(*(trial(n, value=1.0 + n, params={f"p{place}": n + place for place in range(40)}) for n in range(3)))

    assert len(found.axes) == MOST_AXES
    assert f"{41 - MOST_AXES} more parameters are in the table below." in parallel_told(found)


@pytest.mark.parametrize(
    "trials",
    [
        [],
        [trial(0, value=1.0)],
        [trial(n, value=1.0 + n, params={"a": 1}) for n in range(3)],
        [trial(n, value=1.0 + n, params={}) for n in range(3)],
    ],
)
def test_where_nothing_tells_trials_apart_there_is_no_drawing(trials: list[object]) -> None:
    assert parallel_of(Summary(study(*trials))) is None  # type: ignore[arg-type]


def test_odd_settings_still_have_places() -> None:
    odd = [math.nan, math.inf, True, None, [1, 2], "x", 1e308, -1e308, 0]
    found = drawn(*(trial(n, value=None, params={"a": setting, "b": float(n)}) for n, setting in enumerate(odd)))

    for each in found.axes:
        assert all(place is None or 0 <= place <= 1 for place in each.places)
    assert axis(found, "a").choices == len(odd)
