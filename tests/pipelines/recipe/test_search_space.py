from __future__ import annotations

import copy
import warnings
from collections import Counter
from typing import Any

import optuna
import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from optuna.trial import FixedTrial

from pipelines.errors import ConfigError, Mistake
from pipelines.recipe.config import SweepConfig, TrainingConfig
from pipelines.recipe.reading import check_recipe
from pipelines.recipe.search_space import SearchSpace, overlay
from pipelines.yaml_file import Document, parse


def space_of(text: str) -> SearchSpace:
    """A space of YAML text, unchecked."""
    data = parse(text, "space").data
    return SearchSpace(SweepConfig.model_validate({"study": "a", "search_space": data}).search_space)


def wrong_in(text: str, **base: Any) -> dict[str, str]:
    return space_of(text).check(TrainingConfig.model_validate(base).model_dump(mode="json"))


def trials(space: SearchSpace, count: int, seed: int = 0) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """(what Optuna noted, what was drawn) for each of `count` trials."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    drawn = []
    for _ in range(count):
        trial = study.ask()
        changes = space.sample(trial)
        drawn.append((trial.params, changes))
    return drawn


BRANCHED = """
optimizer:
  adam: {learning_rate: {type: float, low: 1e-4, high: 1e-2, log: true}}
  sgd:
    learning_rate: {type: float, low: 1e-2, high: 0.3}
    momentum: [0, 0.9]
    nesterov: true
callbacks.reduce_lr_on_plateau:
  none:
  reduce_lr_on_plateau: {patience: {type: int, low: 1, high: 4}}
model.units: [[10], [20, 10], []]
batch_size: {type: int, low: 16, high: 64, step: 16}
"""


def test_every_parameter_has_its_name_place_and_condition() -> None:
    found = [(found.name, found.place, dict(found.given)) for found in space_of(BRANCHED).parameters()]
    callback = "callbacks.reduce_lr_on_plateau"
    assert found == [
        ("optimizer", "optimizer", {}),
        ("optimizer.adam.learning_rate", "optimizer.learning_rate", {"optimizer": "adam"}),
        ("optimizer.sgd.learning_rate", "optimizer.learning_rate", {"optimizer": "sgd"}),
        ("optimizer.sgd.momentum", "optimizer.momentum", {"optimizer": "sgd"}),
        (callback, callback, {}),
        (f"{callback}.reduce_lr_on_plateau.patience", f"{callback}.patience", {callback: "reduce_lr_on_plateau"}),
        ("model.units", "model.units", {}),
        ("batch_size", "batch_size", {}),
    ]


def test_distributions_describe_themselves() -> None:
    described = {found.name: found.describe() for found in space_of(BRANCHED).parameters()}
    assert described["optimizer"] == "one of adam, sgd"
    assert described["optimizer.adam.learning_rate"] == "0.0001 to 0.01, logarithmic"
    assert described["model.units"] == "one of [10], [20, 10], []"
    assert described["batch_size"] == "16 to 64 by 16"


def test_a_branch_replaces_the_node_and_draws_no_knob_that_is_ignored() -> None:
    seen: Counter[str] = Counter()
    base = TrainingConfig.model_validate({"optimizer": {"name": "adam", "beta_1": 0.5}}).model_dump(mode="json")
    for params, changes in trials(space_of(BRANCHED), 60):
        kind = changes["optimizer"]["name"]
        seen[kind] += 1
        inner = {name for name in params if name.startswith("optimizer.")}
        if kind == "adam":
            assert inner == {"optimizer.adam.learning_rate"}
            assert set(changes["optimizer"]) == {"name", "learning_rate"}
        else:
            assert inner == {"optimizer.sgd.learning_rate", "optimizer.sgd.momentum"}
            assert changes["optimizer"]["nesterov"] is True
        assert "beta_1" not in overlay(base, changes)["optimizer"]  # nothing of the base's node is left
        config = TrainingConfig.model_validate(overlay(base, changes))
        assert config.optimizer.name == kind
    assert set(seen) == {"adam", "sgd"}


def test_the_branch_none_takes_a_callback_out() -> None:
    name = "callbacks.reduce_lr_on_plateau"
    base = TrainingConfig.model_validate({"callbacks": {"reduce_lr_on_plateau": {"factor": 0.3}}}).model_dump(
        mode="json"
    )
    seen = set()
    for params, changes in trials(space_of(BRANCHED), 30):
        config = TrainingConfig.model_validate(overlay(base, changes))
        seen.add(params[name])
        if params[name] == "none":
            assert config.callbacks == {}
            assert f"{name}.reduce_lr_on_plateau.patience" not in params
        else:
            assert getattr(config.callbacks["reduce_lr_on_plateau"], "factor") == 0.1  # noqa: B009
    assert seen == {"none", "reduce_lr_on_plateau"}


@pytest.mark.parametrize("units", [[10], [20, 10], []])
def test_choices_that_are_lists_survive_optuna(units: list[int]) -> None:
    space = space_of("model.units: [[10], [20, 10], []]")
    label = {1: "[10]", 2: "[20, 10]", 0: "[]"}[len(units)]
    assert space.sample(FixedTrial({"model.units": label})) == {"model.units": units}
    for params, changes in trials(space, 20):
        assert isinstance(params["model.units"], str)
        assert changes["model.units"] in ([10], [20, 10], [])


def test_the_items_of_a_list_vary_one_by_one() -> None:
    base = TrainingConfig.model_validate({"model": {"units": [100, 30, 10]}}).model_dump(mode="json")
    space = space_of("model.units.0: {type: int, low: 16, high: 128, log: true}\nmodel.units.2: [8, 9]")
    assert space.check(base) == {}
    seen = set()
    for params, changes in trials(space, 20):
        units = TrainingConfig.model_validate(overlay(base, changes)).model.units  # type: ignore[union-attr]
        assert units == (params["model.units.0"], 30, params["model.units.2"])
        seen.add(units)
    assert len(seen) > 10
    assert base["model"]["units"] == [100, 30, 10], "the base stays as it is"


@pytest.mark.parametrize(
    ("entry", "highest"),
    [
        ("{type: int, low: 16, high: 50, step: 16}", 48),
        ("{type: int, low: 16, high: 48, step: 16}", 48),
        ("{type: float, low: 0.0, high: 0.5, step: 0.2}", 0.4),
        ("{type: float, low: 0.1, high: 0.7, step: 0.2}", 0.7),
    ],
)
def test_a_range_ends_at_the_last_of_its_steps_without_a_warning(entry: str, highest: float) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        drawn = [changes["batch_size"] for _, changes in trials(space_of(f"batch_size: {entry}"), 60)]
    assert max(drawn) == pytest.approx(highest)


def test_choices_keep_their_types() -> None:
    space = space_of("optimizer.nesterov: [true, false]\ncallbacks.early_stopping.baseline: [null, 0.5, 1]")
    for name, choices in (("optimizer.nesterov", [True, False]), ("callbacks.early_stopping.baseline", [None, 0.5, 1])):
        for choice in choices:
            other = {"optimizer.nesterov": True, "callbacks.early_stopping.baseline": None}
            drawn = space.sample(FixedTrial({**other, name: choice}))[name]
            assert drawn == choice
            assert type(drawn) is type(choice)


def test_a_fixed_trial_draws_what_it_is_told() -> None:
    fixed = {
        "optimizer": "sgd",
        "optimizer.sgd.learning_rate": 0.1,
        "optimizer.sgd.momentum": 0,
        "callbacks.reduce_lr_on_plateau": "none",
        "model.units": "[]",
        "batch_size": 32,
    }
    assert space_of(BRANCHED).sample(FixedTrial(fixed)) == {
        "optimizer": {"name": "sgd", "learning_rate": 0.1, "momentum": 0, "nesterov": True},
        "callbacks.reduce_lr_on_plateau": None,
        "model.units": [],
        "batch_size": 32,
    }


def test_branches_go_inside_branches() -> None:
    space = space_of(
        """
        callbacks.rate:
          learning_rate_scheduler:
            schedule:
              step: {every: [2, 3]}
              exponential: {decay: {type: float, low: 0.1, high: 0.2}}
        """
    )
    names = [parameter.name for parameter in space.parameters()]
    assert "callbacks.rate.learning_rate_scheduler.schedule.step.every" in names
    for params, changes in trials(space, 20):
        config = TrainingConfig.model_validate(overlay({}, changes))
        assert config.callbacks["rate"].name == "learning_rate_scheduler"
        assert len(params) == 3
    assert space.check({}) == {}


SCHEDULED = """
optimizer:
  adam: {learning_rate: {name: cosine, initial_learning_rate: {type: float, low: 1e-3, high: 1e-2}, alpha: 0.1}}
  sgd:
    learning_rate:
      step: {initial_learning_rate: 0.1, factor: [0.1, 0.5]}
      constant: {value: 0.1}
model: {name: function, function: "m:f", arguments: {width: {type: int, low: 4, high: 8}, bias: true}}
"""


def test_a_part_that_stands_in_a_branch_may_have_things_in_it_that_vary() -> None:
    found = {(found.name, found.place) for found in space_of(SCHEDULED).parameters()}
    rate = "optimizer.learning_rate"
    assert found == {
        ("optimizer", "optimizer"),
        ("optimizer.adam.learning_rate.initial_learning_rate", f"{rate}.initial_learning_rate"),
        ("optimizer.sgd.learning_rate", rate),
        ("optimizer.sgd.learning_rate.step.factor", f"{rate}.factor"),
        ("model.arguments.width", "model.arguments.width"),
    }
    for noted, drawn in trials(space_of(SCHEDULED), 20):
        width = noted["model.arguments.width"]
        assert drawn["model"] == {"name": "function", "function": "m:f", "arguments": {"width": width, "bias": True}}
        rates = drawn["optimizer"]["learning_rate"]
        match noted["optimizer"], noted.get("optimizer.sgd.learning_rate"):
            case "adam", None:
                initial = noted["optimizer.adam.learning_rate.initial_learning_rate"]
                assert rates == {"name": "cosine", "initial_learning_rate": initial, "alpha": 0.1}
            case "sgd", "step":
                factor = noted["optimizer.sgd.learning_rate.step.factor"]
                assert rates == {"name": "step", "initial_learning_rate": 0.1, "factor": factor}
            case "sgd", "constant":
                assert rates == {"name": "constant", "value": 0.1}
            case other:
                pytest.fail(f"nothing else can be drawn, got {other}")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"a": 3}, {"a": 3, "b": {"c": 2, "d": [1]}}),
        ({"b.c": 3}, {"a": 1, "b": {"c": 3, "d": [1]}}),
        ({"b": {"e": 1}}, {"a": 1, "b": {"e": 1}}),
        ({"b.c": None}, {"a": 1, "b": {"d": [1]}}),
        ({"b": None}, {"a": 1}),
        ({"x.y.z": 1}, {"a": 1, "b": {"c": 2, "d": [1]}, "x": {"y": {"z": 1}}}),
        ({"x.y": None}, {"a": 1, "b": {"c": 2, "d": [1]}, "x": {}}),
        ({}, {"a": 1, "b": {"c": 2, "d": [1]}}),
    ],
)
def test_an_overlay_sets_paths_and_leaves_its_base_alone(changes: dict[str, Any], expected: dict[str, Any]) -> None:
    base = {"a": 1, "b": {"c": 2, "d": [1]}}
    before, changes_before = copy.deepcopy(base), copy.deepcopy(changes)
    result = overlay(base, changes)
    assert result == expected
    for value in result.values():  # nor is anything shared with it
        if isinstance(value, dict):
            value.setdefault("d", []).append(9)
            value["new"] = 1
    assert base == before
    assert changes == changes_before


def test_a_kind_by_name_alone_can_be_overlaid() -> None:
    assert overlay({"optimizer": "sgd"}, {"optimizer.momentum": 0.5}) == {"optimizer": {"name": "sgd", "momentum": 0.5}}


@pytest.mark.parametrize(
    ("space", "name", "words"),
    [
        ("batch_size: {type: int, low: 0, high: 8}", "batch_size", "would reach 0"),
        ("optimizer.beta_1: {type: float, low: 0.5, high: 1.0}", "optimizer.beta_1", "would reach 1.0"),
        ("optimizer.learning_rate: {type: float, low: 0.0, high: 1.0}", "optimizer.learning_rate", "would reach 0.0"),
        ("optimizer.learning_rate: [0.1, fast]", "optimizer.learning_rate", "would reach 'fast'"),
        ("optimizer: {adam: , sgd: {momentum: {type: float, low: 0, high: 1}}}", "optimizer.sgd.momentum",
         "would reach 1.0: optimizer.momentum must be less than 1"),
        ("optimizer: {adam: , sgd: {momentum: {type: float, low: -1, high: 0.5}}}", "optimizer.sgd.momentum",
         "would reach -1.0"),
        ("optimizer: {adam: , sgd: {beta_1: [0.5]}}", "optimizer.sgd.beta_1", "is no known key"),
        ("optimizer: {adam: , sgd: {nesterv: true}}", "optimizer", "did you mean 'nesterov'"),
        ("optimizer: {adma: }", "optimizer", "did you mean 'adam'"),
        ("optimizer: {none: , adam: }", "optimizer", "only a callback can be left out"),
        ("optimizer.lerning_rate: [0.1]", "optimizer.lerning_rate", "did you mean 'learning_rate'"),
        ("optimizer.name: [adam, sgd]", "optimizer.name", "would reach 'sgd'"),  # the rest of the node is Adam's
        ("model.units: [[10], [0]]", "model.units", "would reach [0]"),
        ("model.units: [10, 20]", "model.units", "valid list, got 10; a list here is one of choices"),
        ("model.units: {type: int, low: 8, high: 64}", "model.units",
         "valid list, got 8; a range is for one item of a list, by its number: model.units.0"),
        ("model.units.1: {type: int, low: 0, high: 64}", "model.units.1", "would reach 0: model.units.1 must be"),
        ("model.units.2: {type: int, low: 8, high: 64}", "model.units.2",
         "is no item of model.units, which the recipe says is [100, 30]: its items are numbered from 0"),
        ("model.units.last: [8]", "model.units.last", "is no item of model.units"),
        ("model.units.-1: [8]", "model.units.-1", "is no item of model.units"),
        ("model.units: [[8]]\nmodel.units.0: [16]", "model.units.0", "varies inside 'model.units'"),
        ("optimizer: {adam: {learning_rate: {piecewise: {boundary_epochs: [3], values: [[0.1, 0.2]]}}}}",
         "optimizer.adam.learning_rate.piecewise.boundary_epochs", "write a list as a choice: [[3]]"),
        ("callbacks.early_stopping.monitor: [val_loss, val_acc]", "callbacks.early_stopping.monitor",
         "would reach 'val_acc'"),
        ("callbacks.early_stoping.patience: [3]", "callbacks.early_stoping.patience", "needs a `name`"),
        ("callbacks.model_checkpoint.save_weights_only: [false, true]", "callbacks.model_checkpoint.save_weights_only",
         "would reach True: callbacks.model_checkpoint filepath must end in '.weights.h5'"),
        ("dataset.split_seed: [0, 1]", "dataset.split_seed", "cannot vary"),
        ("dataset: [digits, fashion_mnist]", "dataset", "cannot vary"),
        ("optimiser.learning_rate: [0.1]", "optimiser.learning_rate", "did you mean 'optimizer'"),
        ("budget.trials: [3]", "budget.trials", "is no path in the training config"),
        ("optimizer: {adam: }\noptimizer.learning_rate: [0.1]", "optimizer.learning_rate",
         "varies inside 'optimizer', which varies as a whole"),
        ("callbacks.a: {none: , early_stopping: }\ncallbacks.a.patience: [1]", "callbacks.a.patience",
         "varies inside 'callbacks.a'"),
    ],
)  # fmt: skip
def test_a_space_that_could_leave_the_configs_limits_is_wrong(space: str, name: str, words: str) -> None:
    wrong = wrong_in(space)
    assert name in wrong
    assert words in wrong[name]


def test_every_choice_that_is_wrong_is_named() -> None:
    (message,) = wrong_in("optimizer.learning_rate: [0.1, fast, slow, -1]").values()
    assert message.startswith("would reach 'fast' and 'slow': optimizer.learning_rate must be a number")
    assert "; and would reach -1: optimizer.learning_rate must be greater than 0" in message


def test_a_path_that_is_wrong_is_told_of_the_first_choice_alone() -> None:
    (message,) = wrong_in("optimizer.learnin_rate: [0.1, 0.2, 0.3]").values()
    assert message.startswith("would reach 0.1: optimizer.learnin_rate is no known key")


def test_a_range_is_wrong_only_where_it_leaves_the_limits() -> None:
    space = "optimizer: {sgd: {momentum: {type: float, low: 0, high: 1}, learning_rate: [0.1]}}\nbatch_size: [8]"
    assert list(wrong_in(space)) == ["optimizer.sgd.momentum"]


@pytest.mark.parametrize(
    ("units", "words"), [("[[10, 20], [10]]", "would reach [10]"), ("[[10]]", "does not go with the rest of the space")]
)
def test_choices_that_do_not_go_with_the_rest_of_their_part_are_wrong(units: str, words: str) -> None:
    wrong = wrong_in(f"model.units: {units}", model={"units": [5, 5], "activation": ["relu", "tanh"]})
    assert f"{words}: model.activation has 2 values for 1 hidden layer" in wrong["model.units"]


def test_what_every_trial_replaces_does_not_count() -> None:
    space = "model.units: [[1, 2, 3]]\nmodel.activation: [[relu, tanh, relu]]"
    assert wrong_in(space, model={"units": [5, 5], "activation": ["relu", "tanh"]}) == {}


def test_an_entry_that_adds_a_callback_counts_as_that_callback() -> None:
    space = "callbacks.reduce_lr_on_plateau.cooldown: {type: int, low: 0, high: 3}"
    wrong = wrong_in(space, callbacks={"learning_rate_scheduler": {"schedule": "step"}})
    (message,) = wrong.values()
    assert "does not go with the rest of the space: callbacks learning_rate_scheduler and reduce_lr" in message


@pytest.mark.parametrize(
    ("space", "name", "words"),
    [
        (
            (
                "callbacks.a: {none: , reduce_lr_on_plateau: }\n"
                "callbacks.b: {none: , learning_rate_scheduler: {schedule: step}}"
            ),
            "callbacks.b",
            "would reach 'learning_rate_scheduler' while callbacks.a is 'reduce_lr_on_plateau'",
        ),
        (
            "callbacks.a: {none: , model_checkpoint: {save_weights_only: [true, false], filepath: [a.weights.h5]}}",
            "callbacks.a.model_checkpoint.save_weights_only",
            "would reach False",
        ),
        (
            "model.units: [[5], [5, 5]]\nmodel.activation: [relu, [tanh, relu]]",
            "model.activation",
            "has 2 values for 1 hidden layer",
        ),
    ],
)
def test_choices_that_are_wrong_only_together_are_found(space: str, name: str, words: str) -> None:
    wrong = wrong_in(space, model={"units": [7, 7]})
    assert words in wrong[name]


def test_choices_of_different_branches_never_meet() -> None:
    space = "callbacks.rate: {none: , reduce_lr_on_plateau: , learning_rate_scheduler: {schedule: [step, exponential]}}"
    assert wrong_in(space) == {}


def test_a_callback_can_vary_that_the_base_does_not_have() -> None:
    assert wrong_in("callbacks.early_stopping.patience: {type: int, low: 1, high: 3}") == {}
    assert wrong_in("optimizer: [adam, sgd]\nmodel.activation: [relu, tanh]\nseed: [1, 2]") == {}


FLOATS = {
    "optimizer.learning_rate": (1e-6, 1.0),
    "optimizer.beta_1": (-0.2, 1.2),
    "callbacks.reduce_lr_on_plateau.factor": (-0.1, 1.1),
    "callbacks.early_stopping.min_delta": (-0.5, 0.5),
}
INTS = {
    "epochs": (0, 5),
    "batch_size": (-1, 9),
    "callbacks.early_stopping.patience": (-1, 5),
    "callbacks.reduce_lr_on_plateau.cooldown": (0, 3),
}
CHOICES: dict[str, list[Any]] = {
    "model.units": [[1], [2, 3], [], [0]],
    "model.activation": ["relu", "tanh", ["relu", "tanh"], "rulu"],
    "callbacks.early_stopping.monitor": ["loss", "val_loss", "val_accuracy", "acc"],
    "callbacks.early_stopping.baseline": [None, 0.5, 1],
    "callbacks.model_checkpoint.save_weights_only": [True, False],
    "callbacks.model_checkpoint.filepath": ["a.keras", "{epoch}.weights.h5", "{batch}.keras"],
    "callbacks.model_checkpoint.save_freq": ["epoch", 5],
}
BRANCHES: dict[str, list[dict[str, Any]]] = {
    "optimizer": [
        {"adam": {"learning_rate": {"type": "float", "low": 0.1, "high": 0.5}}},
        {"sgd": {"momentum": {"type": "float", "low": 0, "high": 0.5}, "nesterov": True}},
        {"sgd": {"momentum": {"type": "float", "low": 0, "high": 1}}},
        {"rmsprop": {}},
        {"none": {}},
        {"adma": {}},
    ],
    "callbacks.rate": [
        {"none": {}},
        {"reduce_lr_on_plateau": {"patience": {"type": "int", "low": 0, "high": 3}}},
        {"learning_rate_scheduler": {"schedule": {"step": {"every": [1, 2]}, "exponential": {}}}},
        {"early_stopping": {"monitor": ["val_loss", "loss"]}},
    ],
    "callbacks.second": [{"none": {}}, {"learning_rate_scheduler": {"schedule": "step"}}],
}


@st.composite
def ranges(draw: st.DrawFn, path: str) -> dict[str, Any]:
    if path in FLOATS:
        low, high = sorted(draw(st.tuples(*[st.floats(*FLOATS[path], allow_nan=False)] * 2)))
        return {"type": "float", "low": low, "high": high, "log": low > 0 and draw(st.booleans())}
    small, large = sorted(draw(st.tuples(*[st.integers(*INTS[path])] * 2)))
    return {"type": "int", "low": small, "high": large, "log": small > 0 and draw(st.booleans())}


@st.composite
def recipes(draw: st.DrawFn) -> dict[str, Any]:
    """Recipes of which about every second one is right."""
    space: dict[str, Any] = {}
    for path in draw(st.lists(st.sampled_from([*FLOATS, *INTS]), max_size=3, unique=True)):
        space[path] = draw(ranges(path))
    for path in draw(st.lists(st.sampled_from(list(CHOICES)), max_size=3, unique=True)):
        space[path] = draw(st.lists(st.sampled_from(CHOICES[path]), min_size=1, max_size=3))
    for path in draw(st.lists(st.sampled_from(list(BRANCHES)), max_size=2, unique=True)):
        space[path] = {}
        for kind in draw(st.lists(st.sampled_from(BRANCHES[path]), min_size=1, max_size=3)):
            space[path] |= kind
    keys = draw(st.permutations(list(space)))
    return {
        "study": "a",
        "model": {"units": [4, 4], "activation": draw(st.sampled_from(["relu", ["relu", "tanh"]]))},
        "optimizer": draw(st.sampled_from(["adam", "sgd", {"name": "adam", "beta_2": 0.5}])),
        "callbacks": draw(st.sampled_from([{}, {"early_stopping": {"patience": 3}}, {"reduce_lr_on_plateau": {}}])),
        "search_space": {key: space[key] for key in keys},
    }


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
@given(recipes(), st.integers(0, 9))
def test_every_trial_of_a_space_without_mistakes_is_a_valid_config(recipe: dict[str, Any], seed: int) -> None:
    config = SweepConfig.model_validate(recipe)
    space = SearchSpace(config.search_space)
    if space.check(config.training()):
        event("wrong")
        return
    names = {parameter.name: parameter for parameter in space.parameters()}
    base = config.training()
    before = copy.deepcopy(base)
    for params, changes in trials(space, 6, seed):
        trained = TrainingConfig.model_validate(overlay(base, changes))
        assert TrainingConfig.model_validate(trained.model_dump(mode="json")) == trained
        drawn = {name for name in names if all(params.get(key) == kind for key, kind in names[name].given.items())}
        assert set(params) == drawn  # all that exists, and nothing that would be ignored
    assert base == before


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(recipes())
def test_a_recipe_is_right_or_says_why_and_never_breaks(recipe: dict[str, Any]) -> None:
    found: tuple[Mistake, ...] = ()
    try:
        check_recipe(Document(recipe, {}), "recipe.yaml")
    except ConfigError as error:
        found = error.mistakes
        event("wrong")
    assert all(mistake.path and mistake.message for mistake in found)
