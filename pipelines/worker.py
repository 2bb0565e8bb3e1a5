"""What runs where the device is: takes trial specs, drives a trainer, sends events. No Optuna and no MLflow in here."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pipelines.compiled import keep_in
from pipelines.errors import ExecutorError
from pipelines.executors.base import Desk
from pipelines.records import Ended, EpochEnded, Event, Stop, TrialSpec, Verdict
from pipelines.training import Trainer, make_trainer


@dataclass(frozen=True)
class WorkerSettings:
    """What a worker must know before TensorFlow starts.

    Attributes:
        threads: Cores it may use.
        gpu_memory_mb: Cap on its GPU's memory in MiB; None lets it grow as needed.
        data_memory_mb: Memory that the data of a trial may use, in MiB; larger data is read from disk, batch by batch.
        lanes: Trials that are trained at once in one program: a number, `auto` for as many as are fastest, or `off`.
        most_lanes: Trials that may be under way at once, however many would be fastest.
        trials: Trials that are to come, as far as is known: what it is worth to look for the fastest number.
        memory_mb: Memory that its process may fill before it is replaced, in MiB: lanes keep below it.
        cache: Folder for what is worth keeping between sweeps; nothing is kept where it is empty.
        why: Why it trains none in lanes, for the record, where that was not the recipe's own wish.
    """

    threads: int
    gpu_memory_mb: int | None = None
    data_memory_mb: int = 1024
    lanes: int | Literal["auto", "off"] = "off"
    most_lanes: int = 1
    trials: int = 1
    memory_mb: int = 4096
    cache: str = ""
    why: str = ""


class TrialWorker:
    """A warm worker: TensorFlow is imported and set up once, then trials follow one another, or are trained at once."""

    def __init__(self, settings: WorkerSettings) -> None:
        """Imports TensorFlow (seconds) and gives it the cores and the memory of `settings`."""
        _set_up_tensorflow(settings)
        self._trainer: Trainer = make_trainer(
            settings.data_memory_mb << 20,
            lanes=settings.lanes,
            most_lanes=settings.most_lanes,
            trials=settings.trials,
            memory_bytes=settings.memory_mb << 20,
            cache=settings.cache,
            why=settings.why,
        )
        self._board: Switchboard | None = None

    def __call__(self, desk: Desk) -> None:
        """Trains what comes to the desk; see `pipelines.executors.base.Worker`."""
        if self._board is None or self._board.desk is not desk:
            self._board = Switchboard(desk)
        self._trainer.work(self._board)


class Switchboard:
    """The desk, as a trainer sees it: every attempt has a line of its own to the controller.

    An answer comes with whatever is said next, whichever attempt says it, so it is put through to the line that it is
    meant for.
    """

    def __init__(self, desk: Desk) -> None:
        """Takes the desk that all lines share."""
        self.desk = desk
        self._lines: dict[tuple[int, int], Line] = {}
        self._lock = threading.Lock()  # one thread at a time may use the desk

    def take(self) -> tuple[TrialSpec, Line] | None:
        """See `pipelines.training.base.Trials`."""
        with self._lock:
            spec = self.desk.take()
            if spec is None:
                return None
            line = self._lines[spec.number, spec.attempt] = Line(self, spec)
            return spec, line

    def offer(self, places: int) -> None:
        """See `pipelines.training.base.Trials`."""
        with self._lock:
            self.desk.offer(places)

    def say(self, line: Line, event: Event) -> Verdict:
        """Sends an event of an attempt, and returns what the controller has said about that attempt by now."""
        with self._lock:
            line.speaks(event)
            for answer in self.desk.say(event):
                if isinstance(answer, Stop) and (meant := self._lines.get((answer.trial, answer.attempt))):
                    meant.hears(Verdict.PAUSE if answer.pause else Verdict.STOP)
            if isinstance(event, Ended):
                self._lines.pop((line.spec.number, line.spec.attempt), None)
            return line.verdict()


class Line:
    """The line from one attempt to the controller: events go up, the controller's standing word comes back.

    An answer comes once, with whatever is said next: perhaps with a note of a callback, which asks for no verdict, or
    to another thread, or to another attempt. So what it says stands until the attempt is over.
    """

    def __init__(self, board: Switchboard, spec: TrialSpec) -> None:
        """Takes what carries its events, and the attempt."""
        self.spec = spec
        self._board = board
        self._standing = Verdict.GO_ON
        self._retelling = False
        self._about_retold = False

    def __call__(self, event: Event) -> Verdict:
        """Sends an event; see `pipelines.training.base.Emit`."""
        return self._board.say(self, event)

    def speaks(self, event: Event) -> None:
        """Notes what is about to be said."""
        self._retelling = isinstance(event, EpochEnded) and event.retold

    def hears(self, word: Verdict) -> None:
        """Takes the controller's word on this attempt."""
        if self._retelling and word is Verdict.STOP:
            self._about_retold = True  # perhaps an epoch that it has long gone beyond: whoever retells knows
        elif self._standing is not Verdict.STOP:  # which a pause does not take back
            self._standing = word

    def verdict(self) -> Verdict:
        """The controller's word that holds now."""
        about_retold, self._about_retold = self._about_retold, False
        return Verdict.STOP if about_retold and self._retelling else self._standing


def environment(threads: int, device: str | None) -> dict[str, str]:
    """Environment of a worker's process: its share of the cores, and its GPU (None: the CPU alone)."""
    return {
        "CUDA_VISIBLE_DEVICES": "-1" if device is None else device,
        "OMP_NUM_THREADS": str(threads),
        "TF_CPP_MIN_LOG_LEVEL": os.environ.get("TF_CPP_MIN_LOG_LEVEL", "2"),
        "TF_NUM_INTEROP_THREADS": "1",
        "TF_NUM_INTRAOP_THREADS": str(threads),
    }


def shares(cores: int, workers: int, devices: Sequence[str]) -> list[dict[str, str]]:
    """Environments of `workers` workers: cores divided evenly, GPUs dealt out in turn."""
    threads = max(1, cores // workers)
    return [environment(threads, devices[number % len(devices)] if devices else None) for number in range(workers)]


def _set_up_tensorflow(settings: WorkerSettings) -> None:
    if settings.cache and settings.lanes != "off" and os.environ.get("CUDA_VISIBLE_DEVICES") == "-1":
        keep_in(Path(settings.cache))  # for CPUs only: what is made for a GPU depends on more than is looked at
    import tensorflow as tf  # 5 s and more

    tf.config.threading.set_intra_op_parallelism_threads(settings.threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    found = tf.config.list_physical_devices("GPU")
    wanted = os.environ.get("CUDA_VISIBLE_DEVICES", "-1")
    if not found and wanted and not wanted.startswith("-"):
        raise ExecutorError(
            f"TensorFlow sees no GPU, and this worker is to train on the device {wanted}: it has stopped to answer, or "
            "the CUDA libraries of this TensorFlow are missing or do not fit the driver (`make setup DEVICE=gpu` "
            "installs them). CUDA_VISIBLE_DEVICES=-1 trains on the CPU."
        )
    for device in found:
        if settings.gpu_memory_mb is None:
            tf.config.experimental.set_memory_growth(device, True)
        else:
            cap = tf.config.LogicalDeviceConfiguration(memory_limit=settings.gpu_memory_mb)
            tf.config.set_logical_device_configuration(device, [cap])
