"""Schemathesis reads /openapi.json and asks everything that it describes, in thousands of ways, some of them wrong."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.end_to_end.test_foreign_clients import FOLDER, LABELS, environments, loaded, made_environment
from tests.services.model_server.parts import write_kind, write_package
from tests.services.model_server.processes import DEADLINE_S, Process, Registry

__all__ = ["environments"]  # a fixture that this module's tests use
EXAMPLES = 12
# Answers are held against their schemas in tests of the document; TF Serving's NaN, which is no JSON, would fail here.
CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance"

# MLflow and SQLAlchemy warn about themselves; only our own warnings are errors.
pytestmark = [pytest.mark.filterwarnings("default"), pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """A server with a model of pictures and one of a table."""
    folder = tmp_path_factory.mktemp("fuzzed")
    registry = Registry(folder)
    packages = {
        "pictures": write_package(folder / "pictures", name="pictures", shape=(8, 8), labels=LABELS),
        "table": write_kind(folder / "table", "binary words", name="table"),
    }
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("MLFLOW_TRACKING_URI", registry.uri)  # the registry looks up a model's files by it
        for name, package in packages.items():
            registry.point(name, registry.add(name, package))
    process = Process(
        folder / "server.log",
        MLFLOW_TRACKING_URI=registry.uri,
        MODEL_SERVER_CACHE=str(folder / "cache"),
        MODEL_SERVER_MODELS=",".join(packages),
    )
    process.wait(lambda: loaded(process) == set(packages), "both models answer")
    yield process
    process.end()


def test_nothing_that_the_api_describes_fails_the_server(environments: Path, server: Process) -> None:
    python = made_environment(environments / "schemathesis", FOLDER / "schemathesis.txt")
    done = subprocess.run(
        [
            str(python.with_name("schemathesis")), "run", f"{server.url}/openapi.json", "--no-color",
            "--checks", CHECKS, "--max-examples", str(EXAMPLES), "--seed", "7",
        ],
        capture_output=True, text=True, timeout=1200, check=False, cwd=environments,
    )  # fmt: skip

    assert done.returncode == 0, done.stdout[-8000:]
    generated = re.search(r"(\d+) generated", done.stdout)
    assert generated is not None
    assert int(generated[1]) > 500
    assert server.events("request_failed") == []
    assert httpx.get(f"{server.url}/readyz", timeout=DEADLINE_S).status_code == 200
