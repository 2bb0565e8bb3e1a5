"""A Docker engine whose containers are processes of this machine: it does what an engine does, without images."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path

from pipelines.executors.docker.base import (
    ContainerPlan,
    EngineFacts,
    EngineGone,
    EngineRefused,
    Exit,
    ImageMissing,
    NotThere,
)

ROOT = Path(__file__).resolve().parents[2]
IMAGE = "regatta/sweep"


class FakeEngine:
    """See `pipelines.executors.docker.engine.Engine`.

    Attributes:
        images: What it has, by name.
        plans: Every container that was ever made, by id.
        there: Those that were not removed.
        pulled: Images that were fetched.
        away: Set while it does not answer.
        refuses: What it says to whoever wants to start a container, instead of starting it.
        starved: Containers that were ended for lack of memory, by id.
        blind: Whether its containers see other files than this machine has.
    """

    def __init__(self, folder: Path) -> None:
        self.images = {IMAGE: "sha256:1"}
        self.plans: dict[str, ContainerPlan] = {}
        self.there: dict[str, subprocess.Popen[bytes] | None] = {}
        self.pulled: list[str] = []
        self.away = threading.Event()
        self.refuses = ""
        self.starved: set[str] = set()
        self.blind = False
        self.options: dict[str, bool] = {}
        self._folder = folder

    def facts(self) -> EngineFacts:
        self._answer()
        return EngineFacts("a fake", 8 << 30, **self.options)

    def image_id(self, image: str) -> str:
        self._answer()
        if image not in self.images:
            raise ImageMissing(f"No such image: {image}")
        return self.images[image]

    def pull(self, image: str) -> None:
        self._answer()
        self.pulled.append(image)
        self.images[image] = "sha256:2"

    def create(self, plan: ContainerPlan) -> str:
        self._answer()
        self.image_id(plan.image)
        container = f"c{len(self.plans)}"
        self.plans[container], self.there[container] = plan, None
        return container

    def start(self, container: str) -> None:
        self._answer()
        if self.refuses:
            raise EngineRefused(self.refuses)
        plan = self.plans[container]
        program, *arguments = plan.command
        if self.blind:
            arguments = [argument.replace(str(self._folder.parent), "/elsewhere") for argument in arguments]
        with (self._folder / f"{container}.out").open("wb") as printed:
            self.there[container] = subprocess.Popen(
                [sys.executable if program == "python" else program, *arguments],
                env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **plan.environment},
                cwd=plan.folder or ROOT,
                stdout=printed,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
            )

    def wait(self, container: str) -> Exit:
        self._answer()
        process = self.process(container)
        code = process.wait()
        self._answer()
        return Exit(code if code >= 0 else 128 - code, container in self.starved)

    def kill(self, container: str) -> None:
        self._answer()
        if self.there.get(container) is not None:
            self.process(container).kill()

    def remove(self, container: str) -> None:
        self._answer()
        process = self.there.pop(container, None)
        if process is not None:
            process.kill()
            process.wait()

    def printed(self, container: str, lines: int) -> bytes:
        self._answer()
        path = self._folder / f"{container}.out"
        return b"".join(path.read_bytes().splitlines(keepends=True)[-lines:]) if path.exists() else b""

    def labelled(self, labels: Mapping[str, str]) -> dict[str, bool]:
        self._answer()
        return {
            container: process is not None and process.poll() is None
            for container, process in self.there.items()
            if labels.items() <= self.plans[container].labels.items()
        }

    # what a test does to it

    def process(self, container: str) -> subprocess.Popen[bytes]:
        """What a container is here."""
        process = self.there.get(container)
        if process is None:
            raise NotThere(f"No such container: {container}")
        return process

    def starve(self, container: str) -> None:
        """Ends a container for lack of memory."""
        self.starved.add(container)
        self.process(container).kill()

    def clear(self) -> None:
        """Ends all of them."""
        self.away.clear()
        for container in list(self.there):
            self.remove(container)

    def _answer(self) -> None:
        if self.away.is_set():
            raise EngineGone("Connection refused")
