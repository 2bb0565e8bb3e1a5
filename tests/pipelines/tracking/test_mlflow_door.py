"""The bulk door from outside: whether a server has one, and what its answers mean."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from pipelines.tracking import mlflow_bulk
from pipelines.tracking.base import Refused, Unavailable
from pipelines.tracking.entries import FileKept, Logged, RunBegun
from pipelines.tracking.mlflow_tracker import MlflowTracker
from pipelines.tracking.parcels import FileParcel, RunParcel

THERE = (200, '{"protocol": 2, "files": true, "most_bytes": 100000, "most_entries": 256}')
RECORDS, RUNS, FILES = (f"/api/2.0/mlflow/regatta/{name}" for name in ("records", "runs", "files"))
Answer = tuple[int, str] | None


@dataclass
class Server:
    """A server with an answer for every path (None closes without a word), which remembers what it was asked."""

    address: str
    answers: dict[str, Answer] = field(default_factory=lambda: {RECORDS: THERE})
    asked: list[str] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)


@pytest.fixture
def server() -> Iterator[Server]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            path = self.path.split("?")[0]
            found.asked.append(path)
            found.headers.append(dict(self.headers))
            found.bodies.append(self.rfile.read(int(self.headers.get("Content-Length", 0))))
            said = found.answers.get(path, (404, "<html>no such page</html>"))
            if said is not None:
                self.send_response(said[0])
                self.send_header("Content-Length", str(len(said[1])))
                self.send_header("Connection", "close")
                self.end_headers()
                self.wfile.write(said[1].encode())
            self.close_connection = True

        do_GET = do_POST = answer  # noqa: N815

        def log_message(self, *arguments: Any) -> None:
            pass

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found = Server(f"http://127.0.0.1:{httpd.server_port}")
    thread = threading.Thread(target=httpd.serve_forever, args=(0.01,))
    thread.start()
    yield found
    httpd.shutdown()
    httpd.server_close()
    thread.join()


@pytest.fixture
def tracker(server: Server) -> MlflowTracker:
    return MlflowTracker(server.address)


PARCEL = RunParcel("u", None, "1", "f" * 32, RunBegun("u", "x", "trial", 5), [Logged("u", 7, 2, {"loss": 1.0})])


def error(code: str) -> str:
    return json.dumps({"error_code": code, "message": "no"})


def test_a_server_with_the_door_is_asked_once(server: Server, tracker: MlflowTracker) -> None:
    assert [tracker.takes_many() for _ in range(3)] == [True] * 3
    assert server.asked == [RECORDS]


@pytest.mark.parametrize(
    "answer",
    [
        (404, "<html>no such page</html>"),
        (404, error("ENDPOINT_NOT_FOUND")),
        (405, "POST only"),
        (400, "what?"),
        (501, "not here"),
        (200, "<html>welcome</html>"),
        (200, ""),
        (200, "[]"),
        (200, '{"protocol": 1, "most_bytes": 100000}'),
    ],
    ids=lambda answer: f"{answer[0]} {answer[1][:14]}",
)
def test_any_other_server_is_asked_once_too(server: Server, tracker: MlflowTracker, answer: Answer) -> None:
    server.answers[RECORDS] = answer

    assert [tracker.takes_many() for _ in range(3)] == [False] * 3
    assert server.asked == [RECORDS]


@pytest.mark.parametrize("status", [401, 403, 429, 500, 502, 503])
def test_a_server_that_does_not_say_is_asked_again(server: Server, tracker: MlflowTracker, status: int) -> None:
    server.answers[RECORDS] = (status, "not now")
    assert not tracker.takes_many()

    server.answers[RECORDS] = THERE

    assert tracker.takes_many()


def test_a_server_that_cannot_be_reached_is_unavailable(server: Server, tracker: MlflowTracker) -> None:
    server.answers[RECORDS] = None

    with pytest.raises(Unavailable):
        tracker.takes_many()


def test_a_database_has_no_door_and_is_not_opened_for_the_question(tmp_path: Path) -> None:
    tracker = MlflowTracker(f"sqlite:///{tmp_path}/mlflow.db")
    client: Any = object()  # which would be asked in vain

    assert tracker._door.limits(client) == {}


def test_a_server_that_lost_everything_is_asked_anew(server: Server, tracker: MlflowTracker) -> None:
    assert tracker.takes_many()
    server.answers = {"/api/2.0/mlflow/runs/get": (404, error("RESOURCE_DOES_NOT_EXIST"))}

    assert not tracker.has_run("f" * 32, "u")

    assert not tracker.takes_many()


def test_a_run_is_told_with_all_that_makes_it(server: Server, tracker: MlflowTracker) -> None:
    server.answers[RUNS] = (200, json.dumps({"runs": [{"run_id": "a" * 32, "artifact_uri": "mlflow-artifacts:/1"}]}))

    assert tracker.take_runs([PARCEL]) == ["a" * 32]

    assert json.loads(server.bodies[-1]) == {
        "runs": [
            {
                "run": {"experiment_id": "1", "name": "trial", "start_ms": 5},
                "tags": {"regatta.uid": "u", "mlflow.parentRunId": "f" * 32},
                "params": {},
                "metrics": [["loss", 1.0, 7, 2]],
            }
        ]
    }
    assert server.bodies[-1].endswith(b"}\n")


def test_the_door_is_knocked_at_with_the_clients_credentials(
    server: Server, tracker: MlflowTracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "ann")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "secret")
    server.answers[RUNS] = (200, json.dumps({"runs": [{"run_id": "a", "artifact_uri": "b"}]}))

    tracker.take_runs([PARCEL])

    assert [headers["Authorization"] for headers in server.headers] == ["Basic YW5uOnNlY3JldA=="] * 2


@pytest.mark.parametrize("code", ["RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE", "BAD_REQUEST"])
def test_what_the_server_will_never_take_is_refused(server: Server, tracker: MlflowTracker, code: str) -> None:
    server.answers[RUNS] = (404 if code.startswith("RESOURCE") else 400, error(code))

    with pytest.raises(Refused, match=code):
        tracker.take_runs([PARCEL])
    assert tracker.takes_many()


@pytest.mark.parametrize(
    "answer", [(404, "<html>no such page</html>"), (404, error("ENDPOINT_NOT_FOUND")), (405, ""), (400, "bad")]
)
def test_a_door_that_is_gone_is_refused_and_asked_for_anew(
    server: Server, tracker: MlflowTracker, answer: Answer
) -> None:
    assert tracker.takes_many()
    server.answers = {RUNS: answer}

    with pytest.raises(Refused, match="takes no more many records at a time"):
        tracker.take_runs([PARCEL])
    assert not tracker.takes_many()


@pytest.mark.parametrize(
    "answer",
    [
        None,
        (500, "oops"),
        (500, error("INTERNAL_ERROR")),
        (503, error("TEMPORARILY_UNAVAILABLE")),
        (429, "slow down"),
        (401, "who are you"),
        (403, "Invalid Host header"),
        (200, ""),
        (200, "<html>welcome</html>"),
        (200, "{}"),
        (200, '{"runs": []}'),
        (200, '{"runs": [{}]}'),
    ],
    ids=str,
)
def test_where_it_does_not_say_what_became_of_them_they_may_have_been_taken(
    server: Server, tracker: MlflowTracker, answer: Answer
) -> None:
    server.answers[RUNS] = answer

    with pytest.raises(Unavailable):
        tracker.take_runs([PARCEL])
    assert server.asked.count(RUNS) == 1


def test_more_than_the_server_takes_is_not_sent(server: Server, tracker: MlflowTracker) -> None:
    large = RunParcel("u", "a" * 32, logged=[Logged("u", 1, tags={"long": "x" * 100_000})])

    assert tracker.take_runs([PARCEL, large]) == [None, None]
    assert server.asked == [RECORDS]


def test_files_that_another_place_keeps_are_not_sent(server: Server, tracker: MlflowTracker, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("content")
    places = {"here": "mlflow-artifacts:/1/a", "there": "mlflow-artifacts://other/1/a", "cloud": "s3://bucket/1"}
    for run_id, place in places.items():
        tracker._know(run_id, "1", place)
    server.answers[FILES] = (200, '{"files": 1}')
    parcels = [FileParcel(run_id, tmp_path / "a.txt", 7, FileKept("u", "a.txt", "f")) for run_id in places]

    assert tracker.take_files(parcels) == [True, False, False]

    head, content = server.bodies[-1].split(b"\n", 1)
    assert json.loads(head) == {"files": [{"run_id": "here", "file": "a.txt", "bytes": 7, "folder": "f"}]}
    assert content == b"content"


def test_a_file_that_goes_before_it_is_read_is_left_and_its_neighbour_sent(
    server: Server, tracker: MlflowTracker, tmp_path: Path
) -> None:
    (tmp_path / "a.txt").write_text("content")
    tracker._know("here", "1", "mlflow-artifacts:/1/a")
    server.answers[FILES] = (200, '{"files": 1}')
    parcels = [FileParcel("here", tmp_path / name, 7, FileKept("u", name)) for name in ("gone.txt", "a.txt")]

    assert tracker.take_files(parcels) == [False, True]
    assert tracker.take_files(parcels[:1]) == [False]
    assert server.asked.count(FILES) == 1


def test_a_server_that_takes_no_files_is_sent_none(server: Server, tracker: MlflowTracker, tmp_path: Path) -> None:
    server.answers[RECORDS] = (200, THERE[1].replace("true", "false"))
    (tmp_path / "a.txt").write_text("content")
    tracker._know("here", "1", "mlflow-artifacts:/1/a")

    assert tracker.take_files([FileParcel("here", tmp_path / "a.txt", 7, FileKept("u", "a.txt"))]) == [False]
    assert server.asked == [RECORDS]


@pytest.mark.parametrize(
    ("place", "served"),
    [
        ("mlflow-artifacts:/1/x/artifacts", True),
        ("mlflow-artifacts://host:5000/1/x", False),
        ("mlflow-artifacts:", False),
        ("file:///somewhere", False),
        ("/somewhere", False),
        ("http://host/api/2.0/mlflow-artifacts/artifacts/1", False),
    ],
)
def test_artifacts_are_the_asked_servers_only_where_their_address_names_no_other(place: str, served: bool) -> None:
    assert mlflow_bulk.is_served(place) is served
