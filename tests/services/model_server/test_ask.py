"""`make predict`: a picture, the answer, the version, or one sentence that says what to type next."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import uvicorn

from services.model_server import ask
from services.model_server.app import create_app
from services.model_server.events import EventLog
from services.model_server.settings import Settings
from tests.services.model_server.drawn import png
from tests.services.model_server.parts import FolderStore, write_kind, write_package
from tests.services.model_server.test_server import write_certificate


class Running:
    """The application behind a socket, in a thread."""

    def __init__(self, store: FolderStore, **settings: object) -> None:
        import io

        self.app = create_app(Settings(poll_s=0.05, **settings), store, EventLog(io.BytesIO()))
        self._server = uvicorn.Server(
            uvicorn.Config(self.app, port=0, log_config=None, lifespan="on", ws="none", interface="asgi3")
        )
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
        assert "401 to /models: it wants an API key. Set MODEL_SERVER_API_KEY to it." in capsys.readouterr().err
        monkeypatch.setenv("MODEL_SERVER_API_KEY", "wr0ng")
        assert ask.main(["--url", url]) == 2
        error = capsys.readouterr().err
        assert "The one in MODEL_SERVER_API_KEY is not right." in error
        assert "wr0ng" not in error
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
        ask.choose(status, ask.Which())


KINDS = {
    "multiclass grey": ("true label", "right", "██", '"instances": [[['),
    "multiclass colour": ("true label", "right", "▓▓▒▒", '"instances": [[[['),
    "binary words": ("true label  yes", "age         39", "city        Oslo", '{"age": 39, "city": "Oslo"'),
    "binary numbers": ("true label  yes", "age         39", "bmi         21.5", '{"age": 39.0, "bmi": 21.5'),
    "regression numbers": ("true value ", "(progress)", "answer ", "off by 1", "s1          0.1"),
    "regression words": ("true value ", "(progress)", "off by 1", "size        1"),
    "regression colour": ("true value ", "(progress)", "off by 1", "▓▓▒▒"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_shown_with_its_truth_and_the_call_by_hand_works(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    import shlex
    import urllib.request

    store = FolderStore(tmp_path / "cache")
    store.add(write_kind(tmp_path / "v1", kind), "m", "1")
    server = Running(store)
    try:
        assert ask.main(["--url", server.wait_ready()]) == 0
        text = capsys.readouterr().out
        for part in KINDS[kind]:
            assert part in text
        assert ("right" in text or "wrong" in text) == ("regression" not in kind)
        _, _, url, _, body = shlex.split(text.splitlines()[-1])
        with urllib.request.urlopen(url, body.encode()) as response:
            assert b"predictions" in response.read()
    finally:
        server.stop()


def test_a_missing_cell_and_an_apostrophe_survive_the_call_by_hand(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import shlex

    rows = np.array([["nan", "Xi'an", "1", "2"]])
    store = FolderStore(tmp_path / "cache")
    store.add(write_kind(tmp_path / "v1", "binary words", golden={"inputs": rows}), "m", "1")
    server = Running(store)
    try:
        assert ask.main(["--url", server.wait_ready()]) == 0
        text = capsys.readouterr().out
    finally:
        server.stop()
    assert "age         missing" in text
    body = json.loads(shlex.split(text.splitlines()[-1])[-1])
    assert body == {"instances": [{"age": None, "city": "Xi'an", "income": 1, "size": "2"}]}


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


def test_a_picture_is_sent_as_it_is_and_the_call_by_hand_is_complete(
    url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "my drawing.png"
    file.write_bytes(png([[0, 51, 0], [204, 255, 0]]))
    assert ask.main(["--url", url, "--picture", str(file), "--centre"]) == 0
    shown = capsys.readouterr().out
    assert "picture     3 x 2 to 2 x 2 pixels, centred" in shown
    assert all(label in shown for label in ("zero", "one", "two"))
    assert "model       tiny version 1" in shown
    assert shown.endswith(f"curl -s '{url}/predict/tiny?centre=yes' --data-binary @'{file}'\n")


def test_a_picture_that_cannot_be_sent_is_one_sentence(
    url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ask.main(["--url", url, "--picture", str(tmp_path / "none.png")]) == 2
    assert "cannot be read" in capsys.readouterr().err
    (tmp_path / "a.gif").write_bytes(b"GIF89a")
    assert ask.main(["--url", url, "--picture", str(tmp_path / "a.gif")]) == 2
    assert "This call reads PNG and JPEG pictures; the body is a GIF." in capsys.readouterr().err


def test_a_regression_on_pictures_is_answered_with_its_value(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = FolderStore(tmp_path / "cache")
    store.add(write_kind(tmp_path / "v1", "regression grey"), "m", "1")
    server = Running(store)
    try:
        (tmp_path / "p.png").write_bytes(png([[0, 51], [204, 255], [1, 2]]))
        assert ask.main(["--url", server.wait_ready(), "--picture", str(tmp_path / "p.png")]) == 0
    finally:
        server.stop()
    answer = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("answer"))
    assert np.isfinite(float(answer.split()[1]))


@pytest.fixture
def zoo(tmp_path: Path) -> Iterator[tuple[str, FolderStore]]:
    """A server of a table and of a model of pictures in two versions, the table first."""
    store = FolderStore(tmp_path / "cache")
    store.add(write_kind(tmp_path / "people", "binary words"), "people", "1")
    store.add(write_package(tmp_path / "tiny1"), "tiny", "1", alias="previous")
    store.add(write_package(tmp_path / "tiny2", seed=2), "tiny", "2")
    (tmp_path / "zero.png").write_bytes(png([[0, 51, 0], [204, 255, 0]]))
    server = Running(store)
    url, pause = server.wait_ready(), threading.Event()
    for _ in range(1000):
        if len(list(server.app.state.engine.loaded())) == 3:
            break
        pause.wait(0.01)
    yield url, store
    server.stop()


def test_a_picture_goes_to_the_only_model_that_takes_pictures(
    zoo: tuple[str, FolderStore], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url, _ = zoo
    picture = ["--url", url, "--picture", str(tmp_path / "zero.png")]
    assert ask.main(picture) == 0
    assert "model       tiny version 2" in capsys.readouterr().out
    assert ask.main([*picture, "--model", "people"]) == 2
    told = "people takes no pictures. Those that do: tiny; say which with --model tiny.\n"
    assert capsys.readouterr().err == told


def test_a_version_or_an_alias_can_be_asked(
    zoo: tuple[str, FolderStore], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url, _ = zoo
    for chosen in (["--alias", "previous"], ["--model", "tiny", "--version", "1"]):
        assert ask.main(["--url", url, *chosen]) == 0
        shown = capsys.readouterr().out
        assert "model       tiny version 1 (previous)" in shown
        assert "/labels/previous:predict" in shown or "/versions/1:predict" in shown
        assert ask.main(["--url", url, "--picture", str(tmp_path / "zero.png"), *chosen]) == 0
        assert "model       tiny version 1" in capsys.readouterr().out
    assert ask.main(["--url", url, "--model", "tiny", "--version", "7"]) == 2
    told = "There is no version 7 of tiny here; loaded: tiny@champion version 2, tiny@previous version 1.\n"
    assert capsys.readouterr().err == told


def _entry(name: str, takes_pictures: bool) -> dict[str, object]:
    picture = {"width": 2} if takes_pictures else None
    return {"name": name, "wanted": f"{name}@champion", "version": "1", "picture": picture}


@pytest.mark.parametrize(
    ("models", "told"),
    [
        (
            [_entry("people", True), _entry("digits", True)],
            "pictures (digits, people): say which with --model digits",
        ),
        ([_entry("people", False), _entry("houses", False)], "No model here takes pictures"),
        ([_entry("people", False)], "people takes no pictures: leave --picture out .* with --model"),
    ],
)
def test_a_picture_is_sent_to_nobody_by_chance(models: list[dict[str, object]], told: str) -> None:
    with pytest.raises(ask.NoAnswer, match=told.replace("(", r"\(").replace(")", r"\)")):
        ask.choose({"models": models}, ask.Which(), pictures=True)


def test_a_certificate_that_nobody_knows_is_told_as_such(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    certificate, key = write_certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)

    class Ready(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"[]")

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Ready) as server:
        server.handle_error = lambda *_: None  # type: ignore[method-assign]
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            url = f"https://127.0.0.1:{server.server_address[1]}"
            assert ask.main(["--url", url]) == 2
            error = capsys.readouterr().err
            assert f"The certificate of {url} is not one that this machine trusts (self-signed certificate)" in error
            assert "SSL_CERT_FILE" in error
            monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
            assert ask.fetch(url, "/models")[0] == []
        finally:
            server.shutdown()
            thread.join(20)
