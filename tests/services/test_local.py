from __future__ import annotations

import json
import os
import socket
import sqlite3
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import cast

import psutil
import pytest

from services import local, processes
from services.other_settings import other_settings
from services.processes import LocalError, PortTakenError, Service, Stack
from services.started_stack import StartedStack, note

HEALTHY = """
import http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers()
    def log_message(self, *args): pass
http.server.ThreadingHTTPServer((sys.argv[1], int(sys.argv[2])), Handler).serve_forever()
"""
DYING = "import sys; print('the database is on fire', flush=True); sys.exit(3)"
SILENT = "import signal; print('here', flush=True); signal.pause()"
DEAF = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + HEALTHY


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def service(script: str = HEALTHY, name: str = "fake", port: int | None = None) -> Service:
    return Service(
        name=name,
        port_variable=f"{name.upper()}_PORT",
        default_port=port or free_port(),
        health="/health",
        ready="/ready",
        host="127.0.0.1",
        command=lambda _home, host, port: [sys.executable, "-c", script, host, str(port)],
        environment=lambda _home, _host, _port: {"FAKE_MARK": "yes", "MLFLOW_TRACKING_URI": None},
    )


MakeStack = Callable[..., Stack]


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def make_stack(tmp_path: Path, said: list[str]) -> Iterator[MakeStack]:
    """Makes stacks of one state folder, and stops at the end whatever they started."""
    made: list[Stack] = []

    def make(*services: Service, **environ: str) -> Stack:
        table = {service.name: service for service in services}
        made.append(Stack(tmp_path / "home", table, {**os.environ, **environ}, said.append))
        return made[-1]

    yield make
    for stack in made:
        stack.down(list(stack.services))


def pid_of(stack: Stack, name: str = "fake") -> int:
    started = stack.read(name)
    assert started is not None
    return started.pid


def children_running(script: str) -> list[int]:
    alive = [child for child in psutil.Process().children() if child.status() != psutil.STATUS_ZOMBIE]
    return [child.pid for child in alive if script in child.cmdline()]


def test_up_starts_a_service_that_answers_and_down_stops_it(make_stack: MakeStack) -> None:
    stack = make_stack(service())
    stack.up(["fake"])
    state = stack.status(["fake"])["fake"]
    assert state["state"] == "running"
    with urllib.request.urlopen(f"{state['address']}/health") as answer:
        assert answer.status == 200
    pid = pid_of(stack)
    assert stack.down(["fake"]) == ["fake"]
    assert not psutil.pid_exists(pid)
    assert stack.status(["fake"])["fake"]["state"] == "stopped"


def test_a_service_has_a_session_of_its_own_and_the_environment_it_was_promised(make_stack: MakeStack) -> None:
    stack = make_stack(service(), MLFLOW_TRACKING_URI="http://elsewhere:1")
    stack.up(["fake"])
    pid = pid_of(stack)
    assert os.getsid(pid) == pid
    environ = psutil.Process(pid).environ()
    assert environ["FAKE_MARK"] == "yes"
    assert "MLFLOW_TRACKING_URI" not in environ


def test_up_twice_keeps_the_first_process_and_says_so(make_stack: MakeStack, said: list[str]) -> None:
    stack = make_stack(service())
    stack.up(["fake"])
    first = pid_of(stack)
    stack.up(["fake"])
    assert pid_of(stack) == first
    assert said[-1] == f"fake already runs at {stack.status(['fake'])['fake']['address']}."


def test_up_says_with_which_other_settings_a_service_runs_and_how_to_start_it_anew(
    make_stack: MakeStack, said: list[str]
) -> None:
    fake = replace(service(), settings=("FAKE_", "FAKED"))
    first = make_stack(fake, FAKE_SIZE="7", FAKE_GONE="on", FAKE_API_KEY="s3cret", FAKED="x", OTHER="1")
    assert first.up(["fake"]) == ["fake"]
    said.clear()
    again = make_stack(
        fake, FAKE_SIZE="8", FAKE_GONE="", FAKE_API_KEY="an0ther", FAKED="x", OTHER="2", FAKE_PORT="8099"
    )
    assert again.up(["fake"]) == []
    already, told = said
    assert already.startswith("fake already runs at ")
    assert told == (
        "fake goes on with the settings that it was started with: FAKE_API_KEY is another one; FAKE_GONE is 'on' "
        "there, and not set here; FAKE_PORT is not set there, and '8099' here; FAKE_SIZE is '7' there, and '8' here. "
        "To start it anew: make down-local SERVICES=fake, and then this command again."
    )
    said.clear()
    make_stack(fake, FAKE_SIZE="7", FAKE_GONE="on", FAKE_API_KEY="s3cret", FAKED="x").up(["fake"])
    assert len(said) == 1


def test_an_address_that_nobody_asked_for_is_no_other_setting(tmp_path: Path) -> None:
    table = local.service_table({"MODEL_SERVER_PORT": "8099"})["model_server"]
    there = {key: value or "" for key, value in table.environment(tmp_path, "127.0.0.1", 8099).items()}
    here = there | {"MODEL_SERVER_PORT": "8080", "MODEL_SERVER_QUEUE": "7"}

    class Running:
        def environ(self) -> dict[str, str]:
            return there

    def told(**asked: str) -> list[str]:
        return other_settings(cast(psutil.Process, Running()), here, asked, table.settings)

    assert told() == ["MODEL_SERVER_QUEUE is not set there, and '7' here"]
    assert told(MODEL_SERVER_PORT="8080")[0] == "MODEL_SERVER_PORT is '8099' there, and '8080' here"


def test_a_process_of_somebody_else_tells_nothing_of_its_settings() -> None:
    class Closed:
        def environ(self) -> dict[str, str]:
            raise psutil.AccessDenied(1)

    assert other_settings(cast(psutil.Process, Closed()), {"FAKE_SIZE": "1"}, {}, ["FAKE_"]) == []


@pytest.mark.parametrize(
    ("flag", "told"),
    [
        (
            "--workers=2",
            "no flag --workers here; the model server takes it as a variable: make up-local MODEL_SERVER_WORKERS=",
        ),
        ("--wrokers", "there is no flag --wrokers"),
    ],
)
def test_a_flag_of_the_model_server_is_refused_with_the_variable_to_set(
    capsys: pytest.CaptureFixture[str], flag: str, told: str
) -> None:
    with pytest.raises(SystemExit) as caught:
        local.main(["up", "model_server", flag, "2"])
    assert caught.value.code == 2
    assert told in capsys.readouterr().err


def test_a_variable_that_is_no_setting_is_told_with_the_nearest_one(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODEL_SERVER_DRFT", "0.3")
    table = fakes()
    try:
        assert local.main(["up", "--no-wait"], table) == 0
    finally:
        local.main(["down"], table)
    told = "MODEL_SERVER_DRFT is set, and there is no such setting; did you mean MODEL_SERVER_DRIFT?\n"
    assert told in capsys.readouterr().err


def test_two_ups_at_the_same_time_start_one_process(make_stack: MakeStack) -> None:
    fake = service()
    stacks = [make_stack(fake), make_stack(fake)]
    threads = [threading.Thread(target=stack.up, args=(["fake"],)) for stack in stacks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert children_running(HEALTHY) == [pid_of(stacks[0])]


def test_a_port_in_use_is_one_sentence_with_the_port_its_holder_and_the_variable(make_stack: MakeStack) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        stack = make_stack(service(port=port))
        with pytest.raises(PortTakenError) as caught:
            stack.up(["fake"])
    message = str(caught.value)
    assert f"port {port}" in message
    assert f"process {os.getpid()}" in message
    assert f"FAKE_PORT={port + 1}" in message
    assert "\n" not in message
    assert stack.read("fake") is None


def test_the_port_variable_moves_a_service(make_stack: MakeStack) -> None:
    port = free_port()
    stack = make_stack(service(), FAKE_PORT=str(port))
    stack.up(["fake"])
    assert stack.status(["fake"])["fake"]["address"] == f"http://127.0.0.1:{port}"


@pytest.mark.parametrize("text", ["none", "0", "65536", "-1", "80.5"])
def test_a_port_that_is_none_is_refused_by_name(make_stack: MakeStack, text: str) -> None:
    with pytest.raises(LocalError, match=r"FAKE_PORT is .* from 1 to 65535"):
        make_stack(service(), FAKE_PORT=text).up(["fake"])


def test_a_service_that_dies_at_the_start_shows_its_last_words(make_stack: MakeStack) -> None:
    stack = make_stack(service(DYING))
    with pytest.raises(LocalError, match=r"(?s)fake ended while it started.*the database is on fire"):
        stack.up(["fake"])
    assert stack.read("fake") is None


def test_a_service_that_never_answers_is_stopped_and_named(
    make_stack: MakeStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "START_TIMEOUT_S", 0.2)
    stack = make_stack(service(SILENT))
    with pytest.raises(LocalError, match="did not answer at"):
        stack.up(["fake"])
    assert children_running(SILENT) == []


def test_a_service_that_ignores_the_gentle_signal_is_stopped_all_the_same(
    make_stack: MakeStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "STOP_TIMEOUT_S", 0.2)
    stack = make_stack(service(DEAF))
    stack.up(["fake"])
    pid = pid_of(stack)
    stack.down(["fake"])
    assert not psutil.pid_exists(pid)


@pytest.mark.parametrize("change", [{"command": ["another", "program"]}, {"created": 1.0}])
def test_a_pid_that_now_belongs_to_somebody_else_is_never_stopped(
    make_stack: MakeStack, tmp_path: Path, change: dict[str, object]
) -> None:
    command = [sys.executable, "-c", SILENT]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as bystander:
        assert bystander.stdout is not None
        assert bystander.stdout.readline() == b"here\n"
        created = psutil.Process(bystander.pid).create_time()
        record = {"pid": bystander.pid, "created": created, "address": "http://127.0.0.1:1", "command": command}
        stack = make_stack(service())
        file = tmp_path / "home" / "run" / "fake.json"
        file.parent.mkdir(parents=True)
        file.write_text(json.dumps({**record, **change}))
        assert stack.down(["fake"]) == []
        assert bystander.poll() is None
        assert not file.exists()
        file.write_text(json.dumps(record))  # the same file without the change: this one would be stopped
        assert stack.down(["fake"]) == ["fake"]
        assert not psutil.pid_exists(bystander.pid)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": 1}', '{"pid": 1, "nonsense": 2}'])
def test_a_broken_pid_file_counts_as_none(make_stack: MakeStack, tmp_path: Path, text: str) -> None:
    file = tmp_path / "home" / "run" / "fake.json"
    file.parent.mkdir(parents=True)
    file.write_text(text)
    stack = make_stack(service())
    assert stack.status(["fake"])["fake"]["state"] == "stopped"
    stack.up(["fake"])
    assert stack.status(["fake"])["fake"]["state"] == "running"


def test_the_command_exits_with_2_for_a_port_in_use(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        monkeypatch.setenv("FAKE_PORT", str(other.getsockname()[1]))
        assert local.main(["up"], {"fake": service()}) == 2
    assert "FAKE_PORT=" in capsys.readouterr().err


def test_the_command_exits_with_1_for_a_service_that_dies(capsys: pytest.CaptureFixture[str]) -> None:
    assert local.main(["up"], {"fake": service(DYING)}) == 1
    assert "the database is on fire" in capsys.readouterr().err


def test_json_is_alone_on_standard_output(capsys: pytest.CaptureFixture[str], regatta_home: Path) -> None:
    table = {"fake": service()}
    try:
        assert local.main(["up", "--json"], table) == 0
        shown = json.loads(capsys.readouterr().out)["services"]["fake"]
        assert shown["state"] == "running"
        assert shown["address"] == f"http://127.0.0.1:{table['fake'].default_port}"
        assert shown["log"] == str(regatta_home / "run" / "fake.log")
    finally:
        local.main(["down"], table)


def test_a_service_of_another_name_is_refused_with_the_names_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        local.main(["up", "modelserver"])
    assert caught.value.code == 2
    assert "there are tracking_server, model_server" in capsys.readouterr().err


def fakes() -> dict[str, Service]:
    return {name: service(name=name) for name in ("tracking_server", "model_server")}


@pytest.mark.parametrize(
    ("arguments", "uri", "running"),
    [
        ([], None, {"tracking_server", "model_server"}),
        ([], "http://mlflow.example:5000", {"model_server"}),
        ([], "own", {"tracking_server", "model_server"}),
        (["tracking_server"], "http://mlflow.example:5000", {"tracking_server"}),
        (["model_server"], None, {"model_server"}),
    ],
)
def test_up_starts_a_tracking_server_unless_the_user_has_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, arguments: list[str], uri: str | None, running: set[str]
) -> None:
    table = fakes()
    if uri:
        own = f"http://localhost:{table['tracking_server'].default_port}/"
        monkeypatch.setenv("MLFLOW_TRACKING_URI", own if uri == "own" else uri)
    try:
        assert local.main(["up", *arguments], table) == 0
        states = Stack(Path(os.environ["REGATTA_HOME"]), table, os.environ, print).status(list(table))
        assert {name for name, state in states.items() if state["state"] == "running"} == running
    finally:
        local.main(["down"], table)


def test_services_that_run_in_containers_are_not_started_again(
    make_stack: MakeStack, capsys: pytest.CaptureFixture[str]
) -> None:
    table = fakes()
    home = Path(os.environ["REGATTA_HOME"])
    elsewhere = make_stack(service())
    elsewhere.up(["fake"])
    contained = str(elsewhere.status(["fake"])["fake"]["address"])
    note(home, StartedStack(contained, "http://127.0.0.1:1", True, "the .env"))  # its model server does not answer
    try:
        assert local.main(["up", "--json"], table) == 0
        told = json.loads(capsys.readouterr().out)["services"]
        assert told["tracking_server"] == {
            "state": "running in a container",
            "address": contained,
            "pid": None,
            "log": "docker compose logs tracking_server",
            "settings": "the .env",
        }
        assert told["model_server"]["state"] == "running"
        assert local.main(["status", "tracking_server"], table) == 0
        shown = capsys.readouterr().out
        assert (
            shown == f"tracking_server: running in a container at {contained} (docker compose logs tracking_server)\n"
        )
    finally:
        local.main(["down"], table)


def test_the_model_server_is_told_where_the_tracking_server_runs(tmp_path: Path) -> None:
    def told(**environ: str) -> str | None:
        return local.service_table(environ)["model_server"].environment(tmp_path, "127.0.0.1", 8080)[
            "MLFLOW_TRACKING_URI"
        ]

    assert told() == "http://127.0.0.1:5000"
    assert told(MLFLOW_PORT="5001") == "http://127.0.0.1:5001"
    assert told(MLFLOW_TRACKING_URI="http://mlflow.example") == "http://mlflow.example"


def test_a_service_that_listens_everywhere_is_reached_on_the_loopback_address() -> None:
    table = local.service_table({"MODEL_SERVER_HOST": "0.0.0.0"})
    assert table["model_server"].host == "0.0.0.0"
    assert table["model_server"].address(8080) == "http://127.0.0.1:8080"


@pytest.mark.end_to_end
def test_the_real_tracking_server_starts_keeps_what_it_is_told_and_stops(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], regatta_home: Path
) -> None:
    monkeypatch.setenv("MLFLOW_PORT", str(free_port()))

    def call(path: str, body: dict[str, object]) -> dict[str, object]:
        request = urllib.request.Request(
            f"{address}/api/2.0/mlflow/{path}", json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request) as answer:
            return dict(json.load(answer))

    try:
        for _ in range(2):  # the second one starts on the first one's database
            assert local.main(["up", "tracking_server", "--json"]) == 0
            address = json.loads(capsys.readouterr().out)["services"]["tracking_server"]["address"]
            with urllib.request.urlopen(f"{address}/health") as answer:
                assert answer.read() == b"OK"
            names = [item["name"] for item in call("experiments/search", {"max_results": 9})["experiments"]]  # type: ignore[attr-defined]
            if "kept" not in names:
                made = call("experiments/create", {"name": "kept"})
                shown = call("runs/create", {"experiment_id": made["experiment_id"]})["run"]
                assert shown["info"]["artifact_uri"].startswith("mlflow-artifacts:/")  # type: ignore[index]
                assert local.main(["down"]) == 0
                capsys.readouterr()
        assert "kept" in names
    finally:
        local.main(["down"])
    connection = sqlite3.connect(regatta_home / "mlflow" / "mlflow.db")
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    connection.close()
