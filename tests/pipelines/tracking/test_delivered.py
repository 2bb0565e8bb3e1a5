"""Checkpoints that the machine which made them has brought to the tracker: there is no file of them on this disk."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from pipelines.controller.keeping import Keeper
from pipelines.facts import StudyFacts
from pipelines.history import read_runs
from pipelines.home import Home, StudyFolder
from pipelines.recipe.config import Checkpoints
from pipelines.recipe.objectives import Objective
from pipelines.reconcile import Mended, reconcile
from pipelines.records import TrialResult, TrialState
from pipelines.study import Study
from pipelines.tracking.base import CHECKPOINT_TAG, Refused, Unavailable
from pipelines.tracking.courier import Courier
from pipelines.tracking.delivery import Delivery
from pipelines.tracking.entries import CHECKPOINT_BYTES, CheckpointKept, Logged, RunBegun, RunEnded, from_line, to_line
from pipelines.tracking.fetching import bring
from pipelines.tracking.journal import Journal, read_all
from pipelines.tracking.memory import MemoryTracker
from pipelines.tracking.run import Run
from tests.pipelines.crashes import append, crashed

CONTENT = b"made elsewhere"
SHA = hashlib.sha256(CONTENT).hexdigest()
KEPT = CheckpointKept("u-00000", 4, "trials/00000-1/best.keras", "checkpoint", 1, SHA, {"val_loss": 0.5}, True)


class Far:
    """A study on this disk, and a tracker to which another machine has brought the checkpoint of its trial."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.journal = Journal(root / "journal.jsonl")
        self.tracker = MemoryTracker()
        self.courier = Courier(self.journal.path, self.tracker, Delivery(), None)
        self.run = Run(self.journal, KEPT.uid)
        self.run.begin("study", "trial-000", tags={"regatta.trial": "0", "regatta.state": "COMPLETE"}, params={})
        self.deliver()
        (self.run_id,) = self.tracker.runs

    def deliver(self) -> None:
        while self.courier.deliver():
            pass

    def bring(self) -> None:
        """What a node does."""
        file = self.root / "elsewhere.keras"
        file.write_bytes(CONTENT)
        self.tracker.keep_checkpoint(self.run_id, file, KEPT, suspect=False)
        file.unlink()

    def note(self) -> None:
        """What the controller does when it hears of it."""
        path = self.root / KEPT.path
        told = {"name": "checkpoint", "step": 1, "sha256": SHA, "metrics": {"val_loss": 0.5}, "time_ms": 4}
        self.run.keep_checkpoint(path, **told, delivered=True)  # type: ignore[arg-type]
        self.run.log({CHECKPOINT_BYTES: float(len(CONTENT)), "best.epoch": 1.0, "best.val_loss": 0.5, "seconds": 1.0})


@pytest.fixture
def far(tmp_path: Path) -> Far:
    return Far(tmp_path)


def test_the_journal_says_where_a_checkpoint_is_and_what_it_said_before_reads_as_before() -> None:
    assert from_line(to_line(KEPT)) == KEPT
    line = b'{"kind":"checkpoint","uid":"u","time_ms":1,"path":"p","name":"n","step":2,"sha256":"s"}'
    assert from_line(line) == CheckpointKept("u", 1, "p", "n", 2, "s", {}, False)
    assert b"delivered" not in to_line(CheckpointKept("u", 1, "p", "n", 2, "s"))


def test_it_is_not_delivered_another_time_and_nothing_is_missed(far: Far) -> None:
    far.bring()
    far.note()

    far.deliver()

    assert len(far.tracker.models) == 1
    assert far.courier.state.refused == {}
    assert far.courier.state.processed == far.journal.written


def test_one_that_is_dropped_is_dropped_at_the_tracker_although_no_file_was_ever_here(far: Far) -> None:
    far.bring()
    far.note()
    far.run.drop_checkpoint(SHA, "not among the 1 best")

    far.deliver()

    assert far.tracker.models == {}
    assert far.tracker.runs[far.run_id].tags[CHECKPOINT_TAG] == "dropped: not among the 1 best"


def test_a_tracker_that_has_lost_it_is_found_out_when_everything_is_delivered_again(far: Far) -> None:
    far.bring()
    far.note()
    far.deliver()
    assert far.courier.deliver_again([KEPT.uid]) == []

    far.tracker.models.clear()

    (refused,) = far.courier.deliver_again([KEPT.uid])
    assert refused.endswith("best.keras is gone")


def test_it_comes_here_when_it_is_asked_for_and_only_whole(far: Far, tmp_path: Path) -> None:
    target = tmp_path / "there" / "best.keras"
    with pytest.raises(Refused, match="it is not there any more"):
        bring(far.tracker, "study", KEPT.uid, SHA, target)

    far.bring()
    bring(far.tracker, "study", KEPT.uid, SHA, target)
    assert target.read_bytes() == CONTENT

    (model,) = far.tracker.models.values()
    model.file = ("best.keras", b"other bytes")
    target.unlink()
    with pytest.raises(Refused, match="damaged"):
        bring(far.tracker, "study", KEPT.uid, SHA, target)
    assert not target.exists()


def test_its_bytes_count_for_what_may_be_kept(far: Far) -> None:
    far.note()
    result = TrialResult(
        0, 1, TrialState.COMPLETE, {}, 0.5, 1, str(far.root / KEPT.path), SHA, checkpoint_bytes=2 << 20
    )
    keeper = Keeper(Checkpoints(keep=1, most_mb=5), Objective(), far.journal)

    assert keeper.ended(result, KEPT.uid) == 2 << 20
    assert keeper._retention.bytes == 2 << 20


def test_a_controller_that_goes_on_counts_it_too(far: Far) -> None:
    far.note()
    far.run.end("FINISHED")
    keeper = Keeper(Checkpoints(), Objective(), far.journal)

    keeper.take_up(read_runs(read_all(far.journal.path)).values(), far.root)

    assert [(kept.number, kept.bytes) for kept in keeper._retention.kept] == [(0, len(CONTENT))]


# reconcile


def no_study(folder: StudyFolder, facts: StudyFacts) -> Study | None:
    return None


@pytest.fixture
def tracker(monkeypatch: pytest.MonkeyPatch) -> MemoryTracker:
    made = MemoryTracker()
    for module in ("homes", "mending"):
        monkeypatch.setattr(f"pipelines.reconcile.{module}.make_tracker", lambda uri: made)
    return made


def elsewhere(home: Home) -> StudyFolder:
    """A study as a crash leaves it, with one more trial, whose checkpoint another machine has delivered."""
    folder = crashed(home)
    tags = {"regatta.study_uid": "tinyu", "regatta.trial": "2", "regatta.attempt": "1", "regatta.sampled": "{}"}
    ended = {"regatta.state": "COMPLETE", "regatta.checkpoint_sha256": SHA}
    append(
        folder,
        RunBegun("tinyu-00002", "tiny", "trial-002", 8000, "tinyu", tags | {"regatta.state": "RUNNING"}),
        Logged("tinyu-00002", 8100, 0, {"loss": 0.4, "val_loss": 0.5}),
        CheckpointKept("tinyu-00002", 8100, "trials/2.keras", "checkpoint", 0, SHA, {"val_loss": 0.5}, True),
        Logged("tinyu-00002", 8200, 0, {"seconds": 2.0, "best.val_loss": 0.5, "best.epoch": 0.0}, ended),
        RunEnded("tinyu-00002", 8300, "FINISHED"),
    )
    return folder


def bring_to(tracker: MemoryTracker, folder: Path) -> None:
    (run_id,) = (run_id for run_id, run in tracker.runs.items() if run.uid == "tinyu-00002")
    file = folder / "elsewhere.keras"
    file.write_bytes(CONTENT)
    kept = CheckpointKept("tinyu-00002", 8100, "trials/2.keras", "checkpoint", 0, SHA)
    tracker.keep_checkpoint(run_id, file, kept, suspect=False)


def test_reconcile_misses_no_file_of_a_checkpoint_that_is_where_it_belongs(
    home: Home, tracker: MemoryTracker, tmp_path: Path
) -> None:
    elsewhere(home)
    list(reconcile(home, "http://tracking.example:5000", no_study))
    bring_to(tracker, tmp_path)
    list(reconcile(home, "http://tracking.example:5000", no_study))  # what was refused before is offered again

    assert list(reconcile(home, "http://tracking.example:5000", no_study)) == [Mended("tiny")]


def test_reconcile_tells_of_one_that_the_server_has_lost(home: Home, tracker: MemoryTracker) -> None:
    elsewhere(home)
    list(reconcile(home, "http://tracking.example:5000", no_study))

    (found,) = reconcile(home, "http://tracking.example:5000", no_study)

    assert "the checkpoint of trial 2, trials/2.keras, is gone from MLflow, where alone it was." in found.said
    assert not found.whole


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


def test_a_tracker_that_cannot_be_reached_is_no_lost_checkpoint(far: Far, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(experiment: str) -> None:
        raise Unavailable("nothing answers there")

    monkeypatch.setattr(far.tracker, "held_checkpoints", away)

    with pytest.raises(Unavailable):
        bring(far.tracker, "study", KEPT.uid, SHA, far.root / "best.keras")
