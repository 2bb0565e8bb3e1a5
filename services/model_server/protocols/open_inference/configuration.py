"""The model configuration extension: what of Triton's ModelConfig has a meaning here, in the form of its JSON.

`tritonclient` and perf_analyzer ask for it: how many rows a request may have, and that requests are batched together.
What of it only Triton has, such as groups of instances or a policy of versions, is left out.
"""

from __future__ import annotations

from typing import Any

from services.model_server.package import Contract
from services.model_server.protocols.open_inference.datatypes import BYTES, NAMES
from services.model_server.protocols.open_inference.metadata import PLATFORMS
from services.model_server.served import ServedModel

_BACKENDS = {"onnx": "onnxruntime", "keras": "tensorflow"}


def describe_configuration(model: ServedModel, max_batch: int) -> dict[str, Any]:
    """Returns a model's configuration.

    Args:
        model: A loaded version.
        max_batch: The most rows of one call of it; a request of more is computed in several.
    """
    contract = model.contract
    return {
        "name": model.name,
        "platform": PLATFORMS[contract.engine],
        "backend": _BACKENDS[contract.engine],
        "max_batch_size": max_batch,
        "input": _inputs(contract),
        "output": [_tensor(contract.output.name, NAMES[contract.output.dtype], contract.output.sample_shape)],
        "dynamic_batching": {},
    }


def _inputs(contract: Contract) -> list[dict[str, Any]]:
    """One tensor; of a table one for each column, which is one value for each row: [n,1], or [n] as metadata says."""
    if not contract.columns:
        return [_tensor(contract.input.name, NAMES[contract.input.dtype], contract.input.sample_shape)]
    return [
        _tensor(column.name, "FP32" if column.type == "number" else BYTES, (1,)) | {"reshape": {"shape": []}}
        for column in contract.columns
    ]


def _tensor(name: str, datatype: str, sample_shape: tuple[int | None, ...]) -> dict[str, Any]:
    """Returns one tensor. Triton's sizes are those of one sample, without the batch."""
    kind = "STRING" if datatype == BYTES else datatype
    return {"name": name, "data_type": f"TYPE_{kind}", "dims": [-1 if size is None else size for size in sample_shape]}
