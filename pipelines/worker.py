"""What runs where the device is: takes trial specs, drives a trainer, sends events. No Optuna and no MLflow in here."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from pipelines.records import EpochEnded, Event, Stop, TrialSpec, Verdict
from pipelines.training import Trainer, make_trainer


@dataclass(frozen=True)
class WorkerSettings:
    """What a worker must know before TensorFlow starts.

    Attributes:
        threads: Cores it may use.
        gpu_memory_mb: Cap on its GPU's memory in MiB; None lets it grow as needed.
        data_memory_mb: Memory that the data of a trial may use, in MiB; larger data is read from disk, batch by batch.
    """

    threads: int
    gpu_memory_mb: int | None = None
    data_memory_mb: int = 1024


class TrialWorker:
    """A warm worker: TensorFlow is imported and set up once, then trial follows trial."""

    def __init__(self, settings: WorkerSettings) -> None:
        """Imports TensorFlow (seconds) and gives it the cores and the memory of `settings`."""
        _set_up_tensorflow(settings)
        self._trainer: Trainer = make_trainer(settings.data_memory_mb << 20)

    def __call__(self, spec: TrialSpec, answer: Callable[[Event], Any]) -> None:
        """Trains one attempt; `answer` takes its events to the controller."""
        self._trainer.train(spec, Line(spec, answer))


class Line:
    """The line from one attempt to the controller: events go up, the controller's standing word comes back.

    An answer comes once, with whatever is said next: perhaps with a note of a callback, which asks for no verdict, or
    to another thread. So what it says stands until the attempt is over.
    """

    def __init__(self, spec: TrialSpec, answer: Callable[[Event], Any]) -> None:
        """Takes the attempt, and what sends a message and returns the newest answer."""
        self._spec = spec
        self._answer = answer
        self._lock = threading.Lock()  # a pipe takes one message at a time
        self._standing = Verdict.GO_ON

    def __call__(self, event: Event) -> Verdict:
        """Sends an event; see `pipelines.training.base.Emit`."""
        with self._lock:
            word = self._word(self._answer(event))
            if isinstance(event, EpochEnded) and event.retold and word is Verdict.STOP:
                return word  # perhaps about an epoch that the trial has long gone beyond: whoever retells knows
            if self._standing is not Verdict.STOP:  # which a pause does not take back
                self._standing = word or self._standing
            return self._standing

    def _word(self, reply: Any) -> Verdict | None:
        if not isinstance(reply, Stop) or (reply.trial, reply.attempt) != (self._spec.number, self._spec.attempt):
            return None
        return Verdict.PAUSE if reply.pause else Verdict.STOP


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
    import tensorflow as tf  # 5 s and more

    tf.config.threading.set_intra_op_parallelism_threads(settings.threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    for device in tf.config.list_physical_devices("GPU"):
        if settings.gpu_memory_mb is None:
            tf.config.experimental.set_memory_growth(device, True)
        else:
            cap = tf.config.LogicalDeviceConfiguration(memory_limit=settings.gpu_memory_mb)
            tf.config.set_logical_device_configuration(device, [cap])
