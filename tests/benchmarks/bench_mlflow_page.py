"""How long MLflow's web page takes to show a sweep of two thousand trials.

Fills a real server through the real sender, opens the addresses that Regatta prints in Chromium, and takes pictures of
what is there.
"""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from pipelines.home import StudyFolder
from pipelines.stack import tracking_server
from pipelines.tracking import make_tracker
from pipelines.tracking.addresses import run_address, sweep_address
from pipelines.tracking.journal import Journal
from pipelines.tracking.run import Run
from pipelines.tracking.sender import Sender
from tests.benchmarks.parts import UID, arguments, draw_nothing, scratch, sweep_at_once, table, trivial_recipe, where

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
ROW = re.compile(r"^trial-\d+$")
LINES = ".scatterlayer .trace path.js-line"
PATIENCE_MS = 120_000.0
_SHOWN = 10
"""Trials whose curves MLflow draws unasked."""


def fill(server: str, trials: int, study: str, root: Path) -> tuple[str, str]:
    """Runs a sweep, delivers it, and returns the server's ids of the experiment and of the sweep's run."""
    config = trivial_recipe(trials).model_copy(update={"study": study})
    folder = StudyFolder(root / "studies" / study)
    with closing(Journal(folder.journal)) as journal:
        tags = {
            "regatta.kind": "sweep",
            "regatta.study_uid": UID,
            "mlflow.note.content": f"{trials} trials, not trained.",
        }
        Run(journal, UID).begin(study, f"{study} sweep", tags=tags, params={})
    begun = time.perf_counter()
    sweep_at_once(config, root)
    with closing(Journal(folder.journal)) as journal:
        Run(journal, UID).end("FINISHED")
        written = journal.written
    print(f"The sweep took {time.perf_counter() - begun:.0f} s and wrote {written} entries.", flush=True)
    with closing(Sender(folder.journal, make_tracker(server), server)) as sender:
        begun = time.perf_counter()
        sender.start()
        while not sender.flush(written, 20.0):
            print(f"  {sender.delivered} of {written} entries are delivered {sender.problem or ''}", flush=True)
        took = time.perf_counter() - begun
        print(
            f"The server took them in {took:.0f} s: {written / took:.0f} entries, {trials / took:.1f} trials a second."
        )
        assert not sender.refused, sender.refused
        experiment, parent = sender.experiment_id(study), sender.run_id(UID)
    assert experiment is not None
    assert parent is not None
    return experiment, parent


def views(server: str, experiment: str, parent: str) -> dict[str, str]:
    """Addresses by what they show."""
    chart = sweep_address(server, experiment, parent, "minimize")
    run = run_address(server, experiment, parent)
    assert chart is not None
    assert run is not None
    return {
        "chart": chart,  # what `make ui` prints
        "table": chart.replace("&compareRunsMode=CHART", ""),
        "sweep": run,
    }


def look(browser: Any, name: str, address: str, out: Path) -> list[Any]:
    """Opens an address; says after how many seconds there are trials and lines, and how many of them."""
    page = browser.new_page(viewport={"width": 1600, "height": 1200})
    begun = time.perf_counter()
    page.goto(address)
    rows = page.locator("a[href*='/runs/']", has_text=ROW)  # a trial's checkpoint, a model, bears its name too
    rows.first.wait_for(state="attached", timeout=PATIENCE_MS)
    table_s = time.perf_counter() - begun
    lines_s: float | str = "-"
    if name == "chart":
        page.locator(LINES).nth(_SHOWN - 1).wait_for(state="attached", timeout=PATIENCE_MS)
        lines_s = time.perf_counter() - begun
    page.screenshot(path=out / f"mlflow_page_{name}.png")
    found = [name, table_s, lines_s, rows.count(), page.locator(LINES).count()]
    page.close()
    return found


def main(given: Sequence[str] | None = None) -> None:
    parser = arguments(str(__doc__).split("\n", 1)[0])
    parser.add_argument("--trials", type=int, default=2000)
    parser.add_argument("--study", default="many-trials", help="the experiment's name")
    chosen = parser.parse_args(given)
    chromium = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if chromium is None:
        raise SystemExit("There is no Chromium here: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    server = tracking_server(wait=True)
    print(f"{chosen.trials} trials on {server}; {where()}", flush=True)
    draw_nothing()
    with scratch() as root:
        experiment, parent = fill(server, chosen.trials, chosen.study, root)
    chosen.out.mkdir(parents=True, exist_ok=True)
    addresses = views(server, experiment, parent)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        rows = [look(browser, name, address, chosen.out) for name, address in addresses.items()]
        browser.close()
    print(table(["view", "trials after s", "lines after s", "trials", "lines"], rows))
    for name, address in addresses.items():
        print(f"{name}: {address}\n  {chosen.out / f'mlflow_page_{name}.png'}")


if __name__ == "__main__":
    main()
