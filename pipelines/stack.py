"""Asks for the local tracking server where no other is named. The server is a program of its own, in `services`."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

from pipelines.errors import ServiceError

_IN_THE_WAY = 2
"""The exit code of `services.local` where something is in a new server's way: who has its port, or its own store."""


def tracking_server(*, wait: bool) -> str:
    """The address of the tracking server: `MLFLOW_TRACKING_URI`, or the local one, started here if it does not run.

    Where `make up` has started one in a container, that is the local one; where it asks for a password, it gets the one
    of its `.env`.

    Args:
        wait: Whether to return only when the local server answers, some seconds after its start. A sweep need not wait:
            its journal keeps everything until then.

    Raises:
        ServiceError: The local server cannot be started, for example because its port is taken.
    """
    named = os.environ.get("MLFLOW_TRACKING_URI")
    if named:
        return named
    command = [sys.executable, "-m", "services.local", "up", "tracking_server", "--json"]
    command += [] if wait else ["--no-wait"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        said = done.stderr.strip() or "The local tracking server could not be started."
        raise ServiceError(f"{said} {_other_ways()}" if done.returncode == _IN_THE_WAY else said)
    told = json.loads(done.stdout)["services"]["tracking_server"]
    if told.get("settings"):
        _log_in(Path(told["settings"]))
    return str(told["address"])


def _other_ways() -> str:
    """What else may be meant by who called from a folder in which no server was started."""
    home = Path(os.environ.get("REGATTA_HOME") or ".regatta").absolute()  # as `pipelines.home` has it
    return (
        f"It would be the server of {home}. Where your studies are in another folder, run this there or set "
        f"REGATTA_HOME to it; where the server that you mean runs already, name it: MLFLOW_TRACKING_URI=http://127.0.0.1:5000"
    )


def _log_in(settings: Path) -> None:
    """Has MLflow's client name itself to a server with a login, unless the environment says who it is to be."""
    try:
        found = re.search(
            r"^MLFLOW_ADMIN_PASSWORD=['\"]?([^'\"\s]+)", settings.read_text(encoding="utf-8"), re.MULTILINE
        )
    except OSError:
        found = None  # its owner's alone; MLflow says itself that it wants a password
    if found is not None and "MLFLOW_TRACKING_USERNAME" not in os.environ:
        os.environ.update(MLFLOW_TRACKING_USERNAME="admin", MLFLOW_TRACKING_PASSWORD=found[1])
