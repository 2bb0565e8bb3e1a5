"""What every test shares: no test touches the user's state, or talks to a server it did not start."""

from __future__ import annotations

from pathlib import Path

import pytest

# Where these are set, a test would write to the user's own MLflow or folders.
OUTSIDE = ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI", "MLFLOW_EXPERIMENT_NAME", "MLFLOW_RUN_ID", "MLFLOW_PORT")


@pytest.fixture(autouse=True)
def regatta_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A state folder of the test's own, which `REGATTA_HOME` names."""
    home = tmp_path / "regatta_home"
    monkeypatch.setenv("REGATTA_HOME", str(home))
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    for name in OUTSIDE:
        monkeypatch.delenv(name, raising=False)
    return home


@pytest.fixture
def repository() -> Path:
    """The repository's root."""
    return Path(__file__).resolve().parent.parent
