"""The printed address, opened in a real browser."""

from __future__ import annotations

import re
import shutil
from typing import Any

import pytest

FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip


def test_the_address_shows_all_trials_best_first_with_their_curves_drawn(swept: tuple[Any, dict[str, Any]]) -> None:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no Chromium here: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    site, summary = swept
    address = site.run("ui").stdout.strip()
    trials = site.client().search_runs(
        [summary["experiment_id"]],
        f"tags.`mlflow.parentRunId` = '{summary['parent_run_id']}'",
        order_by=["metrics.`objective` ASC"],
    )
    expected = [run.info.run_name for run in trials]

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        page = browser.new_page(viewport={"width": 1600, "height": 2400})
        page.goto(address)
        page.get_by_text("val_loss", exact=True).first.wait_for(timeout=90_000)
        page.locator(".scatterlayer .trace path.js-line").first.wait_for(state="attached", timeout=90_000)
        shown = page.locator("a", has_text=re.compile(r"^trial-\d{3}$")).all_inner_texts()
        lines = page.locator(".scatterlayer .trace path.js-line").count()
        browser.close()

    assert list(dict.fromkeys(shown)) == expected
    assert lines >= len(expected)
