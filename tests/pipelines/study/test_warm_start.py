"""Studies that begin with what an older one learned."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from pipelines.errors import ConfigError
from pipelines.home import Home
from pipelines.recipe.config import SweepConfig
from pipelines.records import TrialState
from pipelines.study import Counts, Study
from tests.pipelines.scripted import recipe
from tests.pipelines.study.common import BRANCHES, UNIT, ask, storage, tried

WARM: dict[str, Any] = {"study": "new", "warm_start": "old"}


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


def older(home: Home, trials: int = 6, *, data: str = "d" * 64, **parts: Any) -> SweepConfig:
    """A study called `old`, with so many complete trials that get better, a pruned and a failed one, and its facts."""
    config = recipe(**{"study": "old", "search_space": BRANCHES, **parts})
    where = home.study(config.study)
    with closing(Study(config, where.storage)) as study:
        for number in range(trials):
            tried(study, config, {each.metric: 1.0 - number / 10 for each in config.objectives})
        tried(study, config, {each.metric: 3.0 for each in config.objectives}, TrialState.PRUNED)
        tried(study, config, {each.metric: 9.0 for each in config.objectives}, TrialState.FAILED)
        ask(study, config)
    write_facts(home, config, data)
    return config


def write_facts(home: Home, config: SweepConfig, data: str = "d" * 64, uid: str = "0" * 12) -> None:
    where = home.study(config.study)
    facts = {"uid": uid, "config": config.model_dump(mode="json"), "data": {"sha256": data}}
    where.root.mkdir(parents=True, exist_ok=True)
    where.facts.write_text(json.dumps(facts))


def begun(config: SweepConfig, home: Home) -> tuple[Study, list[str]]:
    study = Study(config, home.study(config.study).storage)
    return study, study.begin(home)


def known(study: Study) -> list[Any]:
    trials: list[Any] = study._study.get_trials(deepcopy=False)
    return trials


def test_trials_that_ended_become_optunas_and_count_nowhere(home: Home) -> None:
    older(home)
    config = recipe(**WARM, search_space=BRANCHES)
    study, said = begun(config, home)
    with closing(study):
        assert said == ["7 of the 7 trials of study 'old' fit, and are known from the beginning."]
        assert [trial.state.name for trial in known(study)] == ["COMPLETE"] * 6 + ["PRUNED"]
        assert [trial.value for trial in known(study)][:6] == pytest.approx([0.5, 0.6, 0.7, 0.8, 0.9, 1.0])
        assert known(study)[6].intermediate_values == {0: 3.0, 1: 3.0}
        assert (study.counts(), study.records(), study.front(), study.unfinished()) == (Counts(), [], (), [])
        assert tried(study, config, 0.9).number == 7
        assert study.front() == (7,)

    study, said = begun(config, home)
    with closing(study):
        assert said == []
        assert study.counts() == Counts(complete=1)
        assert tried(study, config, 0.9).number == 8


def test_the_sampler_and_the_pruner_learn_from_them(home: Home) -> None:
    pruner = {"name": "median", "n_startup_trials": 4, "n_warmup_steps": 0}
    sampler = {"name": "tpe", "n_startup_trials": 15}
    config = recipe(study="old", search_space=UNIT)
    with closing(Study(config, home.study("old").storage)) as study:
        for _ in range(30):
            asked = ask(study, config)
            study.report(asked.number, 0, asked.params["model.dropout"])
            study.tell(asked.number, TrialState.COMPLETE, {"val_loss": asked.params["model.dropout"]})
    write_facts(home, config)
    warm = recipe(**WARM, search_space=UNIT, sampler=sampler, pruner=pruner)
    study, _ = begun(warm, home)
    with closing(study):
        warmed = [ask(study, warm) for _ in range(8)]
        assert study.should_stop(warmed[0].number, 0, 99.0)
    cold = recipe(study="cold", search_space=UNIT, sampler=sampler)
    with closing(Study(cold, None)) as study:
        without = [ask(study, cold) for _ in range(8)]

    def mean(trials: list[Any]) -> float:
        return sum(float(trial.params["model.dropout"]) for trial in trials) / len(trials)

    assert mean(warmed) < mean(without) / 2


def test_the_best_so_many_come_first(home: Home) -> None:
    older(home)
    study, said = begun(recipe(study="new", warm_start={"study": "old", "trials": 2}, search_space=BRANCHES), home)
    with closing(study):
        assert [trial.value for trial in known(study)] == pytest.approx([0.5, 0.6])
    assert said[0].startswith("2 of the 7 trials")


@pytest.mark.parametrize(
    ("space", "fit", "said_why"),
    [
        ({"optimizer": {"adam": BRANCHES["optimizer"]["adam"]}, "batch_size": [16, 32, 64]}, "adam only", ""),
        ({**BRANCHES, "batch_size": {"type": "int", "low": 10, "high": 40}}, "up to 40", ""),
        ({**BRANCHES, "model.dropout": [0.0, 0.1]}, "none", ": trial 0 did not draw model.dropout. It begins"),
        ({"batch_size": [16, 32, 64]}, "none", ": trial 0 also drew optimizer, optimizer."),
        ({**BRANCHES, "batch_size": [1000]}, "none", ", which is not in it. It begins without."),
    ],
    ids=["fewer branches", "another range", "one thing more", "one thing less", "another choice"],
)
def test_only_trials_that_fit_the_new_space_are_taken(
    home: Home, space: dict[str, Any], fit: str, said_why: str
) -> None:
    older(home, 12)
    with closing(Study(recipe(study="old", search_space=BRANCHES), home.study("old").storage)) as study:
        params = [each.params for each in study.records() if each.state in {TrialState.COMPLETE, TrialState.PRUNED}]
    expected = {
        "adam only": [each for each in params if each["optimizer"] == "adam"],
        "up to 40": [each for each in params if each["batch_size"] <= 40],
        "none": [],
    }[fit]
    config = recipe(**WARM, search_space=space)
    study, said = begun(config, home)
    with closing(study):
        taken = [trial.params for trial in known(study)]
        tried(study, config, 0.5)  # and Optuna finds its own distributions compatible with theirs

    assert sorted(map(str, taken)) == sorted(map(str, expected))
    assert (len(expected) > 0) == (said[0].startswith(str(len(expected))))
    assert said_why in said[0]


def test_an_objective_that_the_older_trials_have_no_values_of_is_a_mistake(home: Home) -> None:
    older(home)
    config = recipe(**WARM, search_space=BRANCHES, objective="val_accuracy")
    with closing(Study(config, home.study("new").storage)) as study, pytest.raises(ConfigError) as caught:
        study.begin(home)

    (mistake,) = caught.value.mistakes
    assert mistake.path == "warm_start.study"
    assert "no values for this one's objective (maximize val_accuracy); it has minimize val_loss" in mistake.message


def test_of_several_objectives_those_of_the_new_study_are_taken(home: Home) -> None:
    older(home, objective=["val_accuracy", "val_loss", "seconds"])
    study, _ = begun(recipe(**WARM, search_space=BRANCHES, objective=["val_loss", "val_accuracy"]), home)
    with closing(study):
        assert {len(trial.values) for trial in known(study) if trial.values} == {2}
    study, _ = begun(recipe(study="one", warm_start="old", search_space=BRANCHES), home)
    with closing(study):
        assert study._study.best_value == pytest.approx(0.5)


def test_a_study_that_is_not_there_is_a_mistake_that_names_those_that_are(home: Home) -> None:
    older(home)
    config = recipe(study="new", warm_start="odl", search_space=BRANCHES)
    with closing(Study(config, home.study("new").storage)) as study:
        with pytest.raises(ConfigError, match="there is no study 'odl'; there are old"):
            study.begin(home)
        with pytest.raises(ConfigError, match="there is no study 'odl'"):
            study.ask()


def test_other_data_is_said(home: Home) -> None:
    older(home)
    config = recipe(**WARM, search_space=BRANCHES)
    write_facts(home, config, data="e" * 64)
    study, said = begun(config, home)
    study.close()

    assert "They trained on other data" in said[0]


def test_the_own_name_means_the_newest_that_was_set_aside(home: Home) -> None:
    config = recipe(study="old", warm_start="old", search_space=BRANCHES)
    first = Study(config, home.study("old").storage)
    with closing(first), pytest.raises(ConfigError, match="no earlier study 'old' was set aside"):
        first.begin(home)
    for trials in (2, 4):
        older(home, trials)
        home.study("old").set_aside()
    study, said = begun(config, home)
    with closing(study):
        assert len(known(study)) == 5
        assert "set aside" in said[0]


def test_a_controller_that_was_killed_while_it_took_them_takes_the_rest(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    older(home)
    config = recipe(**WARM, search_space=BRANCHES)
    study = Study(config, home.study("new").storage)
    add, times = study._study.add_trial, iter(range(3))

    def killed(trial: Any) -> None:
        if next(times, None) is None:
            raise KeyboardInterrupt
        add(trial)

    monkeypatch.setattr(study._study, "add_trial", killed)
    with closing(study), pytest.raises(KeyboardInterrupt):
        study.begin(home)
    study, _ = begun(config, home)
    with closing(study):
        assert len(known(study)) == 7
        assert len({trial.user_attrs["regatta.borrowed"] for trial in known(study)}) == 7


def test_constraints_go_along_where_they_are_known(home: Home) -> None:
    bounded = recipe(study="old", search_space=UNIT, constraints={"parameters": {"most": 100}, "seconds": {"most": 5}})
    with closing(Study(bounded, home.study("old").storage)) as study:
        for parameters in (50, 90, 150):
            measured = {"parameters": parameters, "seconds": 1}
            tried(study, bounded, 0.5, violations=bounded.violations(measured))
        tried(study, bounded, 0.5, TrialState.FAILED, infeasible=True)
    write_facts(home, bounded)

    narrower = recipe(**WARM, search_space=UNIT, constraints={"parameters": {"most": 60}})
    study, _ = begun(narrower, home)
    with closing(study):
        assert [trial.constraints for trial in known(study)] == [
            {"parameters": -10.0}, {"parameters": 30.0}, {"parameters": 90.0}, {"memory": 1.0},
        ]  # fmt: skip
    other = recipe(study="other", warm_start="old", search_space=UNIT, constraints={"val_accuracy": {"least": 0.5}})
    study, said = begun(other, home)
    with closing(study):
        assert [trial.constraints for trial in known(study)] == [{}, {}, {}, {"memory": 1.0}]
    assert "Whether they keep val_accuracy nobody asked then; they count as keeping it." in said[0]


def test_a_sampler_that_tries_all_tries_them_all_the_same(home: Home) -> None:
    space = {"batch_size": [16, 32, 64]}
    older(home, 3, search_space=space)
    config = recipe(**WARM, search_space=space, sampler="grid")
    study, _ = begun(config, home)
    with closing(study):
        assert study.left() == 3
        assert {tried(study, config, 0.5).params["batch_size"] for _ in range(3)} == {16, 32, 64}
        assert study.left() == 0


def test_a_study_in_memory_begins_without(home: Home) -> None:
    config = recipe(**WARM, search_space=BRANCHES)
    with closing(Study(config, None)) as study:
        assert study.begin(home) == []
        assert ask(study, config).number == 0


def test_what_the_older_study_borrowed_itself_is_passed_on(home: Home) -> None:
    older(home)
    middle = recipe(study="middle", warm_start="old", search_space=BRANCHES)
    study, _ = begun(middle, home)
    with closing(study):
        tried(study, middle, 0.1)
    write_facts(home, middle)
    study, _ = begun(recipe(study="last", warm_start="middle", search_space=BRANCHES), home)
    with closing(study):
        assert len(known(study)) == 8
        assert study.counts() == Counts()


def test_an_older_study_that_does_not_say_what_it_looked_for_is_read_from_its_folder(home: Home) -> None:
    older(home)
    with closing(Study(recipe(study="old", search_space=BRANCHES), home.study("old").storage)) as study:
        study._study.set_user_attr("regatta.objectives", [])
    study, said = begun(recipe(**WARM, search_space=BRANCHES), home)
    study.close()

    assert said[0].startswith("7 of the 7")
    assert storage(home.root, "old").is_file()
