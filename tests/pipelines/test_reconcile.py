"""What a crash left is mended once, and what a server missed is delivered once."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from pipelines.errors import HomeError
from pipelines.executors.docker import adrift
from pipelines.executors.docker.base import ContainerPlan
from pipelines.facts import StudyFacts
from pipelines.history import read_runs, wall_seconds
from pipelines.home import Home, StudyFolder
from pipelines.reconcile import Mended, mend_study, reconcile, sync, sync_folder
from pipelines.records import TrialState
from pipelines.study import Study
from pipelines.tracking.base import Tracker, Unavailable
from pipelines.tracking.entries import (
    CheckpointDropped,
    CheckpointKept,
    FileKept,
    Logged,
    RunBegun,
    RunEnded,
)
from pipelines.tracking.holdings import DamagedVersion
from pipelines.tracking.journal import read_all
from pipelines.tracking.memory import MemoryTracker
from pipelines.tracking.sender import Sender
from tests.contracts.engines import IMAGE, FakeEngine
from tests.pipelines.crashes import append, crashed, sha
from tests.pipelines.scripted import RATE, recipe

SERVER = "http://tracking.example:5000"


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


@pytest.fixture
def tracker(monkeypatch: pytest.MonkeyPatch) -> MemoryTracker:
    """The one tracker behind every address."""
    tracker = MemoryTracker()
    for module in ("homes", "mending"):
        monkeypatch.setattr(f"pipelines.reconcile.{module}.make_tracker", lambda uri: tracker)
    return tracker


def no_study(folder: StudyFolder, facts: StudyFacts) -> Study | None:
    return None


def mend(home: Home, **how: Any) -> list[Mended]:
    return list(reconcile(home, SERVER, no_study, **how))


def deliver(folder: StudyFolder, tracker: Tracker) -> None:
    sender = Sender(folder.journal, tracker, SERVER)
    while sender.deliver():
        pass


def runs_of(tracker: MemoryTracker) -> dict[str, Any]:
    return {run.uid: run for run in tracker.runs.values()}


def statuses(tracker: MemoryTracker) -> dict[str, str]:
    return {run.uid: run.status for run in tracker.runs.values()}


def run_id_of(tracker: MemoryTracker, uid: str) -> str:
    return next(run_id for run_id, run in tracker.runs.items() if run.uid == uid)


def everything(folder: StudyFolder) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder.root)): path.read_bytes()
        for path in folder.root.rglob("*")
        if path.is_file() and path.name != "lock"
    }


# orphans


def test_runs_that_a_crash_left_open_are_closed_once_and_say_why(home: Home, tracker: MemoryTracker) -> None:
    folder = crashed(home)

    (first,) = mend(home)
    (second,) = mend(home)

    said = "the sweep's own run and trial 1 are open in the journal, and no controller is there: closed."
    assert first == Mended("tiny", said=(said,), sent=13)
    assert second == Mended("tiny")
    assert statuses(tracker) == {"tinyu": "KILLED", "tinyu-00000": "FINISHED", "tinyu-00001": "KILLED"}
    tags = runs_of(tracker)["tinyu-00001"].tags
    assert "controller was gone" in tags["regatta.reason"]
    assert tags["end.reason"] == "its controller was gone"
    assert "end.reason" not in runs_of(tracker)["tinyu-00000"].tags
    assert (
        wall_seconds(read_all(folder.journal), "tinyu") == 6.0
    )  # the hours until somebody mended it are not the sweep's


def test_a_run_of_which_all_but_the_last_word_was_said_is_finished_and_not_killed(
    home: Home, tracker: MemoryTracker
) -> None:
    folder = crashed(home)
    append(folder, Logged("tinyu-00001", 8000, 0, {"seconds": 1.0}, {"regatta.state": "FAILED"}))

    mend(home)

    assert statuses(tracker)["tinyu-00001"] == "FAILED"
    assert "end.reason" not in runs_of(tracker)["tinyu-00001"].tags


def test_runs_that_are_open_on_the_server_and_in_no_journal_are_closed_there(
    home: Home, tracker: MemoryTracker
) -> None:
    folder = crashed(home)
    deliver(folder, tracker)
    stranger = RunBegun("tinyu-00009", "tiny", "trial-009", 1, None, {"regatta.study_uid": "tinyu"})
    foreign = RunBegun("other-00009", "tiny", "trial-009", 1, None, {"regatta.study_uid": "another study"})
    for begun in (stranger, foreign):
        tracker.begin(begun, tracker.experiment("tiny"), None, suspect=False)

    (first,) = mend(home)
    (second,) = mend(home)

    assert any("which is not in the journal: closed there" in said for said in first.said)
    assert second.said == ()
    assert statuses(tracker)["tinyu-00009"] == "KILLED"
    assert "does not know it" in runs_of(tracker)["tinyu-00009"].tags["end.reason"]
    assert statuses(tracker)["other-00009"] == "RUNNING"


def test_a_run_that_was_made_twice_is_there_once(home: Home, tracker: MemoryTracker) -> None:
    folder = crashed(home)
    deliver(folder, tracker)
    ours = run_id_of(tracker, "tinyu-00000")
    double = RunBegun("tinyu-00000", "tiny", "trial-000", 1, None, {"regatta.study_uid": "tinyu"})
    tracker.runs["double"] = type(tracker.runs[ours])(double.uid, double.name, "0", None, tags=dict(double.tags))

    (first,) = mend(home)

    assert "MLflow has a second run of trial 0, double: deleted there, which can be undone." in first.said
    assert [run_id for run_id, run in tracker.runs.items() if run.uid == "tinyu-00000"] == [ours]
    assert mend(home)[0].said == ()


# points


@pytest.mark.parametrize("lost", ["last", "first", "metric", "rank", "status", "run"])
def test_what_a_server_lacks_of_a_run_is_delivered_again(home: Home, tracker: MemoryTracker, lost: str) -> None:
    folder = crashed(home)
    mend(home)
    run = runs_of(tracker)["tinyu-00000"]
    curve = run.curve("val_loss")
    match lost:
        case "last":
            del run.points["val_loss"][(1, 4000)]
        case "first":
            del run.points["loss"][(0, 3000)]
        case "metric":
            del run.points["best.val_loss"]
        case "rank":
            del run.points["objective"]
        case "status":
            run.status = "RUNNING"
        case _:
            del tracker.runs[run_id_of(tracker, "tinyu-00000")]

    (found,) = mend(home)
    (again,) = mend(home)

    assert [said.split("MLflow ")[1] for said in found.said if "delivered again" in said]
    assert found.whole
    assert again == Mended("tiny")
    there = runs_of(tracker)["tinyu-00000"]
    assert (there.curve("val_loss"), there.status) == (curve, "FINISHED")
    assert there.curve("objective") == [(0, 0.25)]
    assert len(tracker.runs) == 3
    assert folder.journal.exists()


def test_trials_of_before_runs_were_ranked_get_their_rank_once(home: Home, tracker: MemoryTracker) -> None:
    folder = crashed(home, ranked=False)
    for number, state, violations in (
        (2, "PRUNED", {}),
        (3, "COMPLETE", {"seconds": 0.5}),
        (4, "COMPLETE", {"seconds": -1}),
    ):
        uid = f"tinyu-{number:05d}"
        tags = {"regatta.study_uid": "tinyu", "regatta.trial": str(number), "regatta.state": "RUNNING"}
        told = {"regatta.state": state, "regatta.violations": json.dumps(violations)}
        append(
            folder,
            RunBegun(uid, "tiny", f"trial-{number:03d}", 7100, "tinyu", tags),
            Logged(uid, 7200, 0, {"loss": 0.1, "val_loss": 0.1}),
            Logged(uid, 7300, 0, {"seconds": 2.0, "best.val_loss": 0.1, "best.epoch": 0.0}, told),
            RunEnded(uid, 7300, "FINISHED"),
        )
    before = wall_seconds(read_all(folder.journal), "tinyu")
    said = "trials 0 and 4 lack the metric 'objective', by which MLflow's page has the best first"

    (asked,) = mend(home, check=True)
    (first,) = mend(home)
    (second,) = mend(home)

    assert f"{said}." in asked.said
    assert f"{said}: added." in first.said
    assert second == Mended("tiny")
    ranks = {uid: run.curve("objective") for uid, run in runs_of(tracker).items() if "objective" in run.points}
    assert ranks == {"tinyu-00000": [(0, 0.25)], "tinyu-00004": [(0, 0.1)]}
    assert set(statuses(tracker).values()) == {"FINISHED", "KILLED"}
    assert wall_seconds(read_all(folder.journal), "tinyu") == before
    history = read_runs(read_all(folder.journal))["tinyu-00000"]
    assert "objective" in history.summary
    assert "objective" not in history.curves


def test_a_point_that_nobody_gave_is_told_and_left_to_a_person(home: Home, tracker: MemoryTracker) -> None:
    crashed(home)
    mend(home)
    runs_of(tracker)["tinyu-00000"].points["val_loss"][(0, 99)] = 0.5  # epoch 0 twice

    (found,) = mend(home)

    assert found.said == ("MLflow has points of 'val_loss' that are not in the journal, or twice, of trial 0.",)
    assert not found.whole


def test_numbers_that_mlflow_cannot_hold_are_not_taken_for_lost(home: Home, tracker: MemoryTracker) -> None:
    folder = crashed(home)
    append(folder, Logged("tinyu-00001", 8000, 1, {"loss": float("nan"), "val_loss": float("inf")}))
    mend(home)
    run = runs_of(tracker)["tinyu-00001"]
    run.points["val_loss"][(1, 8000)] = 1.7976931348623157e308  # as MLflow keeps it

    assert mend(home) == [Mended("tiny")]


def test_a_server_that_lost_everything_gets_everything_and_it_is_said(home: Home, tracker: MemoryTracker) -> None:
    crashed(home)
    mend(home)
    before = statuses(tracker)
    tracker.runs.clear()
    tracker.models.clear()

    (found,) = mend(home)

    assert found.said == ("MLflow has lost runs that it had taken: the whole journal is delivered again.",)
    assert (found.sent, found.missing) == (13, 0)
    assert statuses(tracker) == before
    assert len(tracker.models) == 1
    assert mend(home) == [Mended("tiny")]


# checkpoints


def test_a_checkpoint_that_is_lost_or_damaged_here_comes_back_from_the_server(
    home: Home, tracker: MemoryTracker
) -> None:
    folder = crashed(home)
    mend(home)
    path = folder.root / "trials/0.keras"
    for damage in (path.unlink, lambda: path.write_bytes(b"torn")):
        damage()

        (found,) = mend(home)

        assert [said for said in found.said if said.endswith(": brought back from MLflow.")]
        assert path.read_bytes() == b"weights 0"
    assert mend(home) == [Mended("tiny")]


def test_a_checkpoint_that_is_nowhere_is_told(home: Home, tracker: MemoryTracker) -> None:
    folder = crashed(home)
    (folder.root / "trials/0.keras").unlink()

    (found,) = mend(home)

    assert "the checkpoint of trial 0, trials/0.keras, is gone." in found.said
    assert not found.whole


@pytest.mark.parametrize("there", ["part", "nothing"])
def test_a_checkpoint_that_the_server_has_not_whole_is_delivered_again(
    home: Home, tracker: MemoryTracker, there: str
) -> None:
    crashed(home)
    mend(home)
    if there == "part":
        next(iter(tracker.models.values())).status = "PENDING"
    else:
        tracker.models.clear()

    (found,) = mend(home)

    assert len(found.said) == 1
    assert found.said[0].endswith("of trial 0: delivered again.")
    assert [model.status for model in tracker.models.values()] == ["READY"]
    assert mend(home) == [Mended("tiny")]


def test_a_half_delivered_checkpoint_that_will_never_be_whole_is_marked(home: Home, tracker: MemoryTracker) -> None:
    folder = crashed(home)
    deliver(folder, tracker)
    append(folder, CheckpointDropped("tinyu-00000", 9000, sha(0), "no room"))
    deliver(folder, tracker)
    (folder.root / "trials/0.keras").unlink()
    kept = CheckpointKept("tinyu-00000", 4000, "trials/0.keras", "trial-000", 1, sha(0))
    run_id = run_id_of(tracker, "tinyu-00000")
    tracker.keep_checkpoint(run_id, Path(__file__), kept, suspect=False)
    (model,) = tracker.models.values()
    model.status = "PENDING"

    (found,) = mend(home)

    assert any(said.endswith(": marked as failed.") for said in found.said)
    assert (model.status, model.tags["regatta.reason"]) == ("FAILED", "its file is gone, so it will never be whole")
    assert mend(home) == [Mended("tiny")]


def test_files_of_dropped_checkpoints_are_removed_here_and_there(home: Home, tracker: MemoryTracker) -> None:
    folder = crashed(home)
    deliver(folder, tracker)
    append(folder, CheckpointDropped("tinyu-00000", 9000, sha(0), "no room"))
    deliver(folder, tracker)
    kept = CheckpointKept("tinyu-00000", 4000, "trials/0.keras", "trial-000", 1, sha(0))
    run_id = run_id_of(tracker, "tinyu-00000")
    tracker.keep_checkpoint(run_id, folder.root / kept.path, kept, suspect=False)  # as a backup would bring it back

    (found,) = mend(home)

    assert not (folder.root / "trials/0.keras").exists()
    assert tracker.models == {}
    assert "1 file of a dropped checkpoint lies around: removed." in found.said
    assert "MLflow has a checkpoint of trial 0 that is dropped: dropped there, too." in found.said
    assert mend(home) == [Mended("tiny")]


def test_a_dropped_checkpoint_that_a_version_needs_stays_there_without_a_word(
    home: Home, tracker: MemoryTracker
) -> None:
    folder = crashed(home)
    deliver(folder, tracker)
    next(iter(tracker.models.values())).reached = True
    append(folder, CheckpointDropped("tinyu-00000", 9000, sha(0), "no room"))
    mend(home)

    assert mend(home) == [Mended("tiny")]
    assert len(tracker.models) == 1


# the registry


def test_registered_versions_without_files_are_told_each_time(home: Home, tracker: MemoryTracker) -> None:
    crashed(home)
    mend(home)
    tracker.damaged.append(DamagedVersion("tiny", "3", ("champion",), "golden.npz missing"))

    for _ in range(2):
        (found,) = mend(home)
        assert found.said == ("version 3 (champion) of 'tiny' is damaged: golden.npz missing.",)
        assert not found.whole


# leftovers


def test_files_that_nobody_will_finish_or_read_are_removed(home: Home, tracker: MemoryTracker) -> None:
    folder = crashed(home)
    mend(home)
    half = [folder.root / ".writing-7-x.png", folder.root / "trials" / "a" / ".writing-7-best.keras"]
    for path in half:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"half")
    for number in (0, 1):
        folder.states(number).mkdir(parents=True)
        (folder.states(number) / "state-0001-a.bin").write_bytes(b"state")

    (found,) = mend(home)

    assert found.said == (
        "2 half-written files lie around: removed.",
        "1 folder of states of a trial that is over lies around: removed.",
    )
    assert not any(path.exists() for path in half)
    assert [folder.states(number).exists() for number in (0, 1)] == [False, True]
    assert mend(home) == [Mended("tiny")]


@pytest.fixture
def stray() -> Iterator[psutil.Process]:
    """A worker process whose controller is gone."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield psutil.Process(process.pid)
    process.kill()
    process.communicate()


def test_worker_processes_of_a_dead_controller_are_ended(
    home: Home, tracker: MemoryTracker, stray: psutil.Process
) -> None:
    folder = crashed(home)
    folder.logs.mkdir()
    noted = {"pid": stray.pid, "create_time": stray.create_time()}
    (folder.logs / f"worker-0-{stray.pid}.pid").write_text(json.dumps(noted))

    (found,) = mend(home)

    assert found.said[0] == "1 worker process of a controller that is gone goes on: ended, slots freed."
    assert not stray.is_running() or stray.status() == psutil.STATUS_ZOMBIE
    assert mend(home) == [Mended("tiny")]


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeEngine]:
    """The Docker engine of this machine."""
    (tmp_path / "engine").mkdir()
    engine = FakeEngine(tmp_path / "engine")
    monkeypatch.setattr(adrift, "DockerEngine", lambda: engine)
    yield engine
    engine.clear()


def moored(home: Home, engine: FakeEngine) -> StudyFolder:
    """A crashed study, with one container of its that runs and one that has ended."""
    folder = crashed(home)
    folder.logs.mkdir()
    plan = ContainerPlan(IMAGE, ("sleep", "60"), "tiny", adrift.labels_of("tiny", folder.root))
    for number in range(2):
        engine.create(plan)
        (folder.logs / f"worker-{number}-0{adrift.NOTE}").write_text("{}")
    engine.start("c0")
    return folder


def test_containers_of_a_dead_controller_are_ended_and_removed(
    home: Home, tracker: MemoryTracker, engine: FakeEngine
) -> None:
    folder = moored(home, engine)

    (checked,) = mend(home, check=True)
    assert len(engine.there) == 2
    (found,) = mend(home)

    assert checked.said[0] == "1 container of a controller that is gone goes on."
    assert found.said[0] == "1 container of a controller that is gone goes on: ended, slots freed."
    assert engine.there == {}
    assert list(folder.logs.iterdir()) == []
    assert mend(home) == [Mended("tiny")]


def test_containers_that_have_ended_by_themselves_are_removed_without_a_word(
    home: Home, tracker: MemoryTracker, engine: FakeEngine
) -> None:
    moored(home, engine)
    engine.kill("c0")
    engine.process("c0").wait()

    (found,) = mend(home)

    assert not any("container" in line for line in found.said)
    assert engine.there == {}


def test_an_engine_that_does_not_answer_is_said_and_asked_again_the_next_time(
    home: Home, tracker: MemoryTracker, engine: FakeEngine
) -> None:
    moored(home, engine)
    engine.away.set()
    (found,) = mend(home)
    engine.away.clear()

    assert "the Docker engine does not say (Connection refused)" in found.said[0]
    assert found.unmended == 1
    assert mend(home)[0].said[0].startswith("1 container of a controller that is gone goes on: ended")


def test_a_study_without_containers_asks_no_engine(
    home: Home, tracker: MemoryTracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    crashed(home)
    monkeypatch.setattr(adrift, "DockerEngine", None)
    assert mend(home)[0].unmended == 0


# Optuna


@pytest.fixture
def studies() -> Iterator[Callable[[StudyFolder], Study]]:
    """Opens the study of a folder as Optuna has it."""
    opened: list[Study] = []

    def open_study(folder: StudyFolder) -> Study:
        opened.append(Study(StudyFacts.read(folder).recipe(), folder.storage, "tinyu"))
        return opened[-1]

    yield open_study
    for study in opened:
        study.close()


def states(study: Study) -> dict[int, TrialState]:
    return {record.number: record.state for record in study.records()}


def optuna_trial(study: Study, number: int) -> Any:
    return study._study.get_trials(deepcopy=False)[number]


def curve_of(folder: StudyFolder, number: int) -> dict[int, float]:
    (run,) = (run for run in read_runs(read_all(folder.journal)).values() if run.number == number)
    return run.curves["val_loss"]


Opens = Callable[[StudyFolder], Study]


def mend_it(folder: StudyFolder, study: Study) -> list[str]:
    return mend_study(folder, study, StudyFacts.read(folder), SERVER)


def test_a_trial_that_ended_without_optuna_hearing_of_it_is_settled(
    home: Home, tracker: MemoryTracker, studies: Opens
) -> None:
    folder = crashed(home)
    study = studies(folder)
    for number in (0, 1):
        study.ask().optuna_trial.suggest_float(RATE, 1e-3, 1e-1, log=True)
        study.note_attempt(number, 1)
    study.report(0, 0, 0.5)  # the storage takes the last epochs together with the end
    study.close()

    again = studies(folder)
    said = mend_it(folder, again)

    assert "Optuna takes trial 0 for running, which has ended: it is COMPLETE there, too." in said
    assert states(again) == {0: TrialState.COMPLETE, 1: TrialState.RUNNING}
    assert len(curve_of(folder, 0)) > 1
    assert optuna_trial(again, 0).intermediate_values == curve_of(folder, 0)
    assert mend_it(folder, studies(folder)) == []


def test_what_a_trial_has_drawn_comes_back_where_a_power_cut_took_just_that(
    home: Home, tracker: MemoryTracker, studies: Opens
) -> None:
    folder = crashed(home)
    study = studies(folder)
    for _ in range(2):
        study.ask()
    study.close()

    again = studies(folder)
    said = mend_it(folder, again)

    assert "Optuna has lost what trial 0 has drawn: it is there again, COMPLETE." in said
    assert "Optuna has lost what trial 1 has drawn: it is there again, RUNNING." in said
    assert [record.params for record in again.records()] == [{RATE: 0.01}, {RATE: 0.02}]
    assert states(again) == {0: TrialState.COMPLETE, 1: TrialState.RUNNING}
    assert mend_it(folder, studies(folder)) == []


def test_trials_that_a_power_cut_took_from_optuna_come_back_from_the_journal(
    home: Home, tracker: MemoryTracker, studies: Opens
) -> None:
    folder = crashed(home)

    study = studies(folder)
    said = mend_it(folder, study)

    assert said[:2] == [
        "Optuna has lost trial 0: it is there again, COMPLETE.",
        "Optuna has lost trial 1: it is there again, RUNNING.",
    ]
    study.close()
    again = studies(folder)
    assert states(again) == {0: TrialState.COMPLETE, 1: TrialState.RUNNING}
    assert [record.params for record in again.records()] == [{RATE: 0.01}, {RATE: 0.02}]
    assert again.counts().complete == 1
    assert mend_it(folder, again) == []


def test_a_trial_whose_end_only_optuna_knows_is_closed_and_says_so(
    home: Home, tracker: MemoryTracker, studies: Opens
) -> None:
    folder = crashed(home)
    study = studies(folder)
    mend_it(folder, study)
    study.tell(1, TrialState.COMPLETE, {"val_loss": 0.6})
    study.close()

    again = studies(folder)
    said = mend_it(folder, again)

    (sentence,) = said
    assert sentence.startswith(
        "The journal has lost the end of trial 1, which is COMPLETE in Optuna: its run is closed"
    )
    run = read_runs(read_all(folder.journal))["tinyu-00001"]
    assert (run.status, run.tags["regatta.state"]) == ("FINISHED", "COMPLETE")
    assert mend_it(folder, again) == []


def test_a_trial_that_the_two_tell_differently_is_left_to_a_person(
    home: Home, tracker: MemoryTracker, studies: Opens
) -> None:
    folder = crashed(home)
    study = studies(folder)
    study.ask()
    study.tell(0, TrialState.FAILED, None)

    assert "Trial 0 is COMPLETE in the journal and FAILED in Optuna." in mend_it(folder, study)


# the start of a sweep


def test_a_fresh_study_asks_no_server_anything(home: Home, monkeypatch: pytest.MonkeyPatch, studies: Opens) -> None:
    folder = home.study("tiny")
    folder.root.mkdir(parents=True)
    facts = StudyFacts.begin(recipe(), SERVER)
    facts.write(folder)

    def refuse(uri: str) -> Tracker:
        raise AssertionError("nobody was to be asked")

    monkeypatch.setattr("pipelines.reconcile.mending.make_tracker", refuse)

    assert mend_it(folder, studies(folder)) == []


def test_the_start_of_a_sweep_mends_here_whatever_the_server_does(
    home: Home, tracker: MemoryTracker, studies: Opens, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = crashed(home)
    deliver(folder, tracker)

    def gone(run_id: str, uid: str) -> bool:
        raise Unavailable("connection refused")

    monkeypatch.setattr(tracker, "has_run", gone)

    said = mend_it(folder, studies(folder))

    assert any("are open in the journal" in each for each in said)
    assert not any("MLflow" in each for each in said)


def test_the_start_of_a_sweep_does_not_look_at_what_is_still_to_be_delivered(
    home: Home, tracker: MemoryTracker, studies: Opens
) -> None:
    folder = crashed(home)
    deliver(folder, tracker)

    said = mend_it(folder, studies(folder))

    assert not any("MLflow" in each for each in said)  # the journal says by now that two runs are closed
    assert statuses(tracker)["tinyu-00001"] == "RUNNING"


# checking


def test_a_check_tells_all_of_it_and_changes_nothing(home: Home, tracker: MemoryTracker, studies: Opens) -> None:
    folder = crashed(home)
    deliver(folder, tracker)
    del runs_of(tracker)["tinyu-00000"].points["val_loss"][(1, 4000)]
    (folder.root / "trials/0.keras").write_bytes(b"torn")
    (folder.root / ".writing-7-x.png").write_bytes(b"half")
    append(folder, Logged("tinyu-00001", 8000, 1, {"loss": 0.5}))
    studies(folder).close()
    tracker.damaged.append(DamagedVersion("tiny", "3", (), "no files"))
    before = everything(folder), statuses(tracker), {uid: dict(run.points) for uid, run in runs_of(tracker).items()}

    (found,) = reconcile(home, SERVER, lambda folder, facts: studies(folder), check=True)

    assert found.said == (
        "Optuna has lost trial 0.",
        "Optuna has lost trial 1.",
        "the sweep's own run and trial 1 are open in the journal, and no controller is there.",
        "1 half-written file lies around.",
        "the checkpoint of trial 0, trials/0.keras, is damaged: its digest is another.",
        "MLflow lacks points of trial 0.",
        "version 3 of 'tiny' is damaged: no files.",
        "1 entry of the journal is not on the server.",
    )
    assert not found.whole
    after = everything(folder), statuses(tracker), {uid: dict(run.points) for uid, run in runs_of(tracker).items()}
    assert after == before


def test_a_check_of_what_was_mended_finds_nothing(home: Home, tracker: MemoryTracker, studies: Opens) -> None:
    crashed(home)

    def opened(folder: StudyFolder, facts: StudyFacts) -> Study:
        return studies(folder)

    list(reconcile(home, SERVER, opened))
    (found,) = reconcile(home, SERVER, opened, check=True)

    assert found == Mended("tiny")
    assert found.whole


def test_a_check_tells_that_a_server_cannot_be_reached(
    home: Home, tracker: MemoryTracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = crashed(home)
    deliver(folder, tracker)

    def gone(run_id: str, uid: str) -> bool:
        raise Unavailable("connection refused")

    monkeypatch.setattr(tracker, "has_run", gone)

    (found,) = mend(home, check=True)

    assert f"the MLflow server at {SERVER} cannot be compared with: connection refused." in found.said
    assert not found.whole


# delivering


def test_syncing_delivers_and_closes_nothing(home: Home, tracker: MemoryTracker) -> None:
    crashed(home)

    (found,) = sync(home, SERVER)

    assert found == Mended("tiny", sent=9)
    assert statuses(tracker)["tinyu-00001"] == "RUNNING"
    assert runs_of(tracker)["tinyu-00001"].curve("val_loss") == [(0, 0.6)]


def test_a_study_that_a_controller_holds_is_left_alone(home: Home, tracker: MemoryTracker) -> None:
    folder = crashed(home, "held")
    crashed(home, "free")

    with folder.locked():
        found = {mended.study: mended for mended in mend(home)}

    assert "is being run by process" in (found["held"].skipped or "")
    assert found["held"].said == ()
    assert not found["held"].whole
    assert len(found["free"].said) == 1
    assert set(statuses(tracker)) == {"freeu", "freeu-00000", "freeu-00001"}


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ("{", "What study 'broken' is cannot be read from"),
        (None, "The config of study 'tiny' is not one that this version of Regatta reads: from_the_future: is no"),
    ],
)
def test_a_study_that_cannot_be_read_keeps_nobody_from_mending_the_others(
    home: Home, tracker: MemoryTracker, facts: str | None, words: str
) -> None:
    folder = crashed(home, "broken")
    crashed(home, "free")
    begun = StudyFacts.begin(recipe(), SERVER)
    begun.config["from_the_future"] = 1
    begun.write(folder)
    if facts is not None:
        folder.facts.write_text(facts)

    found = {mended.study: mended for mended in mend(home)}

    assert (found["broken"].skipped or "").startswith(words)
    assert not found["broken"].whole
    assert len(found["free"].said) == 1


def test_a_study_whose_own_code_is_elsewhere_is_mended_as_any(home: Home, tracker: MemoryTracker) -> None:
    folder = crashed(home)
    facts = StudyFacts.read(folder)
    facts.config["model"] = {"name": "function", "function": "not_here_at_all:make"}
    facts.write(folder)

    (found,) = mend(home)

    assert found.skipped is None
    assert len(found.said) == 1


def test_the_journal_of_a_study_that_was_set_aside_is_mended_too(home: Home, tracker: MemoryTracker) -> None:
    folder = crashed(home)
    aside = folder.set_aside()
    StudyFacts.begin(recipe(), SERVER).write(folder)

    found = mend(home)

    assert [(mended.study, len(mended.said), mended.missing) for mended in found] == [
        ("tiny", 0, 0),
        (f"tiny ({aside.name})", 1, 0),
    ]
    assert set(statuses(tracker).values()) == {"KILLED", "FINISHED"}
    assert [mended.sent for mended in mend(home)] == [0, 0]


def test_a_training_outside_studies_is_mended_like_one(home: Home, tracker: MemoryTracker) -> None:
    folder = home.training("20300101-000000-ab")
    tags = {"regatta.kind": "training", "regatta.trial": "0", "regatta.state": "RUNNING"}
    append(folder, RunBegun("alone", "tiny", "training", 1, None, tags), Logged("alone", 2, 0, {"loss": 1.0}))

    (found,) = mend(home)

    assert found.said == ("the training is open in the journal, and no controller is there: closed.",)
    assert statuses(tracker) == {"alone": "KILLED"}
    assert runs_of(tracker)["alone"].tags["regatta.reason"] == "its controller was gone"
    runs_of(tracker)["alone"].points.clear()
    assert mend(home)[0].said == ("MLflow lacks points of the training: delivered again.",)
    assert mend(home) == [Mended("training 20300101-000000-ab")]


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

    assert failed == Mended("tiny", sent=0, missing=9, problem="connection refused")
    assert delivered == Mended("tiny", sent=9, missing=0)


def test_what_the_server_refuses_stays_missing_until_what_was_in_the_way_is_gone(
    home: Home, tracker: MemoryTracker
) -> None:
    folder = crashed(home)
    append(folder, FileKept("tinyu-00000", "trials/late.txt"))

    (found,) = sync(home, SERVER)
    (still,) = mend(home)
    (folder.root / "trials/late.txt").write_text("it is there now")
    (mended,) = mend(home)

    assert (found.sent, found.missing) == (9, 1)
    assert "late.txt is gone" in (found.problem or "")
    assert (still.missing, still.whole) == (1, False)
    assert (mended.missing, mended.whole) == (0, True)
    assert runs_of(tracker)["tinyu-00000"].files == {"late.txt": b"it is there now"}


def test_two_servers_each_get_everything(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    trackers: dict[str, MemoryTracker] = {}

    def make(uri: str) -> Tracker:
        return trackers.setdefault(uri, MemoryTracker())

    monkeypatch.setattr("pipelines.reconcile.homes.make_tracker", make)
    crashed(home)

    assert [mended.sent for server in (SERVER, "http://other", SERVER) for mended in sync(home, server)] == [9, 9, 0]
    assert statuses(trackers[SERVER]) == statuses(trackers["http://other"])


def test_a_home_without_studies_has_nothing_to_mend(home: Home, tracker: MemoryTracker) -> None:
    assert mend(home) == []


# journals from elsewhere


@pytest.mark.parametrize("depth", ["home", "study", "journal alone"])
def test_a_folder_from_another_machine_is_delivered(
    home: Home, tracker: MemoryTracker, tmp_path: Path, depth: str
) -> None:
    folder = crashed(home)
    copy = {"home": home.root, "study": folder.root, "journal alone": tmp_path / "alone"}[depth]
    if depth == "journal alone":
        copy.mkdir()
        (copy / "journal.jsonl").write_bytes(folder.journal.read_bytes())
        (copy / "trials").mkdir()
        (copy / "trials/0.keras").write_bytes(b"weights 0")

    (found,) = sync_folder(copy, SERVER)
    (again,) = sync_folder(copy, SERVER)

    assert found.study == {"home": "studies/tiny", "study": "tiny", "journal alone": "alone"}[depth]
    assert (found.sent, found.missing) == (9, 0)
    assert (again.sent, again.missing) == (0, 0)
    assert set(statuses(tracker)) == {"tinyu", "tinyu-00000", "tinyu-00001"}


def test_a_copy_that_was_delivered_to_the_server_of_another_machine_is_delivered_to_this_one(
    home: Home, tracker: MemoryTracker
) -> None:
    folder = crashed(home)
    deliver(folder, MemoryTracker())  # one of the same address

    (found,) = sync_folder(folder.root, SERVER)

    assert (found.sent, found.missing) == (9, 0)
    assert len(tracker.runs) == 3


def test_a_folder_that_may_only_be_read_is_delivered_and_stays_as_it_is(
    home: Home, tracker: MemoryTracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = crashed(home)
    before = everything(folder)
    monkeypatch.setattr("pipelines.reconcile.homes.os.access", lambda path, mode: False)

    (found,) = sync_folder(folder.root, SERVER)

    assert (found.sent, found.missing) == (9, 0)
    assert everything(folder) == before


def test_a_folder_without_a_journal_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(HomeError, match=r"There is no journal\.jsonl in"):
        list(sync_folder(tmp_path, SERVER))
