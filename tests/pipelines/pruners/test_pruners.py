"""Every pruner stops a bad trial and spares a good one when Optuna's own would, and is sized by the epochs."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import Any

import optuna
import pytest
from optuna.study import StudyDirection
from pydantic import TypeAdapter, ValidationError

from pipelines.errors import ConfigError
from pipelines.pruners import Pruner, PrunerSpec
from pipelines.spec import kinds_of
from pipelines.study import Study
from tests.pipelines.scripted import recipe

READ: TypeAdapter[Any] = TypeAdapter(Pruner)
OPTUNA_NAMES = {
    "median": "MedianPruner",
    "percentile": "PercentilePruner",
    "successive_halving": "SuccessiveHalvingPruner",
    "hyperband": "HyperbandPruner",
    "patient": "PatientPruner",
    "threshold": "ThresholdPruner",
    "none": "NopPruner",
}
EPOCHS = 20
OTHERS = (0.30, 0.40, 0.50, 0.35)
BAD = [0.8, 0.7, 0.9, *(1.0 + epoch / 100 for epoch in range(3, EPOCHS))]
"""Worse than the others, and without an improvement from epoch 1 on."""
GOOD = [0.3 / (epoch + 1) for epoch in range(EPOCHS)]


def falling(level: float) -> list[float]:
    """A curve that falls to a level."""
    return [level + 0.1 / (epoch + 1) for epoch in range(EPOCHS)]


CURVES = [*map(falling, OTHERS), BAD, GOOD]
Build = Callable[[], optuna.pruners.BasePruner]
own = optuna.pruners


def stops(
    pruner: optuna.pruners.BasePruner, curves: Sequence[Sequence[float]] = CURVES, *, sign: int = 1
) -> list[int | None]:
    """The epoch at which each of some trials is stopped, one trial after the other; with -1 higher is better."""
    direction = StudyDirection.MINIMIZE if sign > 0 else StudyDirection.MAXIMIZE
    study = optuna.create_study(pruner=pruner, study_name="tiny", direction=direction)
    stopped: list[int | None] = []
    for curve in curves:
        trial, at = study.ask(), None
        for epoch, value in enumerate(curve):
            trial.report(sign * value, epoch)
            if trial.should_prune():
                at = epoch
                break
        if at is None:
            study.tell(trial, sign * min(curve))
        else:
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
        stopped.append(at)
    return stopped


# settings, Optuna's own object, when it stops the bad trial and the good one
TABLE: list[tuple[Any, Build, list[int | None]]] = [
    ("median", lambda: own.MedianPruner(5, 3), [None, None]),  # only four trials are complete
    ({"name": "median", "n_startup_trials": 1}, lambda: own.MedianPruner(1, 3), [3, None]),
    ({"name": "median", "n_startup_trials": 4, "n_warmup_steps": 0}, lambda: own.MedianPruner(4, 0), [0, None]),
    (
        {"name": "median", "n_startup_trials": 2, "n_warmup_steps": 2, "interval_steps": 4, "n_min_trials": 2},
        lambda: own.MedianPruner(2, 2, 4, n_min_trials=2),
        [2, None],
    ),
    (
        {"name": "median", "n_startup_trials": 1, "n_min_trials": 5},
        lambda: own.MedianPruner(1, 3, n_min_trials=5),
        [None, None],
    ),
    ("percentile", lambda: own.PercentilePruner(25.0, 5, 3), [None, None]),
    ({"name": "percentile", "n_startup_trials": 2}, lambda: own.PercentilePruner(25.0, 2, 3), [3, None]),
    (
        {"name": "percentile", "percentile": 100, "n_startup_trials": 1},
        lambda: own.PercentilePruner(100, 1, 3),
        [3, None],
    ),
    (
        {"name": "percentile", "percentile": 90.0, "n_startup_trials": 1, "n_warmup_steps": 7, "interval_steps": 3},
        lambda: own.PercentilePruner(90.0, 1, 7, 3),
        [7, None],
    ),
    ("successive_halving", lambda: own.SuccessiveHalvingPruner(1), [1, None]),
    (
        {"name": "successive_halving", "min_resource": 2, "reduction_factor": 3, "min_early_stopping_rate": 1},
        lambda: own.SuccessiveHalvingPruner(2, 3, 1),
        [6, None],
    ),
    (  # the good one is among the first two to come to epoch 6
        {"name": "successive_halving", "min_resource": 3, "reduction_factor": 2, "bootstrap_count": 2},
        lambda: own.SuccessiveHalvingPruner(3, 2, 0, 2),
        [3, 6],
    ),
    ("hyperband", lambda: own.HyperbandPruner(1, EPOCHS), [1, None]),
    (
        {"name": "hyperband", "min_resource": 2, "reduction_factor": 2},
        lambda: own.HyperbandPruner(2, EPOCHS, 2),
        [2, None],
    ),
    (
        {"name": "hyperband", "bootstrap_count": 1},
        lambda: own.HyperbandPruner(1, EPOCHS, bootstrap_count=1),
        [1, 3],
    ),
    ({"name": "patient", "patience": 3}, lambda: own.PatientPruner(None, 3), [5, None]),
    ({"name": "patient", "patience": 3, "min_delta": 0.25}, lambda: own.PatientPruner(None, 3, 0.25), [6, None]),
    (
        {"name": "patient", "patience": 2, "wrapped_pruner": {"name": "median", "n_startup_trials": 1}},
        lambda: own.PatientPruner(own.MedianPruner(1, 3), 2),
        [4, None],
    ),
    (
        {"name": "patient", "patience": 1, "wrapped_pruner": {"name": "percentile", "n_startup_trials": 1}},
        lambda: own.PatientPruner(own.PercentilePruner(25.0, 1, 3), 1),
        [3, None],
    ),
    (  # those that improve are never asked about, so nobody is there to be compared with
        {"name": "patient", "patience": 1, "wrapped_pruner": "successive_halving"},
        lambda: own.PatientPruner(own.SuccessiveHalvingPruner(1), 1),
        [None, None],
    ),
    (
        {"name": "patient", "patience": 1, "wrapped_pruner": {"name": "threshold", "upper": 5}},
        lambda: own.PatientPruner(own.ThresholdPruner(upper=5), 1),
        [None, None],
    ),
    ({"name": "threshold", "upper": 0.75}, lambda: own.ThresholdPruner(upper=0.75), [0, None]),
    ({"name": "threshold", "upper": 0.95, "lower": 0}, lambda: own.ThresholdPruner(0, 0.95), [3, None]),
    (
        {"name": "threshold", "upper": 0.75, "n_warmup_steps": 1, "interval_steps": 4},
        lambda: own.ThresholdPruner(None, 0.75, 1, 4),
        [5, None],
    ),
    ("none", own.NopPruner, [None, None]),
]


def test_every_pruner_is_tried_below() -> None:
    assert set(kinds_of(Pruner)) == set(OPTUNA_NAMES)
    assert {row[0] if isinstance(row[0], str) else row[0]["name"] for row in TABLE} == set(OPTUNA_NAMES)


@pytest.mark.parametrize(
    ("settings", "reference", "last_two", "sign"),
    [
        pytest.param(*row, sign, id=f"{row[0]}-{'minimize' if sign > 0 else 'maximize'}")
        for row in TABLE
        for sign in (1, -1)
        if sign > 0 or "threshold" not in str(row[0])  # bounds do not turn around with the direction
    ],
)
def test_a_bad_trial_is_stopped_and_a_good_one_spared_as_by_optunas_own(
    settings: Any, reference: Build, last_two: list[int | None], sign: int
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        expected = stops(reference(), sign=sign)
    found = stops(READ.validate_python(settings).build(EPOCHS), sign=sign)

    assert found == expected
    assert found[-2:] == last_two


def test_a_bound_from_below_stops_what_falls_under_it() -> None:
    pruner = READ.validate_python({"name": "threshold", "lower": 0.12, "n_warmup_steps": 1}).build(EPOCHS)

    assert stops(pruner, [GOOD, BAD]) == [2, None]


@pytest.mark.parametrize(
    ("settings", "first_look"), [("successive_halving", 1), ("hyperband", 1), ({"name": "threshold", "upper": 9}, 0)]
)
def test_what_is_no_number_is_stopped_at_the_first_look(settings: Any, first_look: int) -> None:
    assert stops(READ.validate_python(settings).build(EPOCHS), [[float("nan")] * EPOCHS]) == [first_look]


@pytest.mark.parametrize("kind", OPTUNA_NAMES)
def test_every_argument_of_optunas_is_a_setting(kind: str) -> None:
    arguments = inspect.signature(getattr(optuna.pruners, OPTUNA_NAMES[kind]).__init__).parameters
    wanted = set(arguments) - {"self", "args", "kwargs"} - ({"max_resource"} if kind == "hyperband" else set())

    assert set(kinds_of(Pruner)[kind].model_fields) - {"name"} == wanted


CHANGED = {"n_warmup_steps": {"median", "percentile"}, "percentile": {"percentile"}, "wrapped_pruner": {"patient"}}
"""Defaults that are not Optuna's, or that Optuna has none for."""


@pytest.mark.parametrize("kind", OPTUNA_NAMES)
def test_defaults_are_optunas(kind: str) -> None:
    arguments = inspect.signature(getattr(optuna.pruners, OPTUNA_NAMES[kind]).__init__).parameters

    for name, field in kinds_of(Pruner)[kind].model_fields.items():
        if name != "name" and kind not in CHANGED.get(name, set()) and not field.is_required():
            assert field.default == arguments[name].default, name


# sizes that follow from the epochs


@pytest.mark.parametrize(
    ("settings", "epochs", "brackets"),
    [
        ({}, 3, 2),
        ({}, 8, 2),
        ({}, 9, 3),
        ({}, 27, 4),
        ({}, 100, 5),
        ({"min_resource": 5}, 100, 3),
        ({"reduction_factor": 4}, 64, 4),
        ({"min_resource": 3, "reduction_factor": 2}, 6, 2),
    ],
)
def test_hyperband_has_as_many_brackets_as_the_epochs_are_for(
    settings: dict[str, Any], epochs: int, brackets: int
) -> None:
    pruner = READ.validate_python({"name": "hyperband", **settings}).build(epochs)
    stops(
        pruner, [[0.5]]
    )  # brackets are counted at the first look, and an early end of the first trial changes nothing

    assert pruner._n_brackets == brackets
    assert pruner._max_resource == epochs


def test_a_trial_is_in_the_same_bracket_after_a_restart() -> None:
    curves = [falling(level) for level in (0.5, 0.4, 0.3, 0.6, 0.7, 0.2, 0.9, 0.8)] * 3
    first, again = (stops(READ.validate_python("hyperband").build(EPOCHS), curves) for _ in range(2))

    assert first == again
    assert len(set(first)) > 3, "brackets stop at different epochs"


@pytest.mark.parametrize(("epochs", "first"), [(1, 1), (20, 1), (200, 1), (201, 2), (1000, 9)])
def test_the_first_look_of_successive_halving_is_what_optuna_finds_after_a_whole_trial(epochs: int, first: int) -> None:
    ours, theirs = READ.validate_python("successive_halving").build(epochs), own.SuccessiveHalvingPruner()
    study = optuna.create_study()
    whole = study.ask()
    whole.report(0.5, epochs - 1)
    study.tell(whole, 0.5)
    later = study.ask()
    later.report(0.5, 0)
    theirs.prune(study, study.trials[later.number])

    assert ours._min_resource == theirs._min_resource == first


@pytest.mark.parametrize(
    ("space", "epochs"),
    [
        ({}, 4),
        ({"epochs": {"type": "int", "low": 3, "high": 30, "step": 9}}, 30),
        ({"epochs": [5, 9, 7]}, 9),
    ],
)
def test_a_study_sizes_its_pruner_by_the_most_epochs_that_a_trial_may_have(space: dict[str, Any], epochs: int) -> None:
    with closing(Study(recipe(search_space=space, pruner="hyperband"), None)) as study:
        pruner: Any = study.ask().optuna_trial.study.pruner

    assert pruner._max_resource == epochs


# what does not go together


@pytest.mark.parametrize("settings", [row[0] for row in TABLE], ids=str)
def test_pruners_go_with_trials_of_enough_epochs(settings: Any) -> None:
    assert READ.validate_python(settings).misfits(EPOCHS) == {}


@pytest.mark.parametrize("kind", [kind for kind in OPTUNA_NAMES if kind not in {"hyperband", "patient", "threshold"}])
def test_pruners_with_their_defaults_go_with_a_single_epoch(kind: str) -> None:
    assert READ.validate_python(kind).misfits(1) == {}


@pytest.mark.parametrize(
    ("settings", "epochs", "field", "message"),
    [
        (
            "hyperband",
            2,
            "min_resource",
            r"min_resource × reduction_factor = 3 epochs, and there are 2; give trials more",
        ),
        ({"name": "hyperband", "min_resource": 10}, 20, "min_resource", "= 30 epochs, and there are 20"),
        (
            {"name": "successive_halving", "min_resource": 20},
            20,
            "min_resource",
            "no trial would be stopped, as the first look is at epoch 20 and there are 20 epochs",
        ),
        (
            {"name": "successive_halving", "min_early_stopping_rate": 3},
            20,
            "min_early_stopping_rate",
            "the first look is at epoch 64 and there are 20 epochs",
        ),
        (
            {"name": "patient", "patience": 2, "wrapped_pruner": "hyperband"},
            2,
            "wrapped_pruner.min_resource",
            "= 3 epochs, and there are 2",
        ),
    ],
    ids=str,
)
def test_too_few_epochs_are_a_mistake_of_the_recipe(settings: Any, epochs: int, field: str, message: str) -> None:
    spec: PrunerSpec = READ.validate_python(settings)
    wrong = spec.misfits(epochs)

    assert list(wrong) == [field]
    assert message in wrong[field]
    with pytest.raises(ConfigError, match=f"pruner.{field}: "):
        spec.build(epochs)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("threshold", "needs lower, upper or both"),
        ({"name": "threshold", "lower": 2, "upper": 1}, "lower must not be above upper, got lower 2 and upper 1"),
        ("patient", "Field required"),
        ({"name": "patient", "patience": 2, "wrapped_pruner": {"name": "patient", "patience": 2}}, "expected tags"),
        ({"name": "percentile", "percentile": 101}, "less than or equal to 100"),
        ({"name": "hyperband", "max_resource": 20}, "Extra inputs"),
        ({"name": "successive_halving", "min_resource": 0}, "greater than or equal to 1"),
        ({"name": "median", "interval_steps": 0}, "greater than or equal to 1"),
        ("wilcoxon", "expected tags"),
    ],
    ids=str,
)
def test_settings_that_make_no_sense_are_mistakes(settings: Any, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        READ.validate_python(settings)
