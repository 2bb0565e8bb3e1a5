"""What TF Serving tells of a model: the status of its versions, and what the one that answers takes and gives."""

from __future__ import annotations

from typing import Any

from services.model_server.package import TensorSpec
from services.model_server.served import ServedModel, Slot, State

SIGNATURE = "serving_default"
_DTYPES = {
    "float32": "DT_FLOAT",
    "float64": "DT_DOUBLE",
    "int64": "DT_INT64",
    "int32": "DT_INT32",
    "uint8": "DT_UINT8",
    "string": "DT_STRING",
}


def version_status(slot: Slot) -> list[dict[str, Any]]:
    """Lists what a slot serves, loads or refuses as TF Serving lists versions."""
    entries = []
    if slot.served is not None:
        entries.append(_entry(slot.served.version, State.AVAILABLE.value))
    if slot.rejection is not None:
        entries.append(_entry(slot.rejection.version, "END", "DATA_LOSS", f"REJECTED: {slot.rejection.reason}"))
    elif slot.loading is not None:
        entries.append(_entry(slot.loading, State.LOADING.value))
    return entries


def _entry(version: str, state: str, code: str = "OK", message: str = "") -> dict[str, Any]:
    return {"version": version, "state": state, "status": {"error_code": code, "error_message": message}}


def describe_model(model: ServedModel) -> dict[str, Any]:
    """Says what a version takes and gives, as TF Serving tells of a saved model's signature."""

    def tensor(spec: TensorSpec, kind: str) -> dict[str, Any]:
        sizes = [{"size": str(-1 if size is None else size), "name": ""} for size in spec.shape]
        shape = {"dim": sizes, "unknown_rank": False}
        return {"dtype": _DTYPES[spec.dtype], "tensor_shape": shape, "name": f"{kind}_{spec.name}:0"}

    contract = model.contract
    signature = {
        "inputs": {contract.input.name: tensor(contract.input, SIGNATURE)},
        "outputs": {contract.output.name: tensor(contract.output, "StatefulPartitionedCall")},
        "method_name": "tensorflow/serving/predict",
    }
    return {
        "model_spec": {"name": model.name, "signature_name": "", "version": model.version},
        # The double key is TF Serving's own: a map inside a message of the same name.
        "metadata": {"signature_def": {"signature_def": {SIGNATURE: signature}}},
    }
