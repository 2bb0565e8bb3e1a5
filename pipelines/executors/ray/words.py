"""What the controller and its driver say to each other. The driver is a process of the controller's machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Connect:
    """To the driver, first of all.

    Attributes:
        address: Of the cluster; None for one of this machine alone.
        code: Archive with the code that nodes run.
        needs: What a worker takes of a node, by Ray's names.
        pins: Packages of the lock that nodes install where they lack some; none where they never do.
        always: Whether they install them in any case.
        environment: More of Ray's runtime environment.
        variables: Of a worker's environment.
        cores: Of a cluster of this machine alone.
        gpus: Of it.
        object_store_bytes: Of it; None leaves that to Ray.
    """

    address: str | None
    code: str
    needs: Mapping[str, float]
    pins: tuple[str, ...] = ()
    always: bool = False
    environment: Mapping[str, Any] = field(default_factory=dict)
    variables: Mapping[str, str] = field(default_factory=dict)
    cores: int = 1
    gpus: int = 0
    object_store_bytes: int | None = None


@dataclass(frozen=True)
class Load:
    """To the driver: put a folder of files into the object store, from which each node takes it once."""

    folder: str


@dataclass(frozen=True)
class Start:
    """To the driver: start an actor that dials in by this invitation, which is text."""

    token: int
    invitation: str


@dataclass(frozen=True)
class Kill:
    """To the driver: end an actor."""

    token: int


@dataclass(frozen=True)
class Ask:
    """To the driver: the line to an actor has ended; what became of it?"""

    token: int


@dataclass(frozen=True)
class Cluster:
    """From the driver: what the cluster is, as soon as it is connected and then whenever that changes.

    Attributes:
        name: For people.
        places: Workers that its nodes have room for, if nobody else had anything there.
        nodes: Its nodes, for people: address and what each has.
    """

    name: str
    places: int
    nodes: tuple[str, ...]


@dataclass(frozen=True)
class Placed:
    """From the driver: an actor lives, on that node."""

    token: int
    node: str


@dataclass(frozen=True)
class Dead:
    """From the driver: an actor is dead.

    Attributes:
        kind: `node` (its node left), `memory`, `raised`, `left` (its line ended, and it went), or `died`.
        reason: For people.
    """

    token: int
    kind: str
    reason: str


@dataclass(frozen=True)
class Failed:
    """From the driver: it cannot go on; the sentence says why."""

    sentence: str
