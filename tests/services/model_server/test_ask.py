"""`make predict`: a picture, the answer, the version, or one sentence that says what to type next."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvicorn

from services.model_server import ask
from services.model_server.app import create_app
from services.model_server.events import EventLog
from services.model_server.settings import Settings
from tests.services.model_server.parts import FolderStore, write_package


class Running:
    """The application behind a socket, in a thread."""

    def __init__(self, store: FolderStore, **settings: object) -> None:
        import io

        self.app = create_app(Settings(poll_s=0.05, **settings), store, EventLog(io.BytesIO()))
        self._server = uvicorn.Server(uvicorn.Config(self.app, port=0, log_config=None, lifespan="on", ws="none"))
        self._thread = threading.Thread(target=self._server.run)
        self._thread.start()

    def url(self) -> str:
        pause = threading.Event()
        for _ in range(1000):
            if self._server.started:
                port = self._server.servers[0].sockets[0].getsockname()[1]
                return f"http://127.0.0.1:{port}"
            pause.wait(0.01)
        raise AssertionError("the server did not start")

    def wait_ready(self) -> str:
        url, pause = self.url(), threading.Event()
        for _ in range(1000):
            if self.app.state.engine.ready:
                return url
            pause.wait(0.01)
        raise AssertionError("the server did not become ready")

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(20)


@pytest.fixture
def url(store: FolderStore) -> Iterator[str]:
    server = Running(store)
    yield server.wait_ready()
    server.stop()


def test_the_answer_shows_picture_label_version_time_and_the_call_by_hand(
    url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ask.main(["--url", url, "--sample", "1"]) == 0
    text = capsys.readouterr().out
    for part in (
        "tiny, sample 1 of 4",
        "▓▓▒▒",
        "true label",
        "right",
        "tiny version 1 (champion)",
        "run-1",
        " ms",
        "curl -s",
    ):
        assert part in text


def test_the_call_by_hand_is_complete(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    import shlex
    import subprocess

    ask.main(["--url", url, "--model", "tiny"])
    line = capsys.readouterr().out.splitlines()[-1]
    if not Path("/usr/bin/curl").exists():
        pytest.skip("there is no curl here")
    done = subprocess.run(shlex.split(line), capture_output=True, text=True, timeout=20, check=True)
    assert "predictions" in done.stdout


@pytest.mark.parametrize(
    ("options", "told"),
    [(["--model", "none"], "no model 'none'; it has: tiny"), (["--sample", "99"], "--sample must be 0 to 3")],
)
def test_a_wrong_choice_is_one_sentence(
    url: str, options: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ask.main(["--url", url, *options]) == 2
    error = capsys.readouterr().err
    assert told in error
    assert len(error.splitlines()) == 1


def test_without_a_server_it_says_how_to_start_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert ask.main(["--url", "http://127.0.0.1:9"]) == 2
    assert "make up-local" in capsys.readouterr().err


def test_a_server_with_a_key_is_asked_with_it(
    store: FolderStore, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    server = Running(store, api_key="s3cret")
    try:
        url = server.wait_ready()
        assert ask.main(["--url", url]) == 2
        assert "401" in capsys.readouterr().err
        monkeypatch.setenv("MODEL_SERVER_API_KEY", "s3cret")
        assert ask.main(["--url", url]) == 0
        assert "s3cret" not in capsys.readouterr().out
    finally:
        server.stop()


NOTHING = {"version": None, "name": "tiny", "wanted": "tiny@champion", "rejected": None, "loading": None}


@pytest.mark.parametrize(
    ("models", "reachable", "told"),
    [
        ([], True, "make sweep"),
        ([], None, "in a moment"),
        ([], False, "make up-local"),
        ([NOTHING], True, "make sweep"),
        ([NOTHING | {"loading": "2"}], True, "version 2 is loading"),
        ([NOTHING | {"rejected": {"version": "2", "reason": "REJECTED: damaged"}}], True, "REJECTED: damaged"),
    ],
)
def test_a_server_without_a_model_says_why_and_what_to_type(
    models: list[dict[str, object]], reachable: bool | None, told: str
) -> None:
    status = {"models": models, "registry": {"reachable": reachable, "uri": "http://mlflow:5000"}}
    with pytest.raises(ask.NoAnswer, match=told):
        ask.choose(status, None)


@pytest.mark.parametrize(
    ("values", "drawn"),
    [
        ([[0, 8], [16, 4]], "  ▒▒\n██░░"),
        ([[[0], [16]], [[16], [0]]], "  ██\n██"),
        ([1, 2, 3], ""),
        ([[[1, 2, 3]]], ""),
        (3, ""),
    ],
)
def test_only_what_has_rows_and_columns_is_drawn(values: object, drawn: str) -> None:
    assert ask.picture(values, (0, 16)) == drawn


def test_a_sample_of_one_value_everywhere_is_drawn_without_a_range() -> None:
    assert ask.picture([[5, 5]], None) == ""


def test_the_top_answers_are_the_largest() -> None:
    assert ask.top([0.1, 0.7, 0.2], ["a", "b", "c"], 2) == [("b", 0.7), ("c", 0.2)]
    assert ask.top([0.9], ["no", "yes"])[0] == ("yes", 0.9)
    assert ask.top([2.5], [])[0][0] == "output 0"


def test_a_package_of_flat_samples_is_answered_without_a_picture(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = FolderStore(tmp_path / "cache")
    store.add(write_package(tmp_path / "flat", shape=(5,)), "tiny", "1")
    server = Running(store)
    try:
        assert ask.main(["--url", server.wait_ready()]) == 0
        assert "█" not in capsys.readouterr().out
    finally:
        server.stop()
