"""What every test shares: no test touches the user's state, or talks to a server it did not start."""

from __future__ import annotations

import gc
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipelines.worker import WorkerSettings, _set_up_tensorflow

# Where these are set, a test would write to the user's own MLflow or folders.
OUTSIDE = ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI", "MLFLOW_EXPERIMENT_NAME", "MLFLOW_RUN_ID", "MLFLOW_PORT")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What needs a Docker engine or a cluster takes minutes, so it runs when it is asked for."""
    if "stack" in str(config.getoption("markexpr")).replace("not stack", "").split():
        return
    why = "takes minutes" if shutil.which("docker") else "there is no Docker engine here"
    for item in items:
        if item.get_closest_marker("stack"):
            item.add_marker(pytest.mark.skip(reason=f"{why}; make test-stack runs it"))


@pytest.fixture(autouse=True)
def regatta_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A state folder of the test's own, which `REGATTA_HOME` names."""
    home = tmp_path / "regatta_home"
    monkeypatch.setenv("REGATTA_HOME", str(home))
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    for name in OUTSIDE:
        monkeypatch.delenv(name, raising=False)
    return home


@pytest.fixture(scope="module", autouse=True)
def quick_collections() -> Iterator[None]:
    """Takes what a module leaves behind out of the garbage collector's sight.

    Keras collects garbage whenever it clears a session, which each training does at its end; among the objects that
    thousands of tests leave, TensorFlow's graphs above all, that would take seconds.
    """
    yield
    gc.collect()
    gc.freeze()


@pytest.fixture
def repository() -> Path:
    """The repository's root."""
    return Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def keras() -> Any:
    """Keras, with TensorFlow under it as a worker on one core of the CPU sets it up. Takes seconds, once."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("CUDA_VISIBLE_DEVICES", "-1")
        patched.setenv("TF_CPP_MIN_LOG_LEVEL", "2")
        _set_up_tensorflow(WorkerSettings(threads=1))
        import keras

    gc.freeze()  # as at the end of a module
    return keras
