"""A loaded model, whoever computes it: checks shape and dtype, then arrays in, arrays out."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from services.model_server.errors import BadInput, PackageRejected
from services.model_server.package import Contract, Golden, Package

# Golden outputs come from the trainer's machine: another instruction set sums floats in another order.
GOLDEN_RTOL, GOLDEN_ATOL = 1e-3, 1e-4
_MEASURE_S = 0.02


@dataclass(frozen=True)
class Cost:
    """How long a call takes, measured at warm-up: `call_s` for any call plus `row_s` for every row."""

    call_s: float
    row_s: float

    def of(self, rows: int) -> float:
        """Estimates the seconds of one call with this many rows."""
        return self.call_s + self.row_s * rows


class Predictor(ABC):
    """A verified package that computes. The rollout opens, replays, warms and closes it; a batcher calls `run`.

    `run` may be called from any thread, one call at a time.

    Attributes:
        engine: Who computes, as the contract and the metrics call it.
        inline: Whether a short call may run on the event loop; not if it can wait for somebody else.
        threads: How many cores one call uses.
    """

    engine: ClassVar[str]
    inline: ClassVar[bool] = True

    def __init__(self, package: Package) -> None:
        self.contract: Contract = package.contract
        self.threads = 1
        self._input = self.contract.input.name
        self._dtype = self.contract.input.array_dtype
        self._sample_shape = self.contract.input.sample_shape
        self._closed_shape = None not in self._sample_shape

    @property
    def fault(self) -> str | None:
        """Why it cannot answer at the moment, as a sentence; None while it can."""
        return None

    @property
    def restarts(self) -> int:
        """How often what computes had to be started again."""
        return 0

    def close(self) -> None:
        """Frees what it holds, at once; nobody calls `run` any more. Never blocks, and may be called twice."""
        return

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

    @abstractmethod
    def run(self, rows: NDArray[Any]) -> NDArray[Any]:
        """Computes the outputs of a checked batch: (n, *sample shape) to (n, *output shape)."""

    def replay(self, package: Package) -> None:
        """Runs the golden inputs and compares with the stored outputs.

        Raises:
            PackageRejected: the model fails, or answers something else than the model that was judged.
        """
        try:
            self.check(package.golden.inputs)
            found = self.run(package.golden.inputs)
        except Exception as error:
            raise PackageRejected(f"its golden inputs do not run: {first_line(error)}") from None
        hold_against_golden(found, package.golden, self.contract)

    def warm(self, package: Package, max_batch: int) -> Cost:
        """Runs every power of two up to `max_batch` rows, so that no request pays for a first time, and measures."""
        return self.measure(package.golden.inputs, max_batch)

    def measure(self, samples: NDArray[Any], max_batch: int) -> Cost:
        """Measures calls of every power of two up to `max_batch` rows, made of these samples."""
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


def hold_against_golden(found: NDArray[Any], golden: Golden, contract: Contract) -> None:
    """Compares the outputs of the golden inputs with those that the judged model gave.

    Raises:
        PackageRejected: says which sample differs, and by how much.
    """
    if found.shape != golden.outputs.shape:
        raise PackageRejected(f"its golden outputs have shape {golden.outputs.shape}; the graph gives {found.shape}")
    atol = GOLDEN_ATOL
    if contract.task == "regression":  # a value has a scale of its own; promotion measures by it too
        atol *= max(1.0, float(np.max(np.abs(golden.outputs), where=np.isfinite(golden.outputs), initial=0.0)))
    close = np.isclose(found, golden.outputs, rtol=GOLDEN_RTOL, atol=atol, equal_nan=True)
    if not close.all():
        row = int(np.argmin(close.reshape(len(close), -1).all(axis=1)))
        worst = float(np.max(np.abs(found - golden.outputs)))
        raise PackageRejected(f"golden sample {row} gives another answer than when it was packed (off by {worst:.3g})")


def first_line(error: Exception) -> str:
    """Returns the first line of an error's message, and no more than 300 signs of it."""
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0][:300]
