"""What is allowed and looks like a slip."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from pipelines.datasets.prepared import prepare
from pipelines.recipe.config import SweepConfig
from pipelines.recipe.oddities import gaps, oddities
from pipelines.terminal.preview import preview

VARIES = {"search_space": {"batch_size": [8, 16]}}


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({}, ["Nothing varies but the seed: the recipe has no search_space, so its 24 trials"]),
        ({"budget": {"trials": 1}}, []),
        (VARIES, []),
        ({**VARIES, "objective": "val_accuracy"}, []),
        (
            {**VARIES, "objective": {"metric": "val_accuracy", "direction": "minimize"}},
            ["it will minimize val_accuracy, of which more is better; direction: maximize"],
        ),
        (
            {**VARIES, "objective": ["val_loss", {"metric": "parameters", "direction": "maximize"}]},
            ["it will maximize parameters, of which less is better"],
        ),
        (
            {**VARIES, "epochs": 9, "pruner": {"name": "median", "n_warmup_steps": 9}},
            ["No trial will be pruned: the pruner 'median' waits for 9 epochs (n_warmup_steps), and there are 9."],
        ),
        (
            {
                **VARIES,
                "budget": {"trials": 6},
                "pruner": {"name": "percentile", "percentile": 25, "n_startup_trials": 8},
            },
            ["the pruner 'percentile' waits for 8 trials (n_startup_trials), and there are 6."],
        ),
        (
            {**VARIES, "epochs": 9, "pruner": {"name": "threshold", "upper": 3, "n_warmup_steps": 10}},
            ["the pruner 'threshold' waits for 10 epochs"],
        ),
        (
            {**VARIES, "epochs": 9, "pruner": {"name": "patient", "patience": 9}},
            ["the pruner 'patient' waits for 9 epochs without an improvement (patience), and there are 9."],
        ),
        ({**VARIES, "epochs": 9, "pruner": {"name": "median", "n_warmup_steps": 8}}, []),
        ({**VARIES, "epochs": 2, "budget": {"trials": 3}}, []),
        (
            {
                "search_space": {"epochs": [9, 30]},
                "epochs": 9,
                "pruner": {"name": "median", "n_warmup_steps": 9},
            },
            [],
        ),
    ],
)
def test_what_looks_like_a_slip_is_said(parts: dict[str, Any], words: list[str]) -> None:
    said = oddities(SweepConfig.model_validate({"study": "odd", **parts}))

    assert len(said) == len(words)
    assert all(word in sentence for word, sentence in zip(words, said, strict=True))


def test_a_dry_run_says_it() -> None:
    stream = io.StringIO()
    preview(SweepConfig.model_validate({"study": "odd"}), Console(file=stream, width=300))

    assert "Nothing varies but the seed" in stream.getvalue()


@pytest.fixture
def in_csv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with code of the user's and a table in which a number is missing here and there."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "own_gaps.py").write_text("def make(inputs, head):\n    raise RuntimeError('nobody runs this')\n")
    rng = np.random.default_rng(0)
    lines = ["whole,holed,word,kind"]
    for number in range(40):
        holed = "" if number % 4 == 0 else f"{rng.normal():.3f}"
        lines.append(f"{rng.normal():.3f},{holed},{'' if number % 3 else 'red'},{'ab'[number % 2]}")
    (tmp_path / "table.csv").write_text("\n".join(lines) + "\n")
    return tmp_path


@pytest.mark.parametrize(
    ("model", "drop", "words"),
    [
        ({"name": "function", "function": "own_gaps:make"}, [],
         ["Numbers are missing (NaN) in 8 of the samples that trials see, in holed: your own model gets them"]),
        ({"name": "function", "function": "own_gaps:make"}, ["holed"], []),
        ("dense", [], []),
    ],
)  # fmt: skip
def test_missing_numbers_are_told_where_the_model_is_the_user_s_own(
    in_csv: Path, model: Any, drop: list[str], words: list[str]
) -> None:
    dataset = {"name": "csv", "path": str(in_csv / "table.csv"), "target": "kind", "drop": drop}
    config = SweepConfig.model_validate({"study": "odd", "dataset": dataset, "model": model})

    said = gaps(config, prepare(config.dataset, None, in_csv / "cache"))

    assert len(said) == len(words)
    assert all(word in sentence for word, sentence in zip(words, said, strict=True))
