"""What every tracker promises, tried on each of them: taking an entry twice is the same as taking it once."""

from __future__ import annotations

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

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run as MlflowRun
from PIL import Image

from pipelines.tracking import make_tracker
from pipelines.tracking.base import Refused, Tracker, Unavailable
from pipelines.tracking.entries import Logged, PictureKept, RunBegun
from pipelines.tracking.memory import MemoryTracker
from pipelines.tracking.mlflow_tracker import MlflowTracker

BEGUN_MS = 1_700_000_000_000


@dataclass
class Seen:
    """A run as the tracker's users see it."""

    status: str
    tags: dict[str, str]
    params: dict[str, str]
    points: dict[str, list[tuple[int, float]]]
    files: dict[str, bytes]
    pictures: dict[tuple[str, int], list[bytes]]
    """By series and step: every picture that a leafing reader could come by."""


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

    def test_beginning_a_suspect_run_again_takes_up_the_first(
        self, tracker: Tracker, experiment_id: str, entry: RunBegun, run_id: str
    ) -> None:
        tracker.end(run_id, "KILLED", BEGUN_MS + 1)

        again = tracker.begin(entry, experiment_id, None, suspect=True)

        assert again == run_id
        assert self.run_ids(tracker, experiment_id) == [run_id]
        assert self.see(tracker, run_id).status == "RUNNING"
        assert self.see(tracker, run_id).params == {"epochs": "3"}

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
        return Seen(run.status, run.tags, run.params, curves, run.files, pictures)

    def run_ids(self, tracker: Tracker, experiment_id: str) -> list[str]:
        assert isinstance(tracker, MemoryTracker)
        return [run_id for run_id, run in tracker.runs.items() if run.experiment_id == experiment_id]

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
        return Seen(run.info.status, run.data.tags, run.data.params, points, files, pictures)

    def pictured(self, client: MlflowClient, run_id: str) -> list[str]:
        return sorted(file.path for file in client.list_artifacts(run_id, "images"))

    def run_ids(self, tracker: Tracker, experiment_id: str) -> list[str]:
        assert isinstance(tracker, MlflowTracker)
        return [run.info.run_id for run in tracker.client.search_runs([experiment_id])]

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
