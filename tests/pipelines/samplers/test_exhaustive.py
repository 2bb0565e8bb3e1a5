"""Grid and brute force: every combination once, whatever happens in between."""

from __future__ import annotations

from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from pipelines.errors import ConfigError
from pipelines.records import TrialState
from pipelines.samplers import Sampler
from pipelines.samplers.exhaustive import ExhaustiveSpec
from pipelines.spec import kinds_of
from tests.pipelines.samplers.spaces import FLAT, NESTED, Asking, drawn, what_varies
from tests.pipelines.scripted import recipe

KINDS = ("grid", "brute_force")
Params = dict[str, Any]


def spec(kind: str) -> ExhaustiveSpec:
    found = kinds_of(Sampler)[kind]()
    assert isinstance(found, ExhaustiveSpec)
    return found


def each_once(params: list[Params], space: dict[str, Any]) -> bool:
    """Whether every combination of a space is there, and none of them twice."""
    combinations = spec("grid").combinations(what_varies(space))
    ways = [combinations.way(each) for each in params]
    whole = {way for way in ways if way is not None and combinations.is_one(way)}
    return len(whole) == len(params) == combinations.count()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("space", [FLAT, NESTED], ids=["flat", "nested"])
@pytest.mark.parametrize("at_once", [1, 3])
@pytest.mark.parametrize("pruner", ["none", "hyperband"])
def test_every_combination_is_drawn_once(kind: str, space: dict[str, Any], at_once: int, pruner: str) -> None:
    count = spec(kind).combinations(what_varies(space)).count()

    assert each_once(drawn(kind, count, space=space, at_once=at_once, pruner=pruner, epochs=9), space)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("at_once", [1, 3])
def test_a_study_that_is_opened_again_goes_on_with_what_is_left(kind: str, at_once: int, tmp_path: Path) -> None:
    storage = tmp_path / "optuna.db"
    params = [
        each for part in (7, 20, 1, 17) for each in drawn(kind, part, space=NESTED, at_once=at_once, storage=storage)
    ]

    assert each_once(params, NESTED)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("restarts", [0, 4])
def test_a_restart_changes_nothing_about_the_order(kind: str, restarts: int, tmp_path: Path) -> None:
    params: list[Params] = []
    for _ in range(restarts + 1):
        params += drawn(kind, 40 // (restarts + 1), space=NESTED, storage=tmp_path / "optuna.db")

    assert params == drawn(kind, 40, space=NESTED)


@pytest.mark.parametrize("kind", KINDS)
def test_the_order_is_of_the_seed(kind: str) -> None:
    first, again, other = (drawn(kind, 20, space=NESTED, seed=seed) for seed in (1, 1, 2))

    assert first == again != other


@pytest.mark.parametrize("kind", KINDS)
def test_trials_that_a_killed_controller_left_keep_their_combination(kind: str, tmp_path: Path) -> None:
    config = recipe(search_space=NESTED, sampler=kind)
    asking = Asking(config, tmp_path / "optuna.db")
    with closing(asking.study):
        params = [asking.ask() for _ in range(5)]
        asking.tell()
        not_sampled = asking.study.ask().number
        assert asking.study.left() == 45 - 6

    asking = Asking(config, tmp_path / "optuna.db")
    with closing(asking.study):
        assert asking.study.left() == 45 - 6
        unfinished = [number for number, _ in asking.study.unfinished()]
        assert unfinished == [1, 2, 3, 4, not_sampled]
        assert [asking.ask(number) for number in unfinished[:4]] == params[1:]
        params.append(asking.ask(not_sampled))
        while asking.study.left():
            params.append(asking.ask())

    assert each_once(params, NESTED)


@pytest.mark.parametrize("kind", KINDS)
def test_what_failed_is_tried_and_the_next_start_tries_it_once_more_after_what_was_never_tried(
    kind: str, tmp_path: Path
) -> None:
    storage = tmp_path / "optuna.db"
    asking = Asking(recipe(search_space=FLAT, sampler=kind), storage)
    with closing(asking.study):
        failed = [asking.ask(), asking.ask()]
        asking.tell(TrialState.FAILED)
        asking.tell(TrialState.FAILED)
        assert asking.study.left() == 4
        assert asking.ask() not in failed
        asking.tell(TrialState.PRUNED)
        assert asking.study.left() == 3

    asking = Asking(recipe(search_space=FLAT, sampler=kind), storage)
    with closing(asking.study):
        for left in range(5, 2, -1):
            assert asking.study.left() == left
            assert asking.ask() not in failed
            asking.tell()
        again = [asking.ask()]
        asking.tell(TrialState.FAILED)
        assert asking.study.left() == 1
        again.append(asking.ask())  # and not the one that failed in this start
        asking.tell(TrialState.FAILED)
        assert asking.study.left() == 0

    assert sorted(again, key=str) == sorted(failed, key=str)


@pytest.mark.parametrize("kind", KINDS)
def test_a_sweep_of_nothing_but_failures_has_an_end(kind: str) -> None:
    asking = Asking(recipe(search_space=FLAT, sampler=kind))
    params = []
    while asking.study.left():
        params.append(asking.ask())
        asking.tell(TrialState.FAILED)

    assert each_once(params, FLAT)


@pytest.mark.parametrize("kind", KINDS)
def test_whoever_asks_for_more_than_there_is_gets_one_again(kind: str) -> None:
    params = drawn(kind, 9, space=FLAT)

    assert each_once(params[:6], FLAT)
    assert all(each in params[:6] for each in params[6:])


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_varies_is_one_combination(kind: str) -> None:
    asking = Asking(recipe(search_space={}, sampler=kind))

    assert (asking.study.combinations, asking.study.left()) == (1, 1)
    asking.ask()
    assert asking.study.left() == 0


def test_a_sampler_that_does_not_try_everything_has_nothing_left_to_count() -> None:
    asking = Asking(recipe(search_space=FLAT, sampler="random"))

    assert (asking.study.combinations, asking.study.left()) == (None, None)


def test_a_small_branch_comes_early_with_brute_force_and_when_its_turn_is_with_grid() -> None:
    """One of two kinds has a single combination, the other a hundred."""
    space = {"optimizer": {"adam": {"beta_1": [n / 200 for n in range(100)]}, "sgd": {}}}

    def trials_before_sgd(kind: str) -> float:
        orders = [drawn(kind, 101, space=space, seed=seed) for seed in range(12)]
        return sum([params["optimizer"] for params in order].index("sgd") for order in orders) / len(orders)

    assert trials_before_sgd("brute_force") < 10 < 30 < trials_before_sgd("grid") < 70


def test_every_combination_is_as_likely_to_be_the_first_of_a_grid() -> None:
    firsts = Counter(str(drawn("grid", 1, space=NESTED, seed=seed)[0]["optimizer"]) for seed in range(300))

    # 6, 36 and 3 of 45 combinations
    assert 20 <= firsts["adam"] <= 65
    assert 210 <= firsts["sgd"] <= 265
    assert 5 <= firsts["adagrad"] <= 40


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("entry", "reason", "instead"),
    [
        (
            {"type": "float", "low": 0.0, "high": 0.5},
            "there is no end of them from 0 to 0.5 without a step",
            "[0.0, 0.25, 0.5], or give it a step, such as step: 0.125",
        ),
        (
            {"type": "float", "low": 1e-4, "high": 1e-2, "log": True},
            "a logarithmic range from 0.0001 to 0.01 has no steps",
            "[0.0001, 0.001, 0.01]",
        ),
        (
            {"type": "int", "low": 8, "high": 128, "log": True},
            "a logarithmic range from 8 to 128 has no steps",
            "[8, 32, 128]",
        ),
        (
            {"type": "int", "low": 1, "high": 1000000},
            "from 1 to 1e+06 there are 1000000",
            "[1, 500000, 1000000]",
        ),
    ],
    ids=["no step", "logarithmic", "whole logarithmic", "far too many"],
)
def test_a_range_without_an_end_of_values_is_a_mistake_that_says_what_would_be_right(
    kind: str, entry: Params, reason: str, instead: str
) -> None:
    space = {"optimizer": {"adam": {"beta_1": entry}, "sgd": {}}, "batch_size": [8, 16]}
    message = f"'{kind}' tries every value, and {reason}; list those to try, such as {instead}"
    wrong = spec(kind).misfits(what_varies(space))

    assert wrong == {"optimizer.adam.beta_1": message}
    with pytest.raises(ConfigError, match=r"search_space\.optimizer\.adam\.beta_1: "):
        Asking(recipe(search_space=space, sampler=kind))


@pytest.mark.parametrize(
    "entry",
    [
        {"type": "float", "low": 0.0, "high": 0.5, "step": 0.1},
        {"type": "float", "low": 0.25, "high": 0.25},
        {"type": "float", "low": 0.25, "high": 0.25, "log": True},
        {"type": "int", "low": 1, "high": 100},
        [1e-4, 1e-2],
    ],
    ids=str,
)
@pytest.mark.parametrize("kind", KINDS)
def test_a_range_with_an_end_of_values_is_none(kind: str, entry: Any) -> None:
    assert spec(kind).misfits(what_varies({"optimizer.learning_rate": entry})) == {}
