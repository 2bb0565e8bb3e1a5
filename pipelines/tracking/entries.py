"""What the journal holds: a few kinds of entries, each about one run, in the order in which things happened.

A run is called by a name of our own (`uid`) that exists before any server was asked; the sender learns the server's id.

A line leaves out what has its default, so an epoch with six metrics takes about 290 bytes: a million epochs are 290 MB.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from typing import Any, ClassVar

END_REASON = "end.reason"
"""The tag that says why a run is closed by somebody else than its controller."""
RANKED = "objective"
"""A metric that only trials have which may win: what they are ranked by. A run that was pruned or failed has its
`best.` metrics, too, of an epoch before its loss became NaN, say, and would stand before them."""
CHECKPOINT_BYTES = "system/checkpoint_bytes"
"""The metric that says how large a run's checkpoint is."""
TAGS_OF_AN_END = (END_REASON, "regatta.reason")
"""They say why a run is closed; one that is begun again loses them."""
RUN_NAME = "mlflow.runName"
"""The tag that gives a run another name than it was begun with; MLflow takes it for the name itself."""


@dataclass(frozen=True)
class RunBegun:
    """A run exists from here on.

    Attributes:
        parent: The uid of the run it belongs to, or None.
        dataset: What it learns from, by MLflow's words for it: see `pipelines.params.dataset_input`. A journal that was
            written before runs had one tells none.
    """

    kind: ClassVar[str] = "begun"
    uid: str
    experiment: str
    name: str
    time_ms: int
    parent: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    params: Mapping[str, str] = field(default_factory=dict)
    dataset: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Logged:
    """Metrics of one step, and whatever else is known by now. Metrics of the run as a whole have step 0."""

    kind: ClassVar[str] = "logged"
    uid: str
    time_ms: int
    step: int = 0
    metrics: Mapping[str, float] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    params: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class FileKept:
    """A file belongs to the run. `path` is relative to the journal's folder; `folder` is where the artifact goes."""

    kind: ClassVar[str] = "file"
    uid: str
    path: str
    folder: str = ""


@dataclass(frozen=True)
class PictureKept:
    """A picture of `step`, one of the run's series `key`, which people leaf through step by step.

    `path` is relative to the journal's folder. A journal written before there were such series holds none.
    """

    kind: ClassVar[str] = "picture"
    uid: str
    time_ms: int
    path: str
    key: str
    step: int


@dataclass(frozen=True)
class CheckpointKept:
    """The checkpoint of a run's best epoch: a model of its own in the tracker, with the metrics of that epoch.

    Attributes:
        path: Of the file, relative to the journal's folder.
        name: What people call it.
        step: The epoch.
        time_ms: When that epoch ended: with it, its metrics are the very points that the run has.
        sha256: Of the file.
        metrics: Of the epoch.
        delivered: Whether the tracker has it already, from the machine that made it: the file is not on this disk.
    """

    kind: ClassVar[str] = "checkpoint"
    uid: str
    time_ms: int
    path: str
    name: str
    step: int
    sha256: str
    metrics: Mapping[str, float] = field(default_factory=dict)
    delivered: bool = False


@dataclass(frozen=True)
class CheckpointDropped:
    """The checkpoint with this digest is gone from this disk; the tracker drops it too, unless something reaches it."""

    kind: ClassVar[str] = "dropped"
    uid: str
    time_ms: int
    sha256: str
    reason: str


@dataclass(frozen=True)
class RunEnded:
    """The run is over, with MLflow's word for how: FINISHED, FAILED or KILLED. A run may be begun again later."""

    kind: ClassVar[str] = "ended"
    uid: str
    time_ms: int
    status: str


Entry = RunBegun | Logged | FileKept | PictureKept | CheckpointKept | CheckpointDropped | RunEnded
_KINDS: dict[str, type[Entry]] = {
    entry.kind: entry
    for entry in (RunBegun, Logged, FileKept, PictureKept, CheckpointKept, CheckpointDropped, RunEnded)
}


def _defaults(kind: type[Entry]) -> dict[str, Any]:
    """Every field of a kind with its default; `MISSING` for one that has to be told."""
    return {
        each.name: each.default if each.default_factory is MISSING else each.default_factory() for each in fields(kind)
    }


_FIELDS = {kind: _defaults(kind) for kind in _KINDS.values()}


def to_line(entry: Entry) -> bytes:
    """One line of JSON, ended by a newline. Infinity and NaN stand as Python's `json` writes them."""
    told: dict[str, Any] = {"kind": entry.kind}
    for name, default in _FIELDS[type(entry)].items():
        value = getattr(entry, name)
        if value != default:
            told[name] = dict(value) if isinstance(value, Mapping) else value
    return json.dumps(told, separators=(",", ":")).encode() + b"\n"


def of_the_machine(metrics: Mapping[str, float]) -> bool:
    """Whether these are samples of the machine, whose steps are seconds and no epochs."""
    return bool(metrics) and all(name.startswith("system/") for name in metrics)


def starts_line_of(kind: str) -> bytes:
    """What every line of that kind starts with, for a reader who wants to pass over all others."""
    return json.dumps({"kind": kind}, separators=(",", ":")).encode()[:-1] + b","


def from_line(line: bytes) -> Entry:
    """The inverse of `to_line`."""
    data: dict[str, Any] = json.loads(line)
    return _KINDS[data.pop("kind")](**data)
