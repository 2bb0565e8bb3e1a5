"""Trials under way count for what they promise, so that a search with many of them at once is not a blind one."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState

from pipelines.samplers import Surroundings, TpeSampler
from pipelines.samplers.curves import Curves
from pipelines.samplers.foreseeing import ForeseeingTpe


def trial(number: int, values: Sequence[float], end: float | None = None, x: float = 0.5) -> FrozenTrial:
    """Over with a value, or under way."""
    made = optuna.trial.create_trial(
        state=TrialState.RUNNING if end is None else TrialState.COMPLETE,
        value=end,
        params={"x": x},
        distributions={"x": optuna.distributions.FloatDistribution(0, 1)},
        intermediate_values=dict(enumerate(values)),
    )
    made.number = number
    return made


def test_what_is_to_be_expected_is_what_the_middle_one_gained_from_each_epoch_to_the_next() -> None:
    curves = Curves(min)
    curves.learn([trial(0, [1.0, 0.8, 0.4], 0.4), trial(1, [2.0, 1.0, 0.9], 0.9), trial(2, [1.0, 1.0, 0.7], 0.7)])
    curves.learn([trial(3, [1.0], 1.0)])

    assert curves.expected({0: 3.0, 1: 2.0}) == pytest.approx(2.0 * 0.7)  # of 0.5, 0.9 and 0.7
    assert curves.expected({0: 2.0}) == pytest.approx(2.0 * 0.8 * 0.7)  # before that, of 0.8, 0.5 and 1
    assert curves.expected({0: 2.0, 1: 4.0, 2: 3.0}) == 2.0  # the best so far; at the last epoch nothing is to come
    assert curves.expected({1: 1.0, 3: 1.0}) == 1.0  # nobody came as far


def test_trials_teach_what_to_expect_of_others_before_any_is_over_and_after_they_were_stopped() -> None:
    curves = Curves(min)
    curves.learn([trial(0, [1.0]), trial(1, [4.0])])
    assert curves.expected({0: 2.0}) == 2.0  # all have come as far as this one

    under_way, pruned = trial(0, [1.0, 0.5, 0.4]), trial(1, [4.0, 1.0])
    pruned.state = TrialState.PRUNED
    curves.learn([under_way, pruned])
    assert curves.expected({0: 2.0}) == pytest.approx(2.0 * (0.5 + 0.25) / 2 * 0.8)

    curves.learn([under_way, pruned])  # what is known counts once
    curves.learn([trial(2, [1.0, 0.1])])
    assert curves.expected({0: 2.0}) == pytest.approx(2.0 * 0.25 * 0.8)


def test_a_greater_value_may_be_the_better_one_and_values_may_be_negative() -> None:
    curves = Curves(max)
    curves.learn([trial(0, [-1.0, 0.2], 0.2), trial(1, [0.1, 0.6], 0.6), trial(2, [0.0, 0.9], 0.9)])

    assert curves.expected({0: -0.5}) == pytest.approx(-0.5 + 0.9)
    assert curves.expected({0: -0.5, 1: -2.0}) == -0.5


def test_an_epoch_that_was_no_number_is_left_out_of_what_is_learnt() -> None:
    curves = Curves(min)
    curves.learn([trial(0, [1.0, math.nan, 0.2, 0.1], 0.1), trial(1, [math.inf, 2.0, 1.0], 1.0)])

    assert curves.expected({1: 4.0}) == pytest.approx(4.0 * 0.5 * 0.5)


@pytest.mark.parametrize("values", [{}, {0: math.nan}, {0: math.inf}, {0: -math.inf, 1: math.nan}])
def test_nothing_is_expected_of_a_trial_that_has_shown_nothing(values: dict[int, float]) -> None:
    curves = Curves(min)
    curves.learn([trial(0, [1.0, 0.5], 0.5)])

    assert curves.expected(values) is None
    assert curves.expected({0: 2.0, 1: math.nan}) == 1.0  # of another trial, the rest counts


def test_nothing_is_expected_where_trials_have_constraints_to_keep() -> None:
    bound = trial(0, [1.0, 0.5], 0.5)
    bound.system_attrs["constraints:parameters"] = -1.0
    assert bound.constraints == {"parameters": -1.0}
    curves = Curves(min)
    curves.learn([bound])

    assert curves.expected({0: 2.0}) is None


def study_with(running: Mapping[float, Sequence[float]], seed: int) -> tuple[Any, list[float]]:
    """Twelve trials are over, whose values say that x = 0 is best; draws four more beside those under way."""
    sampler = TpeSampler().build(Surroundings(seed))
    assert isinstance(sampler, ForeseeingTpe)
    study = optuna.create_study(sampler=sampler)
    for index in range(12):
        study.add_trial(trial(index, [2.0 + index, 1.0 + index], 1.0 + index, x=0.03 * index))
    for x, values in running.items():
        asked = study.ask(fixed_distributions={})
        asked.storage.set_trial_param(asked._trial_id, "x", x, optuna.distributions.FloatDistribution(0, 1))
        for epoch, value in enumerate(values):
            asked.report(value, epoch)
    return study, [study.ask().suggest_float("x", 0, 1) for _ in range(4)]


def test_a_promising_trial_under_way_draws_others_near_and_a_bad_one_drives_them_away() -> None:
    under_way: dict[str, dict[float, Sequence[float]]] = {
        "near": {0.7: [0.1], 0.9: [0.1]}, "far": {0.7: [100.0], 0.9: [100.0]}, "silent": {0.7: [], 0.9: []},
    }  # fmt: skip

    drawn = {name: [x for seed in range(16) for x in study_with(each, seed)[1]] for name, each in under_way.items()}

    close = {name: sum(0.6 < x < 1 for x in each) / len(each) for name, each in drawn.items()}
    assert close["near"] > 0.5
    assert close["far"] < 0.2
    assert close["silent"] < 0.2  # Optuna's own way: whatever is under way drives others off


def test_what_a_study_holds_is_not_changed_by_what_is_expected() -> None:
    study, _ = study_with({0.5: [0.2]}, seed=1)

    under_way = study.trials[12]
    assert under_way.state is TrialState.RUNNING
    assert under_way.value is None


def test_the_model_is_used_before_any_trial_is_over() -> None:
    drawn = []
    for seed in range(16):
        study = optuna.create_study(sampler=TpeSampler().build(Surroundings(seed)))
        for index in range(12):
            asked = study.ask(fixed_distributions={})
            asked.storage.set_trial_param(
                asked._trial_id, "x", 0.08 * index, optuna.distributions.FloatDistribution(0, 1)
            )
            asked.report(1.0 + index, 0)
        drawn.append(study.ask().suggest_float("x", 0, 1))

    assert sum(x < 0.3 for x in drawn) > 12  # where the best of them are; at random it would be 5


def branches(trial: optuna.Trial) -> str:
    """Draws a branch, and what is inside it."""
    kind: str = trial.suggest_categorical("kind", ["a", "b"])
    trial.suggest_float(f"{kind}.x", 0, 1)
    return kind


def test_a_trial_under_way_counts_where_it_is_and_not_inside_branches_it_did_not_choose() -> None:
    study = optuna.create_study(sampler=TpeSampler(n_startup_trials=4).build(Surroundings(3)))
    for _ in range(12):
        asked = study.ask()
        branches(asked)
        study.tell(asked, asked.params.get("a.x", 2.0))
    kinds = {(asked := study.ask()).number: branches(asked) for _ in range(12)}
    assert set(kinds.values()) == {"a", "b"}
    sampler: Any = study.sampler
    late = study.ask()

    seen = sampler._seen(study, study._storage.get_trial(late._trial_id))._get_trials(deepcopy=False)

    for number, kind in kinds.items():
        assert set(sampler._get_params(seen[number], study)) == {"kind", f"{kind}.x"}
        optunas = sampler._get_params(study.trials[number], study)
        assert set(optunas) == {"kind", "a.x", "b.x"}  # that of Optuna alone, which is why


def test_where_others_are_under_way_what_was_measured_long_ago_counts_as_much_as_they_do() -> None:
    weights: dict[int, list[float]] = {}
    for under_way in (0, 1):
        study, _ = study_with({0.5: [0.2]} if under_way else {}, seed=1)
        for index in range(40):
            study.add_trial(trial(index, [3.0, 2.0], 2.0, x=0.02 * index))
        for asked in study.trials[12 + under_way : 16 + under_way]:  # those that `study_with` has drawn
            study.tell(asked.number, state=TrialState.FAIL)
        sampler: Any = study.sampler
        late = study._storage.get_trial(study.ask()._trial_id)
        view = sampler._seen(study, late)
        above = [each for each in view._get_trials(deepcopy=False) if each.value is not None and each.value > 1]
        space = {"x": optuna.distributions.FloatDistribution(0, 1)}
        made = sampler._build_parzen_estimator(view, space, above, handle_below=False)
        weights[under_way] = made._mixture_distribution.weights.tolist()

    assert len(set(weights[1])) == 1
    assert min(weights[0]) < 0.2 * max(weights[0])  # Optuna's own way where nobody else is under way


def test_one_trial_at_a_time_is_drawn_as_optuna_draws_it() -> None:
    def values(sampler: optuna.samplers.BaseSampler) -> list[float]:
        study = optuna.create_study(sampler=sampler)
        for _ in range(40):
            asked = study.ask()
            asked.report(abs(asked.suggest_float("a.x", 0, 1) - 0.3) + (branches(asked) == "b"), 0)
            study.tell(asked, asked.params["a.x"])
        return [each.params["a.x"] for each in study.trials]

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        optunas = optuna.samplers.TPESampler(seed=5, multivariate=True, group=True)

    assert values(TpeSampler().build(Surroundings(5))) == values(optunas)


def test_what_is_drawn_beside_others_follows_from_the_seed_alone() -> None:
    def drawn() -> list[float]:
        return study_with({0.7: [0.1], 0.9: []}, seed=9)[1]

    assert drawn() == drawn()
