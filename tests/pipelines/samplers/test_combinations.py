"""Counting combinations, against a list of all of them made the slow way."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pytest

from pipelines.recipe.search_space import SearchSpace
from pipelines.samplers import Combinations, highest
from pipelines.samplers.combinations import Params
from pipelines.samplers.ledger import Entry, Fate, Ledger
from pipelines.samplers.varying import Options, Range
from tests.pipelines.samplers.spaces import FLAT, NESTED, what_varies
from tests.pipelines.scripted import recipe


class Fork(Exception):
    """Drawing has come to something that is not decided."""

    def __init__(self, name: str, values: list[Any]) -> None:
        super().__init__(name)
        self.name, self.values = name, values


class Replay:
    """Stands in for a trial whose first draws are known."""

    def __init__(self, known: Mapping[str, Any]) -> None:
        self.known = known

    def suggest_float(self, name: str, low: float, high: float, *, step: Any = None, log: bool = False) -> float:
        return float(self._draw(name, [round(low + n * step, 9) for n in range(round((high - low) / step) + 1)]))

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int:
        return int(self._draw(name, list(range(low, high + 1, step))))

    def suggest_categorical(self, name: str, choices: Any) -> Any:
        return self._draw(name, list(choices))

    def _draw(self, name: str, values: list[Any]) -> Any:
        if name not in self.known:
            raise Fork(name, values)
        return self.known[name]


def everything(space: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Every combination, found by drawing over and over and taking every turn there is."""
    drawing, found, open_ways = SearchSpace(recipe(search_space=space).search_space), [], [dict[str, Any]()]
    while open_ways:
        known = open_ways.pop()
        try:
            drawing.sample(Replay(known))
            found.append(known)
        except Fork as fork:
            open_ways += [{**known, fork.name: value} for value in fork.values]
    return found


def is_one(combinations: Combinations, params: Params) -> bool:
    way = combinations.way(params)
    return way is not None and combinations.is_one(way)


def ledger(tried: Iterable[Params] = (), failed: Iterable[Params] = (), under_way: Iterable[Params] = ()) -> Ledger:
    """What is left of the nested space after some trials."""
    trials = [(fate, params) for fate, each in zip(Fate, (tried, failed, under_way), strict=True) for params in each]
    kept = Ledger(Combinations(what_varies(NESTED)))
    kept.bring_up(Entry(number, fate, params) for number, (fate, params) in enumerate(trials))
    return kept


SPACES = [
    pytest.param({}, 1, id="nothing varies"),
    pytest.param(FLAT, 6, id="flat"),
    pytest.param(NESTED, 45, id="nested"),
    pytest.param({"model.units": [[16], [32, 16]], "batch_size": {"type": "int", "low": 8, "high": 8}}, 2, id="lists"),
]


@pytest.mark.parametrize(("space", "count"), SPACES)
def test_combinations_are_those_that_can_be_drawn(space: dict[str, Any], count: int) -> None:
    combinations, all_of_them = Combinations(what_varies(space)), everything(space)

    assert combinations.count() == count == len(all_of_them)
    assert all(is_one(combinations, params) for params in all_of_them)


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"optimizer": "adam", "batch_size": 16},
        {"optimizer": "adam", "optimizer.adam.beta_1": 0.8},
        {"optimizer": "adam", "optimizer.adam.beta_1": 0.85, "batch_size": 16},
        {"optimizer": "adagrad", "optimizer.adam.beta_1": 0.8, "batch_size": 16},
        {"optimizer": "adagrad", "batch_size": 24},
        {"optimizer": "lion", "batch_size": 16},
    ],
    ids=str,
)
def test_what_is_incomplete_off_the_grid_or_of_another_branch_is_none(params: dict[str, Any]) -> None:
    assert not is_one(Combinations(what_varies(NESTED)), params)


def test_what_goes_on_from_a_choice_is_counted_with_its_branch_alone() -> None:
    combinations = Combinations(what_varies(NESTED))

    assert combinations.count({"optimizer": "adagrad"}) == 3
    assert combinations.count({"optimizer": "sgd"}) == 4 * 3 * 3
    assert combinations.count({"optimizer": "sgd", "optimizer.sgd.learning_rate": "cosine", "batch_size": 16}) == 8


def test_what_is_left_is_all_but_what_is_tried_and_what_trials_under_way_have_taken() -> None:
    every = everything(NESTED)

    assert ledger().left() == 45
    assert ledger(every[:10]).left() == 35
    assert ledger([*every[:10], *every[:10]]).left() == 35, "one that was tried twice is one"
    assert ledger(every[:10], under_way=every[8:12]).left() == 33
    assert ledger(every[:10], under_way=[{}, {}, {"optimizer": "sgd"}]).left() == 32, "each will take one"
    assert ledger(every[:10], failed=every[5:20]).left() == 35
    assert ledger([{"optimizer": "adagrad", "batch_size": 24}]).left() == 45, "off the grid"
    assert ledger(every[1:], under_way=[{}]).left() == 0


def test_a_trial_counts_by_what_it_is_now() -> None:
    kept, every = ledger(), everything(NESTED)

    kept.bring_up([Entry(0, Fate.UNDER_WAY, {}), Entry(1, Fate.UNDER_WAY, every[1])])
    assert kept.left() == 43
    kept.bring_up([Entry(0, Fate.UNDER_WAY, every[0]), Entry(1, Fate.FAILED, every[1])])
    assert kept.left() == 44
    kept.bring_up([Entry(0, Fate.TRIED, every[0])])
    assert kept.left() == 44
    assert [number in kept for number in range(3)] == [True, True, False]


@pytest.mark.parametrize("failed", [False, True])
def test_what_is_left_by_value_adds_up_to_what_is_left(failed: bool) -> None:
    every = everything(NESTED)
    kept = ledger(tried=[*every[0::4], *every[0::4]], failed=every[1::4], under_way=[*every[2::4], {}])
    rest = [*every[3::4], *(every[1::4] if failed else [])]
    chosen = {"optimizer": "sgd", "optimizer.sgd.momentum": 0.1}

    assert kept.left_by_value("optimizer", {}, failed=failed) == [
        sum(params["optimizer"] == kind for params in rest) for kind in ("adam", "sgd", "adagrad")
    ]
    assert kept.left_by_value("optimizer.sgd.learning_rate", chosen, failed=failed) == [
        sum(params.items() >= {**chosen, "optimizer.sgd.learning_rate": kind}.items() for params in rest)
        for kind in ("cosine", "constant")
    ]


def test_a_space_far_too_large_to_list_is_counted() -> None:
    space = {f"model.hidden_{number}": list(range(100)) for number in range(20)}

    assert Combinations(what_varies(space)).count() == 100**20


@pytest.mark.parametrize(
    ("domain", "values"),
    [
        (Range(0.0, 0.3, 0.1, log=False, whole=False), [0.0, 0.1, 0.2, 0.3]),
        (Range(0.1, 0.35, 0.1, log=False, whole=False), [0.1, 0.2, 0.3]),
        (Range(8, 30, 8, log=False, whole=True), [8, 16, 24]),
        (Range(5, 5, None, log=False, whole=False), [5]),
        (Options(("a", None, 1)), ["a", None, 1]),
    ],
    ids=str,
)
def test_values_are_those_that_optuna_would_draw(domain: Range | Options, values: list[Any]) -> None:
    assert list(domain.values()) == values
    assert domain.size == len(values)


@pytest.mark.parametrize(
    ("space", "epochs"),
    [
        ({}, 20),
        ({"epochs": {"type": "int", "low": 3, "high": 29, "step": 5}}, 28),
        ({"epochs": [5, 50, 10]}, 50),
        ({"batch_size": [64]}, 20),
    ],
)
def test_the_most_epochs_are_those_of_what_they_are_drawn_from(space: dict[str, Any], epochs: int) -> None:
    assert highest(what_varies(space), "epochs", 20) == epochs
