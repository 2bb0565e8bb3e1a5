"""What is asked of an engine over its socket, and what is made of its answers; a real one is asked in tests/stack."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingMixIn, UnixStreamServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from pipelines.executors.docker.base import (
    ContainerPlan,
    EngineFacts,
    EngineGone,
    EngineRefused,
    Exit,
    ImageMissing,
    Mount,
)
from pipelines.executors.docker.engine import DockerEngine

VERSION = "1.47"
PLAN = ContainerPlan(
    "regatta/sweep", ("python", "-m", "worker"), "regatta-digits-0", {"regatta.study": "digits"}, {"HOME": "/tmp"},
    [Mount("/state", "/state"), Mount("/data", "/images", read_only=True)], "/code", "1000:1000", 1.5, 700 << 20,
    128 << 20, "none", "GPU-8932f937",
)  # fmt: skip


class Api:
    """An engine's API: what was asked, and answers by method and path."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, dict[str, list[str]], Any]] = []
        self.answers: dict[tuple[str, str], tuple[int, Any]] = {("GET", "/version"): (200, {"ApiVersion": VERSION})}

    def body(self, path: str) -> Any:
        """What was sent to this path last."""
        return next(body for _, asked, _, body in reversed(self.asked) if asked == path)

    def query(self, path: str) -> dict[str, list[str]]:
        return next(query for _, asked, query, _ in reversed(self.asked) if asked == path)


class _Server(ThreadingMixIn, UnixStreamServer):
    daemon_threads = True


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Api]:
    api = Api()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self) -> None:
            parts = urlsplit(self.path)
            path = parts.path.removeprefix(f"/v{VERSION}")
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            api.asked.append((self.command, path, parse_qs(parts.query), body))
            status, said = api.answers.get((self.command, path), (404, {"message": f"no such path: {path}"}))
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            if isinstance(said, list) and status == 206:  # one line after another, as they come
                self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
                for line in [*(json.dumps(each).encode() + b"\n" for each in said), b""]:
                    self.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))
                return
            content = json.dumps(said).encode()
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_DELETE = _answer  # noqa: N815

        def address_string(self) -> str:
            return "here"

        def log_message(self, *words: object) -> None: ...

    path = tmp_path / "docker.sock"
    server = _Server(str(path), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    monkeypatch.setenv("DOCKER_HOST", f"unix://{path}")
    yield api
    server.shutdown()
    thread.join()
    server.server_close()


def test_an_engine_tells_what_it_is_like(api: Api) -> None:
    options = ["name=seccomp,profile=builtin", "name=rootless"]
    api.answers["GET", "/info"] = (200, {"ID": "the engine", "MemTotal": 1 << 30, "SecurityOptions": options})
    assert DockerEngine().facts() == EngineFacts("the engine", 1 << 30, rootless=True)


def test_a_container_is_asked_for_with_all_its_limits(api: Api) -> None:
    api.answers["POST", "/containers/create"] = (201, {"Id": "c1", "Warnings": []})

    assert DockerEngine().create(PLAN) == "c1"

    body = api.body("/containers/create")
    host = body["HostConfig"]
    assert api.query("/containers/create")["name"] == ["regatta-digits-0"]
    assert (body["Image"], body["Entrypoint"], body["User"]) == ("regatta/sweep", list(PLAN.command), "1000:1000")
    assert (body["Labels"], body["WorkingDir"]) == ({"regatta.study": "digits"}, "/code")
    assert body["Env"] == ["HOME=/tmp"]
    assert (host["NanoCpus"], host["Memory"], host["MemorySwap"]) == (1_500_000_000, 700 << 20, 700 << 20)
    assert (host["ShmSize"], host["NetworkMode"], host["Init"]) == (128 << 20, "none", True)
    assert (host["CapDrop"], host["SecurityOpt"]) == (["ALL"], ["no-new-privileges:true"])
    assert "CapAdd" not in host
    assert [(mount["Source"], mount["Target"], mount["ReadOnly"]) for mount in host["Mounts"]] == [
        ("/state", "/state", False),
        ("/data", "/images", True),
    ]
    (gpu,) = host["DeviceRequests"]
    assert (gpu["DeviceIDs"], gpu["Capabilities"]) == (["GPU-8932f937"], [["gpu"]])


def test_how_a_container_ended_is_told_with_whether_memory_was_the_reason(api: Api) -> None:
    api.answers["POST", "/containers/c1/wait"] = (200, {"StatusCode": 137})
    api.answers["GET", "/containers/c1/json"] = (200, {"State": {"ExitCode": 137, "OOMKilled": True, "Error": ""}})
    assert DockerEngine().wait("c1") == Exit(137, out_of_memory=True)

    api.answers["GET", "/containers/c1/json"] = (404, {"message": "No such container: c1"})
    assert DockerEngine().wait("c1") == Exit(137)  # somebody has removed it in between


def test_containers_are_found_by_their_labels(api: Api) -> None:
    found = [{"Id": "c1", "State": "running"}, {"Id": "c2", "State": "exited"}, {"Id": "c3", "State": "paused"}]
    api.answers["GET", "/containers/json"] = (200, found)

    assert DockerEngine().labelled({"regatta.study": "digits"}) == {"c1": True, "c2": False, "c3": True}
    assert json.loads(api.query("/containers/json")["filters"][0]) == {"label": ["regatta.study=digits"]}


def test_what_is_gone_already_need_not_be_ended_or_removed(api: Api) -> None:
    api.answers["POST", "/containers/c1/kill"] = (409, {"message": "container c1 is not running"})
    api.answers["DELETE", "/containers/c1"] = (409, {"message": "removal of container c1 is already in progress"})
    DockerEngine().kill("c1")
    DockerEngine().remove("c1")
    DockerEngine().remove("c2")
    assert api.query("/containers/c1")["force"] == ["True"]


def test_a_missing_image_and_a_full_disk_are_told_in_the_engines_own_words(api: Api) -> None:
    api.answers["GET", "/images/regatta/sweep/json"] = (404, {"message": "No such image: regatta/sweep:latest"})
    with pytest.raises(ImageMissing, match="No such image: regatta/sweep:latest"):
        DockerEngine().image_id("regatta/sweep")

    api.answers["POST", "/containers/create"] = (404, {"message": "No such image: regatta/sweep:latest"})
    with pytest.raises(ImageMissing):
        DockerEngine().create(PLAN)

    api.answers["POST", "/containers/create"] = (500, {"message": "write /layer: no space left on device"})
    with pytest.raises(EngineRefused, match="no space left on device"):
        DockerEngine().create(PLAN)


@pytest.mark.parametrize(
    ("image", "asked"),
    [
        ("regatta/sweep", {"fromImage": ["regatta/sweep"], "tag": ["latest"]}),
        ("registry.example:5000/regatta/sweep:3", {"fromImage": ["registry.example:5000/regatta/sweep"], "tag": ["3"]}),
    ],
)
def test_an_image_is_fetched_by_its_name_and_tag(api: Api, image: str, asked: dict[str, list[str]]) -> None:
    api.answers["POST", "/images/create"] = (206, [{"status": "Pulling"}, {"status": "Done"}])
    DockerEngine().pull(image)
    assert api.query("/images/create") == asked


def test_an_image_that_cannot_be_fetched_says_why(api: Api) -> None:
    api.answers["POST", "/images/create"] = (206, [{"status": "Pulling"}, {"error": "toomanyrequests"}])
    with pytest.raises(EngineRefused, match="toomanyrequests"):
        DockerEngine().pull("regatta/sweep")


@pytest.mark.parametrize(
    ("error", "text", "forbidden"),
    [
        (PermissionError(13, "Permission denied"), "Permission denied", True),
        (ConnectionRefusedError(111, "Connection refused"), "Connection refused", False),
    ],
)
def test_an_engine_that_cannot_be_reached_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: OSError, text: str, forbidden: bool
) -> None:
    def fails(self: socket.socket, address: Any) -> None:
        raise error

    class Closed(socket.socket):
        connect = fails

    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/docker.sock")
    monkeypatch.setattr("pipelines.executors.docker.engine.socket.socket", Closed)
    with pytest.raises(EngineGone, match=text) as caught:
        DockerEngine().facts()
    assert caught.value.forbidden == forbidden
