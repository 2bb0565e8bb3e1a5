"""What is allowed and looks like a slip."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from pipelines.config import SweepConfig
from pipelines.oddities import oddities
from pipelines.preview import preview

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
