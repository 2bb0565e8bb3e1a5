"""Asks for the local tracking server where no other is named. The server is a program of its own, in `services`."""

from __future__ import annotations

import json
import os
import subprocess
import sys

from pipelines.errors import ServiceError


def tracking_server(*, wait: bool) -> str:
    """The address of the tracking server: `MLFLOW_TRACKING_URI`, or the local one, started here if it does not run.

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
        raise ServiceError(done.stderr.strip() or "The local tracking server could not be started.")
    return str(json.loads(done.stdout)["services"]["tracking_server"]["address"])
