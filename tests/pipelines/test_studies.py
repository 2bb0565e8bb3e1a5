"""The studies of a home, as `regatta list studies` tells them."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from pipelines.errors import ConfigError
from pipelines.facts import StudyFacts
from pipelines.home import Home
from pipelines.listing import listed
from pipelines.studies import told_studies
from pipelines.tracking.entries import Entry, Logged, RunBegun, RunEnded
from tests.pipelines.crashes import append, crashed
from tests.pipelines.scripted import recipe

AT_MS = 1_800_000_000_000
AT = time.strftime("%Y-%m-%d %H:%M", time.localtime(AT_MS / 1000))


def trial(number: int, state: str, metrics: dict[str, float], **violations: float) -> list[Entry]:
    """A trial that is over."""
    uid = f"tinyu-{number:05d}"
    tags = {"regatta.trial": str(number), "regatta.state": "RUNNING"}
    told = {"regatta.state": state, "regatta.violations": json.dumps(violations)}
    ended = {"seconds": 1.0, "best.epoch": 0.0, **{f"best.{name}": value for name, value in metrics.items()}}
    return [
        RunBegun(uid, "tiny", f"trial-{number:03d}", AT_MS - 9000, "tinyu", tags),
        Logged(uid, AT_MS - 5000, 0, ended, told),
        RunEnded(uid, AT_MS, "FAILED" if state == "FAILED" else "FINISHED"),
    ]


@pytest.fixture
def home(regatta_home: Path) -> Home:
    return Home(regatta_home)


def test_a_study_tells_what_became_of_its_trials_the_best_of_them_and_when_it_was_touched(home: Home) -> None:
    folder = crashed(home)
    append(
        folder,
        *trial(2, "PRUNED", {"val_loss": 0.01}),
        *trial(3, "COMPLETE", {"val_loss": 0.02}, seconds=0.5),
        *trial(4, "COMPLETE", {"val_loss": 0.125}),
        *trial(5, "FAILED", {}),
        Logged("tinyu", AT_MS, tags={"regatta.ended": "All 6 trials are done"}),
    )

    assert list(told_studies(home, home.studies())) == [
        (
            "tiny",
            f"3 complete, 1 pruned, 1 failed, 1 not over; best val_loss 0.125 (trial 4); last touched {AT}",
            ["minimize val_loss; All 6 trials are done", str(folder.root)],
        )
    ]


def test_of_several_objectives_the_trial_that_was_picked_is_the_best(home: Home) -> None:
    folder = home.study("tiny")
    folder.root.mkdir(parents=True)
    StudyFacts.begin(recipe(objective=["val_loss", "parameters"], promotion={"pick": "knee"}), "http://x").write(folder)
    append(
        folder,
        *trial(0, "COMPLETE", {"val_loss": 0.1, "parameters": 900.0}),
        *trial(1, "COMPLETE", {"val_loss": 0.2, "parameters": 200.0}),
        *trial(2, "COMPLETE", {"val_loss": 0.9, "parameters": 100.0}),
    )

    ((_, sentence, more),) = told_studies(home, ["tiny"])

    assert "best val_loss 0.2, parameters 200 (trial 1)" in sentence
    assert more[0] == "minimize val_loss and minimize parameters"


def test_a_study_that_has_just_begun_has_no_best_trial(home: Home) -> None:
    folder = home.study("tiny")
    folder.root.mkdir(parents=True)
    StudyFacts.begin(recipe(), "http://x").write(folder)

    ((_, sentence, _),) = told_studies(home, ["tiny"])

    assert sentence.startswith("0 complete, 0 pruned, 0 failed; no best trial; last touched ")


def test_a_study_that_cannot_be_read_says_so_and_hides_no_other(home: Home) -> None:
    crashed(home, "good")
    crashed(home, "broken").facts.write_text("{", encoding="utf-8")
    crashed(home, "future").facts.write_text(json.dumps({**vars(StudyFacts("u", "i", {"epochs": -1}, "s"))}))

    told = {name: sentence for name, sentence, _ in told_studies(home, home.studies())}

    assert told["good"].startswith("1 complete, 0 pruned, 0 failed, 1 not over; best val_loss 0.25 (trial 0)")
    assert told["broken"].startswith("cannot be read: What study 'broken' is cannot be read from ")
    assert told["future"].startswith("cannot be read: The config of study ")


def test_studies_are_listed_as_other_rooms_are(home: Home) -> None:
    assert list(listed("studies", None)) == [f"  There is no study under {home.root} yet. Begin with: make sweep"]
    crashed(home, "first")
    crashed(home, "the-second")

    lines = list(listed("studies", None))

    assert sorted(line[:16] for line in lines if line[2] != " ") == ["  first       1 ", "  the-second  1 "]
    assert next(listed("studies", "first")).startswith("  first  1 complete")
    with pytest.raises(ConfigError, match="there is no 'frist' among studies; did you mean 'first'"):
        list(listed("studies", "frist"))
