"""What every tracker promises, tried on each of them: taking an entry twice is the same as taking it once."""

from __future__ import annotations

import hashlib
import io
import math
import re
import secrets
import socket
import time
from abc import ABC, abstractmethod
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities import LoggedModelOutput, LoggedModelStatus, Metric
from mlflow.entities import Run as MlflowRun
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from PIL import Image

from pipelines.tracking import make_tracker, mlflow_checkpoints
from pipelines.tracking.base import Refused, Tracker, Unavailable
from pipelines.tracking.entries import (
    CheckpointDropped,
    CheckpointKept,
    FileKept,
    Logged,
    PictureKept,
    RunBegun,
    RunEnded,
)
from pipelines.tracking.holdings import HeldCheckpoint
from pipelines.tracking.memory import MemoryTracker
from pipelines.tracking.mlflow_tracker import MlflowTracker
from pipelines.tracking.parcels import CheckpointParcel, FileParcel, RunParcel

BEGUN_MS = 1_700_000_000_000


@dataclass
class Seen:
    """A run as the tracker's users see it."""

    name: str
    status: str
    tags: dict[str, str]
    params: dict[str, str]
    points: dict[str, list[tuple[int, float]]]
    files: dict[str, bytes]
    pictures: dict[tuple[str, int], list[bytes]]
    """By series and step: every picture that a leafing reader could come by."""
    datasets: list[dict[str, str]]


@dataclass
class Checkpoint:
    """A checkpoint's file, and what the journal says of it."""

    path: Path
    entry: CheckpointKept


def a_checkpoint(folder: Path, uid: str, step: int, val_loss: float) -> Checkpoint:
    folder.mkdir(exist_ok=True)
    path = folder / "best.keras"
    path.write_bytes(f"the weights of {uid} at {step}".encode() * 100)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    metrics = {"val_loss": val_loss}
    return Checkpoint(path, CheckpointKept(uid, BEGUN_MS + step, path.name, "trial-000", step, digest, metrics))


def png(color: str, size: tuple[int, int] = (300, 320)) -> bytes:
    """A picture of one colour."""
    file = io.BytesIO()
    Image.new("RGB", size, color).save(file, "PNG")
    return file.getvalue()


class TrackerContract(ABC):
    """The suite. Every test has a study name of its own, as trackers live longer than a test."""

    @pytest.fixture
    @abstractmethod
    def tracker(self) -> Tracker:
        """The tracker to try."""

    @abstractmethod
    def see(self, tracker: Tracker, run_id: str) -> Seen:
        """What it holds of a run."""

    @abstractmethod
    def run_ids(self, tracker: Tracker, experiment_id: str) -> list[str]:
        """All runs of an experiment."""

    @pytest.fixture
    def study(self) -> str:
        return f"study-{secrets.token_hex(4)}"

    @pytest.fixture
    def experiment_id(self, tracker: Tracker, study: str) -> str:
        return tracker.experiment(study)

    @pytest.fixture
    def entry(self, study: str) -> RunBegun:
        return RunBegun(f"{study}-00000", study, "trial-000", BEGUN_MS, None, {"regatta.trial": "0"}, {"epochs": "3"})

    @pytest.fixture
    def run_id(self, tracker: Tracker, experiment_id: str, entry: RunBegun) -> str:
        return tracker.begin(entry, experiment_id, None, suspect=False)

    def test_an_experiment_is_made_once_and_found_again(self, tracker: Tracker, study: str) -> None:
        assert tracker.experiment(study) == tracker.experiment(study)
        assert tracker.experiment(study) != tracker.experiment(f"{study}-other")

    def test_a_begun_run_is_running_with_its_tags_and_params(self, tracker: Tracker, run_id: str) -> None:
        seen = self.see(tracker, run_id)

        assert seen.status == "RUNNING"
        assert seen.tags["regatta.trial"] == "0"
        assert seen.params == {"epochs": "3"}

    def test_what_a_run_learns_from_is_there_once_however_often_it_is_told(
        self, tracker: Tracker, study: str, experiment_id: str
    ) -> None:
        digits = {"name": "digits", "digest": "1fa49054", "context": "training", "source_type": "code", "source": "{}"}
        other = {**digits, "digest": "2fb5"}
        told = [
            RunBegun(f"{study}-{number}", study, "trial", BEGUN_MS, dataset=dataset)
            for number, dataset in enumerate((digits, digits, other, {}))
        ]

        run_ids = [tracker.begin(entry, experiment_id, None, suspect=False) for entry in told]
        again = [tracker.begin(entry, experiment_id, None, suspect=True) for entry in told]
        if tracker.takes_many():
            new = [RunBegun(f"{entry.uid}-more", study, "trial", BEGUN_MS, dataset=entry.dataset) for entry in told]
            run_ids += [
                str(run_id)
                for run_id in tracker.take_runs([RunParcel(each.uid, None, experiment_id, None, each) for each in new])
            ]

        assert again == run_ids[:4]
        expected = [[digits], [digits], [other], []]
        assert [self.see(tracker, run_id).datasets for run_id in run_ids] == expected * (len(run_ids) // 4)

    def test_runs_that_begin_at_once_learn_from_the_same_data(
        self, tracker: Tracker, study: str, experiment_id: str
    ) -> None:
        digits = {"name": "digits", "digest": "1fa49054", "context": "training", "source_type": "code", "source": "{}"}
        begun = [RunBegun(f"{study}-{n}", study, "trial", BEGUN_MS, dataset=digits) for n in range(8)]

        with ThreadPoolExecutor(8) as pool:
            run_ids = list(pool.map(lambda entry: tracker.begin(entry, experiment_id, None, suspect=False), begun))

        assert [self.see(tracker, run_id).datasets for run_id in run_ids] == [[digits]] * 8

    def test_beginning_a_suspect_run_again_takes_up_the_first(
        self, tracker: Tracker, experiment_id: str, entry: RunBegun, run_id: str
    ) -> None:
        tracker.end(run_id, "KILLED", BEGUN_MS + 1)

        again = tracker.begin(entry, experiment_id, None, suspect=True)

        assert again == run_id
        assert self.run_ids(tracker, experiment_id) == [run_id]
        assert self.see(tracker, run_id).status == "RUNNING"
        assert self.see(tracker, run_id).params == {"epochs": "3"}

    def test_a_run_that_goes_on_says_no_more_why_it_was_closed(
        self, tracker: Tracker, experiment_id: str, entry: RunBegun, run_id: str
    ) -> None:
        why = {"end.reason": "its controller was gone", "regatta.reason": "its controller was gone"}
        tracker.log(run_id, [Logged("x", BEGUN_MS, tags=why)])
        tracker.end(run_id, "KILLED", BEGUN_MS + 1)

        tracker.begin(entry, experiment_id, None, suspect=True)

        assert not why.keys() & self.see(tracker, run_id).tags.keys()
        assert self.see(tracker, run_id).tags["regatta.trial"] == "0"

    def test_a_suspect_run_that_is_not_there_is_made(
        self, tracker: Tracker, experiment_id: str, entry: RunBegun
    ) -> None:
        run_id = tracker.begin(entry, experiment_id, None, suspect=True)

        assert self.run_ids(tracker, experiment_id) == [run_id]
        assert self.see(tracker, run_id).params == {"epochs": "3"}

    def test_what_is_logged_twice_is_there_once(self, tracker: Tracker, run_id: str) -> None:
        entries = [
            Logged(
                "x", BEGUN_MS + step, step, {"loss": 1.0 / (step + 1), "val_loss": 2.0}, {"device": "CPU"}, {"p": "1"}
            )
            for step in range(3)
        ]

        tracker.log(run_id, entries)
        tracker.log(run_id, entries)
        seen = self.see(tracker, run_id)

        assert seen.points == {
            "loss": [(0, 1.0), (1, 0.5), (2, 1 / 3)],
            "val_loss": [(0, 2.0), (1, 2.0), (2, 2.0)],
        }
        assert seen.tags["device"] == "CPU"
        assert seen.params["p"] == "1"

    def test_a_run_is_called_what_its_tag_says(
        self, tracker: Tracker, study: str, experiment_id: str, run_id: str
    ) -> None:
        told = [Logged("x", BEGUN_MS, 0, {"gain": 1.0}, {"a": "b", "mlflow.runName": "trial 7 refused", "c": "d"})]
        new = RunBegun(f"{study}-00001", study, "is judged", BEGUN_MS)
        tracker.log(run_id, told)
        (new_id,) = (
            tracker.take_runs([RunParcel(new.uid, None, experiment_id, None, new, told)])
            if tracker.takes_many()
            else (None,)
        )

        for named in (run_id, new_id):
            if named is not None:
                seen = self.see(tracker, named)
                assert (seen.name, seen.tags["a"], seen.tags["c"]) == ("trial 7 refused", "b", "d")

    def test_a_run_that_was_renamed_before_it_is_made_anew_is_called_so(
        self, tracker: Tracker, study: str, experiment_id: str
    ) -> None:
        begun = RunBegun(f"{study}-00002", study, "is judged", BEGUN_MS, tags={"mlflow.runName": "trial 7 refused"})
        run_id = tracker.begin(begun, experiment_id, None, suspect=True)

        assert self.see(tracker, run_id).name == "trial 7 refused"

    def test_a_later_tag_wins(self, tracker: Tracker, run_id: str) -> None:
        states = ("RUNNING", "PRUNED", "COMPLETE")

        tracker.log(run_id, [Logged("x", BEGUN_MS, 0, tags={"regatta.state": state}) for state in states])

        assert self.see(tracker, run_id).tags["regatta.state"] == "COMPLETE"

    def test_metrics_that_are_no_numbers_arrive_too(self, tracker: Tracker, run_id: str) -> None:
        values = {"nan": math.nan, "up": math.inf, "down": -math.inf}

        tracker.log(run_id, [Logged("x", BEGUN_MS, 4, values)])
        points = self.see(tracker, run_id).points

        assert {name: [step for step, _ in points[name]] for name in values} == {name: [4] for name in values}
        assert math.isnan(points["nan"][0][1])
        assert points["up"][0][1] > 1e300  # MLflow keeps an infinity as the largest double
        assert points["down"][0][1] < -1e300

    def test_more_than_one_request_may_hold_arrives_in_one_go(self, tracker: Tracker, run_id: str) -> None:
        params = {f"param_{number:03d}": str(number) for number in range(250)}
        entries = [
            Logged("x", BEGUN_MS + step, step, {f"metric_{number}": step * 10.0 + number for number in range(5)})
            for step in range(500)
        ]
        tags = {f"tag_{number:03d}": str(number) for number in range(120)}

        tracker.log(run_id, [*entries, Logged("x", BEGUN_MS, 0, params=params, tags=tags)])
        seen = self.see(tracker, run_id)

        assert sum(len(points) for points in seen.points.values()) == 2500
        assert seen.points["metric_3"] == [(step, step * 10.0 + 3) for step in range(500)]
        assert params.items() <= seen.params.items()
        assert tags.items() <= seen.tags.items()

    def test_a_run_may_begin_with_more_params_than_one_request_holds(
        self, tracker: Tracker, experiment_id: str, study: str
    ) -> None:
        params = {f"param_{number:03d}": str(number) for number in range(250)}
        entry = RunBegun(f"{study}-00009", study, "trial-009", BEGUN_MS, params=params)

        run_id = tracker.begin(entry, experiment_id, None, suspect=False)

        assert self.see(tracker, run_id).params == params

    def test_a_kept_file_replaces_the_one_before_it(self, tracker: Tracker, run_id: str, tmp_path: Path) -> None:
        path = tmp_path / "best.keras"
        for content in (b"first", b"second"):
            path.write_bytes(content)
            tracker.keep(run_id, path, "checkpoint")
        (tmp_path / "report.html").write_bytes(b"<html>")
        tracker.keep(run_id, tmp_path / "report.html", "")

        assert self.see(tracker, run_id).files == {"checkpoint/best.keras": b"second", "report.html": b"<html>"}

    def test_a_file_that_is_gone_is_refused(self, tracker: Tracker, run_id: str, tmp_path: Path) -> None:
        with pytest.raises(Refused, match=r"best\.keras is gone"):
            tracker.keep(run_id, tmp_path / "best.keras", "")

    def test_a_picture_that_is_delivered_twice_is_there_once_as_it_was_drawn(
        self, tracker: Tracker, run_id: str, tmp_path: Path
    ) -> None:
        path = tmp_path / "00004.png"
        drawn = {step: png(color) for step, color in ((3, "red"), (4, "white"))}

        for step, content in [*drawn.items(), *drawn.items()]:
            path.write_bytes(content)
            entry = PictureKept("uid", BEGUN_MS + step, path.name, "decision_surface", step)
            tracker.keep_picture(run_id, path, entry)

        assert self.see(tracker, run_id).pictures == {("decision_surface", s): [png] for s, png in drawn.items()}

    def test_a_picture_that_was_drawn_again_since_replaces_the_first(
        self, tracker: Tracker, run_id: str, tmp_path: Path
    ) -> None:
        entry = PictureKept("uid", BEGUN_MS, "0.png", "decision_surface", 0)
        for color in ("red", "blue"):
            (tmp_path / "0.png").write_bytes(png(color))
            tracker.keep_picture(run_id, tmp_path / "0.png", entry)

        assert self.see(tracker, run_id).pictures == {("decision_surface", 0): [png("blue")]}

    def test_series_and_steps_do_not_get_into_each_others_way(
        self, tracker: Tracker, run_id: str, tmp_path: Path
    ) -> None:
        path = tmp_path / "x.png"
        path.write_bytes(png("teal", (30, 20)))
        entries = [
            PictureKept("uid", BEGUN_MS, "x.png", key, step)
            for key in ("decision_surface", "decision_surface 2", "layer/weights")
            for step in (0, 1, 10)
        ]

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda entry: tracker.keep_picture(run_id, path, entry), entries))

        pictures = self.see(tracker, run_id).pictures
        assert pictures == {(entry.key, entry.step): [path.read_bytes()] for entry in entries}

    def test_a_picture_that_is_gone_is_refused(self, tracker: Tracker, run_id: str, tmp_path: Path) -> None:
        with pytest.raises(Refused, match=r"0\.png is gone"):
            tracker.keep_picture(run_id, tmp_path / "0.png", PictureKept("uid", BEGUN_MS, "0.png", "surface", 0))

    def test_a_picture_of_a_run_that_is_not_there_is_refused(
        self, tracker: Tracker, experiment_id: str, tmp_path: Path
    ) -> None:
        (tmp_path / "0.png").write_bytes(png("red"))

        with pytest.raises(Refused):
            tracker.keep_picture("0" * 32, tmp_path / "0.png", PictureKept("uid", BEGUN_MS, "0.png", "surface", 0))

    def test_runs_that_it_takes_many_at_a_time_are_as_if_they_had_come_one_by_one(
        self, tracker: Tracker, study: str, experiment_id: str, entry: RunBegun, run_id: str
    ) -> None:
        logged = [Logged("x", BEGUN_MS + step, step, {"loss": 1.0 / (step + 1)}, {"a": "b"}) for step in range(3)]
        new = RunBegun(f"{study}-00001", study, "trial-001", BEGUN_MS, entry.uid, {"regatta.trial": "1"}, {"lr": "0.1"})
        ended = RunEnded(new.uid, BEGUN_MS + 9, "FAILED")
        parcels = [
            RunParcel(new.uid, None, experiment_id, run_id, new, logged, ended),
            RunParcel(entry.uid, run_id, logged=logged),
        ]

        taken = tracker.take_runs(parcels) if tracker.takes_many() else [None, None]

        if taken == [None, None]:
            new_id = tracker.begin(new, experiment_id, run_id, suspect=False)
            tracker.log(new_id, logged)
            tracker.end(new_id, "FAILED", ended.time_ms)
            tracker.log(run_id, logged)
        else:
            new_id = str(taken[0])
            assert taken == [new_id, run_id]
        made, known = self.see(tracker, new_id), self.see(tracker, run_id)
        assert sorted(self.run_ids(tracker, experiment_id)) == sorted([new_id, run_id])
        assert (made.status, known.status) == ("FAILED", "RUNNING")
        assert made.points == known.points == {"loss": [(0, 1.0), (1, 0.5), (2, 1 / 3)]}
        assert (made.params, known.params) == ({"lr": "0.1"}, {"epochs": "3"})
        assert (made.tags["regatta.trial"], made.tags["a"], known.tags["a"]) == ("1", "b", "b")
        assert tracker.begin(new, experiment_id, run_id, suspect=True) == new_id

    def test_files_and_checkpoints_that_it_takes_many_at_a_time_are_as_if_they_had_come_one_by_one(
        self, tracker: Tracker, study: str, run_id: str, entry: RunBegun, tmp_path: Path
    ) -> None:
        (tmp_path / "report.html").write_bytes(b"<html>")
        (tmp_path / "0.png").write_bytes(png("red"))
        file, picture = FileKept("x", "report.html", "a/b"), PictureKept("x", BEGUN_MS, "0.png", "surface", 0)
        made = a_checkpoint(tmp_path / "kept", entry.uid, 3, 0.25)
        files = [FileParcel(run_id, tmp_path / each.path, 1, each) for each in (file, picture)]
        checkpoint = CheckpointParcel(run_id, made.path, 1, made.entry)

        many = tracker.takes_many()
        for _ in range(2):
            if not many or tracker.take_files(files) == [False, False]:
                tracker.keep(run_id, tmp_path / file.path, file.folder)
                tracker.keep_picture(run_id, tmp_path / picture.path, picture)
        if not many or tracker.take_checkpoints([checkpoint]) == [False]:
            tracker.keep_checkpoint(run_id, made.path, made.entry, suspect=False)

        seen = self.see(tracker, run_id)
        assert seen.files == {"a/b/report.html": b"<html>"}
        assert seen.pictures == {("surface", 0): [png("red")]}
        assert seen.points == {"val_loss": [(3, 0.25)]}
        assert self.held(tracker, study) == [(entry.uid, made.entry.sha256, "READY")]
        tracker.keep_checkpoint(run_id, made.path, made.entry, suspect=True)
        tracker.drop_checkpoint(run_id, CheckpointDropped(entry.uid, BEGUN_MS, made.entry.sha256, "no room"))
        assert self.held(tracker, study) == []

    @pytest.mark.parametrize("status", ["FINISHED", "FAILED", "KILLED"])
    def test_ending_a_run_sets_its_status(self, tracker: Tracker, run_id: str, status: str) -> None:
        tracker.end(run_id, status, BEGUN_MS + 1000)
        tracker.end(run_id, status, BEGUN_MS + 1000)

        assert self.see(tracker, run_id).status == status

    def test_a_run_that_is_not_there_is_refused(self, tracker: Tracker, experiment_id: str) -> None:
        with pytest.raises(Refused):
            tracker.log("0" * 32, [Logged("x", BEGUN_MS, 0, {"loss": 1.0})])
        with pytest.raises(Refused):
            tracker.end("0" * 32, "FINISHED", BEGUN_MS)

    # checkpoints

    @abstractmethod
    def register(self, tracker: Tracker, name: str, model_id: str, run_id: str) -> None:
        """Registers a checkpoint as it is, as somebody may do on MLflow's page."""

    @pytest.fixture
    def kept(self, tracker: Tracker, run_id: str, entry: RunBegun, tmp_path: Path) -> Checkpoint:
        """A checkpoint of the run's epoch 3 that was delivered, after its epochs."""
        made = a_checkpoint(tmp_path, entry.uid, 3, 0.25)
        logged = [Logged(entry.uid, BEGUN_MS + step, step, {"val_loss": 1 / (1 + step)}) for step in range(5)]
        tracker.log(run_id, logged)
        tracker.keep_checkpoint(run_id, made.path, made.entry, suspect=False)
        return made

    def held(self, tracker: Tracker, study: str) -> list[tuple[str, str, str]]:
        return [(each.uid, each.sha256, each.status) for each in tracker.held_checkpoints(study)]

    def test_a_checkpoint_is_a_model_whose_file_comes_back_as_it_was(
        self, tracker: Tracker, study: str, entry: RunBegun, kept: Checkpoint, tmp_path: Path
    ) -> None:
        (model,) = tracker.held_checkpoints(study)

        assert model == HeldCheckpoint(model.model_id, entry.uid, kept.entry.sha256, "READY")
        back = tracker.fetch_checkpoint(model.model_id, tmp_path / "back")
        assert (back.name, back.read_bytes()) == ("best.keras", kept.path.read_bytes())

    def test_a_checkpoints_metrics_are_the_points_that_its_run_has_and_no_second_ones(
        self, tracker: Tracker, run_id: str, kept: Checkpoint
    ) -> None:
        assert self.see(tracker, run_id).points["val_loss"] == [(step, 1 / (1 + step)) for step in range(5)]

    def test_a_checkpoint_that_is_delivered_twice_is_there_once_even_where_its_file_is_gone_by_then(
        self, tracker: Tracker, study: str, run_id: str, kept: Checkpoint
    ) -> None:
        tracker.keep_checkpoint(run_id, kept.path, kept.entry, suspect=True)
        kept.path.unlink()
        tracker.keep_checkpoint(run_id, kept.path, kept.entry, suspect=True)

        assert [status for _, _, status in self.held(tracker, study)] == ["READY"]
        assert len(self.see(tracker, run_id).points["val_loss"]) == 5

    def test_a_checkpoint_whose_file_is_gone_is_refused(
        self, tracker: Tracker, study: str, run_id: str, entry: RunBegun, tmp_path: Path
    ) -> None:
        made = a_checkpoint(tmp_path, entry.uid, 0, 1.0)
        made.path.unlink()

        for suspect in (False, True):
            with pytest.raises(Refused, match=r"best\.keras is gone"):
                tracker.keep_checkpoint(run_id, made.path, made.entry, suspect=suspect)
        assert self.held(tracker, study) == []

    def test_a_dropped_checkpoint_is_gone_and_the_run_says_why(
        self, tracker: Tracker, study: str, run_id: str, entry: RunBegun, kept: Checkpoint
    ) -> None:
        dropped = CheckpointDropped(entry.uid, BEGUN_MS + 9, kept.entry.sha256, "not among the 3 best")
        (model,) = tracker.held_checkpoints(study)

        for _ in range(2):
            tracker.drop_checkpoint(run_id, dropped)

        assert self.held(tracker, study) == []
        assert self.see(tracker, run_id).tags["regatta.checkpoint"] == "dropped: not among the 3 best"
        with pytest.raises(Refused):
            tracker.fetch_checkpoint(model.model_id, kept.path.parent / "back")

    def test_dropping_one_checkpoint_leaves_all_others(
        self, tracker: Tracker, study: str, run_id: str, entry: RunBegun, kept: Checkpoint, tmp_path: Path
    ) -> None:
        other = a_checkpoint(tmp_path / "other", entry.uid, 4, 0.2)
        tracker.keep_checkpoint(run_id, other.path, other.entry, suspect=False)

        tracker.drop_checkpoint(run_id, CheckpointDropped(entry.uid, BEGUN_MS, other.entry.sha256, "no room"))

        assert self.held(tracker, study) == [(entry.uid, kept.entry.sha256, "READY")]

    def test_a_checkpoint_that_never_came_is_dropped_in_words_alone(
        self, tracker: Tracker, study: str, run_id: str, entry: RunBegun
    ) -> None:
        tracker.drop_checkpoint(run_id, CheckpointDropped(entry.uid, BEGUN_MS, "0" * 64, "no room"))

        assert self.see(tracker, run_id).tags["regatta.checkpoint"] == "dropped: no room"
        assert self.held(tracker, study) == []

    def test_a_checkpoint_that_a_registered_version_reaches_is_never_dropped(
        self, tracker: Tracker, study: str, run_id: str, entry: RunBegun, kept: Checkpoint, tmp_path: Path
    ) -> None:
        (model,) = tracker.held_checkpoints(study)
        self.register(tracker, study, model.model_id, run_id)

        tracker.drop_checkpoint(run_id, CheckpointDropped(entry.uid, BEGUN_MS, kept.entry.sha256, "no room"))

        assert self.held(tracker, study) == [(entry.uid, kept.entry.sha256, "READY")]
        assert tracker.fetch_checkpoint(model.model_id, tmp_path / "back").read_bytes() == kept.path.read_bytes()
        assert self.see(tracker, run_id).tags["regatta.checkpoint"].startswith("kept: ")

    def test_a_checkpoint_that_will_never_be_whole_is_marked(
        self, tracker: Tracker, study: str, kept: Checkpoint
    ) -> None:
        (model,) = tracker.held_checkpoints(study)

        tracker.fail_checkpoint(model.model_id, "its file is gone")

        assert [status for _, _, status in self.held(tracker, study)] == ["FAILED"]

    # what reconcile asks

    def test_a_tracker_knows_its_runs_by_id_and_uid(self, tracker: Tracker, entry: RunBegun, run_id: str) -> None:
        assert tracker.has_run(run_id, entry.uid)
        assert not tracker.has_run(run_id, "another")
        assert not tracker.has_run("0" * 32, entry.uid)

    def test_runs_are_found_by_a_tag_with_their_newest_metrics(
        self, tracker: Tracker, study: str, experiment_id: str, entry: RunBegun, run_id: str
    ) -> None:
        other = RunBegun(f"{study}-00001", study, "trial-001", BEGUN_MS, None, {"regatta.trial": "1"})
        tracker.begin(other, experiment_id, None, suspect=False)
        tracker.log(run_id, [Logged("x", BEGUN_MS + step, step, {"loss": 3.0 - step}) for step in (2, 0, 1)])
        tracker.end(run_id, "FINISHED", BEGUN_MS + 5)

        (found,) = tracker.held_runs(study, "regatta.trial", "0")

        assert (found.run_id, found.uid, found.status) == (run_id, entry.uid, "FINISHED")
        assert (found.metrics, found.tags["regatta.trial"]) == ({"loss": 1.0}, "0")
        assert [run.uid for run in tracker.held_runs(study, "regatta.uid", other.uid)] == [other.uid]
        assert tracker.held_runs(f"{study}-unknown", "regatta.trial", "0") == []

    def test_the_history_of_a_metric_is_read_for_many_runs_at_once(
        self, tracker: Tracker, study: str, experiment_id: str
    ) -> None:
        run_ids = []
        for number in range(4):
            begun = RunBegun(f"{study}-{number}", study, f"trial-{number}", BEGUN_MS)
            run_ids.append(tracker.begin(begun, experiment_id, None, suspect=False))
            tracker.log(
                run_ids[-1], [Logged("x", BEGUN_MS + step, step, {"loss": step + 0.5}) for step in range(number)]
            )

        found = tracker.history(run_ids, "loss")

        assert {run_id: sorted(points) for run_id, points in found.items()} == {
            run_id: [(step, step + 0.5) for step in range(number)] for number, run_id in enumerate(run_ids)
        }

    def test_a_double_that_is_put_aside_is_found_no_more(
        self, tracker: Tracker, study: str, experiment_id: str, entry: RunBegun, run_id: str
    ) -> None:
        tracker.discard(run_id, "it was there twice")

        assert tracker.held_runs(study, "regatta.uid", entry.uid) == []

    def test_a_name_that_nobody_registered_has_no_damaged_version(self, tracker: Tracker, study: str) -> None:
        assert tracker.damaged_versions(study) == []


class TestMemoryTracker(TrackerContract):
    @pytest.fixture
    def tracker(self) -> Tracker:
        return make_tracker("memory:")

    def see(self, tracker: Tracker, run_id: str) -> Seen:
        assert isinstance(tracker, MemoryTracker)
        run = tracker.runs[run_id]
        pictures: dict[tuple[str, int], list[bytes]] = {}
        for (key, step, _), content in run.pictures.items():
            pictures.setdefault((key, step), []).append(content)
        curves = {name: run.curve(name) for name in run.points}
        datasets = [run.dataset] if run.dataset else []
        return Seen(run.name, run.status, run.tags, run.params, curves, run.files, pictures, datasets)

    def run_ids(self, tracker: Tracker, experiment_id: str) -> list[str]:
        assert isinstance(tracker, MemoryTracker)
        return [run_id for run_id, run in tracker.runs.items() if run.experiment_id == experiment_id]

    def register(self, tracker: Tracker, name: str, model_id: str, run_id: str) -> None:
        assert isinstance(tracker, MemoryTracker)
        tracker.models[model_id].reached = True

    def test_a_run_knows_its_parent(self, tracker: Tracker, experiment_id: str, entry: RunBegun, run_id: str) -> None:
        child = tracker.begin(RunBegun("child", entry.experiment, "c", BEGUN_MS), experiment_id, run_id, suspect=False)

        assert isinstance(tracker, MemoryTracker)
        assert tracker.runs[child].parent_run_id == run_id


@dataclass
class PictureName:
    """What MLflow's page reads off the name of a picture's file."""

    key: str
    step: int
    timestamp: int
    file_key: str
    small: bool


def parsed_as_the_page_does(path: str) -> PictureName:
    """After `imagesByRunUuid` in mlflow/server/js, which gives up on all of a run's pictures where one name is odd."""
    name, _, extension = path.removeprefix("images/").rpartition(".")
    assert extension in {"png", "webp"}
    delimiter = next(sign for sign in ("%", "+") if sign in name)
    key, step_word, step, time_word, timestamp, *_ = name.split(delimiter)
    assert (step_word, time_word) == ("step", "timestamp")
    small = name.endswith("compressed")
    file_key = name[: -len("+compressed")] if small else name
    return PictureName(re.sub("[~#]", "/", key), int(step), int(timestamp), file_key, small)


class MlflowContract(TrackerContract):
    """What MLflow's tracker promises beyond that."""

    @pytest.fixture
    def client(self, tracker: Tracker) -> MlflowClient:
        assert isinstance(tracker, MlflowTracker)
        return tracker.client

    def see(self, tracker: Tracker, run_id: str) -> Seen:
        assert isinstance(tracker, MlflowTracker)
        client = tracker.client
        run: MlflowRun = client.get_run(run_id)
        points = {
            name: sorted((point.step, point.value) for point in client.get_metric_history(run_id, name))
            for name in run.data.metrics
        }
        files: dict[str, bytes] = {}
        folders = [""]
        while folders:
            for entry in client.list_artifacts(run_id, folders.pop() or None):
                if entry.is_dir:
                    folders.append(entry.path)
                else:
                    files[entry.path] = Path(client.download_artifacts(run_id, entry.path)).read_bytes()
        pictures: dict[tuple[str, int], list[bytes]] = {}
        for name in [name for name in files if name.startswith("images/")]:
            content = files.pop(name)
            told = parsed_as_the_page_does(name)
            if not told.small:
                pictures.setdefault((told.key, told.step), []).append(content)
        assert run.inputs is not None
        datasets = [
            {
                **{name: value for name, value in dict(used.dataset).items() if name not in {"schema", "profile"}},
                **{tag.key.removeprefix("mlflow.data."): tag.value for tag in used.tags},
            }
            for used in run.inputs.dataset_inputs
        ]
        info, data = run.info, run.data
        return Seen(info.run_name, info.status, data.tags, data.params, points, files, pictures, datasets)

    def pictured(self, client: MlflowClient, run_id: str) -> list[str]:
        return sorted(file.path for file in client.list_artifacts(run_id, "images"))

    def run_ids(self, tracker: Tracker, experiment_id: str) -> list[str]:
        assert isinstance(tracker, MlflowTracker)
        return [run.info.run_id for run in tracker.client.search_runs([experiment_id])]

    def register(self, tracker: Tracker, name: str, model_id: str, run_id: str) -> None:
        assert isinstance(tracker, MlflowTracker)
        tracker.client.create_registered_model(name)
        tracker.client.create_model_version(name, f"models:/{model_id}", run_id=run_id, model_id=model_id)

    def half_delivered(self, client: MlflowClient, experiment_id: str, run_id: str, made: Checkpoint) -> str:
        """A checkpoint whose delivery broke off before its file had arrived."""
        tags = {"regatta.uid": made.entry.uid, "regatta.checkpoint_sha256": made.entry.sha256}
        model = client.create_logged_model(experiment_id, "trial-000", run_id, tags, model_type="checkpoint")
        return str(model.model_id)

    def outputs(self, client: MlflowClient, run_id: str) -> list[tuple[str, int]]:
        outputs = client.get_run(run_id).outputs
        assert outputs is not None
        return [(output.model_id, output.step) for output in outputs.model_outputs]

    def test_mlflows_own_ranking_finds_the_best_checkpoint_first(
        self, tracker: Tracker, client: MlflowClient, study: str, experiment_id: str, tmp_path: Path
    ) -> None:
        uids = []
        for number, value in enumerate((0.5, 0.125, 0.25)):
            begun = RunBegun(f"{study}-{number}", study, f"trial-{number}", BEGUN_MS)
            run_id = tracker.begin(begun, experiment_id, None, suspect=False)
            made = a_checkpoint(tmp_path / str(number), begun.uid, 3, value)
            tracker.keep_checkpoint(run_id, made.path, made.entry, suspect=False)
            uids.append(begun.uid)

        for ascending, expected in ((True, [1, 2, 0]), (False, [0, 2, 1])):
            order = [{"field_name": "metrics.val_loss", "ascending": ascending}]
            ranked = client.search_logged_models([experiment_id], "status = 2", order_by=order)
            assert [model.tags["regatta.uid"] for model in ranked] == [uids[number] for number in expected]

    def test_a_checkpoint_is_an_output_of_its_run_at_its_epoch(
        self, client: MlflowClient, run_id: str, kept: Checkpoint, experiment_id: str
    ) -> None:
        (model,) = client.search_logged_models([experiment_id])

        assert self.outputs(client, run_id) == [(model.model_id, 3)]
        assert (model.name, model.model_type, model.source_run_id) == ("trial-000", "checkpoint", run_id)
        assert [(point.key, point.value, point.step) for point in model.metrics or ()] == [("val_loss", 0.25, 3)]

    @pytest.mark.parametrize("stage", ["made", "uploaded", "linked", "measured"])
    def test_a_half_delivered_checkpoint_is_completed_and_not_doubled(
        self,
        tracker: Tracker,
        client: MlflowClient,
        study: str,
        experiment_id: str,
        run_id: str,
        entry: RunBegun,
        tmp_path: Path,
        stage: str,
    ) -> None:
        made = a_checkpoint(tmp_path, entry.uid, 3, 0.25)
        model_id = self.half_delivered(client, experiment_id, run_id, made)
        stages = ["made", "uploaded", "linked", "measured"]
        if stages.index(stage) >= 1:
            client.log_model_artifact(model_id, str(made.path))
        if stages.index(stage) >= 2:
            client.log_outputs(run_id, [LoggedModelOutput(model_id, 3)])
        if stages.index(stage) >= 3:
            client.log_batch(run_id, [Metric("val_loss", 0.25, made.entry.time_ms, 3, model_id=model_id)])

        tracker.keep_checkpoint(run_id, made.path, made.entry, suspect=True)

        (model,) = client.search_logged_models([experiment_id])
        assert (model.model_id, str(model.status)) == (model_id, "READY")
        assert [(point.key, point.value) for point in model.metrics or ()] == [("val_loss", 0.25)]
        assert self.outputs(client, run_id) == [(model_id, 3)]
        assert self.see(tracker, run_id).points["val_loss"] == [(3, 0.25)]

    def test_of_two_half_delivered_checkpoints_one_is_completed_and_the_other_taken_away(
        self,
        tracker: Tracker,
        client: MlflowClient,
        study: str,
        experiment_id: str,
        run_id: str,
        entry: RunBegun,
        tmp_path: Path,
    ) -> None:
        made = a_checkpoint(tmp_path, entry.uid, 3, 0.25)
        for _ in range(2):
            self.half_delivered(client, experiment_id, run_id, made)

        tracker.keep_checkpoint(run_id, made.path, made.entry, suspect=True)

        assert self.held(tracker, study) == [(entry.uid, made.entry.sha256, "READY")]

    @pytest.mark.parametrize(
        ("arrives", "words"), [(b"half", "has not arrived whole"), (b"x" * 4, "has not arrived as it was sent")]
    )
    def test_a_checkpoint_that_arrives_damaged_is_not_ready_and_delivered_again(
        self,
        tracker: Tracker,
        client: MlflowClient,
        study: str,
        run_id: str,
        entry: RunBegun,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        arrives: bytes,
        words: str,
    ) -> None:
        made = a_checkpoint(tmp_path, entry.uid, 3, 0.25)
        content = made.path.read_bytes()
        damaged = tmp_path / "damaged" / "best.keras"
        damaged.parent.mkdir()
        damaged.write_bytes(arrives if words.endswith("whole") else arrives + content[4:])
        upload = mlflow_checkpoints._upload
        with monkeypatch.context() as patched:
            patched.setattr(mlflow_checkpoints, "_upload", lambda at, model, path: upload(at, model, damaged))
            with pytest.raises(Unavailable, match=words):
                tracker.keep_checkpoint(run_id, made.path, made.entry, suspect=False)
        assert [status for _, _, status in self.held(tracker, study)] == ["PENDING"]

        tracker.keep_checkpoint(run_id, made.path, made.entry, suspect=True)

        (model,) = tracker.held_checkpoints(study)
        assert model.status == "READY"
        assert tracker.fetch_checkpoint(model.model_id, tmp_path / "back").read_bytes() == content

    def test_a_checkpoint_that_was_changed_on_this_disk_is_refused(
        self, tracker: Tracker, study: str, run_id: str, entry: RunBegun, tmp_path: Path
    ) -> None:
        made = a_checkpoint(tmp_path, entry.uid, 3, 0.25)
        made.path.write_bytes(b"other weights")

        with pytest.raises(Refused, match="is not what was written: its digest is"):
            tracker.keep_checkpoint(run_id, made.path, made.entry, suspect=False)
        assert self.held(tracker, study) == []

    def test_a_dropped_checkpoints_bytes_are_gone_from_the_store(
        self, tracker: Tracker, client: MlflowClient, run_id: str, kept: Checkpoint, experiment_id: str
    ) -> None:
        (model,) = client.search_logged_models([experiment_id])
        assert [file.path for file in client.list_logged_model_artifacts(model.model_id)] == ["best.keras"]
        repository = get_artifact_repository(model.artifact_location, tracking_uri=client.tracking_uri)

        tracker.drop_checkpoint(run_id, CheckpointDropped(kept.entry.uid, BEGUN_MS, kept.entry.sha256, "no room"))

        assert repository.list_artifacts() == []

    def test_a_checkpoint_of_which_a_champion_was_made_is_never_dropped(
        self,
        tracker: Tracker,
        client: MlflowClient,
        study: str,
        experiment_id: str,
        run_id: str,
        kept: Checkpoint,
    ) -> None:
        client.create_registered_model(study)
        package = client.create_logged_model(experiment_id, "package", run_id)
        tags = {"regatta.checkpoint_sha256": kept.entry.sha256}
        client.create_model_version(study, package.model_uri, run_id=run_id, tags=tags, model_id=package.model_id)

        tracker.drop_checkpoint(run_id, CheckpointDropped(kept.entry.uid, BEGUN_MS, kept.entry.sha256, "no room"))

        assert [status for _, _, status in self.held(tracker, study)] == ["READY"]
        assert self.see(tracker, run_id).tags["regatta.checkpoint"] == f"kept: {study} version 1 needs it"

    def test_a_package_that_was_made_of_a_checkpoint_is_not_taken_for_it(
        self,
        tracker: Tracker,
        client: MlflowClient,
        study: str,
        experiment_id: str,
        run_id: str,
        entry: RunBegun,
        tmp_path: Path,
    ) -> None:
        made = a_checkpoint(tmp_path, entry.uid, 3, 0.25)
        tags = {"regatta.checkpoint_sha256": made.entry.sha256}
        package = client.create_logged_model(experiment_id, "package", run_id, tags=tags, model_type="candidate")
        client.finalize_logged_model(package.model_id, LoggedModelStatus.READY)

        tracker.keep_checkpoint(run_id, made.path, made.entry, suspect=True)

        assert self.held(tracker, study) == [(entry.uid, made.entry.sha256, "READY")]

    def test_registered_versions_without_their_files_are_told(
        self, tracker: Tracker, client: MlflowClient, study: str, experiment_id: str, tmp_path: Path
    ) -> None:
        client.create_registered_model(study)
        packages = {
            "whole": {"manifest.json": '{"files": {"model.onnx": {}}}', "model.onnx": "x"},
            "part": {"manifest.json": '{"files": {"model.onnx": {}, "golden.npz": {}}}', "model.onnx": "x"},
            "empty": {},
            "deleted": {"model.onnx": "x"},
        }
        for name, files in packages.items():
            model = client.create_logged_model(experiment_id, name)
            (tmp_path / name).mkdir()
            for file, content in files.items():
                (tmp_path / name / file).write_text(content)
                client.log_model_artifact(model.model_id, str(tmp_path / name / file))
            version = client.create_model_version(study, f"models:/{model.model_id}", model_id=model.model_id)
            if name == "deleted":
                location = model.artifact_location
                repository: Any = get_artifact_repository(location, tracking_uri=client.tracking_uri)
                repository.delete_artifacts()
                client.delete_logged_model(model.model_id)
        client.set_registered_model_alias(study, "champion", version.version)

        (gone,) = tracker.damaged_versions(f"{study}-that-nobody-has", "3")
        assert (gone.version, "regatta promote" in gone.problem) == ("3", True)
        assert tracker.damaged_versions(f"{study}-that-nobody-has") == []
        damaged = tracker.damaged_versions(study)

        assert [(each.version, each.aliases) for each in damaged] == [("2", ()), ("3", ()), ("4", ("champion",))]
        assert damaged[0].problem == "golden.npz missing"
        assert "there are no files at" in damaged[1].problem

    def test_a_child_names_its_parent_as_mlflow_expects_it(
        self, tracker: Tracker, experiment_id: str, entry: RunBegun, run_id: str
    ) -> None:
        child = RunBegun(f"{entry.uid}-child", entry.experiment, "trial-001", BEGUN_MS, entry.uid)

        for suspect in (False, True):
            child_id = tracker.begin(child, experiment_id, run_id, suspect=suspect)
            assert self.see(tracker, child_id).tags["mlflow.parentRunId"] == run_id

    def test_a_run_has_the_name_the_uid_and_the_times_of_its_entries(
        self, tracker: Tracker, client: MlflowClient, entry: RunBegun, run_id: str
    ) -> None:
        tracker.end(run_id, "FINISHED", BEGUN_MS + 5000)
        info = client.get_run(run_id).info

        assert (info.run_name, info.start_time, info.end_time) == ("trial-000", BEGUN_MS, BEGUN_MS + 5000)
        assert client.get_run(run_id).data.tags["regatta.uid"] == entry.uid

    def test_an_experiment_that_was_deleted_is_refused_with_the_way_out(
        self, tracker: MlflowTracker, client: MlflowClient, study: str
    ) -> None:
        client.delete_experiment(client.create_experiment(study))

        with pytest.raises(Refused, match=f"'{study}' was deleted .*restore it there, or give the study another name"):
            tracker.experiment(study)

    def test_a_deleted_run_takes_nothing_more(
        self, tracker: Tracker, client: MlflowClient, run_id: str, experiment_id: str
    ) -> None:
        client.delete_run(run_id)

        with pytest.raises(Refused):
            tracker.log(run_id, [Logged("x", BEGUN_MS, 0, {"loss": 1.0})])

    def test_a_run_that_somebody_deleted_is_not_made_again(
        self, tracker: Tracker, client: MlflowClient, entry: RunBegun, run_id: str, experiment_id: str
    ) -> None:
        client.delete_run(run_id)

        with pytest.raises(Refused, match=f"its run {run_id} was deleted on .*; restore it there"):
            tracker.begin(entry, experiment_id, None, suspect=True)

        assert tracker.has_run(run_id, entry.uid)
        assert self.run_ids(tracker, experiment_id) == []
        client.restore_run(run_id)
        assert tracker.begin(entry, experiment_id, None, suspect=True) == run_id

    def test_pictures_lie_where_mlflows_own_log_image_puts_them(
        self, tracker: Tracker, client: MlflowClient, experiment_id: str, run_id: str, tmp_path: Path
    ) -> None:
        path = tmp_path / "0.png"
        path.write_bytes(png("red"))
        theirs = client.create_run(experiment_id).info.run_id
        client.log_image(theirs, Image.open(path), key="layer/weights", step=7, timestamp=BEGUN_MS)

        tracker.keep_picture(run_id, path, PictureKept("uid", BEGUN_MS, "0.png", "layer/weights", 7))

        def without_uuid(names: list[str]) -> list[str]:
            return [re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "UUID", name) for name in names]

        assert without_uuid(self.pictured(client, run_id)) == without_uuid(self.pictured(client, theirs))
        tags = [client.get_run(run).data.tags["mlflow.loggedImages"] for run in (run_id, theirs)]
        assert tags == ["True", "True"]

    def test_the_small_form_is_small_and_still_the_picture(
        self, tracker: Tracker, client: MlflowClient, run_id: str, tmp_path: Path
    ) -> None:
        path = tmp_path / "0.png"
        path.write_bytes(png("#0877bd", (600, 300)))

        tracker.keep_picture(run_id, path, PictureKept("uid", BEGUN_MS, "0.png", "surface", 0))

        (name,) = [name for name in self.pictured(client, run_id) if parsed_as_the_page_does(name).small]
        content = Path(client.download_artifacts(run_id, name)).read_bytes()
        with Image.open(io.BytesIO(content)) as small:
            assert (small.format, small.size) == ("WEBP", (256, 128))
            seen = small.convert("RGB").getpixel((128, 64))
        assert isinstance(seen, tuple)
        assert max(abs(one - other) for one, other in zip(seen, (0x08, 0x77, 0xBD), strict=True)) < 6
        assert len(content) < 2_000

    def test_a_file_that_is_no_picture_is_refused(self, tracker: Tracker, run_id: str, tmp_path: Path) -> None:
        (tmp_path / "0.png").write_bytes(png("red")[:40])

        with pytest.raises(Refused, match=r"0\.png is no picture"):
            tracker.keep_picture(run_id, tmp_path / "0.png", PictureKept("uid", BEGUN_MS, "0.png", "surface", 0))

    @pytest.mark.parametrize("key", ["", "a+b", "50%", "näher", "a:b", "line\n"])
    def test_a_series_whose_name_mlflow_cannot_show_is_refused_with_its_letters(
        self, tracker: Tracker, run_id: str, tmp_path: Path, key: str
    ) -> None:
        (tmp_path / "0.png").write_bytes(png("red"))

        with pytest.raises(Refused, match="cannot name a series of pictures in MLflow; letters, digits, spaces"):
            tracker.keep_picture(run_id, tmp_path / "0.png", PictureKept("uid", BEGUN_MS, "0.png", key, 0))

    def test_a_param_that_would_change_is_refused(self, tracker: Tracker, run_id: str) -> None:
        with pytest.raises(Refused, match="epochs"):
            tracker.log(run_id, [Logged("x", BEGUN_MS, params={"epochs": "4"})])

        assert self.see(tracker, run_id).params == {"epochs": "3"}


class TestMlflowTrackerOnADatabase(MlflowContract):
    @pytest.fixture
    def tracker(self, database: Path, monkeypatch: pytest.MonkeyPatch) -> Tracker:
        monkeypatch.chdir(database.parent)
        return make_tracker(f"sqlite:///{database}")


@pytest.mark.end_to_end
class TestMlflowTrackerOverHttp(MlflowContract):
    @pytest.fixture
    def tracker(self, server: str) -> Tracker:
        return make_tracker(server)

    def test_the_local_server_takes_many_at_a_time(self, tracker: Tracker) -> None:
        assert tracker.takes_many()


def test_a_server_that_is_not_there_is_unavailable_at_once() -> None:
    with socket.socket() as probe:  # bound, but nobody listens
        probe.bind(("127.0.0.1", 0))
        tracker = MlflowTracker(f"http://127.0.0.1:{probe.getsockname()[1]}")
        begun = time.monotonic()

        with pytest.raises(Unavailable):
            tracker.experiment("digits")
        with pytest.raises(Unavailable):
            tracker.log("0" * 32, [Logged("x", BEGUN_MS, 0, {"loss": 1.0})])

    assert time.monotonic() - begun < 15  # MLflow's own settings would try for minutes


def test_a_database_that_cannot_be_opened_is_unavailable_like_a_server(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    tracker = MlflowTracker(f"sqlite:///{tmp_path}/file/mlflow.db")

    with pytest.raises(Unavailable):
        tracker.experiment("digits")
