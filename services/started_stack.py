"""A stack in containers that `make up` has started, as other commands find it: a file in `REGATTA_HOME`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "[::1]", "[::]": "[::1]"}


@dataclass(frozen=True)
class StartedStack:
    """A stack that was started.

    Attributes:
        tracking_server: Where this machine reaches MLflow.
        model_server: Where it reaches the model server.
        login: Whether MLflow asks for a user and a password.
        settings: The `.env` that holds the password.
    """

    tracking_server: str
    model_server: str
    login: bool
    settings: str

    @classmethod
    def of(cls, settings: Mapping[str, str], path: Path) -> StartedStack:
        """The stack of these settings, which are those of the `.env` at `path`."""
        bound = settings.get("BIND_ADDRESS") or "127.0.0.1"
        host = _EVERYWHERE.get(bound, bound)
        return cls(
            tracking_server=f"http://{host}:{settings.get('MLFLOW_PORT') or 5000}",
            model_server=f"http://{host}:{settings.get('MODEL_SERVER_PORT') or 8080}",
            login=(settings.get("MLFLOW_LOGIN") or "off").lower() in {"on", "true", "yes", "1"},
            settings=str(path),
        )


def note(home: Path, stack: StartedStack) -> None:
    """Writes down that a stack runs."""
    path = _file(home)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.with_suffix(".tmp").write_text(json.dumps(asdict(stack)), encoding="utf-8")
    path.with_suffix(".tmp").replace(path)


def forget(home: Path) -> None:
    """Takes that back."""
    _file(home).unlink(missing_ok=True)


def noted(home: Path) -> StartedStack | None:
    """The stack that was started from here, and not stopped; it may have ended since."""
    try:
        return StartedStack(**json.loads(_file(home).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def _file(home: Path) -> Path:
    return home / "run" / "containers.json"
