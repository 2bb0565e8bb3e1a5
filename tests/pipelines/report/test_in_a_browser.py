"""The page of a large sweep in a real browser: what a reader does with it works, and nothing is loaded."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipelines.pictures import loss_curve
from pipelines.records import StudyHistory
from pipelines.report import write_report
from tests.pipelines.report.whole_sweep import whole_sweep

pytestmark = pytest.mark.end_to_end


@pytest.fixture(scope="module")
def history() -> StudyHistory:
    return whole_sweep(200, 20)


@pytest.fixture(scope="module")
def path(history: StudyHistory, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(history, tmp_path_factory.mktemp("report") / "report.html")


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(whole_sweep(1_000, 50), tmp_path_factory.mktemp("large") / "report.html")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no Chromium here: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@pytest.fixture(params=[("light", 1280), ("dark", 400)], ids=["light-wide", "dark-narrow"])
def page(request: pytest.FixtureRequest, browser: Any, path: Path) -> Iterator[Any]:
    scheme, width = request.param
    context = browser.new_context(color_scheme=scheme, viewport={"width": width, "height": 900})
    page = context.new_page()
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
    page.on(
        "request", lambda sent: wrong.append(sent.url) if not sent.url.startswith(("file:", "data:", "blob:")) else 0
    )
    page.goto(path.as_uri())
    yield page
    context.close()
    assert wrong == []


def shown_rows(page: Any) -> int:
    count: int = page.locator("table.trials tbody tr:visible").count()
    return count


def test_a_thousand_trials_fit_into_ten_megabytes_with_everything_that_can_be_told(large: Path) -> None:
    assert large.stat().st_size < 10_000_000


def test_every_figure_is_drawn_when_it_comes_into_view_and_nothing_is_wider_than_the_page(
    page: Any, large: Path
) -> None:
    page.goto(large.as_uri())
    plots = page.locator(".plot")
    for place in range(plots.count()):
        plots.nth(place).scroll_into_view_if_needed()
        plots.nth(place).locator(".main-svg").first.wait_for(state="attached")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth + 1")


def test_choosing_among_the_lines_leaves_only_their_rows(page: Any, history: StudyHistory) -> None:
    page.locator("#lines").scroll_into_view_if_needed()
    strip = page.locator('#lines .strip[title="optimizer"]')
    strip.scroll_into_view_if_needed()
    box = strip.bounding_box()
    having = sum(trial.params["optimizer"] == "adam" for trial in history.trials)

    page.mouse.click(box["x"] + 12, box["y"] + 30)
    page.get_by_text(f"{having} of {len(history.trials)} trials. The best").wait_for()
    assert shown_rows(page) == having

    page.mouse.click(box["x"] + 12, box["y"] + 30)  # the same choice once more lets it go
    page.get_by_text("Drag along an axis").wait_for()
    assert shown_rows(page) == len(history.trials)


def test_a_drag_along_an_axis_keeps_a_range_until_all_are_called_back(page: Any, history: StudyHistory) -> None:
    page.locator("#lines").scroll_into_view_if_needed()
    strip = page.locator('#lines .strip[title="model.dropout"]')
    strip.scroll_into_view_if_needed()
    box = strip.bounding_box()
    x, middle = box["x"] + 12, box["y"] + box["height"] / 2

    page.mouse.move(x, middle)
    page.mouse.down()
    page.mouse.move(x, box["y"], steps=5)
    page.mouse.up()
    page.get_by_text(f"of {len(history.trials)} trials. The best of them: trial").wait_for()
    kept = shown_rows(page)
    assert 0 < kept < len(history.trials)

    page.get_by_role("button", name="all trials again").click()
    assert shown_rows(page) == len(history.trials)


def test_a_line_under_the_pointer_tells_its_trial(page: Any) -> None:
    page.locator("#lines").scroll_into_view_if_needed()
    box = page.locator("#lines").bounding_box()
    tip = page.locator("#lines .tip")

    page.mouse.move(box["x"] + 70, box["y"] + 200)
    tip.wait_for(state="visible")
    assert tip.inner_text().startswith("trial ")

    page.mouse.move(box["x"] + 70, box["y"] - 30)
    tip.wait_for(state="hidden")


def test_a_command_is_copied_by_its_button(page: Any, history: StudyHistory) -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    button = page.locator("#best button.copy")

    button.click()
    page.get_by_role("button", name="copied").wait_for()
    best = next(trial for trial in history.trials if trial.number == history.picked)
    assert page.evaluate("navigator.clipboard.readText()") == f"regatta train --run {best.run_id}"


@pytest.mark.parametrize("page", [("light", 1280)], ids=["light-wide"], indirect=True)
def test_paper_has_every_figure_and_every_reason(page: Any) -> None:
    page.pdf()  # which tells the page before it prints, and after

    assert page.locator(".plot:not([data-drawn])").count() == 0
    assert page.locator("details[data-unfolded]").count() == 0


def test_the_picture_of_a_trial_is_one_that_a_browser_shows_and_reads_out(browser: Any, tmp_path: Path) -> None:
    curves = {name: [(epoch, 1.0 / (epoch + 1)) for epoch in range(10)] for name in ("loss", "val_loss")}
    (tmp_path / "curve.svg").write_bytes(loss_curve(curves, title="<digits> & trial 7", best_epoch=9))
    (tmp_path / "page.html").write_text('<img src="curve.svg" width="640">')
    page = browser.new_page()

    page.goto((tmp_path / "page.html").as_uri())
    size = page.evaluate("[document.images[0].naturalWidth, document.images[0].naturalHeight]")
    page.goto((tmp_path / "curve.svg").as_uri())
    ends = page.evaluate("[...document.querySelectorAll('text')].map(t => t.getBBox().x + t.getBBox().width)")

    assert size == [800, 500]
    assert max(ends) <= 800, "no text runs over the edge"
    assert page.get_by_role("img", name="<digits> & trial 7").count() == 1
    page.close()
