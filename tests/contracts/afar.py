"""Workers that dial in from processes of their own: what any kind of worker elsewhere looks like to the controller."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from pipelines.executors.base import Loss
from pipelines.executors.calling import CALL
from pipelines.executors.dialling import DialledAgency
from pipelines.executors.reception import Invitation
from pipelines.executors.staff import Body, Death

ROOT = Path(__file__).resolve().parents[2]


class AfarBody(Body):
    """A process of which nothing is known but whether it lives."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def kill(self) -> None:
        self._process.kill()

    def join(self, timeout_s: float) -> None:
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout_s)

    def death(self) -> Death:
        return Death(Loss(f"it ended with {self._process.poll()}"))

    def let_go(self) -> None:
        self.join(5)

    def forget(self) -> None:
        """Nothing is left of it."""


class AfarAgency(DialledAgency):
    """Starts such processes."""

    def house(self, number: int, invitation: Invitation) -> Body:
        call = json.dumps({"invitation": json.loads(invitation.to_json())})
        environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), CALL: call}
        command = [sys.executable, "-P", "-m", "pipelines.executors.calling"]
        return AfarBody(subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL))
