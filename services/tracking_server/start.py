"""`python -m services.tracking_server.start`: starts MLflow in its container, as the environment says.

The tables, and with a login the first user, are made here, once, before the processes that answer are started: two of
them at once would be in each other's way.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from services.tracking_server.settings import (
    ARTIFACT_ROOT,
    HOST,
    PORT,
    Settings,
    SettingsError,
    login_file,
    mlflow_environment,
    read_settings,
    shown,
)
from services.tracking_server.tables import file_of, make_tables

EXIT_FAILED, EXIT_WRONG = 1, 2
_DRAIN_S = 20
_NEEDED = {
    "MLFLOW_AUTH_ADMIN_PASSWORD": "the password of its user `admin`, 12 characters or more",
    "MLFLOW_FLASK_SERVER_SECRET_KEY": "a long random text",
}


def main(environ: Mapping[str, str], become: Callable[[list[str], dict[str, str]], None]) -> int:
    """Prepares, and then becomes the server.

    Args:
        environ: Of the container.
        become: Replaces this process by a command with an environment.

    Returns:
        The exit code, where it does not come to that.
    """
    try:
        settings = read_settings(environ)
        _check_login(settings, environ)
    except SettingsError as error:
        print(error, file=sys.stderr)
        return EXIT_WRONG
    told = {**environ, **mlflow_environment(settings)}
    if settings.login:
        told["MLFLOW_AUTH_CONFIG_PATH"] = _written(login_file(settings))
    os.environ.update(told)
    try:
        prepare(settings)
    except Exception as error:
        reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        print(f"MLflow cannot use {shown(settings.store)}: {reason}", file=sys.stderr)
        return EXIT_FAILED  # the container is started again
    if settings.login:
        told["_MLFLOW_AUTH_ADMIN_BOOTSTRAPPED"] = "true"
    become(command(settings), told)
    return 0


def command(settings: Settings) -> list[str]:
    """The server's command line."""
    uvicorn = [sys.executable, "-m", "uvicorn", "services.tracking_server.app:app", "--host", HOST, "--port", str(PORT)]
    return [
        *uvicorn,
        *("--workers", str(settings.workers)),
        *("--timeout-graceful-shutdown", str(_DRAIN_S)),
        "--no-access-log",
    ]


def prepare(settings: Settings) -> None:
    """Makes what the server needs in its databases."""
    database = file_of(settings.store)
    if database is not None:
        make_tables(database)
    from mlflow.server.handlers import initialize_backend_stores

    initialize_backend_stores(settings.store, settings.store, ARTIFACT_ROOT)
    if settings.login:
        from mlflow.server.auth import bootstrap_admin_user

        bootstrap_admin_user()


def _check_login(settings: Settings, environ: Mapping[str, str]) -> None:
    for name, what in _NEEDED.items():
        if settings.login and not environ.get(name):
            raise SettingsError(f"MLFLOW_LOGIN is on, and {name} is not set; it must be {what}. `make up` makes both.")


def _written(text: str) -> str:
    """Writes a file that only this user reads, in a folder that is in memory in the container."""
    path = Path(tempfile.mkdtemp()) / "login.ini"
    path.touch(mode=0o600)
    path.write_text(text)
    return str(path)


def _become(command: list[str], environ: dict[str, str]) -> None:
    os.execve(command[0], command, environ)


if __name__ == "__main__":
    sys.exit(main(os.environ, _become))
