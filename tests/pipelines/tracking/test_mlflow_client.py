"""How answers of bad servers are sorted: which are final, which are worth another try, and how soon."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import requests

from pipelines.tracking.base import Refused, Unavailable
from pipelines.tracking.entries import Logged, RunBegun
from pipelines.tracking.mlflow_client import mlflow_errors, out_of_order
from pipelines.tracking.mlflow_tracker import MlflowTracker


@dataclass
class Answer:
    """What the server says to everything; `cut` leaves that many bytes out, None closes without a word."""

    status: int = 200
    body: str = "{}"
    headers: dict[str, str] = field(default_factory=dict)
    cut: int | None = 0


@dataclass
class Server:
    """A server that gives one answer, and remembers what it was asked."""

    address: str
    answer: Answer
    asked: list[str]


@pytest.fixture
def server() -> Iterator[Server]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            found.asked.append(f"{self.command} {self.path.split('?')[0]}")
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            said = found.answer
            if said.cut is not None:
                body = said.body.encode()
                self.send_response(said.status)
                for name, value in said.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body[: len(body) - said.cut])
            self.close_connection = True

        do_GET = do_POST = answer  # noqa: N815

        def log_message(self, *arguments: Any) -> None:
            pass

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found = Server(f"http://127.0.0.1:{httpd.server_port}", Answer(), [])
    thread = threading.Thread(target=httpd.serve_forever, args=(0.01,))
    thread.start()
    yield found
    httpd.shutdown()
    httpd.server_close()
    thread.join()


Call = Callable[[MlflowTracker], Any]
LOG: Call = lambda tracker: tracker.log("a" * 32, [Logged("u", 1, 0, {"loss": 1.0})])  # noqa: E731
BEGIN: Call = lambda tracker: tracker.begin(RunBegun("u", "x", "t", 1), "1", None, suspect=False)  # noqa: E731
CALLS = pytest.mark.parametrize("call", [LOG, BEGIN], ids=["log", "begin"])


def error(code: str) -> str:
    return json.dumps({"error_code": code, "message": "no"})


@pytest.mark.parametrize("status", [500, 502, 503])
def test_a_server_in_trouble_is_told_as_one_that_answers(server: Server, status: int) -> None:
    server.answer = Answer(status, error("INTERNAL_ERROR"))

    with pytest.raises(Unavailable) as caught:
        LOG(MlflowTracker(server.address))

    told = f"it answers with status {status}; its own log says why (a database that is away, a full disk)"
    assert str(caught.value) == told
    assert str(out_of_order("http://me:secret@host", caught.value)) == (
        f"The MLflow server at http://host cannot do it now: {told}"
    )
    assert str(out_of_order("http://host", Unavailable("timed out"))) == (
        "The MLflow server at http://host cannot be reached: timed out"
    )


@CALLS
@pytest.mark.parametrize(
    "answer",
    [
        Answer(500, "oops"),
        Answer(500, error("INTERNAL_ERROR")),
        Answer(502, "<html>bad gateway</html>"),
        Answer(503, error("TEMPORARILY_UNAVAILABLE")),
        Answer(429, "slow down"),
        Answer(404, "<html>no such page</html>"),  # a proxy without its server
        Answer(400, "<html>bad request</html>"),
        Answer(401, "who are you"),
        Answer(403, error("PERMISSION_DENIED")),
        Answer(403, "Invalid Host header"),
        Answer(200, "<html>welcome</html>"),
        Answer(200, '{"run": {"info": ', cut=5),
        Answer(500, error("INTERNAL_ERROR"), cut=10),
        Answer(cut=None),
    ],
    ids=lambda answer: f"{answer.status} {answer.body[:12]} {answer.cut}",
)
def test_what_says_nothing_about_the_entry_is_worth_another_try(server: Server, call: Call, answer: Answer) -> None:
    server.answer = answer

    with pytest.raises(Unavailable):
        call(MlflowTracker(server.address))


@CALLS
@pytest.mark.parametrize(
    ("answer", "there"),
    [
        (Answer(507, error("TEMPORARILY_UNAVAILABLE")), True),
        (Answer(403, error("PERMISSION_DENIED")), True),
        (Answer(502, "<html>bad gateway</html>"), False),
        (Answer(404, "<html>no such page</html>"), False),
        (Answer(cut=None), False),
    ],
    ids=lambda value: f"{value.status} {value.body[:12]}" if isinstance(value, Answer) else "",
)
def test_it_is_told_whether_the_server_itself_said_so(server: Server, call: Call, answer: Answer, there: bool) -> None:
    server.answer = answer

    with pytest.raises(Unavailable) as caught:
        call(MlflowTracker(server.address))

    assert caught.value.there is there


@CALLS
@pytest.mark.parametrize("code", ["RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE", "INVALID_STATE"])
def test_what_mlflow_itself_says_about_the_entry_is_final(server: Server, call: Call, code: str) -> None:
    server.answer = Answer(400, error(code))

    with pytest.raises(Refused, match=code):
        call(MlflowTracker(server.address))


def test_an_answer_without_content_is_not_taken_for_a_run(server: Server) -> None:
    server.answer = Answer(200, "")

    with pytest.raises(Unavailable, match="gave no answer that says whether the run was made"):
        BEGIN(MlflowTracker(server.address))


@pytest.mark.parametrize("answer", [Answer(500, "oops"), Answer(cut=None), Answer(200, "{}", cut=1)])
def test_a_run_is_asked_for_once_as_the_first_try_may_have_made_it(server: Server, answer: Answer) -> None:
    server.answer = answer

    with pytest.raises(Unavailable):
        BEGIN(MlflowTracker(server.address))

    assert server.asked == ["POST /api/2.0/mlflow/runs/create"]


@pytest.mark.parametrize(
    ("said", "least", "most"),
    [
        ("17", 17, 17),
        ("0.5", 0.5, 0.5),
        (formatdate(4_102_444_800, usegmt=True), 1e8, 1e11),
        (formatdate(0, usegmt=True), 0, 0),
        ("-4", 0, 0),
        ("soon", 0, 0),
        (None, 0, 0),
    ],
)
def test_a_server_with_too_many_requests_says_how_long_to_wait(
    server: Server, said: str | None, least: float, most: float
) -> None:
    server.answer = Answer(429, "slow down", {} if said is None else {"Retry-After": said})

    with pytest.raises(Unavailable) as caught:
        LOG(MlflowTracker(server.address))

    assert least <= caught.value.wait_s <= most
    assert "too many 429 error responses" in str(caught.value)
    assert server.asked[1:] == ["GET /api/2.0/mlflow/experiments/search"]


def test_a_server_that_is_merely_broken_is_not_asked_how_long_to_wait(server: Server) -> None:
    server.answer = Answer(503, "away", {"Retry-After": "30"})

    with pytest.raises(Unavailable) as caught:
        LOG(MlflowTracker(server.address))

    assert caught.value.wait_s == 0
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    ("error", "late"),
    [
        (
            requests.exceptions.ReadTimeout("HTTPConnectionPool(host='h', port=1): Read timed out. (read timeout=20)"),
            True,
        ),
        (
            requests.exceptions.ConnectionError("Max retries exceeded (Caused by ReadTimeoutError('Read timed out.'))"),
            True,
        ),
        (requests.exceptions.ConnectTimeout("Connection to h timed out"), False),
        (requests.exceptions.ConnectionError("Connection refused"), False),
    ],
)
@pytest.mark.parametrize("wrapped", [False, True], ids=["as it is", "in MLflow's"])
def test_a_server_whose_answer_nobody_waited_for_any_longer_may_be_at_it_still(
    error: Exception, late: bool, wrapped: bool
) -> None:
    def ask() -> None:
        if not wrapped:
            raise error
        from mlflow.exceptions import MlflowException

        raise MlflowException("API request to http://h failed with exception") from error

    with pytest.raises(Unavailable) as caught, mlflow_errors():
        ask()

    assert caught.value.late is late
