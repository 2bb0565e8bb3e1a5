"""What the tracking server in its container is told by its environment, and what MLflow is told in turn.

Nothing here imports MLflow.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote

HOST, PORT = "0.0.0.0", 5000
ARTIFACT_ROOT = "mlflow-artifacts:/"
"""Where an experiment's artifacts are, as the records say: behind the server, wherever it keeps them."""
OWN_HOSTS = ("tracking_server", "mlflow", "localhost", "127.0.0.1", "[::1]")
"""The names under which containers and this machine ask; MLflow answers 403 to any other."""
_ON, _OFF = {"on", "true", "yes", "1"}, {"off", "false", "no", "0", ""}
_DRIVERS = ("postgresql://", "postgres://")
_FOLDER = "/mlflow"


class SettingsError(Exception):
    """A variable is not as it must be; the message says how it would be right."""


@dataclass(frozen=True)
class Settings:
    """How the tracking server is to run.

    Attributes:
        store: URL of MLflow's database.
        artifacts: Where artifacts are kept: a folder, or an address such as `s3://bucket/path`.
        workers: Processes that answer.
        hosts: Names, and patterns of names with ports, by which it may be asked.
        login: Whether MLflow asks for a user and a password.
        users: URL of the database of users, which MLflow makes; used with a login alone.
    """

    store: str
    artifacts: str
    workers: int
    hosts: tuple[str, ...]
    login: bool
    users: str


def read_settings(environ: Mapping[str, str]) -> Settings:
    """Reads the variables of the container; an empty one counts as not set.

    Raises:
        SettingsError: One of them is wrong.
    """
    store = _store(environ)
    sqlite = store.startswith("sqlite:///")
    own = [pattern for name in OWN_HOSTS for pattern in (name, f"{name}:*")]
    named = [name.strip() for name in environ.get("MLFLOW_ALLOWED_HOSTS", "").split(",")]
    return Settings(
        store=store,
        artifacts=environ.get("MLFLOW_ARTIFACTS_DESTINATION") or f"{_FOLDER}/artifacts",
        # SQLite has one writer at a time
        workers=_count(environ, "MLFLOW_SERVER_WORKERS", 1 if sqlite else 2),
        hosts=(*own, *(name for name in named if name)),
        login=login_wanted(environ),
        users=f"sqlite:///{_FOLDER}/basic_auth.db" if sqlite else store,
    )


def login_wanted(environ: Mapping[str, str]) -> bool:
    """Whether `MLFLOW_LOGIN` switches MLflow's login on.

    Raises:
        SettingsError: It says neither on nor off.
    """
    text = environ.get("MLFLOW_LOGIN", "").strip().lower()
    if text not in _ON | _OFF:
        raise SettingsError(f"MLFLOW_LOGIN is {text!r}; it must be on or off.")
    return text in _ON


def mlflow_environment(settings: Settings) -> dict[str, str]:
    """The variables by which `mlflow server` would tell the processes that answer what it was told."""
    return {
        "_MLFLOW_SERVER_FILE_STORE": settings.store,
        "_MLFLOW_SERVER_REGISTRY_STORE": settings.store,
        "_MLFLOW_SERVER_ARTIFACT_ROOT": ARTIFACT_ROOT,
        "_MLFLOW_SERVER_ARTIFACT_DESTINATION": settings.artifacts,
        "_MLFLOW_SERVER_SERVE_ARTIFACTS": "true",
        "_MLFLOW_SGI_NAME": "uvicorn",
        "MLFLOW_SERVER_ALLOWED_HOSTS": ",".join(settings.hosts),
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # only its features for language models have jobs
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_LOGIN": "on" if settings.login else "off",
        "PYTHONWARNINGS": "ignore",  # MLflow's, of what it imports
    }


def login_file(settings: Settings) -> str:
    """What MLflow reads about its login from a file. To check a password is slow; its answer is good for a minute."""
    return (
        "[mlflow]\n"
        "default_permission = READ\n"
        f"database_uri = {settings.users.replace('%', '%%')}\n"
        "admin_username = admin\n"
        "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n"
        "auth_cache_ttl_seconds = 60\n"
    )


def _store(environ: Mapping[str, str]) -> str:
    """The named database, or the one of the stack where its password is known, or a file in the volume."""
    named = environ.get("MLFLOW_BACKEND_STORE_URI", "").strip()
    if named:
        scheme = next((scheme for scheme in _DRIVERS if named.startswith(scheme)), None)
        return named if scheme is None else f"postgresql+psycopg://{named.removeprefix(scheme)}"
    password, host = environ.get("MLFLOW_DB_PASSWORD"), environ.get("MLFLOW_DB_HOST")
    if password and host:
        return f"postgresql+psycopg://mlflow:{quote(password, safe='')}@{host}:5432/mlflow"
    return f"sqlite:///{_FOLDER}/mlflow.db"


def _count(environ: Mapping[str, str], name: str, default: int) -> int:
    text = environ.get(name, "").strip() or str(default)
    if not (text.isdecimal() and 1 <= int(text) <= 64):
        raise SettingsError(f"{name} is {text!r}; it must be a whole number from 1 to 64.")
    return int(text)


def shown(address: str) -> str:
    """An address without the password that may be in it."""
    return re.sub(r"(\w://[^/@\s:]*):\S*@", r"\1:***@", re.sub(r"(password=)[^&\s]+", r"\1***", address))
