from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipelines import yaml_file
from pipelines.errors import ConfigError, Mistake
from pipelines.optimizers import Adam, Sgd
from pipelines.recipe.config import SweepConfig
from pipelines.recipe.distributions import Choices, FloatRange, IntRange
from pipelines.recipe.reading import check_recipe, identity, read_recipe
from pipelines.recipe.search_space import SearchSpace


def check(text: str, *settings: str) -> SweepConfig:
    return check_recipe(yaml_file.parse(text, "recipe.yaml"), "recipe.yaml", settings)


def mistakes(text: str, *settings: str) -> list[Mistake]:
    with pytest.raises(ConfigError) as caught:
        check(text, *settings)
    return list(caught.value.mistakes)


def only_mistake(text: str, *settings: str) -> Mistake:
    (found,) = mistakes(text, *settings)
    return found


FIVE = """\
study: five mistakes
optimizer: {name: adma}
callbacks:
  early_stopping: {monitor: val_acc, patience: 5}
epochs: 0
search_space:
  batch_size: {type: int, low: 0, high: 64}
"""


def test_five_different_mistakes_are_these_five_with_path_line_and_way_out(tmp_path: Path) -> None:
    path = tmp_path / "five.yaml"
    path.write_text(FIVE)
    with pytest.raises(ConfigError) as caught:
        read_recipe(path)
    assert [(mistake.line, mistake.path) for mistake in caught.value.mistakes] == [
        (1, "study"),
        (2, "optimizer"),
        (4, "callbacks.early_stopping.monitor"),
        (5, "epochs"),
        (7, "search_space.batch_size"),
    ]
    messages = [mistake.message for mistake in caught.value.mistakes]
    for message, ways in zip(
        messages,
        (
            ("letters, digits", "'five mistakes'"),
            ("'adma'", "did you mean 'adam'", "there are sgd, adagrad, "),
            ("'val_acc'", "loss, accuracy, val_loss, val_accuracy"),
            ("greater than or equal to 1", "got 0"),
            ("would reach 0", "greater than or equal to 1"),
        ),
        strict=True,
    ):
        assert all(way in message for way in ways), message
    said = str(caught.value)
    assert said.splitlines()[0] == f"{path}: 5 mistakes, nothing was started"
    assert len(said.splitlines()) == 6


@pytest.mark.parametrize(
    ("text", "path", "line", "words"),
    [
        ("study: a\nepocs: 3\n", "epocs", 2, "did you mean 'epochs'"),
        ("study: a\noptimizer: {name: sgd, momentm: 0}\n", "optimizer.momentm", 2, "did you mean 'momentum'"),
        ("study: a\noptimizer: {name: sgd, beta_1: 0}\n", "optimizer.beta_1", 2, "known here: learning_rate"),
        ("study: a\ncallbacks:\n  early_stopping:\n    patiense: 3\n", "callbacks.early_stopping.patiense", 4,
         "did you mean 'patience'"),
        ("study: a\nbudget:\n  trails: 3\n", "budget.trails", 3, "did you mean 'trials'"),
        ("study: a\nsearch_space:\n  epochs: {type: int, low: 1, hihg: 2, high: 3}\n", "search_space.epochs.hihg", 3,
         "did you mean 'high'"),
        ("study: a\ncallbacks:\n  learning_rate_scheduler: {schedule: {name: step, evry: 2}}\n",
         "callbacks.learning_rate_scheduler.schedule.evry", 3, "did you mean 'every'"),
    ],
)  # fmt: skip
def test_an_unknown_key_is_a_mistake_that_names_the_nearest(text: str, path: str, line: int, words: str) -> None:
    found = only_mistake(text)
    assert (found.path, found.line) == (path, line)
    assert "is no known key" in found.message
    assert words in found.message


@pytest.mark.parametrize(
    ("text", "path", "words"),
    [
        ("{}", "study", "is missing"),
        ("study: a\noptimizer: adma\n", "optimizer", "did you mean 'adam'"),
        ("study: a\noptimizer: {learning_rate: 0.1}\n", "optimizer", "needs a `name`"),
        ("study: a\noptimizer: [adam]\n", "optimizer", "must be a mapping"),
        ("study: a\noptimizer:\n", "optimizer", "must be a mapping"),
        ("study: a\nmodel: {activation: rulu}\n", "model.activation", "did you mean 'relu'"),
        ("study: a\ncallbacks: {tensorboard: {log_dir: x}}\n", "callbacks.tensorboard", "there are early_stopping, "),
        ("study: a\nmodel: {units: [10, 0]}\n", "model.units.1", "greater than or equal to 1, got 0"),
        ("study: a\nmodel: {units: [3], activation: [relu, tanh]}\n", "model.activation", "exactly one each"),
        ("study: a\ncallbacks: [early_stopping]\n", "callbacks", "must be a mapping"),
        ("study: a\ncallbacks: {stop: {patience: 3}}\n", "callbacks.stop", "needs a `name`"),
        ("study: a\ncallbacks: {early_stoping: {patience: 3}}\n", "callbacks.early_stoping",
         "did you mean 'early_stopping'"),
        ("study: a\ndataset: {name: synthetic_images, shape: [9]}\n", "dataset.shape",
         "must have at least 2 items, got 1: [9]"),
        ("study: a\ncallbacks: {early_stopping: {name: erly_stopping}}\n", "callbacks.early_stopping",
         "did you mean 'early_stopping'"),
        ("study: a\ncallbacks: {early_stopping: {mode: auto, monitor: acc}}\n", "callbacks.early_stopping.monitor",
         "there are loss, accuracy"),
        ("study: a\ncallbacks: {model_checkpoint: {filepath: '{acc:.2f}.keras'}}\n",
         "callbacks.model_checkpoint.filepath", "watches 'acc'"),
        ("study: a\nobjective: val_acc\n", "objective", "there are loss, accuracy"),
        ("study: a\nobjective: {direction: up}\n", "objective.direction", "'minimize' or 'maximize'"),
        ("study: a\nbatch_size: 1.5\n", "batch_size", "valid integer"),
        ("study: a\nexecution: {executor: threads}\n", "execution.executor", "'docker' or 'ray', got 'threads'"),
        ("study: a\nexecution: {workers: 0}\n", "execution.workers", "must be 'auto', or must be greater than or"),
        ("study: a\nsampler: tp\n", "sampler", "did you mean 'tpe'"),
        ("study: a\npruner: {name: median, n_warmup_steps: -1}\n", "pruner.n_warmup_steps", "got -1"),
        ("study: a\npromotion: {metric: val_accuracy}\n", "promotion.metric", "did you mean 'test_accuracy'"),
        ("study: a\ndataset: {name: digits, test_share: 1}\n", "dataset.test_share", "less than 1, got 1"),
        ("study: a\ndataset: {name: digits, task: binary}\n", "dataset.task", "'task' stands at the top of a recipe"),
        ("study: a\nlearning_rate: 0.1\n", "learning_rate", "did you mean 'optimizer.learning_rate'?; kn"),
        ("study: a\nmax_trials: 9\n", "max_trials", "did you mean 'budget.trials'?"),
        ("study: a\ndataset: minst\n", "dataset", "there are digits, mnist, fashion_mnist"),
        ("study: ../a\n", "study", "got '../a'"),
        ("study: 3\n", "study", "valid string, got 3"),
    ],
)  # fmt: skip
def test_a_wrong_value_is_one_mistake_with_its_way_out(text: str, path: str, words: str) -> None:
    found = only_mistake(text)
    assert found.path == path
    assert words in found.message


@pytest.mark.parametrize("word", ["yes", "on", "true", "no"])
@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("epochs", "epochs: {}"),
        ("optimizer.momentum", "optimizer: {{name: sgd, momentum: {}}}"),
        ("execution.workers", "execution: {{workers: {}}}"),
        ("callbacks.early_stopping.baseline", "callbacks: {{early_stopping: {{baseline: {}}}}}"),
        ("callbacks.early_stopping.verbose", "callbacks: {{early_stopping: {{verbose: {}}}}}"),
        ("model.units.1", "model: {{units: [3, {}]}}"),
        ("search_space.epochs.low", "search_space: {{epochs: {{type: int, low: {}, high: 3}}}}"),
    ],
)
def test_yes_is_no_number(path: str, text: str, word: str) -> None:
    found = only_mistake("study: a\n" + text.format(word))
    assert found.path == path
    assert f"'{'false' if word == 'no' else 'true'}'" in found.message


def test_yes_is_a_fine_answer_where_one_is_asked_for() -> None:
    config = check("study: a\noptimizer: {name: sgd, nesterov: yes}\nsearch_space: {optimizer.nesterov: [yes, no]}\n")
    assert config.optimizer == Sgd(nesterov=True)
    assert config.search_space["optimizer.nesterov"] == Choices(choices=(True, False))


def test_what_yaml_reads_as_text_or_integer_becomes_the_number_it_is() -> None:
    config = check(
        "study: a\noptimizer: {name: sgd, learning_rate: 1e-4, momentum: 0}\n"
        "search_space: {optimizer.learning_rate: {type: float, low: 1e-4, high: 1, log: true}}\n"
    )
    assert isinstance(config.optimizer, Sgd)
    assert config.optimizer.learning_rate == 1e-4
    assert type(config.optimizer.momentum) is float
    space: Any = config.search_space["optimizer.learning_rate"]
    assert space == FloatRange(type="float", low=1e-4, high=1.0, log=True)
    assert type(space.high) is float


@pytest.mark.parametrize("number", [".inf", "-.inf", ".nan"])
def test_numbers_without_an_end_are_refused(number: str) -> None:
    assert only_mistake(f"study: a\noptimizer: {{name: adam, learning_rate: {number}}}\n").path == (
        "optimizer.learning_rate"
    )


def test_a_kind_alone_stands_for_its_defaults() -> None:
    config = check("study: a\noptimizer: sgd\nsampler: random\npruner: none\nobjective: val_accuracy\n")
    assert config.optimizer == Sgd()
    assert config.sampler.name == "random"
    assert config.pruner.name == "none"
    assert config.objective.sense == "maximize"


def test_a_list_is_choices_and_a_mapping_with_a_type_is_a_range() -> None:
    config = check(
        "study: a\n"
        "search_space:\n"
        "  batch_size: [16, 32]\n"
        "  epochs: {type: int, low: 1, high: 4}\n"
        "  model.units: {type: categorical, choices: [[10], [10, 20]]}\n"
    )
    assert config.search_space == {
        "batch_size": Choices(choices=(16, 32)),
        "epochs": IntRange(type="int", low=1, high=4),
        "model.units": Choices(choices=([10], [10, 20])),
    }


@pytest.mark.parametrize(
    ("entry", "path", "words"),
    [
        ("3", "", "must be a range {type: float, low: …, high: …}, a list of choices, or kinds to choose from, got 3"),
        ("[]", ".choices", "at least 1 item"),
        ("[1, {a: 2}]", ".choices", "a choice is a value or a list; what is in a mapping varies by its path, got {'a'"),
        ("{type: flot, low: 1, high: 2}", "", "type must be float, int or categorical, got 'flot'"),
        ("{low: 1, high: 2}", "", "needs a `type`: float, int or categorical; got {'low': 1, 'high': 2}"),
        ("{choices: [1, 2]}", "", "needs a `type`: float, int or categorical; got {'choices': [1, 2]}"),
        ("{type: , low: 1, high: 2}", "", "type must be float, int or categorical, got None"),
        (
            "{values: [16, 32]}",
            "",
            "is written as a range, {type: float, low: 0.0001, high: 0.01, log: true} (type int",
        ),
        ("{distribution: loguniform, min: 1, max: 8}", "", "or as a list of choices, [16, 32], got {'distribution': "),
        ("{type: int, low: 1}", ".high", "is missing"),
        ("{type: int, low: 3, high: 1}", "", "low must not be above high, got low 3 and high 1"),
        ("{type: int, low: 0, high: 8, log: true}", "", "a logarithmic range needs low above 0, got 0"),
        ("{type: int, low: 1, high: 8, log: true, step: 2}", "", "either logarithmic or in steps"),
        ("{type: int, low: 1.5, high: 8}", ".low", "valid integer"),
        ("{type: int, low: 1, high: 8, step: 0}", ".step", "greater than or equal to 1"),
        ("{adam: 3}", ".adam", "must be a mapping of keys to values, got 3"),
    ],
)
def test_an_entry_of_the_space_that_is_none_is_one_mistake(entry: str, path: str, words: str) -> None:
    found = only_mistake(f"study: a\nsearch_space:\n  epochs: {entry}\n")
    assert found.path in {f"search_space.epochs{path}", f"search_space.epochs{path}".removesuffix(".choices")}
    assert found.line == 3
    assert words in found.message


def test_two_callbacks_cannot_both_move_the_learning_rate() -> None:
    found = only_mistake("study: a\ncallbacks:\n  reduce_lr_on_plateau:\n  learning_rate_scheduler: {schedule: step}\n")
    assert (found.path, found.line) == ("callbacks", 2)
    assert "reduce_lr_on_plateau and learning_rate_scheduler" in found.message
    assert "keep one" in found.message


def test_a_callback_may_stand_twice_under_labels_of_its_own() -> None:
    config = check(
        "study: a\ncallbacks:\n  loss: {name: early_stopping}\n"
        "  accuracy: {name: early_stopping, monitor: val_accuracy}\n"
    )
    assert [callback.name for callback in config.callbacks.values()] == ["early_stopping"] * 2


SPACE = """\
study: a
optimizer: {name: adam, learning_rate: 1e-3}
search_space:
  optimizer:
    adam: {learning_rate: {type: float, low: 1e-4, high: 1e-2}}
    sgd: {momentum: {type: float, low: 0.0, high: 0.9}}
  callbacks.early_stopping.patience: {type: int, low: 3, high: 8}
budget: {trials: 4}
"""


@pytest.mark.parametrize(
    ("setting", "path", "value"),
    [
        ("epochs=3", "epochs", 3),
        ("study=other", "study", "other"),
        ("optimizer.learning_rate=1e-4", "optimizer.learning_rate", 1e-4),
        ("optimizer=sgd", "optimizer.name", "sgd"),
        ("optimizer={name: sgd, momentum: 0.5}", "optimizer.momentum", 0.5),
        ("budget.trials=9", "budget.trials", 9),
        ("budget.failed_trials=0", "budget.failed_trials", 0),
        ("model.units=[5]", "model.units", (5,)),
        ("callbacks.early_stopping.patience=2", "callbacks.early_stopping.patience", 2),
        ("callbacks.lr.name=reduce_lr_on_plateau", "callbacks.lr.factor", 0.1),
        ("callbacks={}", "callbacks", {}),
        ("objective.metric=val_accuracy", "objective.sense", "maximize"),
        ("search_space.callbacks.early_stopping.patience.high=20",
         "search_space.callbacks¸early_stopping¸patience.high", 20),
        ("search_space.optimizer.sgd.momentum.low=0.5", "search_space.optimizer.root.sgd.momentum.low", 0.5),
        ("search_space.batch_size=[16, 32]", "search_space.batch_size.choices", (16, 32)),
        ("search_space.model.dropout=[1e-2, 1e-1]", "search_space.model¸dropout.choices", (0.01, 0.1)),
        ("search_space.optimizer={adam: }", "search_space.optimizer.root", {"adam": {}}),
        ("search_space.callbacks.reduce_lr_on_plateau.factor={type: float, low: 0.1, high: 0.5}",
         "search_space.callbacks¸reduce_lr_on_plateau¸factor.high", 0.5),
    ],
)  # fmt: skip
def test_a_setting_lays_its_value_over_the_recipe(setting: str, path: str, value: Any) -> None:
    here: Any = check_recipe(yaml_file.parse(SPACE, "recipe.yaml"), "recipe.yaml", [setting], to_sweep=False)
    for part in path.split("."):
        key = part.replace("¸", ".")
        here = here[key] if isinstance(here, dict) else getattr(here, key)
    assert here == value


@pytest.mark.parametrize(
    ("setting", "varied"),
    [
        ("optimizer=adam", "optimizer"),
        ("optimizer.learning_rate=1e-4", "optimizer"),
        ("callbacks.early_stopping.patience=2", "callbacks.early_stopping.patience"),
    ],
)
def test_a_setting_that_every_trial_would_overrule_is_a_mistake(setting: str, varied: str) -> None:
    (found,) = mistakes(SPACE, setting)
    assert found.path == f"--set {setting.partition('=')[0]}"
    assert f"has no effect, as the search space varies '{varied}'" in found.message
    assert f"--set search_space.{varied}=" in found.message


@pytest.mark.parametrize(
    ("setting", "path", "words"),
    [
        ("epochs", "--set", "must be path=value, such as epochs=5, got 'epochs'"),
        ("=5", "--set", "must be path=value"),
        ("epocs=5", "--set", "did you mean 'epochs'"),
        ("zebra.stripes=5", "--set", "a recipe has no 'zebra', got"),
        ("name=a", "--set", "a recipe has no 'name', got"),  # which stands everywhere
        ("direction=maximize", "--set", "a recipe has no 'direction'; did you mean 'objective.direction'?"),
        ("n_trials=5", "--set", "did you mean 'budget.trials'?"),
        ("timeout=60", "--set", "did you mean 'budget.wall_s'?"),
        ("lr=0.1", "--set", "did you mean 'optimizer.learning_rate'?"),
        ("patience=3", "--set", "'callbacks.early_stopping.patience' or 'callbacks.reduce_lr_on_plateau.patience' or"),
        ("epochs=[", "--set", "the value of epochs is not YAML: '['"),
        ("study=2024-13-45", "--set", "the value of study is not YAML"),
        ("epochs=many", "--set epochs", "valid integer, got 'many'"),
        ("epochs=0", "--set epochs", "greater than or equal to 1, got 0"),
        ("budget.trials=0", "--set budget.trials", "got 0"),  # the file's line would show another value
        ("optimizer.momentum=0.5", "--set optimizer.momentum", "is no known key"),
        ("optimizer=adma", "--set optimizer", "did you mean 'adam'"),
        ("search_space.callbacks.early_stopping.patience.low=-1",
         "search_space.callbacks.early_stopping.patience", "would reach -1"),
        ("search_space.callbacks.early_stopping.patience.low=9",
         "search_space.callbacks.early_stopping.patience", "low must not be above high"),
        ("search_space=3", "--set search_space", "must be a mapping"),
    ],
)  # fmt: skip
def test_a_wrong_setting_is_a_mistake_of_the_command_line(setting: str, path: str, words: str) -> None:
    found = only_mistake(SPACE, setting)
    assert found.path == path
    assert words in found.message
    assert path.startswith("--set") == (found.line is None)


def test_settings_apply_in_turn_and_mistakes_of_all_are_told_together() -> None:
    assert check(SPACE, "epochs=3", "epochs=4").epochs == 4
    found = mistakes(SPACE, "epocs=3", "batch_size=0", "epochs=[")
    assert len(found) == 3


def test_a_setting_does_not_reach_what_an_anchor_shares() -> None:
    text = "study: a\nsearch_space:\n  epochs: &r {type: int, low: 1, high: 3}\n  batch_size: *r\n"
    config = check(text, "search_space.epochs.high=9")
    assert config.search_space["epochs"] == IntRange(type="int", low=1, high=9)
    assert config.search_space["batch_size"] == IntRange(type="int", low=1, high=3)


def test_the_space_is_checked_even_where_the_rest_is_wrong() -> None:
    text = "study: a\nepochs: 0\ndataset: {name: digits, test_share: 2}\nsearch_space:\n  batch_size: [16, 0]\n"
    assert [mistake.path for mistake in mistakes(text)] == ["epochs", "dataset.test_share", "search_space.batch_size"]


def test_a_wrong_path_in_the_space_hides_no_choices_that_do_not_go_together() -> None:
    space = "optimizer.learning_rte: [0.1]\n  loss: {mse: , sparse_categorical_crossentropy: }"
    found = mistakes(f"study: a\nobjective: val_accuracy\nsearch_space:\n  {space}\n")
    assert [mistake.path for mistake in found] == ["search_space.optimizer.learning_rte", "search_space.loss"]


def test_an_entry_that_cannot_be_read_hides_none_that_does_not_go_with_the_rest() -> None:
    found = mistakes("study: a\nsearch_space:\n  epochs: {low: 1, high: 2}\n  loss.label_smoothing: [0.0, 0.1]\n")
    assert [mistake.path for mistake in found] == ["search_space.epochs", "search_space.loss.label_smoothing"]
    assert "cannot be compared by 'val_loss'" in found[1].message


def test_a_space_may_vary_parts_that_a_recipe_with_another_mistake_leaves_out() -> None:
    space = "optimizer.learning_rate: [0.1, 0.2]\n  callbacks.early_stopping.patience: [1, 2]"
    assert only_mistake(f"study: a b\nsearch_space:\n  {space}\n").path == "study"


def test_a_mistake_of_the_base_is_not_told_again_for_the_space() -> None:
    text = (
        "study: a\noptimizer: {name: adam, beta_1: 2}\n"
        "search_space:\n  optimizer.learning_rate: {type: float, low: 1e-4, high: 1e-2}\n"
    )
    assert only_mistake(text).path == "optimizer.beta_1"


BASE = """\
study: a
callbacks:
  early_stopping: {patience: 3}
  reduce_lr_on_plateau:
search_space:
  batch_size: [16, 32]
"""


@pytest.mark.parametrize(
    "setting",
    [
        "budget.trials=99",
        "budget.failed_trials=0",
        "execution.executor=inline",
        "execution.workers=1",
        "promotion.metric=test_loss",
        "promotion.min_gain=0.1",
    ],
)
def test_budget_execution_and_promotion_do_not_make_another_study(setting: str) -> None:
    assert identity(check(BASE, setting)) == identity(check(BASE))


@pytest.mark.parametrize(
    "setting",
    [
        "study=b",
        "seed=1",
        "epochs=3",
        "batch_size=64",
        "dataset.name=digits",
        "dataset={name: digits, split_seed: 1}",
        "dataset={name: digits, test_share: 0.3}",
        "model.units=[10]",
        "model.api=functional",
        "optimizer={name: adam, learning_rate: 0.002}",
        "optimizer=sgd",
        "callbacks.early_stopping.patience=4",
        "callbacks={early_stopping: {patience: 3}}",
        "callbacks={reduce_lr_on_plateau: , early_stopping: {patience: 3}}",  # Keras calls them in another order
        "search_space.batch_size=[16, 64]",
        "search_space.epochs=[3]",
        "objective=val_accuracy",
        "sampler=random",
        "sampler={name: tpe, n_startup_trials: 3}",
        "pruner=none",
    ],
)
def test_everything_else_makes_another_study(setting: str) -> None:
    same = setting == "dataset.name=digits"
    changed = check_recipe(yaml_file.parse(BASE, "recipe.yaml"), "recipe.yaml", [setting], to_sweep=False)
    assert (identity(changed) == identity(check(BASE))) is same


def test_comments_order_of_keys_and_spelled_out_defaults_do_not_make_another_study() -> None:
    text = (
        "# the same\nsearch_space: {batch_size: {type: categorical, choices: [16, 32]}}\nepochs: 20\n"
        "callbacks:\n  early_stopping: {patience: 3, monitor: val_loss}\n  reduce_lr_on_plateau: {factor: 0.1}\n"
        "study: a\n"
    )
    assert identity(check(text)) == identity(check(BASE))


def test_an_identity_survives_the_way_through_json() -> None:
    config = check(SPACE)
    again = SweepConfig.model_validate(config.model_dump(mode="json"))
    assert again == config
    assert identity(again) == identity(config)
    assert isinstance(again.optimizer, Adam)


@pytest.mark.parametrize(
    ("text", "path", "words"),
    [
        (
            "sampler: grid\nsearch_space: {optimizer.learning_rate: {type: float, low: 0.1, high: 0.2}}",
            "search_space.optimizer.learning_rate",
            "'grid' tries every value, and there is no end of them",
        ),
        ("pruner: hyperband\nepochs: 1", "pruner.min_resource", "give trials more epochs"),
    ],
)
def test_a_sampler_or_pruner_that_does_not_go_with_the_rest_is_a_mistake(text: str, path: str, words: str) -> None:
    found = only_mistake(f"study: a\n{text}\n")
    assert found.path == path
    assert words in found.message


ADAM_OR_SGD = "search_space: {optimizer: {adam: {beta_1: [0.8, 0.9]}, sgd: }}"


@pytest.mark.parametrize(
    ("text", "path", "words"),
    [
        ("objective: [val_loss, val_acc]", "objective.1", "no epoch has 'val_acc'"),
        ("objective: [val_loss, {metric: val_accuracy, direction: up}]", "objective.1.direction",
         "'minimize' or 'maximize'"),
        ("objective: [val_loss, parametres]", "objective.1", "did you mean 'parameters'"),
        ("objective: [val_loss, val_loss]", "objective.1", "is there twice"),
        ("objective: [seconds, val_loss]", "objective.0", "known only at the end of a trial, and the first objective"),
        ("objective: parameters", "objective", "list parameters after it"),
        ("objective: [loss, accuracy, val_loss, val_accuracy, seconds]", "objective", "at most 4 items"),
        ("objective: []", "objective", "at least 1 item"),
        ("objective: [val_loss, seconds]\npruner: median", "pruner", "'median' weighs trials by one objective"),
        ("objective: [val_loss, seconds]\nsampler: cmaes\nsearch_space: {epochs: {type: int, low: 1, high: 9}}",
         "sampler", "'cmaes' looks for one objective, and there are 2; use tpe or random or gp or nsgaii"),
        ("objective: [val_accuracy, val_loss]\nsearch_space: {loss.label_smoothing: [0.0, 0.1]}",
         "search_space.loss.label_smoothing", "cannot be compared by 'val_loss'"),
        ("objective: [val_loss, seconds]\nsampler: {name: nsgaiii, reference_points: [[1, 0], [1, 1, 1]]}",
         "sampler.reference_points", "must have a number an objective, and there are 2; got [1.0, 1.0, 1.0]"),
        ("sampler: {name: nsgaiii, reference_points: [[0]]}", "sampler", "leads nowhere"),
        ("constraints: {val_acc: {least: 0.9}}", "constraints.val_acc", "no epoch has 'val_acc'"),
        ("constraints: {secnds: {most: 9}}", "constraints.secnds", "did you mean 'seconds'"),
        ("constraints: {seconds: {}}", "constraints.seconds", "needs least, most or both"),
        ("constraints: {seconds: {most: 1, least: 2}}", "constraints.seconds", "least must not be above most"),
        ("constraints: {seconds: {max: 1}}", "constraints.seconds.max", "known here: least, most"),
        ("objective: val_accuracy\nconstraints: {val_loss: {most: 1}}\nsearch_space: {loss.label_smoothing: [0, 0.1]}",
         "search_space.loss.label_smoothing", "cannot be held to one bound of 'val_loss'"),
        ("enqueue: [{batch_size: 3}]\nsearch_space: {batch_size: [16, 32]}", "enqueue.0.batch_size",
         "must be 16 or 32, got 3"),
        ("enqueue: [{batch_size: 16}, {bach_size: 16}]\nsearch_space: {batch_size: [16, 32]}", "enqueue.1.bach_size",
         "did you mean 'batch_size'"),
        ("enqueue: [{optimizer: {name: sgd}}]\n" + ADAM_OR_SGD, "enqueue.0.optimizer",
         "must be one value: of kinds to choose from, the name alone (optimizer: sgd)"),
        ("enqueue: [{}]", "enqueue.0", "at least 1 item"),
        ("enqueue: {batch_size: 3}", "enqueue", "valid list"),
        ("enqueue: [{optimizer: sgd, optimizer.adam.beta_1: 0.9}]\n" + ADAM_OR_SGD,
         "enqueue.0.optimizer.adam.beta_1", "is drawn only where optimizer is adam"),
        ("warm_start: {study: a/b}", "warm_start.study", "begin with a letter"),
        ("warm_start: {study: b, trials: 0}", "warm_start.trials", "got 0"),
        ("warm_start: {trials: 3}", "warm_start.study", "is missing"),
        ("promotion: {pick: best}", "promotion.pick", "'first' or 'knee'"),
    ],
)  # fmt: skip
def test_what_a_sweep_looks_for_is_checked(text: str, path: str, words: str) -> None:
    found = only_mistake(f"study: a\n{text}\n")
    assert found.path == path
    assert words in found.message
    assert found.line is not None


def test_several_objectives_are_a_list_of_which_the_first_is_the_objective() -> None:
    config = check(
        "study: a\nobjective: [val_accuracy, {metric: parameters}, {metric: seconds, direction: maximize}]\n"
    )
    assert [(each.metric, each.sense) for each in config.objectives] == [
        ("val_accuracy", "maximize"), ("parameters", "minimize"), ("seconds", "maximize"),
    ]  # fmt: skip
    assert (config.objective.metric, config.objective.sense) == ("val_accuracy", "maximize")
    assert config.pruner.name == "none"
    again = SweepConfig.model_validate(config.model_dump(mode="json"))
    assert again == config
    assert identity(again) == identity(config)


def test_a_list_of_one_objective_is_that_objective() -> None:
    config = check("study: a\nobjective: [val_accuracy]\n")
    assert config == check("study: a\nobjective: val_accuracy\n")
    assert config.pruner.name == "median"


def test_mistakes_of_every_objective_are_told_together() -> None:
    found = mistakes("study: a\nobjective:\n  - val_los\n  - {metrc: seconds}\n  - val_accuracy\n  - 3\n")
    assert {mistake.path: mistake.line for mistake in found} == {"objective.1.metrc": 4, "objective.3": 6}


def test_violations_are_in_the_metrics_own_unit_and_at_most_0_where_the_bound_is_kept() -> None:
    bounds = "{val_accuracy: {least: 0.9}, parameters: {most: 5e4}, seconds: {least: 1, most: 60}}"
    config = check(f"study: a\nconstraints: {bounds}\n")
    assert config.violations({"val_accuracy": 0.85, "parameters": 50000, "seconds": 61.5, "loss": 3}) == {
        "val_accuracy": pytest.approx(0.05), "parameters": 0.0, "seconds": 1.5,
    }  # fmt: skip
    assert config.violations({"val_accuracy": 1.0, "seconds": 0.5})["seconds"] == 0.5


@pytest.mark.parametrize("setting", ["enqueue=[{batch_size: 32}]", "promotion.pick=knee"])
def test_what_is_tried_first_and_picked_makes_no_other_study(setting: str) -> None:
    changed = check_recipe(yaml_file.parse(BASE, "recipe.yaml"), "recipe.yaml", [setting])
    assert identity(changed) == identity(check(BASE))


@pytest.mark.parametrize(
    "setting",
    ["objective=[val_loss, seconds]", "constraints={seconds: {most: 3}}", "warm_start=b", "warm_start={study: a}"],
)
def test_what_the_sampler_is_told_makes_another_study(setting: str) -> None:
    changed = check_recipe(yaml_file.parse(BASE, "recipe.yaml"), "recipe.yaml", [setting])
    assert identity(changed) != identity(check(BASE))


def test_a_study_without_constraints_is_what_it_was_before_there_were_any() -> None:
    """A study on disk must not be set aside because recipes have learned more words."""
    assert identity(check("study: a\nconstraints: {}\nwarm_start: null\nenqueue: []\n")) == identity(
        check("study: a\n")
    )


@pytest.mark.parametrize(
    "path", ["optimizer.learning_rate", "callbacks.early_stopping.patience", "callbacks.reduce_lr_on_plateau.factor"]
)
def test_an_entry_of_the_space_is_set_by_the_very_path_that_it_has_in_the_file(tmp_path: Path, path: str) -> None:
    recipe = tmp_path / "dotted.yaml"
    recipe.write_text(
        "study: dotted\ncallbacks: {early_stopping: {}, reduce_lr_on_plateau: {}}\nsearch_space:\n"
        f"  {path}: {{type: float, low: 0.1, high: 0.9}}\n  batch_size: [8, 16]\n"
    )
    values = "[2, 4]" if path.endswith("patience") else "[0.2, 0.4]"
    if path.endswith("patience"):
        recipe.write_text(recipe.read_text().replace("type: float, low: 0.1, high: 0.9", "type: int, low: 1, high: 9"))

    config = read_recipe(recipe, [f"search_space.{path}={values}"])

    assert {parameter.name: parameter.describe() for parameter in SearchSpace(config.search_space).parameters()} == {
        path: f"one of {values[1:-1]}",
        "batch_size": "one of 8, 16",
    }


def test_code_beside_a_recipe_elsewhere_is_told_where_it_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "project"
    (folder / "inner").mkdir(parents=True)
    (folder / "own_beside.py").write_text("def make(inputs, head): ...\n")
    (folder / "inner" / "own_nets.py").write_text("def make(inputs, head): ...\n")
    recipe = folder / "own.yaml"
    monkeypatch.chdir(tmp_path)

    for module, there in (("own_beside", True), ("inner.own_nets", True), ("own_nowhere", False)):
        recipe.write_text(f"study: own\nmodel: {{name: function, function: '{module}:make'}}\n")
        with pytest.raises(ConfigError) as caught:
            read_recipe(Path("project/own.yaml"))
        (mistake,) = caught.value.mistakes
        assert (f"it is beside the recipe, and is found by who starts in {folder}" in mistake.message) is there


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("loss: 'mine:loss'", True),
        ("metrics: ['mine:f1']", True),
        ("optimizer: {name: adam, learning_rate: {name: function, function: 'mine:rate'}}", True),
        ("loss: focal", False),
    ],
)
def test_where_no_code_of_one_s_own_can_stand_it_is_told_where_it_can(text: str, told: bool) -> None:
    message = only_mistake(f"study: a\n{text}\n").message
    assert ("code of your own can be a dataset (function), a model (function), a loss (function)" in message) is told
    assert "; there are " in message


def test_a_study_from_before_callbacks_could_add_metrics_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    own = "study: a\ncallbacks: {mine: {name: class, path: 'json:JSONDecoder'}}\n"
    now, adding = identity(check(own)), identity(check(own.replace("'}", "', adds: [val_f1]}")))
    whole = SweepConfig.model_dump

    def as_before(config: SweepConfig, **how: Any) -> dict[str, Any]:
        parts = whole(config, **how)
        del parts["callbacks"]["mine"]["adds"]
        return parts

    monkeypatch.setattr(SweepConfig, "model_dump", as_before)

    assert identity(check(own)) == now != adding
