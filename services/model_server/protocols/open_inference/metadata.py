"""What the server and its models say about themselves, and the index of the repository, which is the registry."""

from __future__ import annotations

from typing import Any

from services.model_server.engine import Engine
from services.model_server.package import Contract
from services.model_server.protocols.open_inference.datatypes import BYTES, NAMES
from services.model_server.served import ServedModel, Slot

SERVER = {
    "name": "regatta",
    "version": "0.1.0",
    "extensions": [
        "binary_tensor_data",
        "classification",
        "model_configuration",
        "model_repository",
        "parameters",
        "statistics",
    ],
}
PLATFORMS = {"onnx": "onnxruntime_onnx", "keras": "tensorflow_keras"}
"""What computes a model and the form it is in, by the contract's engine."""


def describe_model(model: ServedModel, engine: Engine) -> dict[str, Any]:
    """Returns a model's metadata: the versions of its name that answer, and the tensors of this one."""
    loaded = {slot.served.version for slot in engine.slots_of(model.name) if slot.served is not None}
    output = model.contract.output
    return {
        "name": model.name,
        "versions": sorted(loaded, key=int),
        "platform": PLATFORMS[model.contract.engine],
        "inputs": _inputs(model.contract),
        "outputs": [_tensor(output.name, NAMES[output.dtype], output.shape)],
    }


def list_models(engine: Engine) -> dict[str, list[str]]:
    """Lists the names of the models that are served, ready or not, as KServe's server does."""
    return {"models": sorted({slot.ref.name for slot in engine.slots.values()})}


def repository_index(engine: Engine, only_ready: bool) -> list[dict[str, str]]:
    """Lists every version that is served, loaded or refused; `only_ready` those that answer."""
    entries: dict[tuple[str, str, str], dict[str, str]] = {}
    for slot in engine.slots.values():
        for version, state, reason in _versions(slot):
            if state == "READY" or not only_ready:
                entry = {"name": slot.ref.name, "version": version, "state": state, "reason": reason}
                entries.setdefault((slot.ref.name, version, state), entry)
    return list(entries.values())


def _inputs(contract: Contract) -> list[dict[str, Any]]:
    """One tensor; of a table one for each column. Numbers of a table are FP32 to every model."""
    if not contract.columns:
        return [_tensor(contract.input.name, NAMES[contract.input.dtype], contract.input.shape)]
    return [_tensor(column.name, "FP32" if column.type == "number" else BYTES, (None,)) for column in contract.columns]


def _tensor(name: str, datatype: str, shape: tuple[int | None, ...]) -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": [-1 if size is None else size for size in shape]}


def _versions(slot: Slot) -> list[tuple[str, str, str]]:
    """Returns version, state and reason of what a slot holds; an empty version where there is none yet."""
    found = []
    if slot.served is not None:
        found.append((slot.served.version, "READY", ""))
    if slot.rejection is not None:
        found.append((slot.rejection.version, "UNAVAILABLE", f"REJECTED: {slot.rejection.reason}"))
    elif slot.loading is not None:
        found.append((slot.loading, "LOADING", ""))
    return found or [(slot.ref.version or "", "UNAVAILABLE", slot.why_not())]
