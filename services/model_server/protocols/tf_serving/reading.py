"""The bodies of :predict, :classify and :regress, to what is to be predicted and how its answer is written."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from services.model_server.engine import Answer
from services.model_server.errors import BadInput, BadRequest
from services.model_server.package import Contract, TensorSpec
from services.model_server.protocols.base import Call, Prepared, Reply
from services.model_server.protocols.bulk import Numbers, Place
from services.model_server.protocols.cells import Typing, listed
from services.model_server.protocols.tables import read_table
from services.model_server.protocols.tensors import (
    Array,
    as_batch,
    load_json,
    load_samples,
    refuse_booleans,
    to_array,
)
from services.model_server.protocols.tf_serving.answers import encode, encode_classes
from services.model_server.protocols.tf_serving.metadata import SIGNATURE
from services.model_server.served import ServedModel

_PLACES: tuple[Place, ...] = (("instances",), ("inputs",))
# Which tasks TF Serving's two calls for examples answer.
_TASKS = {"classify": ("multiclass", "binary"), "regress": ("regression",)}
_KINDS = {"classify": "classification", "regress": "regression"}


def read_predict(_: Call, model: ServedModel, body: bytes | memoryview) -> Prepared:
    """Reads a request of :predict.

    Args:
        model: That is asked.
        body: As it came.

    Raises:
        BadRequest: it is not what TF Serving's API says.
        BadInput: its samples are not those of the model.
    """
    contract, body = model.contract, bytes(body)
    value, key = _value(_checked(load_samples(body, contract, _PLACES, lenient=True), "predict"))
    if contract.columns:
        if b'"b64"' in body:
            value = _decoded(value)
        if key == b"outputs" and isinstance(value, dict):
            value = _inputs_of(value, contract)
        batch, single = read_table(value, contract, body, columnar=key == b"outputs", typing=Typing.INPUT)
    else:
        value = _tensors(value, contract, key)
        refuse_booleans(body, value, contract.input)
        batch, single = as_batch(to_array(value, contract.input), contract)

    def write(answer: Answer) -> Reply:
        return Reply(b'{"%b":%b}' % (key, encode(answer.outputs[0] if single else answer.outputs)))

    return Prepared(batch, write)


def read_examples(verb: str, _: Call, model: ServedModel, body: bytes | memoryview) -> Prepared:
    """Reads a request of :classify or :regress.

    Args:
        verb: Which of the two it is.
        model: That is asked.
        body: As it came.

    Raises:
        BadRequest: it is not what TF Serving's API says, or the model answers the other one.
        BadInput: its examples are not those of the model.
    """
    contract, body = model.contract, bytes(body)
    if contract.task not in _TASKS[verb]:
        other = next(other for other, tasks in _TASKS.items() if contract.task in tasks)
        raise BadRequest(
            f"Expected {_KINDS[verb]} signature method_name to be tensorflow/serving/{verb}. Was: "
            f"tensorflow/serving/{other}. Model {model.name} is of task {contract.task}: use :{other} or :predict."
        )
    rows = _examples(_checked(load_json(body, lenient=True), verb), contract, body)

    def write(answer: Answer) -> Reply:
        scores = answer.outputs
        if verb == "regress":
            return Reply(b'{"results":%b}' % encode(scores[:, 0]))
        if contract.task == "binary":
            scores = np.concatenate([1.0 - scores, scores], axis=1)
        return Reply(b'{"results":%b}' % encode_classes(scores, contract.labels))

    return Prepared(rows, write)


def _checked(request: Any, verb: str) -> dict[str, Any]:
    if not isinstance(request, dict):
        raise BadRequest("Request body must be a JSON object")
    signature = request.get("signature_name", SIGNATURE)
    if not isinstance(signature, str):
        raise BadRequest("'signature_name' must be a string value.")
    # The name of a method is that of a signature too in many saved models; TF Serving's own example asks for it.
    if signature not in (SIGNATURE, "", f"tensorflow/serving/{verb}"):
        raise BadRequest(f'Serving signature name: "{listed([signature], 96)}" not found in signature def')
    return request


def _value(request: dict[str, Any]) -> tuple[Any, bytes]:
    """Returns what is asked about, and the key of the answer: the row format has another one than the column format."""
    if ("instances" in request) == ("inputs" in request):
        both = "Request has both 'inputs' and 'instances'; send one" if "inputs" in request else None
        raise BadRequest(both or "Missing 'inputs' or 'instances' key")
    if "inputs" in request:
        return request["inputs"], b"outputs"
    instances = request["instances"]
    if not isinstance(instances, list | dict | Numbers) or not instances:
        raise BadRequest("'instances' must be a list of one or more samples")
    return instances, b"predictions"


def _inputs_of(value: dict[str, Any], contract: Contract) -> dict[str, Any]:
    """Leaves out what the model has no input for, as TF Serving does, unless one of the model's is missing."""
    names: Sequence[str] = contract.column_names or (contract.input.name,)
    if contract.input.name in value and contract.input.name not in names:
        names = (contract.input.name,)
    if len(value) > len(names) and all(name in value for name in names):
        return {name: value[name] for name in names}
    return value


def _tensors(value: Any, contract: Contract, key: bytes) -> Any:
    """Takes the tensors out of objects that name the one input."""
    spec = contract.input
    if key == b"outputs":
        return _named(_inputs_of(value, contract), spec) if isinstance(value, dict) else value
    if isinstance(value, dict):
        raise BadRequest("'instances' must be a list of one or more samples")
    if isinstance(value, Numbers):
        return value
    if isinstance(value[0], dict):
        if not all(isinstance(item, dict) for item in value):
            raise BadRequest("'instances' must be all tensors or all objects")
        return [_named(item, spec) for item in value]
    return value


def _examples(request: dict[str, Any], contract: Contract, body: bytes) -> Array:
    """Reads the examples of :classify and :regress; `context` holds features that all of them share."""
    examples, context, spec = request.get("examples"), request.get("context", {}), contract.input
    if not isinstance(examples, list) or not examples or not all(isinstance(item, dict) for item in examples):
        raise BadRequest("Missing 'examples' key: a list of objects, feature name to value or list of values")
    if not isinstance(context, dict):
        raise BadRequest("'context' must be an object, feature name to value or list of values")
    value: list[Any] = [context | example for example in examples] if context else examples
    value = [_inputs_of(example, contract) for example in value]  # more features are nobody's business
    if contract.columns:
        return read_table(_decoded(value) if b'"b64"' in body else value, contract, body)[0]
    value = [_named(example, spec) for example in value]
    refuse_booleans(body, value, spec)
    rows = to_array(value, spec)
    if spec.sample_size is not None and rows.size == len(rows) * spec.sample_size:
        rows = rows.reshape(len(rows), *(size or 0 for size in spec.sample_shape))  # an Example's features are flat
    return rows


def _decoded(value: Any, levels: int = 4) -> Any:
    """Replaces every `{"b64": text}`, this dialect's other form of a string, by the string.

    `levels` is how deep a table's cells may lie: in a list of rows, by name, as a feature's list.
    """
    if levels == 0 or not isinstance(value, list | dict):
        return value
    if isinstance(value, list):
        return [_decoded(item, levels - 1) for item in value]
    if value.keys() == {"b64"} and isinstance(value["b64"], str):
        try:
            text = value["b64"]
            if "=" not in text:  # TF Serving takes it without what fills up its last four characters
                text += "=" * (-len(text) % 4)
            return base64.b64decode(text, validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            raise BadInput(f"'b64' must be UTF-8 text in base64, got {json.dumps(value['b64'])[:96]}.") from None
    return {name: _decoded(item, levels - 1) for name, item in value.items()}


def _named(value: dict[str, Any], spec: TensorSpec) -> Any:
    if value.keys() != {spec.name}:
        got = listed(sorted(value), 96)
        raise BadInput(f"Missing named input: this model takes '{spec.name}' and nothing else, got: {got}.")
    return value[spec.name]
