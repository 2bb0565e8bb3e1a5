"""A probe trial: the first one on a fresh GPU, watched, so that it is known how many like it share the GPU.

It trains the largest of what a sweep may draw, for some seconds, in a process of its own with a cap on its memory: so
what the process holds beside the cap is what CUDA takes for itself. It leaves no record, and is remembered: a sweep of
the same kind on the same device need not do it again.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from pipelines.devices import Device, Need
from pipelines.executors.base import Answer, Executor, Loss, OneByOne
from pipelines.recipe.config import SweepConfig, TrainingConfig
from pipelines.recipe.search_space import SearchSpace, overlay
from pipelines.records import Ended, EpochEnded, Event, Stepped, TrialSpec, Verdict
from pipelines.worker import TrialWorker, WorkerSettings

if TYPE_CHECKING:
    import keras

FORMAT = 1
_TRAINS_S = 6.0
"""So long does it train after its first epoch, which compiles; the driver looks at a GPU a few times a second."""
_FIRST_EPOCH_S = 60.0
"""An epoch that takes longer than this is not waited for."""
PATIENCE_S = 300.0
_EPOCHS = 10_000
_ABOUT = ("dataset", "model", "optimizer", "batch_size", "precision", "xla", "search_space")


@dataclass(frozen=True)
class ProbeRequest:
    """What to try.

    Attributes:
        configs: Training configs, of which the largest is trained.
        data: Folder with the prepared data.
        objective: The metric, and in which direction it is good.
    """

    configs: tuple[Mapping[str, Any], ...]
    data: str
    objective: tuple[str, str]


@dataclass(frozen=True)
class Probed:
    """What came of it: a need, or the reason why there is none."""

    need: Need | None = None
    problem: str = ""


def candidates(config: SweepConfig) -> tuple[Mapping[str, Any], ...]:
    """Configs at the edges of what a sweep may draw, and the recipe's own: the largest of all is among them."""
    base, found = config.training(), []
    for changes in ({}, *SearchSpace(config.search_space).corners()):
        raw = {**overlay(base, changes), "epochs": _EPOCHS, "callbacks": {}}
        with suppress(ValidationError):  # values that do not go together are never drawn so
            found.append(TrainingConfig.model_validate(raw).model_dump(mode="json"))
    return tuple(found)


class Needs:
    """What probes have found on this machine."""

    def __init__(self, cache: Path) -> None:
        """Takes the folder for what is worth keeping between sweeps."""
        self._path = cache / "gpu-needs.json"

    def recall(self, config: SweepConfig, device: Device) -> Need | None:
        """What such a training needs of such a device, if it was ever tried."""
        with suppress(TypeError, KeyError):
            return Need(**self._read()[_key(config, device)])
        return None

    def keep(self, config: SweepConfig, device: Device, need: Need) -> None:
        """Keeps it. What cannot be written is only tried again."""
        with suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            beside = self._path.with_suffix(f".{os.getpid()}.part")
            kept = {**self._read(), _key(config, device): need.to_json()}
            beside.write_text(json.dumps(kept, indent=1), encoding="utf-8")
            beside.replace(self._path)

    def _read(self) -> dict[str, Any]:
        with suppress(OSError, ValueError):
            found = json.loads(self._path.read_text(encoding="utf-8"))
            return found if isinstance(found, dict) else {}
        return {}


def probe(
    request: ProbeRequest,
    executor: Executor,
    *,
    patience_s: float = PATIENCE_S,
    clock: Callable[[], float] = time.monotonic,
) -> Probed:
    """Has the one worker of an executor try it, and waits for what comes of it. The executor is closed then."""
    waiting = _Waiting(request, executor)
    began = clock()
    try:
        executor.start(waiting)
        while waiting.answer is None:
            executor.wait(0.2)
            if clock() - began > patience_s:
                return Probed(problem=f"it took longer than {patience_s:g} s")
        return waiting.answer
    finally:
        executor.close()


class _Waiting:
    """Hears of the probe's worker."""

    def __init__(self, request: ProbeRequest, executor: Executor) -> None:
        self._request = request
        self._executor = executor
        self._asked = False
        self.answer: Probed | None = None

    def on_room(self, worker: int, places: int) -> None:
        if not self._asked:
            self._asked = True
            self._executor.assign(worker, self._request)

    def on_rest(self, worker: int, tasks: int) -> None:
        """It says so itself."""

    def on_message(self, worker: int, message: Probed) -> None:
        self.answer = message

    def on_lost(self, worker: int, loss: Loss) -> None:
        self.answer = self.answer or Probed(problem=f"its worker was lost: {loss.reason}")


class ProbeWorker(OneByOne):
    """A worker for one `ProbeRequest`, answered by one `Probed`."""

    def __init__(self, settings: WorkerSettings) -> None:
        """Imports TensorFlow (seconds), with a cap on the GPU's memory."""
        from pipelines.devices.watch import GpuWatch

        self._watch = GpuWatch.of_this_process()
        self._free_mb = None if self._watch is None else self._watch.free_mb()
        self._settings = settings
        TrialWorker(settings)  # sets TensorFlow up
        super().__init__(self._answer)

    def _answer(self, request: ProbeRequest, say: Answer) -> None:
        try:
            say(Probed(self._tried(request)))
        except Exception as error:
            say(Probed(problem=f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"))

    def _tried(self, request: ProbeRequest) -> Need:
        from pipelines.training.fit import FitTrainer

        config, parameters = largest(request)
        trial = _Watched(self._watch)
        began = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="regatta-probe-") as folder:
            spec = TrialSpec(0, 1, config, request.data, folder, *request.objective)
            with suppress(_Enough):
                FitTrainer(self._settings.data_memory_mb << 20).train(spec, trial)
            if trial.error:
                raise RuntimeError(trial.error)
            import tensorflow as tf

            peak = tf.config.experimental.get_memory_info("GPU:0")["peak"] / (1 << 20)
            beside, cap = None, self._settings.gpu_memory_mb
            free = None if self._watch is None else self._watch.free_mb()
            if self._free_mb is not None and free is not None and cap is not None:
                beside = max(0.0, self._free_mb - free - cap)
        return Need(peak, beside, trial.busy(), parameters, time.monotonic() - began)


class _Enough(BaseException):
    """The training has been watched for long enough. No `Exception`: it is no trouble of the trial's."""


class _Watched:
    """Hears of the probe trial, and stops it in time."""

    def __init__(self, watch: Any) -> None:
        self._watch = watch
        self._began = time.monotonic()
        self._since: float | None = None
        self._first: Any = None
        self.error = ""
        if watch is not None:
            watch.start(0.1)

    def __call__(self, event: Event) -> Verdict:
        now = time.monotonic()
        if isinstance(event, Ended):
            self.error = event.error or ""
        if isinstance(event, Stepped) and self._since is None and now - self._began > _FIRST_EPOCH_S:
            raise _Enough
        if isinstance(event, EpochEnded) and self._since is None:
            self._since, self._first = now, None if self._watch is None else self._watch.seen()
        if self._since is not None and now - self._since > _TRAINS_S:
            if isinstance(event, Stepped):
                raise _Enough
            return Verdict.STOP
        return Verdict.GO_ON

    def busy(self) -> float | None:
        """The share of the time after the first epoch in which the GPU was busy; of all of it if there was no other."""
        if self._watch is None:
            return None
        self._watch.stop()
        from pipelines.devices.watch import Seen

        now, first = self._watch.seen(), self._first or Seen()
        watched = now.watched_s - first.watched_s
        return float((now.busy_s - first.busy_s) / watched) if watched > 0 else None


def largest(request: ProbeRequest) -> tuple[Mapping[str, Any], int]:
    """The config that needs the most memory, by its values and by what passes through its layers, and its parameters.

    Built on the CPU, so that nothing of those that are not trained counts.
    """
    import keras
    import tensorflow as tf

    from pipelines.datasets.prepared import open_prepared
    from pipelines.training.fit import build_model
    from pipelines.training.values import variables_of

    facts = open_prepared(Path(request.data)).facts
    best: tuple[float, int, Mapping[str, Any]] | None = None
    for raw in request.configs:
        config = TrainingConfig.model_validate(raw)
        with tf.device("CPU"), suppress(Exception):  # one that cannot be built is no trial either
            model = build_model(config, facts, 1)
            kept = sum(int(variable.value.dtype.size * _count(variable.shape)) for variable in variables_of(model))
            bytes_ = kept + 3 * 4 * config.batch_size * _passing(model)
            if best is None or bytes_ > best[0]:
                best = (bytes_, int(model.count_params()), raw)
        keras.backend.clear_session()
    if best is None:
        raise ValueError("none of the models that may be drawn could be built")
    return best[2], best[1]


def _passing(model: keras.Model) -> int:
    """Numbers of one sample that pass through the layers."""
    found = 0
    for layer in model._flatten_layers(include_self=False):
        with suppress(AttributeError, TypeError, ValueError):
            found += _count([side or 1 for side in tuple(layer.output.shape)[1:]])
    return found


def _count(shape: Any) -> int:
    found = 1
    for side in shape:
        found *= int(side)
    return found


def _key(config: SweepConfig, device: Device) -> str:
    """The kind of training and the kind of device."""
    parts = config.model_dump(mode="json", include=set(_ABOUT))
    about = [FORMAT, parts, device.name, device.total_mb, bool(device.slice_of)]
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:16]
