"""A loaded model: checks shape and dtype, then arrays in, arrays out. The only file that imports ONNX Runtime."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from services.model_server.errors import BadInput, PackageRejected
from services.model_server.package import Package

# Golden outputs come from the trainer's machine: another instruction set sums floats in another order.
GOLDEN_RTOL, GOLDEN_ATOL = 1e-3, 1e-4
# The names ONNX Runtime has for the dtypes of a contract.
_GRAPH_TYPES = {
    "float32": "tensor(float)",
    "float64": "tensor(double)",
    "int64": "tensor(int64)",
    "int32": "tensor(int32)",
    "uint8": "tensor(uint8)",
    "string": "tensor(string)",
}
# Calls up to this long gain nothing from a second thread inside ONNX Runtime; waking one costs more.
_ONE_THREAD_S = 0.002
_MEASURE_S = 0.02


def cpu_budget(cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """Returns how many cores this process may use: its affinity mask, cut by the cgroup's quota (v2, then v1)."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
    try:
        quota, period = (cgroup / "cpu.max").read_text().split()
    except (OSError, ValueError):
        try:
            quota = (cgroup / "cpu" / "cpu.cfs_quota_us").read_text().strip()
            period = (cgroup / "cpu" / "cpu.cfs_period_us").read_text().strip()
        except OSError:
            return max(1, cores)
    if quota.isdigit() and period.isdigit() and int(period) > 0:
        cores = min(cores, int(quota) // int(period))
    return max(1, cores)


@dataclass(frozen=True)
class Cost:
    """How long a call takes, measured at warm-up: `call_s` for any call plus `row_s` for every row."""

    call_s: float
    row_s: float

    def of(self, rows: int) -> float:
        """Estimates the seconds of one call with this many rows."""
        return self.call_s + self.row_s * rows


class Predictor:
    """One ONNX Runtime session over a verified package.

    `run` may be called from any thread, one call at a time.
    """

    def __init__(self, package: Package, threads: int = 1) -> None:
        """Opens the graph and holds it against the contract.

        Args:
            package: A verified package.
            threads: The most threads one call may use.

        Raises:
            PackageRejected: ONNX Runtime cannot open the graph, or the graph is not what the contract says.
        """
        self.contract = package.contract
        self._graph = package.graph
        self._session = self._open(1)
        self._most_threads = threads
        self.threads = 1
        inputs = {tensor.name: tensor.type for tensor in self._session.get_inputs()}
        outputs = {tensor.name: tensor.type for tensor in self._session.get_outputs()}
        for kind, found, wanted in (
            ("input", inputs, self.contract.input),
            ("output", outputs, self.contract.output),
        ):
            if wanted.name not in found or (kind == "input" and len(found) != 1):
                names = ", ".join(sorted(found))
                raise PackageRejected(f"the graph's {kind} is {names}; the contract says {wanted.name}")
            if found[wanted.name] != _GRAPH_TYPES[wanted.dtype]:
                raise PackageRejected(f"the graph's {kind} is a {found[wanted.name]}; the contract says {wanted.dtype}")
        self._input = self.contract.input.name
        self._outputs = [self.contract.output.name]
        self._dtype = self.contract.input.array_dtype
        self._sample_shape = self.contract.input.sample_shape
        self._closed_shape = None not in self._sample_shape

    def _open(self, threads: int) -> Any:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 4  # failures come as exceptions; its own lines on stderr say them twice
        # A spinning thread takes the core away from the event loop that feeds it.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            return onnxruntime.InferenceSession(str(self._graph), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime's exceptions share no base but Exception
            raise PackageRejected(f"ONNX Runtime cannot open it: {_first_line(error)}") from None

    def check(self, rows: NDArray[Any]) -> None:
        """Refuses a batch that the contract does not allow.

        Args:
            rows: (n, *sample shape) in the contract's dtype (texts as objects), n > 0.

        Raises:
            BadInput: says what came and what would be right.
        """
        shape = rows.shape[1:]
        if rows.ndim and (shape == self._sample_shape or (not self._closed_shape and self._fits(shape))):
            if rows.dtype != self._dtype:
                raise BadInput(f"Input '{self._input}' is {rows.dtype}; this model takes {self._dtype}.")
            if len(rows) == 0:
                raise BadInput(f"Input '{self._input}' has no rows; send one or more samples.")
            return
        wanted = ", ".join("N" if size is None else str(size) for size in self.contract.input.shape)
        sample = " x ".join("any" if size is None else str(size) for size in self._sample_shape) or "one number"
        raise BadInput(
            f"Input '{self._input}' has shape ({', '.join(map(str, rows.shape))}); this model takes ({wanted}): "
            f"a list of samples, each {sample}."
        )

    def _fits(self, shape: tuple[int, ...]) -> bool:
        return len(shape) == len(self._sample_shape) and all(
            wanted is None or wanted == size for wanted, size in zip(self._sample_shape, shape, strict=True)
        )

    def run(self, rows: NDArray[Any]) -> NDArray[Any]:
        """Computes the outputs of a checked batch: (n, *sample shape) to (n, *output shape)."""
        result: NDArray[Any] = self._session.run(self._outputs, {self._input: rows})[0]
        return result

    def replay(self, package: Package) -> None:
        """Runs the golden inputs and compares with the stored outputs.

        Raises:
            PackageRejected: the graph fails, or answers something else than the model that was judged.
        """
        golden = package.golden
        try:
            self.check(golden.inputs)
            found = self.run(golden.inputs)
        except Exception as error:
            raise PackageRejected(f"its golden inputs do not run: {_first_line(error)}") from None
        if found.shape != golden.outputs.shape:
            raise PackageRejected(
                f"its golden outputs have shape {golden.outputs.shape}; the graph gives {found.shape}"
            )
        atol = GOLDEN_ATOL
        if self.contract.task == "regression":  # a value has a scale of its own; promotion measures by it too
            atol *= max(1.0, float(np.max(np.abs(golden.outputs), where=np.isfinite(golden.outputs), initial=0.0)))
        close = np.isclose(found, golden.outputs, rtol=GOLDEN_RTOL, atol=atol, equal_nan=True)
        if not close.all():
            row = int(np.argmin(close.reshape(len(close), -1).all(axis=1)))
            worst = float(np.max(np.abs(found - golden.outputs)))
            raise PackageRejected(
                f"golden sample {row} gives another answer than when it was packed (off by {worst:.3g})"
            )

    def warm(self, package: Package, max_batch: int) -> Cost:
        """Runs every power of two up to `max_batch` rows, so that no request pays for a first time, and measures.

        If the largest batch is slow, the session is opened again with all threads it may use.
        """
        cost = self._measure(package.golden.inputs, max_batch)
        if self._most_threads > 1 and cost.of(max_batch) > _ONE_THREAD_S:
            slow, slow_cost = self._session, cost
            self._session, self.threads = self._open(self._most_threads), self._most_threads
            cost = self._measure(package.golden.inputs, max_batch)
            if cost.of(max_batch) > slow_cost.of(max_batch):
                self._session, self.threads, cost = slow, 1, slow_cost
        return cost

    def _measure(self, samples: NDArray[Any], max_batch: int) -> Cost:
        sizes = [2**power for power in range(max_batch.bit_length()) if 2**power < max_batch] + [max_batch]
        seconds = {}
        for size in sizes:
            rows = np.resize(samples, (size, *samples.shape[1:]))
            self.run(rows)  # the first call of a size allocates; the next ones are what requests will see
            began = time.perf_counter()
            best = float("inf")
            for _ in range(8):
                start = time.perf_counter()
                self.run(rows)
                best = min(best, time.perf_counter() - start)
                if time.perf_counter() - began > _MEASURE_S:
                    break
            seconds[size] = best
        one, most = seconds[sizes[0]], seconds[sizes[-1]]
        row_s = max(0.0, most - one) / max(1, sizes[-1] - sizes[0])
        return Cost(call_s=max(one - row_s, 1e-6), row_s=row_s)


def _first_line(error: Exception) -> str:
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0][:300]
