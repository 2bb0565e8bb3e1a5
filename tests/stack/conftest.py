"""A real Docker engine, the project's own images, and a stack of them, for the tests that `make test-stack` runs."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.sites import ROOT
from tests.stack.composed import Composition, docker

HERE = Path(__file__).parent
BASE = "python:3.11-slim-bookworm"
PUBLIC_POSTGRES = "postgres:17.6-alpine"
STANDIN_POSTGRES = "regatta_test/postgres_standin"
PUBLIC_PROMETHEUS = "prom/prometheus:v3.5.0"
STANDIN_PROMETHEUS = "regatta_test/prometheus_standin"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whatever is in this folder takes minutes, so it runs when it is asked for."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.stack)


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Docker's engine: the one that is there, or one that is started for these tests."""
    folder = tmp_path_factory.mktemp("engine")
    script = ["sh", str(HERE / "engine.sh")]
    with (folder / "said").open("w+") as said:  # no pipe: the engine would keep it open
        done = subprocess.run([*script, "start", str(folder)], stdout=said, stderr=said, check=False, timeout=120)
        said.seek(0)
        reason = said.read().strip()
    if done.returncode != 0:
        pytest.skip(reason)
    yield
    subprocess.run([*script, "stop", str(folder)], check=True, timeout=120)


@pytest.fixture(scope="session")
def base_image(engine: None) -> str:
    """The image that the project's images start from."""
    done = subprocess.run(["sh", str(HERE / "base_image.sh")], capture_output=True, text=True, check=False, timeout=600)
    if done.returncode != 0:
        pytest.skip(done.stdout.strip() or done.stderr.strip())
    fetch = ["python", "-m", "pip", "download", "--quiet", "--no-deps", "--dest", "/tmp/fetched", "pip"]
    tried = docker("run", "--rm", BASE, *fetch, check=False, timeout_s=180)
    if tried.returncode != 0:
        why = (tried.stderr.strip().splitlines() or ["no reason was told"])[-1]
        pytest.skip(f"containers of this machine reach no packages, so no image can be made: {why}")
    return BASE


@pytest.fixture(scope="session")
def postgres_image(base_image: str) -> str:
    """The public image of PostgreSQL, or its stand-in."""
    return public_or_standin(PUBLIC_POSTGRES, STANDIN_POSTGRES, HERE / "postgres")


@pytest.fixture(scope="session")
def prometheus_image(base_image: str) -> str:
    """The public image of Prometheus, or its stand-in."""
    return public_or_standin(PUBLIC_PROMETHEUS, STANDIN_PROMETHEUS, HERE / "prometheus")


def public_or_standin(public: str, standin: str, folder: Path) -> str:
    """A public image, or one that is made from a folder to stand in for it where it cannot be pulled."""
    for command in (["image", "inspect", public], ["pull", "--quiet", public]):
        if docker(*command, check=False, timeout_s=120).returncode == 0:
            return public
    docker("build", "--quiet", "--tag", standin, str(folder), timeout_s=600)
    return standin


@pytest.fixture(scope="session")
def composition(postgres_image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Composition]:
    """A clean copy of the repository, from which a stack with names and ports of its own can be started."""
    folder = tmp_path_factory.mktemp("clone") / "regatta"
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.split("\0")  # fmt: skip
    for name in filter(None, listed):
        if (ROOT / name).is_file():  # one that was removed is listed until that is committed
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    made = Composition(folder, {"POSTGRES_IMAGE": postgres_image})
    made.clear()  # what a run that was killed has left
    try:
        yield made
    finally:
        made.clear()


@pytest.fixture(scope="session")
def stack(composition: Composition) -> Composition:
    """The stack as `make up` starts it from a clean clone, healthy."""
    done = composition.make("up")
    assert done.returncode == 0, done.stdout + done.stderr
    return composition


@pytest.fixture(scope="session")
def sweep_image(composition: Composition) -> str:
    """The training image, made by `make image`; its tag."""
    done = composition.make("image")
    assert done.returncode == 0, done.stdout + done.stderr
    return composition.image("sweep")
