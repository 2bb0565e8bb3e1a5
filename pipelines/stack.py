"""Asks for the local tracking server where no other is named. The server is a program of its own, in `services`."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import psutil

from pipelines.errors import ServiceError

_START_S = 120.0
"""How long a server may take until it answers, as `services.processes` has it."""
_SILENT = "not answering"
"""The state in which `services.local` tells of a server that runs and does not answer, maybe not yet."""
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
    return _up(wait=wait)[0]


def begin_tracking_server() -> tuple[str, Callable[[], bool]]:
    """The address of the tracking server, as `tracking_server` has it without waiting.

    Returns:
        The address, and what tells whether the local server is still on its way: its process runs and is young. Who
        has had an answer need not ask any more.

    Raises:
        ServiceError: As for `tracking_server`.
    """
    address, told = _up(wait=False)
    pid = told.get("pid") if told.get("state") == _SILENT else None
    return address, lambda: pid is not None and _is_young(int(pid))


def _up(*, wait: bool) -> tuple[str, Mapping[str, Any]]:
    """The server's address, and what there is to know of a local one; nothing of one that the environment names."""
    named = os.environ.get("MLFLOW_TRACKING_URI")
    if named:
        return named, {}
    command = [sys.executable, "-m", "services.local", "up", "tracking_server", "--json"]
    command += [] if wait else ["--no-wait"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        said = done.stderr.strip() or "The local tracking server could not be started."
        raise ServiceError(f"{said} {_other_ways()}" if done.returncode == _IN_THE_WAY else said)
    told: dict[str, Any] = json.loads(done.stdout)["services"]["tracking_server"]
    if told.get("settings"):
        _log_in(Path(told["settings"]))
    return str(told["address"]), told


def _is_young(pid: int) -> bool:
    """Whether a process runs and has not had the time that a server may need to start."""
    try:
        process = psutil.Process(pid)
        return process.status() != psutil.STATUS_ZOMBIE and time.time() - process.create_time() < _START_S
    except psutil.Error:
        return False


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
