"""The engine of nearly all models: ONNX Runtime, in this process. The only file that imports it."""

from __future__ import annotations

import os
from typing import Any, ClassVar

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # it would tell its maker of every start, and reads this at import

import onnxruntime
from numpy.typing import NDArray

from services.model_server.errors import PackageRejected
from services.model_server.package import Package
from services.model_server.predictor import Cost, Predictor, first_line

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


class OnnxEngine(Predictor):
    """One ONNX Runtime session over a verified package."""

    engine: ClassVar[str] = "onnx"

    def __init__(self, package: Package, threads: int = 1) -> None:
        """Opens the graph and holds it against the contract.

        Args:
            package: A verified package.
            threads: The most threads one call may use.

        Raises:
            PackageRejected: ONNX Runtime cannot open the graph, or the graph is not what the contract says.
        """
        super().__init__(package)
        self._graph = package.graph
        self._session = self._open(1)
        self._most_threads = threads
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
        self._outputs = [self.contract.output.name]

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
            raise PackageRejected(f"ONNX Runtime cannot open it: {first_line(error)}") from None

    def run(self, rows: NDArray[Any]) -> NDArray[Any]:
        """See `Predictor.run`."""
        result: NDArray[Any] = self._session.run(self._outputs, {self._input: rows})[0]
        return result

    def warm(self, package: Package, max_batch: int) -> Cost:
        """See `Predictor.warm`. If the largest batch is slow, the session is opened again with all its threads."""
        cost = self.measure(package.golden.inputs, max_batch)
        if self._most_threads > 1 and cost.of(max_batch) > _ONE_THREAD_S:
            slow, slow_cost = self._session, cost
            self._session, self.threads = self._open(self._most_threads), self._most_threads
            cost = self.measure(package.golden.inputs, max_batch)
            if cost.of(max_batch) > slow_cost.of(max_batch):
                self._session, self.threads, cost = slow, 1, slow_cost
        return cost
