"""What a crash left is mended once, and what a server missed is delivered once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pipelines.facts import StudyFacts
from pipelines.home import Home, StudyFolder
from pipelines.reconcile import Mended, reconcile, sync
from pipelines.tracking.base import Tracker, Unavailable
from pipelines.tracking.entries import FileKept, Logged, RunBegun, RunEnded
from pipelines.tracking.journal import Journal
from pipelines.tracking.memory import MemoryTracker
from tests.pipelines.scripted import recipe

SERVER = "http://tracking.example:5000"


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


@pytest.fixture
def tracker(monkeypatch: pytest.MonkeyPatch) -> MemoryTracker:
    """The one tracker behind every address."""
    tracker = MemoryTracker()
    monkeypatch.setattr("pipelines.reconcile.make_tracker", lambda uri: tracker)
    return tracker


def crashed(home: Home, name: str = "tiny") -> StudyFolder:
    """A study whose controller died: its parent and its second trial are open."""
    folder = home.study(name)
    folder.root.mkdir(parents=True)
    StudyFacts.begin(recipe(study=name), SERVER).write(folder)
    journal = Journal(folder.journal)
    for entry in (
        RunBegun(f"{name}-u", name, "sweep", 1),
        RunBegun(f"{name}-u-0", name, "trial-000", 2, f"{name}-u", {"regatta.trial": "0"}),
        Logged(f"{name}-u-0", 3, 0, {"val_loss": 0.5}),
        RunEnded(f"{name}-u-0", 4, "FINISHED"),
        RunBegun(f"{name}-u-1", name, "trial-001", 5, f"{name}-u", {"regatta.trial": "1"}),
        Logged(f"{name}-u-1", 6, 0, {"val_loss": 0.6}),
    ):
        journal.append(entry)
    journal.close()
    return folder


def statuses(tracker: MemoryTracker) -> dict[str, str]:
    return {run.uid: run.status for run in tracker.runs.values()}


def test_runs_that_a_crash_left_open_are_closed_once_and_say_why(home: Home, tracker: MemoryTracker) -> None:
    crashed(home)

    (first,) = reconcile(home, SERVER)
    (second,) = reconcile(home, SERVER)

    assert first == Mended("tiny", closed=2, sent=10, missing=0)
    assert second == Mended("tiny", closed=0, sent=0, missing=0)
    assert statuses(tracker) == {"tiny-u": "KILLED", "tiny-u-0": "FINISHED", "tiny-u-1": "KILLED"}
    reasons = {run.uid: run.tags.get("regatta.reason", "") for run in tracker.runs.values()}
    assert "controller was gone" in reasons["tiny-u-1"]
    assert reasons["tiny-u-0"] == ""


def test_syncing_delivers_and_closes_nothing(home: Home, tracker: MemoryTracker) -> None:
    crashed(home)

    (found,) = sync(home, SERVER)

    assert found == Mended("tiny", closed=0, sent=6, missing=0)
    assert statuses(tracker)["tiny-u-1"] == "RUNNING"
    assert [run.curve("val_loss") for run in tracker.runs.values()] == [[], [(0, 0.5)], [(0, 0.6)]]


def test_a_study_that_a_controller_holds_is_left_alone(home: Home, tracker: MemoryTracker) -> None:
    folder = crashed(home, "held")
    crashed(home, "free")

    with folder.locked():
        found = {mended.study: mended for mended in reconcile(home, SERVER)}

    assert "is being run by process" in (found["held"].skipped or "")
    assert found["held"].closed == 0
    assert found["free"].closed == 2
    assert set(statuses(tracker)) == {"free-u", "free-u-0", "free-u-1"}


def test_the_journal_of_a_study_that_was_set_aside_is_delivered_too(home: Home, tracker: MemoryTracker) -> None:
    folder = crashed(home)
    aside = folder.set_aside()
    StudyFacts.begin(recipe(), SERVER).write(folder)

    found = list(reconcile(home, SERVER))

    assert [(mended.study, mended.closed, mended.missing) for mended in found] == [
        ("tiny", 0, 0),
        (f"tiny ({aside.name})", 2, 0),
    ]
    assert set(statuses(tracker).values()) == {"KILLED", "FINISHED"}
    assert [mended.sent for mended in reconcile(home, SERVER)] == [0, 0]


def test_a_server_that_cannot_be_reached_is_said_and_nothing_is_lost(
    home: Home, tracker: MemoryTracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    crashed(home)
    begin: Callable[..., str] = tracker.begin

    def gone(*arguments: object, **more: object) -> str:
        raise Unavailable("connection refused")

    monkeypatch.setattr(tracker, "begin", gone)
    (failed,) = sync(home, SERVER)
    monkeypatch.setattr(tracker, "begin", begin)
    (delivered,) = sync(home, SERVER)

    assert failed == Mended("tiny", sent=0, missing=6, problem="connection refused")
    assert delivered == Mended("tiny", sent=6, missing=0)


def test_what_the_server_refuses_stays_missing_and_says_why(home: Home, tracker: MemoryTracker) -> None:
    folder = crashed(home)
    journal = Journal(folder.journal)
    journal.append(FileKept("tiny-u-0", "trials/gone.keras"))
    journal.close()

    (found,) = sync(home, SERVER)

    assert (found.sent, found.missing) == (6, 1)
    assert "gone.keras is gone" in (found.problem or "")


def test_two_servers_each_get_everything(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    trackers: dict[str, MemoryTracker] = {}

    def make(uri: str) -> Tracker:
        return trackers.setdefault(uri, MemoryTracker())

    monkeypatch.setattr("pipelines.reconcile.make_tracker", make)
    crashed(home)

    assert [mended.sent for server in (SERVER, "http://other", SERVER) for mended in sync(home, server)] == [6, 6, 0]
    assert statuses(trackers[SERVER]) == statuses(trackers["http://other"])


def test_a_home_without_studies_has_nothing_to_mend(home: Home, tracker: MemoryTracker) -> None:
    assert list(reconcile(home, SERVER)) == []
