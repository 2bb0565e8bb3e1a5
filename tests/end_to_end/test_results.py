"""The page on results: what it tells a person to type in a notebook is run, after a real sweep."""

from __future__ import annotations

import csv
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.sites import Site

PAGE = Path(__file__).parents[2] / "docs" / "results.md"
DEFAULT = "http://127.0.0.1:5000"


def test_the_page_s_code_gives_the_table_of_trials_and_the_models(
    swept: tuple[Site, dict[str, Any]], tmp_path: Path
) -> None:
    site, summary = swept
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), flags=re.MULTILINE | re.DOTALL)
    notebook = tmp_path / "notebook.py"  # a process of its own, as MLflow keeps the address for the whole of one
    notebook.write_text("\n".join([*blocks, "print('end:', model.output_shape, path)"]).replace(DEFAULT, site.server))

    ran = subprocess.run([sys.executable, notebook], cwd=tmp_path, capture_output=True, text=True, check=False)

    assert ran.returncode == 0, ran.stderr
    with (tmp_path / "trials.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert sorted(int(row["tags.regatta.trial"]) for row in rows) == list(range(6))
    assert float(rows[0]["metrics.best.val_loss"]) == pytest.approx(summary["best"]["value"])
    assert rows[0]["run_id"] == summary["best"]["run_id"]
    assert (tmp_path / "digits.keras").is_file()
    assert re.search(r"^end: \(None, 10\) .*best\.keras$", ran.stdout, flags=re.MULTILINE), ran.stdout
