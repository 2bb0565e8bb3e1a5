"""`make predict`: a picture, the answer, the version, or one sentence that says what to type next."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
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
        ([[[0, 0, 0], [16, 16, 16]], [[0, 16, 0], [0, 0, 16]]], "  ██\n▒▒"),
        ([[[16, 16, 16, 0], [16, 0, 0, 9]]], "██░░"),
        ([[99, -99]], "██"),
        ([[1, 2], [3]], ""),
        ([[[1, 2], [3, 4]]], ""),
        ([[None, 1]], ""),
        ([["a", "b"]], ""),
        ([1, 2, 3], ""),
        ([[[1, 2, 3]]], ""),
        (3, ""),
    ],
)
def test_only_what_has_rows_and_columns_is_drawn(values: object, drawn: str) -> None:
    assert ask.picture(values, (0, 16)) == drawn


def test_a_sample_of_one_value_everywhere_is_drawn_without_a_range() -> None:
    assert ask.picture([[5, 5]], None) == ""


def test_a_picture_that_is_too_wide_is_drawn_smaller() -> None:
    lines = ask.picture([[16] * 200] * 100, (0, 16)).splitlines()
    assert (len(lines), len(lines[0])) == (25, 100)


def test_a_colour_picture_is_painted_where_a_terminal_shows_colours() -> None:
    image = [[[0, 8, 16], [16, 16, 16]]]
    painted = "\x1b[48;2;0;128;255m  \x1b[48;2;255;255;255m  \x1b[0m"
    assert ask.picture(image, (0, 16), colours=True) == painted
    assert "\x1b" not in ask.picture(image, (0, 16))
    assert "\x1b" not in ask.picture([[0, 16]], (0, 16), colours=True)


def test_a_row_is_shown_by_column_name_and_a_wide_one_is_cut() -> None:
    columns = [{"name": name} for name in ("age", "the name of the second column here", "note")]
    assert ask.table([39, None, "a\tb" * 50], columns) == [
        "age                            39",
        "the name of the second column  missing",
        "note                           " + repr(("a\tb" * 50)[:60]),
    ]
    many = ask.table(list(range(50)), [{"name": f"c{index}"} for index in range(50)])
    assert many[39:] == ["c39         39", "… and 10 more columns"]


def test_a_probability_of_one_half_is_an_answer_for_the_second_label() -> None:
    assert ask.top([0.5], ["no", "yes"]) == [("yes", 0.5), ("no", 0.5)]


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
