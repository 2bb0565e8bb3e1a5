from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from pipelines.errors import DataError
from pipelines.recipe.config import SweepConfig
from pipelines.recipe.search_space import SearchSpace
from pipelines.terminal.preview import preview, preview_json, sampled

CONFIG = SweepConfig.model_validate(
    {
        "study": "shown",
        "seed": 40,
        "search_space": {
            "optimizer": {"adam": {}, "sgd": {"momentum": {"type": "float", "low": 0, "high": 0.9}}},
            "callbacks.early_stopping": {"none": None, "early_stopping": {"patience": [3, 4]}},
        },
        "budget": {"trials": 2},
    }
)


def test_the_sampled_trials_are_whole_configs_with_seeds_of_their_own() -> None:
    trials = sampled(CONFIG)
    assert [config.seed for config, _ in trials] == [40, 41]
    for config, params in trials:
        assert config.optimizer.name == params["optimizer"]
        assert ("early_stopping" in config.callbacks) == (params["callbacks.early_stopping"] != "none")


def test_a_person_sees_conditions_and_what_a_draw_makes() -> None:
    stream = io.StringIO()
    preview(CONFIG, Console(file=stream, width=200, highlight=False))
    shown = stream.getvalue()
    assert "optimizer is sgd" in shown
    assert f"search space: {len(SearchSpace(CONFIG.search_space).parameters())} parameters" in shown
    assert "trial 1 would be drawn as" in shown
    assert "trial 2 would" not in shown
    assert "2 trials of at most 20 epochs, 40 epochs in all; sampler tpe, pruner median" in shown


def test_a_space_without_entries_can_be_shown() -> None:
    config = SweepConfig(study="plain")
    assert preview_json(config)["space"] == {}
    stream = io.StringIO()
    preview(config, Console(file=stream, width=200))
    assert "0 parameters" in stream.getvalue()


@pytest.mark.parametrize("how", [preview_json, lambda config: preview(config, Console(file=io.StringIO()))])
def test_a_file_of_data_that_is_not_there_is_told(how: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    config = SweepConfig.model_validate(
        {"study": "own", "dataset": {"name": "csv", "path": "mine.csv", "target": "y", "test_path": "tets.csv"}}
    )
    with pytest.raises(DataError, match=r"'mine\.csv' was not found"):
        how(config)
    (tmp_path / "mine.csv").write_text("x,y")
    (tmp_path / "test.csv").write_text("x,y")
    with pytest.raises(DataError, match=r"'tets\.csv' was not found.*did you mean 'test\.csv'"):
        how(config)
    (tmp_path / "tets.csv").write_text("x,y")
    how(config)


def test_objectives_constraints_and_what_comes_first_are_said() -> None:
    raw = {**CONFIG.model_dump(mode="json"), "objective": ["val_loss", "parameters"], "pruner": "none"}
    more = {"constraints": {"seconds": {"most": 60}}, "promotion": {"pick": "knee"}, "warm_start": "older"}
    config = SweepConfig.model_validate({**raw, **more, "enqueue": [{"optimizer": "sgd"}]})
    stream = io.StringIO()
    preview(config, Console(file=stream, width=400, highlight=False))
    shown = stream.getvalue()
    assert "minimize val_loss, minimize parameters, nothing is run" in shown
    assert "the candidate is the trial nearest to the best of all objectives" in shown
    assert "(promotion.pick: knee)" in shown
    assert "The best keeps seconds at most 60" in shown
    assert "begins with all trials of study 'older'" in shown
    assert "trial 0 begins with what is enqueued" in shown
    assert "trial 1 would be drawn as" in shown
    assert preview_json(config)["enqueued"] == [{"optimizer": "sgd"}]
    assert sampled(config)[0][1]["optimizer"] == "sgd"
