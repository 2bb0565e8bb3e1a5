"""Configs that were kept, and the user's own code that they name."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.errors import ConfigError
from pipelines.own.code import OwnCodeError
from pipelines.recipe.config import SweepConfig
from pipelines.recipe.kept import KeptConfigError, need_code, read_kept
from tests.pipelines.scripted import recipe

KEPT = {**recipe().model_dump(mode="json"), "model": {"name": "function", "function": "not_here_at_all:make"}}


def test_a_config_is_read_where_the_code_that_it_names_is_not() -> None:
    read = read_kept(SweepConfig, KEPT, "study 'owned'")

    assert read.model_dump(mode="json")["model"]["function"] == "not_here_at_all:make"
    with pytest.raises(ValueError, match="there is no module 'not_here_at_all'"):
        SweepConfig.model_validate(KEPT)  # what is typed by hand is checked as ever


def test_code_that_is_needed_and_is_not_here_is_one_sentence_that_says_whose_it_is_and_where_to_run() -> None:
    with pytest.raises(OwnCodeError) as caught:
        need_code(SweepConfig, KEPT, "study 'owned'")

    told = str(caught.value)
    assert isinstance(caught.value, ConfigError)
    assert told.startswith("Study 'owned' needs code of yours that cannot be had here: model.function: must name code")
    assert f"there is no module 'not_here_at_all' in {Path.cwd()}" in told
    assert told.endswith(". Run this in the folder that has it.")
    assert "type=value_error" not in told
    assert "\n" not in told


def test_code_of_a_part_that_nobody_calls_is_not_needed() -> None:
    need_code(SweepConfig, KEPT, "study 'owned'", ("dataset",))


def test_a_config_of_another_version_is_one_sentence() -> None:
    kept = {**KEPT, "from_the_future": 1}

    with pytest.raises(KeptConfigError) as caught:
        read_kept(SweepConfig, kept, "study 'owned'")

    told = str(caught.value)
    assert told.startswith(
        "The config of study 'owned' is not one that this version of Regatta reads: from_the_future: is no known key"
    )
    assert "\n" not in told
