"""The page on results: what it tells a person to type in a notebook is run, after a real sweep."""

from __future__ import annotations

import csv
import re
from pathlib import Path
from typing import Any

import pytest

from tests.sites import Site

PAGE = Path(__file__).parents[2] / "docs" / "results.md"


def test_the_page_s_code_gives_the_table_of_trials_and_the_models(
    swept: tuple[Site, dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site, summary = swept
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), flags=re.MULTILINE | re.DOTALL)
    notebook: dict[str, Any] = {}

    for block in blocks:
        exec(block.replace("http://127.0.0.1:5000", site.server), notebook)

    with (tmp_path / "trials.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert sorted(int(row["tags.regatta.trial"]) for row in rows) == list(range(6))
    assert float(rows[0]["metrics.best.val_loss"]) == pytest.approx(summary["best"]["value"])
    assert rows[0]["run_id"] == summary["best"]["run_id"]
    assert (tmp_path / "digits.keras").is_file()
    assert notebook["model"].output_shape == (None, 10)
    assert notebook["path"].endswith("best.keras")
