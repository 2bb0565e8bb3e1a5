"""How many lanes, and compiled by XLA or not: measured on the program itself, as far as that is worth its time."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import keras
import psutil
import tensorflow as tf

from pipelines.computing import Xla
from pipelines.devices.inventories import VISIBLE
from pipelines.devices.nvml import nvml

USUAL = 32
"""Lanes that are near the best for small models on most machines; where measuring would not pay, it is this. Where not
many trials may be under way, fewer: lanes that nobody is in are computed, too."""
_USUAL_ON_GPU = 64
"""The same on a GPU. On an H200 a lane-epoch of the digits recipe took 11.7 ms with one lane, 1.5 with 16 and 0.6 with
256; one of 48 000 images 15 ms with 4, 5.8 with 32 and 5.4 with 128."""
_HOPED = 0.15
"""Share of the training time that a better number of lanes may save; often it is less, as callbacks take the rest."""
_MEASURED_S = 0.05
_FEWEST = 4
_CACHED = 4 << 20
"""Bytes of values that a CPU works with as fast as with few: of 16 lanes of 82 000 weights, which have 16 MB with
Adam's, each takes 1.4 times as long as of 4."""
_SHORTEST_STEP_S, _FLOPS, _READY_S = 20e-6, 100e9, 1.0
"""Roughly: the least that a lane's step takes, what a CPU computes in a second, and what it takes to have a program."""
_CONVOLUTIONS = (
    keras.layers.Conv1D,
    keras.layers.Conv2D,
    keras.layers.Conv3D,
    keras.layers.DepthwiseConv2D,
    keras.layers.SeparableConv2D,
)


@dataclass(frozen=True)
class Choice:
    """What a program is to be like.

    Attributes:
        width: Lanes.
        compiled: Whether XLA compiles it.
        told: How it was chosen, for people.
    """

    width: int
    compiled: bool
    told: str = ""


@dataclass(frozen=True)
class Measured:
    """What one program took.

    Attributes:
        program: The program, ready to run.
        ready_s: Seconds that it took to make, to compile and to measure.
        lane_step_s: Seconds a lane and step.
    """

    program: Any
    ready_s: float
    lane_step_s: float


Make = Callable[[int, bool], Measured]
"""Makes the program of a width, compiled or not, and measures it."""


def first_choice(model: keras.Model, most: int, value_bytes: int = 0, xla: Xla = "auto") -> Choice:
    """Where to begin.

    Args:
        model: What a lane trains.
        most: Lanes at most.
        value_bytes: Bytes of all variables of a lane, those of the optimizer included.
        xla: What the recipe says about compiling.
    """
    convolves = any(isinstance(layer, _CONVOLUTIONS) for layer in model._flatten_layers(include_self=False))
    on_cpu = not tf.config.list_logical_devices("GPU")
    usual = _USUAL_ON_GPU
    if on_cpu:  # lanes whose values no longer fit into its caches wait for its memory
        usual = min(USUAL, max(USUAL // 2, most // 2), max(_FEWEST, _CACHED // max(value_bytes, 1)))
    # XLA's convolutions of many lanes are slow on CPUs (7 times slower than without it, measured on one)
    compiled = xla == "on" if xla != "auto" else not (convolves and on_cpu)
    return Choice(max(1, min(usual, most)), compiled=compiled)


def worth_measuring(parameters: int, batch_size: int, steps_left: float) -> bool:
    """Whether so many steps are to come that another number of lanes could save more than it takes to try one.

    Args:
        parameters: Of the model; how often each is used in a step is not known, once for a sample is the least.
        batch_size: Samples in a step.
        steps_left: Steps of all trials that are to come.
    """
    step_s = max(_SHORTEST_STEP_S, 6 * parameters * batch_size / _FLOPS)
    return _HOPED * step_s * steps_left > 2 * _READY_S


def choose(make: Make, begin: Choice, most: int, steps_left: float, xla: Xla = "auto") -> tuple[Choice, Measured]:
    """Measures programs, from `begin` on, while what may be saved is more than what measuring costs.

    Args:
        make: Makes and measures one.
        begin: The first.
        most: Lanes at most.
        steps_left: Steps of all trials that are to come.
        xla: What the recipe says about compiling; the other way is tried only where it leaves that open.
    """
    best, found = begin, make(begin.width, begin.compiled)
    tried = {(begin.width, begin.compiled): found.lane_step_s}
    for width, compiled in _others(begin, most, both_ways=xla == "auto"):
        worth = _HOPED * found.lane_step_s * steps_left
        if worth < 2 * found.ready_s:
            break
        if _worse_way(tried, best, width):
            continue
        other = make(width, best.compiled if compiled is None else compiled)
        tried[width, other.program.compiled] = other.lane_step_s
        if other.lane_step_s < 0.95 * found.lane_step_s:
            best, found = Choice(width, other.program.compiled), other
    return Choice(best.width, best.compiled, _told(tried)), found


def _others(begin: Choice, most: int, *, both_ways: bool = True) -> Iterator[tuple[int, bool | None]]:
    """What else is worth a look, in order: the other way of running, fewer lanes, more lanes."""
    if not begin.compiled and both_ways:
        yield begin.width, True
    if begin.width >= 4:
        yield begin.width // 4, None
    width = begin.width * 4
    while width <= most:
        yield width, None
        width *= 4


def _worse_way(tried: dict[tuple[int, bool], float], best: Choice, width: int) -> bool:
    """Whether more lanes are slower already, so that still more would be."""
    narrower = [tried_width for tried_width, _ in tried if tried_width < width]
    return bool(narrower) and max(narrower) > best.width


def _told(tried: dict[tuple[int, bool], float]) -> str:
    """The measurements in a few words."""
    each = [
        f"{width}{'' if compiled else ' without XLA'}: {1e6 * seconds:.3g}"
        for (width, compiled), seconds in sorted(tried.items())
    ]
    return f"microseconds a lane and step by lanes: {', '.join(each)}"


def seconds_a_step(run: Callable[[int, int], None], whole: int) -> float:
    """Seconds that a step takes when all is compiled.

    Args:
        run: Makes so many steps from a step on, and waits for them.
        whole: Steps of whole batches in an epoch.
    """
    run(0, 1)
    count = 1
    while True:
        began = time.perf_counter()
        run(0, count)
        took = time.perf_counter() - began
        if took >= _MEASURED_S or count >= whole:
            return took / count
        count = min(whole, max(2 * count, int(count * _MEASURED_S / max(took, 1e-6))))


def most_in_memory(
    model: keras.Model,
    batch_size: int,
    value_bytes: int,
    free_bytes: int | None = None,
    gpu_bytes: int | None = None,
) -> int:
    """Lanes that fit into half of the memory that is free: that of the GPU where there is one, but for what they leave.

    Args:
        model: What a lane trains.
        batch_size: Samples in the largest batch that it sees.
        value_bytes: Bytes of all variables of a lane, those of the optimizer included.
        free_bytes: What is free on the host; asked of the system where left out.
        gpu_bytes: What is free on the GPU; asked of TensorFlow and the driver where left out.
    """
    if free_bytes is None:
        free_bytes = psutil.virtual_memory().available
    if gpu_bytes is None:
        gpu_bytes = free_on_gpu()
    outputs = 0
    for layer in model._flatten_layers(include_self=False):
        with suppress(AttributeError, TypeError, ValueError):
            size = 1
            for side in tuple(layer.output.shape)[1:]:
                size *= side or 1
            outputs += size
    passing = 3 * 4 * batch_size * outputs  # outputs, twice back
    if gpu_bytes is None:
        lane = 5 * value_bytes + passing  # values in, in the loop, out, gradients, on the host
        return max(1, int(free_bytes // 2 // max(lane, 1)))
    host = free_bytes // 2 // max(2 * value_bytes, 1)  # as they are read, and as they are written
    return max(1, int(min(host, gpu_bytes // 2 // max(4 * value_bytes + passing, 1))))


def free_on_gpu() -> int | None:
    """Bytes that this process may still fill on its GPU; None where it has none, or nobody knows."""
    found = tf.config.list_physical_devices("GPU")
    if not found:
        return None
    caps = tf.config.get_logical_device_configuration(found[0])
    cap = caps[0].memory_limit if caps else None
    if cap is not None:
        return max(0, (int(cap) << 20) - int(tf.config.experimental.get_memory_info("GPU:0")["current"]))
    library = nvml()
    if library is None:
        return None
    with suppress(library.library.NVMLError):
        name = os.environ.get(VISIBLE, "0").split(",")[0].strip() or "0"
        told = library.memory(library.handle(name))
        return None if told is None else told[1] << 20
    return None


class Memory:
    """Choices that were made before on this machine, so that the next sweep need not measure again."""

    def __init__(self, folder: Path | None) -> None:
        """Takes the folder to keep them in; None for nowhere."""
        self._path = folder / "widths.json" if folder is not None else None

    def recall(self, what: str) -> Choice | None:
        """The choice for a program on this machine, if one was made."""
        kept = self._read().get(_key(what))
        with suppress(TypeError):
            return Choice(**kept) if isinstance(kept, dict) else None
        return None

    def keep(self, what: str, choice: Choice) -> None:
        """Keeps a choice. One that cannot be written is only measured again."""
        if self._path is None:
            return
        with suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            beside = self._path.with_suffix(f".{os.getpid()}.part")
            beside.write_text(json.dumps({**self._read(), _key(what): asdict(choice)}, indent=1), encoding="utf-8")
            beside.replace(self._path)

    def _read(self) -> dict[str, Any]:
        if self._path is None:
            return {}
        try:
            found = json.loads(self._path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}


def _key(what: str) -> str:
    """The program, the libraries and the machine: where one is another, so may be the choice."""
    threads = tf.config.threading.get_intra_op_parallelism_threads()
    devices = [device.device_type for device in tf.config.list_logical_devices()]
    for device in tf.config.list_physical_devices("GPU"):  # the same processor may stand beside another card
        devices.append(str(tf.config.experimental.get_device_details(device).get("device_name", "")))
    about = [what, tf.__version__, keras.__version__, threads, devices, _processor()]
    return hashlib.sha256(json.dumps(about).encode()).hexdigest()[:16]


def _processor() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return ""
