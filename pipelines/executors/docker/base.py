"""What containers of workers ask of an engine, and what it says where it cannot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol


class EngineGone(Exception):
    """The engine cannot be reached; the message says why, as a part of a sentence.

    Attributes:
        forbidden: Whether it is there, and this user may not reach it.
    """

    def __init__(self, message: str, *, forbidden: bool = False) -> None:
        """Takes the reason."""
        super().__init__(message)
        self.forbidden = forbidden


class EngineRefused(Exception):
    """The engine does not do what it was asked to; the message says why, as a part of a sentence."""


class ImageMissing(EngineRefused):
    """There is no such image."""


class NotThere(EngineRefused):
    """There is no such container, or it does not run, or it is being removed already."""


@dataclass(frozen=True)
class Mount:
    """A folder of this machine that a container sees."""

    source: str
    target: str
    read_only: bool = False


@dataclass(frozen=True)
class ContainerPlan:
    """A container that is to be.

    Attributes:
        image: What it is made from.
        command: What it runs.
        name: Its name.
        labels: By which it is found again.
        environment: Its variables.
        mounts: What it sees of this machine's files.
        folder: In which its command runs; the image's own where it is empty.
        user: Who runs it, as `uid:gid`.
        cpus: Cores that it may use; None for all.
        memory_bytes: Memory that it may use; None for all.
        shm_bytes: Its shared memory.
        network: Which it is in; None for the engine's own.
        gpu: Number or uuid of the GPU that it gets; None for none.
        user_namespace: `host` where the engine maps users, and this container's are to be the machine's.
    """

    image: str
    command: Sequence[str]
    name: str
    labels: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    mounts: Sequence[Mount] = ()
    folder: str = ""
    user: str = ""
    cpus: float | None = None
    memory_bytes: int | None = None
    shm_bytes: int = 64 << 20
    network: str | None = None
    gpu: str | None = None
    user_namespace: str = ""


@dataclass(frozen=True)
class Exit:
    """How a container ended.

    Attributes:
        code: Its exit code; above 128 it was ended by a signal.
        out_of_memory: Whether the system ended a process of it because it used more memory than it may.
        said: What the engine says about it, mostly nothing.
    """

    code: int
    out_of_memory: bool = False
    said: str = ""


@dataclass(frozen=True)
class EngineFacts:
    """What an engine is like.

    Attributes:
        uid: By which it is told from another engine.
        memory_bytes: Of the machine that it runs on.
        rootless: Whether it runs without root: the root of its containers is then the user who runs it.
        maps_users: Whether users of its containers are others on the machine.
    """

    uid: str
    memory_bytes: int
    rootless: bool = False
    maps_users: bool = False


class Engine(Protocol):
    """What containers are run by. Any thread may call it. All methods raise `EngineGone` and `EngineRefused`."""

    def facts(self) -> EngineFacts:
        """What it is like."""

    def image_id(self, image: str) -> str:
        """What an image's name stands for now. Raises `ImageMissing`, too."""

    def pull(self, image: str) -> None:
        """Fetches an image from its registry."""

    def create(self, plan: ContainerPlan) -> str:
        """Makes a container, and returns its id. Raises `ImageMissing`, too."""

    def start(self, container: str) -> None:
        """Starts one."""

    def wait(self, container: str) -> Exit:
        """Waits, however long, until one has ended."""

    def kill(self, container: str) -> None:
        """Ends one at once, if it runs."""

    def remove(self, container: str) -> None:
        """Removes one, whether or not it runs; it is fine if it is gone."""

    def printed(self, container: str, lines: int) -> bytes:
        """The last lines of what one has printed."""

    def labelled(self, labels: Mapping[str, str]) -> dict[str, bool]:
        """All containers with these labels, by id: whether each of them runs."""
