"""What a recipe wants tried first."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from pipelines.errors import ConfigError
from pipelines.recipe.search_space import SearchSpace
from pipelines.records import TrialState
from pipelines.study import Counts, Study
from tests.pipelines.samplers.spaces import FLAT, NESTED
from tests.pipelines.scripted import recipe
from tests.pipelines.study.common import BRANCHES, ask, storage, tried

SGD: dict[str, Any] = {"optimizer.sgd.momentum": 0.5}
BIG: dict[str, Any] = {"batch_size": 64}


def drawn(study: Study, config: Any, trials: int) -> list[dict[str, Any]]:
    return [tried(study, config, 0.5).params for _ in range(trials)]


@pytest.mark.parametrize("sampler", ["random", "tpe", "qmc", "cmaes", "nsgaii"])
def test_what_is_enqueued_is_tried_first_in_that_order_and_the_rest_is_sampled(sampler: str) -> None:
    space = {**BRANCHES, "model.dropout": {"type": "float", "low": 0.0, "high": 0.5}}
    wanted = [{**SGD, **BIG}, {"optimizer.adam.learning_rate": "1e-3"}, BIG]
    config = recipe(search_space=space, sampler=sampler, enqueue=wanted)
    with closing(Study(config, None)) as study:
        first, second, third, fourth = drawn(study, config, 4)

    assert {name: first[name] for name in ("optimizer", *SGD, *BIG)} == {"optimizer": "sgd", **SGD, **BIG}
    assert (second["optimizer"], second["optimizer.adam.learning_rate"]) == ("adam", 1e-3)
    assert third["batch_size"] == 64
    assert "model.dropout" in first
    assert "model.dropout" in fourth


def test_those_that_wait_count_as_nothing(tmp_path: Path) -> None:
    config = recipe(search_space=BRANCHES, enqueue=[SGD, BIG, BIG])
    with closing(Study(config, storage(tmp_path))) as study:
        study.begin()
        assert study.counts() == Counts()
        assert study.records() == []
        asked = ask(study, config)
        assert asked.number == 0
        assert study.counts() == Counts(running=1)

    with closing(Study(config, storage(tmp_path))) as study:
        assert study.unfinished() == [(0, 1)]
        assert study.counts() == Counts(running=1)


@pytest.mark.parametrize("sampled", [True, False])
def test_one_that_a_killed_controller_left_goes_on_with_what_it_was_told(tmp_path: Path, sampled: bool) -> None:
    config = recipe(search_space=BRANCHES, enqueue=[SGD])
    with closing(Study(config, storage(tmp_path))) as study:
        before = ask(study, config).params if sampled else study.ask().params
    with closing(Study(config, storage(tmp_path))) as study:
        again = study.ask_again(0)
        SearchSpace(config.search_space).sample(again.optuna_trial)

    assert again.params["optimizer.sgd.momentum"] == 0.5
    assert before.items() <= again.params.items()


def test_a_restart_enqueues_what_is_new_and_nothing_twice(tmp_path: Path) -> None:
    config = recipe(search_space=BRANCHES, enqueue=[SGD, BIG, BIG])
    with closing(Study(config, storage(tmp_path))) as study:
        params = drawn(study, config, 2)
    more = recipe(search_space=BRANCHES, enqueue=[{"optimizer": "adam", "batch_size": 16}, SGD, BIG, BIG])
    with closing(Study(more, storage(tmp_path))) as study:
        params += drawn(study, more, 2)
        study.begin()
        assert [known.number for known in study._book.waiting()] == []

    assert params[0]["optimizer.sgd.momentum"] == 0.5
    assert [each["batch_size"] for each in params[1:3]] == [64, 64]
    assert (params[3]["optimizer"], params[3]["batch_size"]) == ("adam", 16)


def test_what_the_recipe_does_not_want_any_more_is_not_tried_first(tmp_path: Path) -> None:
    config = recipe(search_space=BRANCHES, enqueue=[{"optimizer.sgd.momentum": 0.25}, BIG])
    with closing(Study(config, storage(tmp_path))) as study:
        study.begin()
    fewer = recipe(search_space=BRANCHES, enqueue=[BIG])
    with closing(Study(fewer, storage(tmp_path))) as study:
        asked = [tried(study, fewer, 0.5) for _ in range(3)]

    assert [each.number for each in asked] == [0, 1, 2]
    assert asked[0].params.get("optimizer.sgd.momentum") != 0.25
    assert asked[1].params["batch_size"] == 64


def test_a_whole_combination_that_was_tried_already_is_not_tried_again(tmp_path: Path) -> None:
    config = recipe(search_space=BRANCHES)
    with closing(Study(config, storage(tmp_path))) as study:
        (params,) = drawn(study, config, 1)
    later = recipe(search_space=BRANCHES, enqueue=[params])
    with closing(Study(later, storage(tmp_path))) as study:
        study.begin()
        assert study._book.waiting() == []


@pytest.mark.parametrize("sampler", ["grid", "brute_force"])
@pytest.mark.parametrize(
    "wanted",
    [
        [{"model.activation": "tanh", "model.kernel_initializer": "he_normal"}],
        [{"model.kernel_initializer": "he_normal"}] * 3,  # the later parameter is fixed, the earlier one is not
        [{"model.activation": "relu"}, {"model.activation": "relu"}],
    ],
    ids=["whole", "later", "earlier"],
)
def test_samplers_that_try_all_count_what_was_enqueued_and_try_the_rest_once(
    sampler: str, wanted: list[dict[str, Any]]
) -> None:
    config = recipe(search_space=FLAT, sampler=sampler, enqueue=wanted)
    with closing(Study(config, None)) as study:
        params = drawn(study, config, len(wanted))
        assert study.left() == 6 - len(wanted)
        params += drawn(study, config, 6 - len(wanted))
        assert study.left() == 0

    for each, told in zip(params, wanted, strict=False):
        assert told.items() <= each.items()
    assert len({tuple(sorted(each.items())) for each in params}) == 6


def test_a_part_of_a_branch_may_be_enqueued_with_a_sampler_that_tries_all() -> None:
    config = recipe(search_space=NESTED, sampler="grid", enqueue=[{"batch_size": 48}, {"optimizer.sgd.momentum": 0.3}])
    with closing(Study(config, None)) as study:
        params = drawn(study, config, 45)
        assert study.left() == 0

    assert params[0]["batch_size"] == 48
    assert params[1]["optimizer.sgd.momentum"] == pytest.approx(0.3)
    assert len({tuple(sorted(each.items())) for each in params}) == 45


def test_a_study_that_is_made_without_a_check_refuses_what_is_not_in_its_space() -> None:
    config = recipe(search_space=BRANCHES, enqueue=[BIG, {"optimizer.sgd.momentum": 2}])
    with closing(Study(config, None)) as study, pytest.raises(ConfigError) as caught:
        study.begin()

    assert [mistake.path for mistake in caught.value.mistakes] == ["enqueue.1.optimizer.sgd.momentum"]


def test_lists_and_missing_callbacks_are_enqueued_as_the_recipe_writes_them() -> None:
    space = {
        "model.units": [[16], [32, 16]],
        "callbacks.early_stopping": {"none": None, "early_stopping": {"patience": [3, 4]}},
    }
    wanted: list[dict[str, Any]] = [{"model.units": [32, 16], "callbacks.early_stopping": None}]
    config = recipe(search_space=space, enqueue=wanted)
    with closing(Study(config, None)) as study:
        asked = ask(study, config)
        study.tell(asked.number, TrialState.PRUNED, None)

    assert asked.params == {"model.units": "[32, 16]", "callbacks.early_stopping": "none"}
