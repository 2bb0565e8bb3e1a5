"""Every sampler asks and tells, from its seed alone, without a warning; and its settings reach Optuna."""

from __future__ import annotations

import importlib.util
import inspect
import itertools
import sqlite3
import warnings
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import optuna
import pytest
from pydantic import TypeAdapter, ValidationError

from pipelines.errors import ConfigError
from pipelines.records import TrialState
from pipelines.samplers import Sampler, SamplerSpec, Surroundings
from pipelines.samplers.crossovers import Crossover
from pipelines.spec import kinds_of
from tests.pipelines.samplers.spaces import FLAT, MIXED, NESTED, Asking, drawn, what_varies
from tests.pipelines.scripted import RATE, recipe

READ: TypeAdapter[Any] = TypeAdapter(Sampler)
OPTUNA_NAMES = {
    "tpe": "TPESampler",
    "random": "RandomSampler",
    "gp": "GPSampler",
    "cmaes": "CmaEsSampler",
    "nsgaii": "NSGAIISampler",
    "nsgaiii": "NSGAIIISampler",
    "qmc": "QMCSampler",
    "grid": "GridSampler",
    "brute_force": "BruteForceSampler",
}
PACKAGES = {"gp": "torch"}

_FUNCTIONS = {
    "constraints_func", "elite_population_selection_strategy", "child_generation_strategy", "after_trial_strategy",
}  # fmt: skip
LEFT_OUT: dict[str, set[str]] = {
    "tpe": {"consider_prior", "weights", "constant_liar"},
    "cmaes": {"restart_strategy", "inc_popsize", "source_trials"},
    "qmc": {"independent_sampler", "warn_asynchronous_seeding"},  # the whole space is known, and so is the seed
    "grid": {"search_space"},  # the recipe's own
    "brute_force": {"avoid_premature_stop"},  # there is none
}
"""Arguments of Optuna's that a recipe does not have, beside the seed, functions, and warnings that nobody would see."""

SETTINGS: list[Any] = [
    {"name": "tpe", "multivariate": False},
    {"name": "tpe", "group": False, "n_startup_trials": 3},
    {
        "name": "tpe",
        "n_startup_trials": 3,
        "n_ei_candidates": 5,
        "prior_weight": 2,
        "consider_magic_clip": False,
        "consider_endpoints": True,
        "gamma": 0.5,
    },
    {"name": "gp", "n_startup_trials": 3, "deterministic_objective": True, "independent_sampler": "tpe"},
    {"name": "cmaes", "with_margin": True},
    {"name": "cmaes", "use_separable_cma": True, "consider_pruned_trials": True},
    {"name": "cmaes", "lr_adapt": True, "popsize": 4, "x0": {"batch_size": 16}, "sigma0": 0.3, "n_startup_trials": 3},
    {"name": "cmaes", "independent_sampler": {"name": "tpe", "n_startup_trials": 2}},
    {"name": "qmc", "qmc_type": "halton"},
    *(
        {"name": kind, "population_size": 4, "crossover": crossover, "mutation": "polynomial"}
        for kind in ("nsgaii", "nsgaiii")
        for crossover in kinds_of(Crossover)
    ),
    {"name": "nsgaiii", "population_size": 4, "reference_points": [[1]]},
    {"name": "nsgaiii", "population_size": 4, "dividing_parameter": 5, "mutation_prob": 0.5, "crossover_prob": 0.5},
]


def here(name: str) -> bool:
    """Whether the package that a kind needs is installed: it is no dependency of Regatta."""
    return name not in PACKAGES or importlib.util.find_spec(PACKAGES[name]) is not None


def params(settings: list[Any]) -> list[Any]:
    """Settings as parameters of a test, those that need a package that is not here being skipped and told."""
    return [
        pytest.param(
            each,
            id=str(each),
            marks=pytest.mark.skipif(not here(kind), reason=f"{PACKAGES.get(kind)} is optional, and not installed"),
        )
        for each in settings
        for kind in [each["name"] if isinstance(each, dict) else each]
    ]


EXHAUSTIVE = ["grid", "brute_force"]
ENDLESS = [kind for kind in OPTUNA_NAMES if kind not in EXHAUSTIVE]


def test_every_sampler_is_tried_below() -> None:
    assert set(kinds_of(Sampler)) == set(OPTUNA_NAMES)


@pytest.mark.parametrize("kind", OPTUNA_NAMES)
def test_every_argument_of_optunas_is_a_setting(kind: str) -> None:
    arguments = inspect.signature(getattr(optuna.samplers, OPTUNA_NAMES[kind]).__init__).parameters
    wanted = {name for name in arguments if name not in {"self", "seed", "warn_independent_sampling", *_FUNCTIONS}}

    assert set(kinds_of(Sampler)[kind].model_fields) - {"name"} == wanted - LEFT_OUT.get(kind, set())


CHANGED = {("nsgaii", "population_size"), ("nsgaiii", "population_size"), ("qmc", "scramble"), ("tpe", "group")}
"""Defaults that are not Optuna's; the docstring says why."""


@pytest.mark.parametrize("kind", OPTUNA_NAMES)
def test_defaults_are_optunas(kind: str) -> None:
    arguments = inspect.signature(getattr(optuna.samplers, OPTUNA_NAMES[kind]).__init__).parameters
    described = {"independent_sampler", "prior_weight", "consider_magic_clip", "consider_endpoints", "gamma"}

    for name, field in kinds_of(Sampler)[kind].model_fields.items():
        if name not in described | {"name", "multivariate"} and (kind, name) not in CHANGED:
            assert field.default == arguments[name].default, name


def test_deprecated_arguments_of_tpe_have_optunas_defaults_and_go_there_only_when_changed() -> None:
    plain = READ.validate_python("tpe").build(Surroundings(1))
    reference = optuna.samplers.TPESampler()
    changed = READ.validate_python({"name": "tpe", "gamma": 0.2, "prior_weight": 3}).build(Surroundings(1))

    assert plain._parzen_estimator_parameters == reference._parzen_estimator_parameters
    assert plain._gamma is reference._gamma is None
    assert changed._parzen_estimator_parameters.prior_weight == 3
    assert [changed._gamma(trials) for trials in (1, 10, 11, 1000)] == [1, 2, 3, 25]


@pytest.mark.parametrize("settings", params([*OPTUNA_NAMES, *SETTINGS]))
@pytest.mark.parametrize("at_once", [1, 3])
def test_a_sampler_draws_the_same_for_the_same_seed(settings: Any, at_once: int) -> None:
    space = NESTED if settings in EXHAUSTIVE else MIXED
    first, again, other = (drawn(settings, space=space, seed=seed, at_once=at_once) for seed in (1, 1, 2))

    assert first == again != other
    assert len(first) == 15
    assert len({str(each) for each in first}) == 15


@pytest.mark.parametrize("settings", params([*OPTUNA_NAMES, *SETTINGS]))
def test_a_sampler_goes_on_after_a_restart_with_trials_that_are_new(settings: Any, tmp_path: Path) -> None:
    space = NESTED if settings in EXHAUSTIVE else MIXED
    trials = [each for _ in range(3) for each in drawn(settings, 5, space=space, storage=tmp_path / "optuna.db")]

    assert len({str(each) for each in trials}) == 15


@pytest.mark.parametrize("settings", params(ENDLESS))
def test_a_sampler_goes_with_hyperband_which_shows_it_one_bracket_at_a_time(settings: Any) -> None:
    assert len(drawn(settings, 20, pruner="hyperband", epochs=9, at_once=2)) == 20


@pytest.mark.parametrize("settings", params(ENDLESS))
def test_a_sampler_goes_with_trials_that_fail_or_are_pruned(settings: Any) -> None:
    asking = Asking(recipe(search_space=MIXED, sampler=settings))

    for state in itertools.islice(itertools.cycle(TrialState), 20):
        asking.ask()
        if state is not TrialState.RUNNING:
            asking.tell(state)

    assert asking.study.counts().running == 5


@pytest.mark.parametrize("settings", params([kind for kind in ENDLESS if kind != "cmaes"]))
@pytest.mark.parametrize("space", [{}, FLAT, {"batch_size": {"type": "int", "low": 8, "high": 8}}], ids=str)
def test_a_sampler_goes_with_a_space_of_choices_of_one_value_or_of_nothing(
    settings: Any, space: dict[str, Any]
) -> None:
    assert len(drawn(settings, 14, space=space)) == 14


# what is particular about some


def test_a_space_filling_sequence_knows_branches_from_the_first_trial_on() -> None:
    space = {"optimizer": {"adam": {"learning_rate": RATES}, "sgd": {"momentum": {**RATES, "log": False}}}}
    trials = drawn("qmc", 16, space=space)
    rates = [each["optimizer.adam.learning_rate"] for each in trials if each["optimizer"] == "adam"]

    assert Counter(each["optimizer"] for each in trials) == {"adam": 8, "sgd": 8}
    # of 16 points in 3 dimensions, each half of an axis has 8; those of adam are 8 that fill their own half
    assert Counter(rate < 1e-2 for rate in rates) == {True: 4, False: 4}


RATES = {"type": "float", "low": 1e-3, "high": 1e-1, "log": True}


@pytest.mark.parametrize(("scramble", "lowest"), [(False, True), (True, False)])
def test_an_unscrambled_sequence_begins_in_the_corner_and_heeds_no_seed(scramble: bool, lowest: bool) -> None:
    first, other = (drawn({"name": "qmc", "scramble": scramble}, 4, space={RATE: RATES}, seed=seed) for seed in (1, 2))

    assert (first[0][RATE] == pytest.approx(1e-3)) is lowest
    assert (first == other) is lowest


def test_a_sequence_that_goes_on_is_the_sequence(tmp_path: Path) -> None:
    parts = [each for _ in range(4) for each in drawn("qmc", 4, space={RATE: RATES}, storage=tmp_path / "optuna.db")]

    assert parts == drawn("qmc", 16, space={RATE: RATES})


@pytest.mark.parametrize("kind", ["nsgaii", "nsgaiii"])
@pytest.mark.parametrize("at_once", [1, 3])
def test_with_one_objective_a_generation_inherits_from_the_best_of_the_one_before(kind: str, at_once: int) -> None:
    settings = {"name": kind, "population_size": 4, "mutation_prob": 0}
    trials = drawn(settings, 16, space={RATE: RATES, "batch_size": {"type": "int", "low": 1, "high": 10000}})
    first, second = trials[:4], trials[4:8]

    for name in (RATE, "batch_size"):
        assert {each[name] for each in second} <= {each[name] for each in first}
    assert min(each["batch_size"] for each in trials[12:]) == min(each["batch_size"] for each in first)
    assert max(each["batch_size"] for each in trials[12:]) < max(each["batch_size"] for each in first)


CONTINUOUS: dict[str, Any] = {
    "model.dropout": {"type": "float", "low": 0.0, "high": 0.9},
    RATE: RATES,
    "batch_size": {"type": "int", "low": 8, "high": 64},
}


@pytest.mark.parametrize("by", ["Optuna's own", "ours"])
@pytest.mark.parametrize(
    "settings", [{}, {"with_margin": True}, {"use_separable_cma": True}, {"lr_adapt": True}, {"popsize": 5}], ids=str
)
def test_cmaes_is_made_anew_from_the_trials_of_a_study_as_it_was(
    settings: dict[str, Any], by: str, tmp_path: Path
) -> None:
    config = recipe(search_space=CONTINUOUS, sampler={"name": "cmaes", **settings}, seed=1)
    before = Asking(config, tmp_path / "optuna.db")
    before.study._begin_to_ask()
    if by != "ours":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            before.study._study.sampler = optuna.samplers.CmaEsSampler(**settings, warn_independent_sampling=False)
    for _ in range(37):
        before.ask()
        before.tell()
    before.study.close()

    after = Asking(config, tmp_path / "optuna.db")
    with closing(after.study):
        after.ask()
        sampler: Any = after.study._study.sampler
        found = sampler._optimizers[None]
    completed = before.study._study.get_trials(deepcopy=False)[:37]
    sampler = before.study._study.sampler
    kept = sampler._restore_optimizer(completed)

    assert found.generation == kept.generation > 3
    found, kept = (getattr(each, "_cma", each) for each in (found, kept))  # CMA-ES with margin has one inside
    for part in ("_mean", "_sigma", "_C"):
        assert getattr(found, part) == pytest.approx(getattr(kept, part)), part


def test_cmaes_leaves_nothing_pickled_in_the_study(tmp_path: Path) -> None:
    storage = tmp_path / "optuna.db"
    for part in (20, 21):
        drawn({"name": "cmaes", "popsize": 4}, part, space=CONTINUOUS, storage=storage)

    with closing(sqlite3.connect(storage)) as connection:
        kept = connection.execute("SELECT key, value_json FROM trial_system_attributes ORDER BY trial_id").fetchall()

    assert kept == [("cma:generation", str(number // 4)) for number in range(40)]


def test_cmaes_gets_better() -> None:
    def mean(trials: list[dict[str, Any]]) -> float:
        return sum(float(each["batch_size"]) for each in trials) / len(trials)

    trials = drawn("cmaes", 120, space={**CONTINUOUS, "model.activation": ["relu", "tanh"]})

    assert mean(trials[-20:]) < mean(trials[:20]) / 2


def test_cmaes_begins_where_it_is_told() -> None:
    x0 = {RATE: 2e-3, "batch_size": 60}
    trials = drawn({"name": "cmaes", "x0": x0, "sigma0": 1e-6, "n_startup_trials": 0}, 4, space=CONTINUOUS)

    for each in trials:
        assert each[RATE] == pytest.approx(2e-3, rel=1e-3)
        assert each["batch_size"] == 60
        assert each["model.dropout"] == pytest.approx(0.45, rel=1e-3)


@pytest.mark.skipif(not here("gp"), reason="torch is optional, and not installed")
def test_a_gaussian_process_gets_better() -> None:
    trials = drawn("gp", 25, space=CONTINUOUS)

    assert min(each["batch_size"] for each in trials[10:14]) <= 10


# what does not go together


@pytest.mark.parametrize(("kind", "package"), PACKAGES.items())
def test_a_package_that_is_missing_is_a_mistake_of_the_recipe(
    kind: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.samplers.base.find_spec", lambda name: None)
    spec: SamplerSpec = READ.validate_python(kind)
    message = f"'{kind}' needs the package {package}, which is not installed here: pip install {package}"

    assert spec.misfits(what_varies(MIXED)) == {"sampler": message}
    with pytest.raises(ConfigError, match=f"sampler: .*pip install {package}"):
        spec.build(Surroundings(1, 0, what_varies(MIXED)))


@pytest.mark.parametrize("kind", PACKAGES)
def test_a_study_can_be_looked_at_without_the_package_that_it_was_made_with(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.samplers.base.find_spec", lambda name: None)
    asking = Asking(recipe(search_space=MIXED, sampler=kind))

    assert asking.study.counts().complete == 0
    with pytest.raises(ConfigError):
        asking.ask()


@pytest.fixture
def everything_is_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.samplers.base.find_spec", lambda name: object())


@pytest.mark.usefixtures("everything_is_here")
@pytest.mark.parametrize("kind", ENDLESS)
def test_samplers_go_with_any_space_that_has_a_range(kind: str) -> None:
    assert READ.validate_python(kind).misfits(what_varies(MIXED)) == {}


@pytest.mark.usefixtures("everything_is_here")
@pytest.mark.parametrize(
    "space",
    [{}, FLAT, {"optimizer": {"adam": {"learning_rate": RATES}}}, {"epochs": {"type": "int", "low": 3, "high": 3}}],
    ids=["nothing", "choices", "in a branch", "one number"],
)
def test_cmaes_has_nothing_to_do_where_no_trial_draws_a_range(space: dict[str, Any]) -> None:
    wrong = READ.validate_python("cmaes").misfits(what_varies(space))

    assert set(wrong) == {"sampler"}
    assert "ranges of numbers that every trial draws, and this search space has none; use tpe" in wrong["sampler"]


@pytest.mark.usefixtures("everything_is_here")
@pytest.mark.parametrize(
    ("x0", "message"),
    [
        ({"batch_sise": 8}, "is no range that every trial draws; did you mean 'batch_size'?; there are batch_size, "),
        ({"optimizer.sgd.momentum": 0.5}, "is no range that every trial draws"),
        ({"batch_size": 100}, "must lie from 8 to 64, got 100"),
    ],
)
def test_cmaes_begins_inside_of_its_ranges(x0: dict[str, float], message: str) -> None:
    wrong = READ.validate_python({"name": "cmaes", "x0": x0}).misfits(what_varies(MIXED))

    assert list(wrong) == [f"sampler.x0.{name}" for name in x0]
    assert message in next(iter(wrong.values()))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"name": "tpe", "multivariate": False, "group": True}, "group needs multivariate: true"),
        ({"name": "tpe", "gamma": 1}, "less than 1"),
        ({"name": "tpe", "constant_liar": False}, "Extra inputs"),
        ({"name": "cmaes", "popsize": 3}, "greater than or equal to 4"),
        ({"name": "cmaes", "with_margin": True, "lr_adapt": True}, "got with_margin and lr_adapt; keep one"),
        ({"name": "cmaes", "use_separable_cma": True, "with_margin": True}, "got use_separable_cma and with_margin"),
        ({"name": "cmaes", "sigma0": 0}, "greater than 0"),
        ({"name": "cmaes", "independent_sampler": "qmc"}, "does not match any of the expected tags: 'random', 'tpe'"),
        ({"name": "qmc", "qmc_type": "lattice"}, "'sobol' or 'halton'"),
        ({"name": "nsgaii", "population_size": 1}, "greater than or equal to 2"),
        (
            {"name": "nsgaii", "population_size": 2, "crossover": "spx"},
            "must be at least 3, the parents that crossover",
        ),
        ({"name": "nsgaii", "crossover": "two_point"}, "does not match any of the expected tags"),
        ({"name": "nsgaii", "mutation": "gaussian"}, "'polynomial'"),
        ({"name": "nsgaii", "mutation_prob": 1.5}, "less than or equal to 1"),
        ({"name": "grid", "search_space": {}}, "Extra inputs"),
    ],
    ids=str,
)
def test_settings_that_make_no_sense_are_mistakes(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        READ.validate_python(settings)
