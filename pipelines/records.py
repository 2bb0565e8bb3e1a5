"""What is said between the controller, its workers and the record: frozen, picklable, free of heavy imports.

A `TrialSpec` says what to do. Events say what happens while it is done. A `TrialResult` says what came of it, and a
`StudyHistory` is all of that, gathered for people to read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any


class TrialState(Enum):
    """How a trial stands. The values are what the tag `regatta.state` holds."""

    RUNNING = "RUNNING"  # it was handed out, and nothing final is known
    COMPLETE = "COMPLETE"  # it trained to its end, or a callback of its own ended it
    PRUNED = "PRUNED"  # the study saw that it would not win, and stopped it
    FAILED = "FAILED"  # it raised, or its worker was lost too often


class Failure(Enum):
    """Why a trial did not come to a good end. The values are what the tag `regatta.failure` holds."""

    ERROR = "error"  # its own code raised
    MEMORY = "out_of_memory"  # of the host or of the GPU
    NOT_FINITE = "not_finite"  # its loss was NaN or infinite: it is pruned, not failed
    LOST = "lost_worker"  # its process or its cohort broke, again and again without getting on
    HUNG = "hung"  # it made no step for too long, twice
    DISK = "disk_full"  # which is the sweep's trouble and not the trial's: the trial is tried again when there is room
    INVALID = "invalid_config"  # what was sampled makes no valid training config


class Verdict(Enum):
    """The controller's answer to an epoch."""

    GO_ON = "GO_ON"
    STOP = "STOP"  # the trainer sets `model.stop_training`; nothing is thrown inside `fit`
    PAUSE = "PAUSE"  # the same, but the trial is not over: its state is kept, and a later attempt goes on from it


@dataclass(frozen=True)
class Stop:
    """The controller's word to a worker: end this attempt in good order. Meant for no other attempt.

    With `pause`, the trial is to go on later from the epoch that it is at.
    """

    trial: int
    attempt: int
    pause: bool = False


@dataclass(frozen=True)
class TrialSpec:
    """One attempt at one trial: everything a worker must know.

    Attributes:
        number: The trial's number in the study, from 0.
        attempt: 1 for the first try; events of an older attempt are refused.
        config: The resolved training config, as plain JSON types.
        data: Folder with the prepared train and validation arrays.
        folder: Where this attempt may write its files.
        objective: The metric that decides which epoch is the best.
        direction: `minimize` or `maximize`.
        states: Where all attempts of this trial keep the states that a later attempt goes on from; empty for a training
            that nobody would go on with.
        alone: It is to share nothing with any other trial, as what befell it before may have come from another.
        tells_states: Whether it tells of every state that it keeps: whoever goes on from it may not see its disk.
    """

    number: int
    attempt: int
    config: Mapping[str, Any]
    data: str
    folder: str
    objective: str
    direction: str
    states: str = ""
    alone: bool = False
    tells_states: bool = False


@dataclass(frozen=True)
class Event:
    """Something that happened to one attempt of one trial."""

    trial: int
    attempt: int


@dataclass(frozen=True)
class Started(Event):
    """Training begins, or goes on.

    Attributes:
        facts: Strings about the run that only the worker knows (device, versions, parameters).
        first_epoch: The first epoch that this attempt trains, from 0. What it found of the epochs before, an earlier
            attempt's, it tells next, as `EpochEnded` with `retold`.
    """

    time_ms: int
    facts: Mapping[str, str] = field(default_factory=dict)
    first_epoch: int = 0


@dataclass(frozen=True)
class EpochEnded(Event):
    """An epoch ended. `epoch` counts from 0; `metrics` holds Keras's logs and always `learning_rate`.

    `retold` marks an epoch of an earlier attempt, told again by the one that goes on from it: the controller may have
    died before it heard of it.
    """

    epoch: int
    metrics: Mapping[str, float]
    time_ms: int
    retold: bool = False


@dataclass(frozen=True)
class Stepped(Event):
    """The training has made steps since the last sign of life, which may be long before an epoch ends."""


@dataclass(frozen=True)
class MachineSampled(Event):
    """What the training's own process uses of the machine.

    Attributes:
        second: Seconds of training time so far, earlier attempts included: the step at which it is logged.
        metrics: By MLflow's names for such: `system/cpu_percent` (100 is one core), `system/memory_mb`, …
    """

    second: int
    metrics: Mapping[str, float]
    time_ms: int


@dataclass(frozen=True)
class GpuSampled(Event):
    """What the GPU did up to the end of `epoch`, the step at which it is logged.

    Attributes:
        metrics: `system/gpu.utilisation_percent`, `system/gpu.memory_mb`, …; of a training in lanes they are those of
            all lanes together, with their number as `system/gpu.lanes`.
    """

    epoch: int
    metrics: Mapping[str, float]
    time_ms: int


@dataclass(frozen=True)
class CheckpointWritten(Event):
    """A file of the model as it was at the end of `epoch` is complete on disk.

    Attributes:
        kind: `best` for the epoch that the objective likes most, `callback` for a file of a ModelCheckpoint.
        path: Absolute path of the file.
        sha256: Its digest, in hexadecimal.
        delivered_bytes: Its size where it is on another machine's disk, which has brought it to the tracking server
            already; None for a file that is on this disk.
    """

    epoch: int | None
    kind: str
    path: str
    sha256: str
    delivered_bytes: int | None = None


@dataclass(frozen=True)
class StateWritten(Event):
    """A state that a later attempt can go on from is complete on disk; told only where the spec asks for it."""

    epoch: int
    path: str


@dataclass(frozen=True)
class PictureDrawn(Event):
    """A picture of `epoch` is on disk, one of the series `key`, which people leaf through epoch by epoch."""

    epoch: int
    key: str
    path: str


@dataclass(frozen=True)
class FileWritten(Event):
    """A file that belongs to the run is complete on disk; `folder` is where it goes among the artifacts."""

    path: str
    folder: str = ""


@dataclass(frozen=True)
class CallbackActed(Event):
    """A callback did something to the training.

    Attributes:
        epoch: The epoch in which it acted, from 0.
        callback: Its label in the recipe.
        action: What it did, in one word: `stopped`, `reduced` or `raised` (the learning rate), `moved` (the same,
            within the epoch), `saved`, `restored`, `note`.
        text: The same, for a person: `multiplied the learning rate by 0.5, to 0.0005`.
        value: The number that belongs to it, where there is one.
    """

    epoch: int
    callback: str
    action: str
    text: str
    value: float | None = None


@dataclass(frozen=True)
class Ended(Event):
    """The attempt is over, for the reason that `error` gives or, where it is None, in good order.

    Attributes:
        pruned: True when training stopped because the controller said so.
        error: One line: the exception's type and text.
        traceback: The whole traceback, for the record.
        seconds: Wall time of the attempt in its worker.
        paused: True when it stopped to go on later; its state is on disk.
        failure: The kind of `error`.
        phases: Seconds of the attempt by what they went to: `build`, `fit`, `states`, `checkpoints`, `tracking`.
    """

    time_ms: int
    pruned: bool = False
    error: str | None = None
    traceback: str | None = None
    seconds: float = 0.0
    paused: bool = False
    failure: Failure | None = None
    phases: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class TrialResult:
    """What came of a trial: the best epoch, its value, and the checkpoint of that very epoch.

    Attributes:
        params: What was sampled, by path in the config.
        value: The objective at `epoch`; None when no epoch gave a finite number.
        checkpoint: Path of the `.keras` file of that epoch, and its digest.
        checkpoint_bytes: Its size where the file is not on this disk, as another machine has delivered it.
        failure: Why it did not come to a good end; None where it did.
        values: Every objective of the study by name, the first of them again included.
        violations: By constraint, by how much it is broken; at most 0 where it is kept.
    """

    number: int
    attempt: int
    state: TrialState
    params: Mapping[str, Any]
    value: float | None = None
    epoch: int | None = None
    checkpoint: str | None = None
    checkpoint_sha256: str | None = None
    reason: str | None = None
    failure: Failure | None = None
    values: Mapping[str, float] = field(default_factory=dict)
    violations: Mapping[str, float] = field(default_factory=dict)
    checkpoint_bytes: int | None = None

    @property
    def feasible(self) -> bool:
        """Whether it keeps all constraints."""
        return all(broken <= 0 for broken in self.violations.values())


@dataclass(frozen=True)
class TrialPicture:
    """One picture of a trial: the model as it was at the end of `epoch`. `path` is absolute."""

    epoch: int
    path: str


@dataclass(frozen=True)
class CallbackAct:
    """Something that a callback did in a trial; see `CallbackActed`, whose fields it has."""

    epoch: int
    callback: str
    action: str
    text: str
    value: float | None = None


@dataclass(frozen=True)
class TrialHistory:
    """One trial as a report shows it.

    Attributes:
        curves: For each metric its (epoch, value) points in order of epochs.
        pictures: For each series, such as `decision_surface`, the picture of the best epoch or of the nearest that was
            drawn; the last one where no epoch is the best.
        acts: What callbacks did in its last attempt, in order.
        failure: The value of a `Failure`; None where it came to a good end.
        values: Every objective of the study by name, where there are several.
        violations: By constraint, by how much it is broken; at most 0 where it is kept.
        phases: Seconds by what they went to; see `Ended`.
        dropped: Why its checkpoint is not kept any more, or None.
        code_sha256: Digest of the user's own code that it ran, or None; see `pipelines.own.digest`.
    """

    number: int
    attempt: int
    state: TrialState
    params: Mapping[str, Any]
    value: float | None
    best_epoch: int | None
    curves: Mapping[str, tuple[tuple[int, float], ...]]
    seconds: float | None = None
    run_id: str | None = None
    reason: str | None = None
    pictures: Mapping[str, TrialPicture] = field(default_factory=dict)
    acts: tuple[CallbackAct, ...] = ()
    failure: str | None = None
    values: Mapping[str, float] = field(default_factory=dict)
    violations: Mapping[str, float] = field(default_factory=dict)
    phases: Mapping[str, float] = field(default_factory=dict)
    dropped: str | None = None
    code_sha256: str | None = None

    @property
    def feasible(self) -> bool:
        """Whether it keeps all constraints."""
        return all(broken <= 0 for broken in self.violations.values())


@dataclass(frozen=True)
class StudyHistory:
    """One sweep as a report shows it.

    Attributes:
        metric: The objective, for example `val_loss`; `direction` is `minimize` or `maximize`.
        importances: Share of the objective's variance that each parameter explains, 0 to 1; empty when too few trials
            are complete to say.
        champion: What is served now (`name`, `version`, `alias`, and `test_*` metrics), or None.
        links: Names and addresses worth a click, for example the sweep in MLflow.
        objectives: All objectives with their directions, the first one first; empty where there is only one.
        front: Numbers of the trials that no other is better than in every objective; empty where there is one only.
        picked: Number of the trial of the front that is taken for the best; None where there is one objective only.
        pick: How it was picked: `first` for the best by the first objective, `knee` for the nearest to the ideal in
            all of them, scaled over the front.
        ended: What ended the sweep, in a sentence, or None.
        phases: Wall seconds of the sweep by what they went to: `workers` (getting ready), `trials`, `promotion`, ….
        logarithmic: Names of the parameters that the recipe has drawn evenly in their logarithm.
    """

    study: str
    metric: str
    direction: str
    trials: tuple[TrialHistory, ...]
    importances: Mapping[str, float] = field(default_factory=dict)
    champion: Mapping[str, Any] | None = None
    links: Mapping[str, str] = field(default_factory=dict)
    seconds: float | None = None
    objectives: tuple[tuple[str, str], ...] = ()
    front: tuple[int, ...] = ()
    picked: int | None = None
    pick: str | None = None
    ended: str | None = None
    phases: Mapping[str, float] = field(default_factory=dict)
    logarithmic: frozenset[str] = frozenset()
