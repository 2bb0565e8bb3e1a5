"""The local tracking server answers as MLflow's own does, whichever way a request takes."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from services.tracking_server.bulk_forms import PROTOCOL
from tests.sites import made_site

pytestmark = pytest.mark.end_to_end
JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with made_site(tmp_path_factory.mktemp("tracking") / "home") as site:
        done = site.local("up", "tracking_server")
        assert done.returncode == 0, done.stderr
        yield site.server


def ask(
    address: str, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] = JSON
) -> tuple[int, Mapping[str, str], bytes]:
    connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=30)
    try:
        connection.request(method, path, body or None, dict(headers))
        answer = connection.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
    finally:
        connection.close()


def test_a_call_is_answered_in_json_with_mlflows_headers(address: str) -> None:
    body = json.dumps({"name": "é" * 20}).encode()

    status, headers, content = ask(address, "POST", "/api/2.0/mlflow/experiments/create", body)

    assert status == 200
    assert headers["content-type"].startswith("application/json")
    assert headers["x-content-type-options"] == "nosniff"
    experiment = json.loads(content)["experiment_id"]
    _, _, content = ask(address, "GET", f"/api/2.0/mlflow/experiments/get?experiment_id={experiment}")
    assert json.loads(content)["experiment"]["name"] == "é" * 20


def test_what_mlflow_refuses_is_told_in_its_words(address: str) -> None:
    status, _, content = ask(address, "GET", "/api/2.0/mlflow/runs/get?run_id=" + "0" * 32)

    assert status == 404
    assert json.loads(content)["error_code"] == "RESOURCE_DOES_NOT_EXIST"


@pytest.mark.parametrize("path", ["/api/2.0/mlflow/experiments/search", "/ajax-api/2.0/mlflow/experiments/search", "/"])
def test_a_name_that_is_not_this_machines_is_turned_away(address: str, path: str) -> None:
    status, _, content = ask(address, "GET", f"{path}?max_results=1", headers={"Host": "evil.example"})

    assert status == 403
    assert b"Invalid Host header" in content


def test_a_page_from_elsewhere_cannot_change_anything(address: str) -> None:
    body = json.dumps({"name": "forged"}).encode()

    status, _, _ = ask(
        address, "POST", "/api/2.0/mlflow/experiments/create", body, {**JSON, "Origin": "http://evil.example"}
    )

    assert status == 403
    _, _, content = ask(address, "GET", "/api/2.0/mlflow/experiments/search?max_results=100")
    assert "forged" not in {found["name"] for found in json.loads(content)["experiments"]}


@pytest.mark.parametrize("name", ["runs", "checkpoints", "files"])
def test_the_bulk_door_is_guarded_as_mlflows_calls_are(address: str, name: str) -> None:
    _, _, content = ask(address, "GET", "/api/2.0/mlflow/regatta/records")
    assert json.loads(content)["protocol"] == PROTOCOL
    path, form = f"/api/2.0/mlflow/regatta/{name}", json.dumps({name: []}).encode() + b"\n"

    for turned_away in ({"Host": "evil.example"}, {"Origin": "http://evil.example"}):
        status, _, _ = ask(address, "POST", path, form, turned_away)
        assert status == 403

    status, headers, _ = ask(address, "POST", path, form, {})
    assert status == 200
    assert headers["x-content-type-options"] == "nosniff"


def test_files_and_the_page_go_mlflows_own_way(address: str, tmp_path: Path) -> None:
    place, sent = "/api/2.0/mlflow-artifacts/artifacts/0/some-run/artifacts/best.keras", bytes(range(256)) * 4000

    status, _, _ = ask(address, "PUT", place, sent, {})
    assert status in {200, 204}
    assert ask(address, "GET", place, headers={})[2] == sent

    status, headers, _ = ask(address, "GET", "/", headers={})
    assert status == 200
    assert headers["content-type"].startswith("text/html")
