"""The page over a real champion: a sweep has trained it, promotion has registered it, a hand draws for it."""

from __future__ import annotations

import re
import shutil
from typing import Any

import pytest

from tests.end_to_end.test_browser import FLAGS
from tests.services.model_server.page.strokes import DIGITS


def test_the_real_digits_champion_reads_a_seven_and_a_zero_that_are_drawn(swept: tuple[Any, dict[str, Any]]) -> None:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no Chromium here: apt-get install chromium")
    from playwright.sync_api import expect, sync_playwright

    site, _ = swept
    done = site.local("up")
    assert done.returncode == 0, done.stderr
    wrong: list[str] = []
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
            page = browser.new_page()
            page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
            page.on("request", lambda sent: None if sent.url.startswith(site.model_server) else wrong.append(sent.url))
            page.goto(site.model_server)
            page.locator(".panel").first.wait_for(timeout=30_000)
            box = page.locator(".pad canvas").bounding_box()
            assert box is not None
            for label in ("7", "0"):
                for stroke in DIGITS[label][-1]:
                    points = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in stroke]
                    page.mouse.move(*points[0])
                    page.mouse.down()
                    for point in points[1:]:
                        page.mouse.move(*point, steps=3)
                    page.mouse.up()
                expect(page.locator(".told strong").first).to_have_text(label, timeout=15_000)
                page.get_by_role("button", name="Clear").click()
            version = site.client().get_model_version_by_alias("digits", "champion").version
            expect(page.locator(".who").first).to_have_text(re.compile(f"^Version {version}"))
            browser.close()
    finally:
        site.local("down", "model_server")

    assert wrong == []
