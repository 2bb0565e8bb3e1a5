"""What crosses between the controller and a node beside the events of trials. Names of files stand for paths."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pipelines.records import TrialSpec


@dataclass(frozen=True)
class FarTask:
    """One attempt at one trial, with what it goes on from.

    Attributes:
        spec: The attempt; its folders are names.
        uid: Of its run; empty for a training that has none, of which nothing but its events is wanted.
        state: The file of the state that it goes on from; nothing where it begins anew.
    """

    spec: TrialSpec
    uid: str = ""
    state: tuple[FilePart, ...] = ()


@dataclass(frozen=True)
class FilePart:
    """A part of a file of one attempt; the parts of a file come in order, whatever else comes between them.

    Attributes:
        name: Of the file.
        offset: Where in the file the part begins.
        data: Its bytes, perhaps compressed.
        packed: Whether they are compressed.
        last: Whether the file is whole with it.
    """

    trial: int
    attempt: int
    name: str
    offset: int
    data: bytes
    packed: bool
    last: bool


@dataclass(frozen=True)
class RunWanted:
    """A node asks which run an attempt has on the tracking server, and when the journal has it that `epoch` ended."""

    trial: int
    attempt: int
    epoch: int


@dataclass(frozen=True)
class RunKnown:
    """The answer to `RunWanted`, once the server has made the run. `time_ms` is the epoch's, as the run has it."""

    trial: int
    attempt: int
    epoch: int
    run_id: str
    time_ms: int


@dataclass(frozen=True)
class NodeSettings:
    """What a node must know of the sweep.

    Attributes:
        server: Address of the tracking server.
        variables: Of the environment, for whoever speaks to the server or to the store behind it.
        most_state_bytes: A larger state stays on the node: if that is lost, its trial begins anew.
        patience_s: How long a trial that is over waits for its run to be made on the server, at most.
    """

    server: str = ""
    variables: Mapping[str, str] = field(default_factory=dict)
    most_state_bytes: int = 256 << 20
    patience_s: float = 10.0
