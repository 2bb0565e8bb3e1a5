"""The bulk door leaves what MLflow's own calls leave, to the last row, and all of it or nothing."""

# mypy: allow-untyped-calls
from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import requests
from flask import Flask
from mlflow.entities import ViewType
from mlflow.server import handlers
from mlflow.store.artifact.local_artifact_repo import LocalArtifactRepository
from mlflow.store.tracking.dbmodels import models
from mlflow.store.tracking.sqlalchemy_workspace_store import WorkspaceAwareSqlAlchemyStore
from sqlalchemy import Column, Integer, MetaData, Table

from pipelines.tracking import mlflow_door
from pipelines.tracking.base import Unavailable
from pipelines.tracking.courier import Courier
from pipelines.tracking.delivery import Delivery
from pipelines.tracking.entries import (
    CheckpointDropped,
    CheckpointKept,
    Entry,
    FileKept,
    Logged,
    PictureKept,
    RunBegun,
    RunEnded,
)
from pipelines.tracking.journal import Journal
from pipelines.tracking.mlflow_tracker import MlflowTracker
from services.tracking_server import bulk, bulk_forms, bulk_tables
from tests.contracts.test_trackers import png
from tests.faults import postgresql
from tests.services.served import Served, served

BEGUN_MS = 1_700_000_000_000
DIGITS = {
    "name": "digits",
    "digest": "1fa49054",
    "context": "training",
    "source_type": "code",
    "source": '{"tags": {}}',
}


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgresql", marks=pytest.mark.end_to_end)])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp(f"bulk-{request.param}")
    if request.param == "sqlite":
        with served(f"sqlite:///{folder}/mlflow.db", folder) as running:
            yield running
        return
    reason = postgresql.missing()
    if reason is not None:
        pytest.skip(reason)
    with postgresql.running_cluster() as cluster, served(cluster.database(), folder) as running:
        yield running


class OneByOne(MlflowTracker):
    """Knows of no door."""

    def takes_many(self) -> bool:
        return False


class ByTheDoor(MlflowTracker):
    """Cannot do otherwise."""

    def begin(self, *given: Any, **more: Any) -> str:
        raise AssertionError("a run was made by itself")

    def log(self, *given: Any, **more: Any) -> None:
        raise AssertionError("something was logged by itself")

    def end(self, *given: Any, **more: Any) -> None:
        raise AssertionError("a run was closed by itself")

    def keep(self, *given: Any, **more: Any) -> None:
        raise AssertionError("a file was sent by itself")

    def keep_picture(self, *given: Any, **more: Any) -> None:
        raise AssertionError("a picture was sent by itself")

    def keep_checkpoint(self, *given: Any, **more: Any) -> None:
        raise AssertionError("a checkpoint was sent by itself")


def carried(journal: Path, tracker: MlflowTracker, *, slices: Sequence[int] = (2000,)) -> Courier:
    """Delivers a journal of which nothing was delivered before, in slices of these sizes and then to its end."""
    courier = Courier(journal, tracker, Delivery(), None)
    for size in slices:
        courier._slice = size
        courier.deliver()
    while courier.deliver():
        pass
    assert courier.state.refused == {}
    return courier


def write_study(folder: Path, study: str) -> Path:
    """A journal with all that a sweep may say, names and times being the same but for the study's."""
    folder.mkdir()
    (folder / "curve.svg").write_text("<svg/>")
    (folder / "report.html").write_text("<html>" * 1000)
    (folder / "surface.png").write_bytes(png("red"))
    parent = f"{study}-parent"
    entries: list[Entry] = [
        RunBegun(
            parent, study, "the sweep", BEGUN_MS, None, {"mlflow.note.content": "# Sweep"}, {"trials": "6"}, DIGITS
        )
    ]
    for number in range(6):
        uid, at = f"{study}-{number:04d}", BEGUN_MS + number * 1000
        tags = {"regatta.trial": str(number), "mlflow.user": "ann"} if number else {"regatta.trial": "0"}
        params, dataset = {"lr": f"0.{number}", "e": ""}, (DIGITS, {**DIGITS, "digest": "other"}, {})[number % 3]
        entries.append(RunBegun(uid, study, f"trial-{number:03d}", at, parent, tags, params, dataset))
        for epoch in range(4):
            metrics = {"loss": 1.0 / (epoch + 1), "val_loss": math.nan if number == 1 else 2.0, "up": math.inf}
            entries.append(Logged(uid, at + epoch, epoch, {**metrics, "down": -math.inf, "whole": 3}))
        entries.append(Logged(uid, at + 9, 0, {"seconds": 1.5}, {"regatta.state": "RUNNING", "long": "x" * 8100}))
        entries.append(Logged(uid, at + 9, 2, {"loss": 0.1}))  # a second value of an epoch, and not the latest
        entries.append(Logged(uid, at + 9, 3, {"zero": 0.0}))  # which MLflow's tables tell from NaN by a flag alone
        entries.append(Logged(uid, at + 9, 3, {"zero": math.nan}))
        entries.append(Logged(uid, at + 9, 3, {"loss": 0.2}))  # and a later one of the last
        entries.append(Logged(uid, at + 9, 3, {"loss": 0.2}))
        entries.append(
            Logged(uid, at + 9, 3, {"val_loss": math.nan}, {"regatta.state": "COMPLETE"}, {"late": "p" * 6100})
        )
        content = f"weights of {number}".encode() * 1000
        (folder / f"best-{number}.keras").write_bytes(content)
        digest = hashlib.sha256(content).hexdigest()
        metrics = {"loss": 1.0 / 3, "val_loss": math.nan if number == 1 else 2.0}
        entries.append(CheckpointKept(uid, at + 2, f"best-{number}.keras", "checkpoint", 2, digest, metrics))
        entries.append(PictureKept(uid, at + 10, "surface.png", "layer/weights", 3))
        if number != 5:
            entries.append(RunEnded(uid, at + 500, ("FINISHED", "FAILED", "KILLED")[number % 3]))
        entries.append(FileKept(uid, "curve.svg", "pictures"))
        if number == 4:
            (folder / f"best-{number}.keras").unlink()
            entries.append(CheckpointDropped(uid, at + 11, digest, "no room"))
    entries.append(Logged(parent, BEGUN_MS + 9000, tags={"regatta.best": "3"}, metrics={"best.loss": 0.1}))
    entries.append(Logged(f"{study}-0002", BEGUN_MS + 9000, tags={"regatta.rank": "1"}))
    entries += [FileKept(parent, "report.html"), RunEnded(parent, BEGUN_MS + 9001, "FINISHED")]
    with_times = folder / "journal.jsonl"
    journal = Journal(with_times, clock=lambda: BEGUN_MS)
    for entry in entries:
        journal.append(entry)
    journal.close()
    return with_times


def names_of(tables: dict[str, list[dict[str, Any]]], study: str) -> dict[str, str]:
    """What stands for every id that is one study's own."""
    (experiment,) = (row["experiment_id"] for row in tables["experiments"] if row["name"] == study)
    uids = {row["run_uuid"]: row["value"] for row in tables["tags"] if row["key"] == "regatta.uid"}
    names = {
        row["run_uuid"]: f"RUN {uids[row['run_uuid']]}" for row in tables["runs"] if row["experiment_id"] == experiment
    }
    names |= {
        row["model_id"]: f"MODEL {uids[row['source_run_id']]}"
        for row in tables["logged_models"]
        if row["experiment_id"] == experiment
    }
    names |= {
        row["dataset_uuid"]: f"DATASET {row['digest']}"
        for row in tables["datasets"]
        if row["experiment_id"] == experiment
    }
    return {
        **names,
        study: "STUDY",
        f"mlflow-artifacts:/{experiment}": "PLACE",
        f'"experiment_id": {experiment}': "OURS",
    }


def told(content: Any, names: dict[str, str]) -> str:
    """JSON of something with no id and no time of its making in it."""
    said = json.dumps(content, sort_keys=True, default=str)
    for own, name in names.items():
        said = said.replace(own, name)
    return re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "UUID", said)  # in a picture's name, made of its uid


_MADE = {"creation_time", "last_update_time", "creation_timestamp_ms", "last_updated_timestamp_ms", "input_uuid"}


def of_study(tables: dict[str, list[dict[str, Any]]], study: str) -> dict[str, list[str]]:
    """All rows that one study has left."""
    names = names_of(tables, study)
    marks = [name for name in names.values() if name != "PLACE"]
    found = {}
    for table, rows in tables.items():
        lines = [told({key: value for key, value in row.items() if key not in _MADE}, names) for row in rows]
        found[table] = sorted(line for line in lines if any(mark in line for mark in marks))
    return found


def rest_answers(server: Served, tracker: MlflowTracker, study: str) -> list[str]:
    """What MLflow's own client is told of a study, call by call."""
    client, names = tracker.client, names_of(server.rows(), study)
    experiment = client.get_experiment_by_name(study)
    assert experiment is not None
    said: list[Any] = []
    by_name = lambda run: (run.info.run_name, run.info.run_id)  # noqa: E731
    for run in sorted(client.search_runs([experiment.experiment_id], "", ViewType.ALL), key=by_name):
        run_id = run.info.run_id
        said.append(sorted(run.data.tags.items()))
        said.append([*sorted(run.data.metrics.items()), *sorted(run.data.params.items())])
        whole = client.get_run(run_id)
        said.append({**dict(whole.info), "experiment_id": None})
        assert whole.inputs is not None
        said.append([(dict(used.dataset), [dict(tag) for tag in used.tags]) for used in whole.inputs.dataset_inputs])
        assert whole.outputs is not None
        said.append([(output.model_id, output.step) for output in whole.outputs.model_outputs])
        for key in sorted(run.data.metrics):
            history = client.get_metric_history(run_id, key)
            points = [(point.timestamp, point.step, repr(point.value)) for point in history]
            said.append([key, *sorted(points)])  # MLflow leaves open in which order values of one moment come
        for folder in ("", "pictures", "images"):
            said.append([(file.path, file.file_size, file.is_dir) for file in client.list_artifacts(run_id, folder)])
    found = client.search_logged_models([experiment.experiment_id])
    for model in sorted(found, key=lambda model: names[model.model_id]):
        kept = ("model_id", "name", "artifact_location", "model_type", "source_run_id", "status", "tags", "params")
        said.append({name: str(getattr(model, name)) for name in kept})
        said.append([str(dict(point)) for point in model.metrics or ()])
        said.append([(file.path, file.file_size) for file in client.list_logged_model_artifacts(model.model_id)])
    return [told(each, names) for each in said]


@pytest.mark.parametrize("slices", [(2000,), (15, 10, 1, 30)], ids=["at once", "in pieces"])
def test_what_the_door_leaves_is_what_mlflows_own_calls_leave(
    server: Served, tmp_path: Path, slices: Sequence[int]
) -> None:
    studies = [f"study-{len(slices)}{way}" for way in "ab"]
    trackers = [OneByOne(server.address), ByTheDoor(server.address)]

    for study, tracker in zip(studies, trackers, strict=True):
        carried(write_study(tmp_path / study, study), tracker, slices=slices)

    tables = server.rows()
    by_calls, by_door = (of_study(tables, study) for study in studies)
    assert len(by_calls["runs"]) == 7
    assert len(by_calls["metrics"]) > 100
    assert len(by_calls["logged_models"]) == 5
    assert len(by_calls["datasets"]) == 2, "however many runs learn from one"
    assert sum("DATASET" in line for line in by_calls["inputs"]) == 5
    for table, rows in by_calls.items():
        assert by_door[table] == rows, table
    answers = [rest_answers(server, trackers[0], study) for study in studies]
    assert answers[0] == answers[1]
    files = server.files()
    kept = [
        sorted(told([path, content.hex()], names_of(tables, study)) for path, content in files.items())
        for study in studies
    ]
    ours = [[line for line in lines if "RUN " in line or "MODEL " in line] for lines in kept]
    assert [line.split("/", 1)[1] for line in ours[0]] == [line.split("/", 1)[1] for line in ours[1]]
    assert len(ours[0]) == 7 + 5 + 12


# all of it or nothing


@pytest.fixture
def experiment_id(server: Served, request: pytest.FixtureRequest) -> str:
    name = f"of {request.node.name}"
    return str(server.store.create_experiment(name))


def a_run(experiment_id: str, **more: Any) -> dict[str, Any]:
    new = {"experiment_id": experiment_id, "name": "trial", "start_ms": BEGUN_MS}
    return {"run": new, "tags": {"regatta.uid": "u"}, "metrics": [["loss", 1.0, BEGUN_MS, 0]], **more}


def made_run(server: Served, experiment_id: str, **more: Any) -> str:
    status, told = server.ask("runs", {"runs": [a_run(experiment_id, **more)]})
    assert status == 200, told
    return str(told["runs"][0]["run_id"])


def a_checkpoint(of_run: str, content: bytes = b"weights", **more: Any) -> dict[str, Any]:
    digest = hashlib.sha256(content).hexdigest()
    said = {"run_id": of_run, "name": "checkpoint", "model_type": "checkpoint", "step": 2, "file": "best.keras"}
    return {**said, "bytes": len(content), "sha256": digest, **more}


BAD_RUNS: dict[str, dict[str, Any]] = {
    "an experiment that is not there": {"run": {"experiment_id": "987654", "name": "t", "start_ms": 1}},
    "an experiment that is no number": {"run": {"experiment_id": "x", "name": "t", "start_ms": 1}},
    "a run that is not there": {"run": "0" * 32},
    "an id that is none": {"run": "../x"},
    "a metric without a name that MLflow takes": {"metrics": [["a*b", 1.0, 1, 0]]},
    "a metric whose name leads elsewhere": {"metrics": [["../x", 1.0, 1, 0]]},
    "a metric whose name is too long": {"metrics": [["m" * 251, 1.0, 1, 0]]},
    "a metric that is text": {"metrics": [["loss", "1.0", 1, 0]]},
    "a time before 1970": {"metrics": [["loss", 1.0, -1, 0]]},
    "a step beyond all integers": {"metrics": [["loss", 1.0, 1, 2**63]]},
    "a tag whose name is too long": {"tags": {"t" * 251: "x"}},
    "a tag without a name that MLflow takes": {"tags": {"a?": "x"}},
    "a param whose name is too long": {"params": {"p" * 251: "x"}},
    "a param that is no text": {"params": {"p": 1}},
    "another name in the tag": {"tags": {"mlflow.runName": "other"}},
    "an end that is none": {"end": {"status": "PAUSED", "time_ms": 1}},
    "a word too much": {"colour": "red"},
    "a data set without a digest": {
        "run": {"experiment_id": "1", "name": "t", "start_ms": 1, "dataset": {**DIGITS, "digest": ""}}
    },
}


@pytest.mark.parametrize("wrong", BAD_RUNS.values(), ids=BAD_RUNS.keys())
def test_one_bad_run_leaves_nothing_of_the_others(server: Served, experiment_id: str, wrong: dict[str, Any]) -> None:
    before = server.rows()

    status, told = server.ask("runs", {"runs": [a_run(experiment_id), a_run(experiment_id, **wrong)]})

    assert status in {400, 404}
    assert told["error_code"] in {"INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST", "BAD_REQUEST"}
    assert server.rows() == before


def test_a_deleted_experiment_takes_no_runs(server: Served, experiment_id: str) -> None:
    server.store.delete_experiment(experiment_id)

    status, told = server.ask("runs", {"runs": [a_run(experiment_id)]})

    assert (status, told["error_code"]) == (400, "INVALID_PARAMETER_VALUE")
    assert "must be in the 'active' state" in told["message"]


def test_a_deleted_run_takes_nothing_more(server: Served, experiment_id: str) -> None:
    run_id = made_run(server, experiment_id)
    server.store.delete_run(run_id)
    content = b"weights"

    for name, form, body in (
        ("runs", {"runs": [{"run": run_id, "tags": {"a": "b"}}]}, b""),
        ("checkpoints", {"checkpoints": [a_checkpoint(run_id, content)]}, content),
        ("files", {"files": [{"run_id": run_id, "file": "a.txt", "bytes": len(content)}]}, content),
    ):
        status, told = server.ask(name, form, body)
        assert (status, told["error_code"]) == (400, "INVALID_PARAMETER_VALUE"), name
    assert not any(run_id in path for path in server.files())


def test_a_param_that_would_change_leaves_nothing_of_its_part(server: Served, experiment_id: str) -> None:
    run_id = made_run(server, experiment_id, params={"lr": "0.1"})

    part = {"run": run_id, "params": {"lr": "0.2", "new": "x"}, "metrics": [["acc", 1.0, BEGUN_MS, 0]]}
    status, told = server.ask("runs", {"runs": [part]})

    assert (status, told["error_code"]) == (400, "INVALID_PARAMETER_VALUE")
    assert "Changing param values is not allowed. Param 'lr'" in told["message"]
    run = server.store.get_run(run_id)
    assert (run.data.params, set(run.data.metrics)) == ({"lr": "0.1"}, {"loss"})


def test_the_same_part_twice_is_there_once_and_an_older_point_takes_no_newer_ones_place(
    server: Served, experiment_id: str
) -> None:
    run_id = made_run(server, experiment_id, params={"lr": "0.1"})
    points = [["loss", 0.5, BEGUN_MS + 5, 5], ["loss", 0.7, BEGUN_MS + 9, 3]]
    part = {"run": run_id, "params": {"lr": "0.1", "b": "2"}, "metrics": points, "tags": {"regatta.uid": "v"}}

    for _ in range(2):
        assert server.ask("runs", {"runs": [part]})[0] == 200
    assert server.ask("runs", {"runs": [{"run": run_id, "metrics": [["loss", 9.0, BEGUN_MS, 4]]}]})[0] == 200

    history = server.store.get_metric_history(run_id, "loss")
    assert sorted((point.step, point.value) for point in history) == [(0, 1.0), (3, 0.7), (4, 9.0), (5, 0.5)]
    run = server.store.get_run(run_id)
    assert run.data.metrics == {"loss": 0.5}
    assert run.data.params == {"lr": "0.1", "b": "2"}
    assert run.data.tags["regatta.uid"] == "v"


def test_two_parts_of_a_run_in_a_request_are_refused(server: Served, experiment_id: str) -> None:
    run_id = made_run(server, experiment_id)

    status, told = server.ask("runs", {"runs": [{"run": run_id}, {"run": run_id}]})

    assert status == 400
    assert "at most one part of a run" in told["message"]


def test_a_runs_name_follows_its_tag_as_in_mlflow(server: Served, experiment_id: str) -> None:
    run_id = made_run(server, experiment_id)
    assert server.ask("runs", {"runs": [{"run": run_id, "tags": {"mlflow.runName": "renamed"}}]})[0] == 200
    nameless = a_run(experiment_id, tags={})
    nameless["run"]["name"] = ""
    (other,) = server.ask("runs", {"runs": [nameless]})[1]["runs"]

    assert server.store.get_run(run_id).info.run_name == "renamed"
    invented = server.store.get_run(other["run_id"])
    assert invented.info.run_name == invented.data.tags["mlflow.runName"] != ""


def test_a_checkpoint_that_is_not_what_its_digest_says_leaves_nothing_of_the_others(
    server: Served, experiment_id: str
) -> None:
    run_id = made_run(server, experiment_id)
    rows, files = server.rows(), server.files()
    forms = [a_checkpoint(run_id, b"good"), a_checkpoint(run_id, b"good")]

    status, told = server.ask("checkpoints", {"checkpoints": forms}, b"goodevil")

    assert (status, told["error_code"]) == (400, "INVALID_PARAMETER_VALUE")
    assert "is to have the digest" in told["message"]
    assert (server.rows(), server.files()) == (rows, files)


BAD_CHECKPOINTS: dict[str, dict[str, Any]] = {
    "a name that MLflow does not take": {"name": "a/b"},
    "a file that lies elsewhere": {"file": "../best.keras"},
    "a file without a name": {"file": ""},
    "a file that is its own folder": {"file": ".."},
    "a metric without a name that MLflow takes": {"metrics": [["a*b", 1.0, 1, 0]]},
    "a run that is not there": {"run_id": "0" * 32},
    "a size that is not its own": {"bytes": 3},
}


@pytest.mark.parametrize("wrong", BAD_CHECKPOINTS.values(), ids=BAD_CHECKPOINTS.keys())
def test_one_bad_checkpoint_leaves_no_row_and_no_file(
    server: Served, experiment_id: str, wrong: dict[str, Any]
) -> None:
    run_id = made_run(server, experiment_id)
    rows, files = server.rows(), server.files()
    forms = [a_checkpoint(run_id, b"weights"), a_checkpoint(run_id, b"weights", **wrong)]

    status, told = server.ask("checkpoints", {"checkpoints": forms}, b"weights" * 2)

    assert status in {400, 404}, told
    assert (server.rows(), server.files()) == (rows, files)
    assert not list((server.artifacts / experiment_id).rglob("m-*"))


def test_a_checkpoint_that_the_disk_does_not_give_back_as_it_came_is_no_model(
    server: Served, experiment_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = made_run(server, experiment_id)
    rows, files = server.rows(), server.files()
    write = LocalArtifactRepository.log_artifact_from_stream

    def written_badly(self: LocalArtifactRepository, stream: Any, name: str, folder: str | None = None) -> None:
        stream.read(1)
        write(self, stream, name, folder)

    monkeypatch.setattr(LocalArtifactRepository, "log_artifact_from_stream", written_badly)
    status, told = server.ask("checkpoints", {"checkpoints": [a_checkpoint(run_id)]}, b"weights")

    assert (status, told["error_code"]) == (500, "INTERNAL_ERROR")
    assert (server.rows(), server.files()) == (rows, files)


def test_files_of_a_request_that_fails_are_taken_back_but_not_those_that_were_there(
    server: Served, experiment_id: str
) -> None:
    run_id = made_run(server, experiment_id)
    first = {"run_id": run_id, "folder": "a/b", "file": "1.txt", "bytes": 3}
    assert server.ask("files", {"files": [first]}, b"old")[0] == 200
    forms = [first, {**first, "file": "2.txt", "folder": "c"}, {**first, "folder": "../../up"}]

    status, told = server.ask("files", {"files": forms}, b"newnewnew")

    assert (status, told["error_code"]) == (400, "INVALID_PARAMETER_VALUE")
    ours = {path: content for path, content in server.files().items() if run_id in path}
    assert set(ours) == {f"{experiment_id}/{run_id}/artifacts/a/b/1.txt"}
    assert not (server.artifacts / experiment_id / run_id / "artifacts" / "c").exists()
    assert server.ask("files", {"files": [first]}, b"own")[0] == 200
    assert server.files()[f"{experiment_id}/{run_id}/artifacts/a/b/1.txt"] == b"own"


def test_artifacts_that_another_place_keeps_are_not_taken(server: Served, tmp_path: Path) -> None:
    elsewhere = server.store.create_experiment("elsewhere", artifact_location=tmp_path.as_uri())
    run_id = made_run(server, str(elsewhere))
    content = b"weights"
    asked = [
        ("checkpoints", {"checkpoints": [a_checkpoint(run_id, content)]}),
        ("files", {"files": [{"run_id": run_id, "file": "a", "bytes": len(content)}]}),
    ]

    for name, form in asked:
        status, told = server.ask(name, form, content)
        assert (status, told["error_code"]) == (400, "INVALID_PARAMETER_VALUE")
        assert "are not kept by this server" in told["message"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "it holds no line"),
        (b"{}", "it holds no line"),
        (b"[]\n", "the line"),
        (b"nonsense\n", "Invalid JSON"),
        (b'{"runs": []}\nmore', "4 bytes follow"),
        (b'{"runs": [{}]}\n', "runs.0.run"),
        (b'{"runs": [' + b",".join([b'{"run": "x"}'] * (bulk_forms.MOST_ENTRIES + 1)) + b"]}\n", "at most 256"),
        (b" " * bulk_forms.MOST_BYTES + b"\n", "at most 16777216 bytes"),
    ],
    ids=["nothing", "no line", "a list", "no JSON", "files of runs", "a field missing", "too many", "too much"],
)
def test_a_request_that_is_none_is_refused_with_the_reason(server: Served, body: bytes, words: str) -> None:
    answer = requests.post(f"{server.address}{bulk.BELOW}/runs", data=body, timeout=30)

    assert (answer.status_code, answer.json()["error_code"]) == (400, "INVALID_PARAMETER_VALUE")
    assert words in answer.json()["message"]


# whether there is a door


def test_the_door_says_what_it_takes(server: Served) -> None:
    told = requests.get(f"{server.address}{bulk.BELOW}/records", timeout=30).json()

    assert told == {"protocol": 2, "files": True, "most_bytes": 16 << 20, "most_entries": 256}


def test_a_server_that_keeps_its_artifacts_in_a_cloud_takes_runs_alone(
    server: Served, monkeypatch: pytest.MonkeyPatch, experiment_id: str
) -> None:
    monkeypatch.setattr(handlers, "_artifact_repo", object())
    run_id = made_run(server, experiment_id)

    assert requests.get(f"{server.address}{bulk.BELOW}/records", timeout=30).json()["files"] is False
    status, told = server.ask("checkpoints", {"checkpoints": [a_checkpoint(run_id)]}, b"weights")
    assert (status, told["error_code"]) == (400, "INVALID_PARAMETER_VALUE")


def test_there_is_no_door_to_a_store_that_keeps_teams_apart(server: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        handlers, "_tracking_store", WorkspaceAwareSqlAlchemyStore.__new__(WorkspaceAwareSqlAlchemyStore)
    )

    assert requests.get(f"{server.address}{bulk.BELOW}/records", timeout=30).status_code == 404
    assert not MlflowTracker(server.address).takes_many()


def test_there_is_no_door_where_mlflows_tables_have_changed(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    changed = Table("tags", MetaData(), Column("key", Integer), Column("value", Integer), Column("flavour", Integer))
    known = {
        changed if table is models.SqlTag.__table__ else table: names for table, names in bulk_tables._KNOWN.items()
    }
    monkeypatch.setattr(bulk_tables, "_KNOWN", known)
    application = Flask("changed")

    assert not bulk.open_door(application)
    assert "tags.flavour, tags.run_uuid" in caplog.text
    assert "regatta" not in str(application.url_map)


# the whole way


@pytest.mark.parametrize("name", ["runs", "files", "checkpoints"])
def test_an_answer_that_is_lost_doubles_nothing(
    server: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    ask = mlflow_door._request
    lost: list[int] = []

    def losing(client: Any, asked: str, method: str, **more: Any) -> Any:
        answer = ask(client, asked, method, **more)
        if asked == name and not lost:
            lost.append(answer.status_code)
            raise ConnectionError("the answer was lost")
        return answer

    monkeypatch.setattr(mlflow_door, "_request", losing)
    courier = Courier(write_study(tmp_path / name, f"lost {name}"), MlflowTracker(server.address), Delivery(), None)
    unavailable = 0
    more = True
    while more:
        try:
            more = courier.deliver()
        except Unavailable:
            unavailable += 1

    assert (lost, unavailable, courier.state.refused) == ([200], 1, {})
    carried(write_study(tmp_path / "sure", f"sure {name}"), OneByOne(server.address))
    tables = server.rows()
    assert of_study(tables, f"lost {name}") == of_study(tables, f"sure {name}")


def test_one_bad_run_costs_only_itself(server: Served, tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl", clock=lambda: BEGUN_MS)
    for number in range(3):
        uid = f"bad-{number}"
        journal.append(RunBegun(uid, "bad", f"trial-{number}", BEGUN_MS, None, {"n": str(number)}))
        journal.append(Logged(uid, BEGUN_MS, 0, {"a*b" if number == 1 else "loss": 1.0}))
        journal.append(RunEnded(uid, BEGUN_MS, "FINISHED"))
    journal.close()
    tracker = MlflowTracker(server.address)
    courier = Courier(journal.path, tracker, Delivery(), None)

    while courier.deliver():
        pass

    (text,) = courier.state.refused
    assert text.startswith("bad-1: ")
    runs = {run.uid: run for run in tracker.held_runs("bad", "regatta.uid", "bad-0")}
    assert runs["bad-0"].metrics == {"loss": 1.0}
    assert sorted(courier.state.runs) == ["bad-0", "bad-1", "bad-2"]
