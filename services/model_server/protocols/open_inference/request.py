"""The JSON of an inference request, checked: which tensors come, where their numbers are, and what is wanted back."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from services.model_server.errors import BadInput, BadRequest
from services.model_server.package import Contract
from services.model_server.protocols.cells import listed
from services.model_server.protocols.open_inference.datatypes import BYTES, DATATYPES, NAMES, NUMBERS
from services.model_server.scale import AS_IS

_MOST_DIMENSIONS = 16
_SHOWN_BYTES = 64
# What Triton keeps for itself among the parameters of a request; its HTTP server refuses every one of them.
_RESERVED = "triton_"
_ABSENT: Any = object()


class Tensor(NamedTuple):
    """One input tensor as it came.

    Attributes:
        name: Of the input.
        datatype: One of `DATATYPES`.
        shape: Sizes, 0 or more.
        elements: How many that is.
        start: Where in the body its bytes begin; -1 if it is in the JSON.
        stop: Where they end.
        data: Its elements in the JSON, flat in row-major order or nested; None if they are bytes.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]
    elements: int
    start: int
    stop: int
    data: Any


class Wanted(NamedTuple):
    """How the output is to be written: as bytes or in the JSON; its best `classes` classes, or (0) all its numbers."""

    binary: bool
    classes: int = 0


class Request(NamedTuple):
    """One inference request.

    `identity` is the id that the answer repeats. With `as_is` values on another scale than training's are taken.
    """

    tensors: tuple[Tensor, ...]
    wanted: Wanted
    identity: str | None = None
    as_is: bool = False


def read_request(document: Any, start: int, size: int, contract: Contract) -> Request:
    """Checks the JSON of a request.

    Args:
        document: The JSON.
        start: Where in the body the tensors begin that are not in the JSON.
        size: How long the body is.
        contract: Of the model that is asked.

    Raises:
        BadRequest: the request has another form than the protocol's.
        BadInput: a tensor contradicts itself, or the bytes that came.
    """
    if not isinstance(document, dict):
        raise BadRequest("The request must be a JSON object with 'inputs', a list of tensors.")
    identity = document.get("id")
    if identity is not None and not isinstance(identity, str):
        raise BadRequest("'id' must be a string.")
    parameters = _parameters(document, "The request")
    if any(name.startswith(_RESERVED) for name in parameters):
        raise BadRequest(
            "parameter keys starting with 'triton_' are reserved for Triton usage, and none is known here."
        )
    entries = document.get("inputs")
    if not isinstance(entries, list) or not entries:
        raise BadRequest("'inputs' must be a list of one or more tensors.")
    tensors = []
    for entry in entries:
        tensor = _tensor(entry, start, size)
        tensors.append(tensor)
        start = max(start, tensor.stop)
    if start != size:
        raise BadInput(
            f"unexpected additional input data: {size - start} bytes of the body belong to no tensor; each tensor that "
            "is not in the JSON says its length as the parameter binary_data_size."
        )
    wanted = _wanted(document.get("outputs"), parameters, contract)
    return Request(tuple(tensors), wanted, identity, as_is=parameters.get("scale") == AS_IS)


def raw_request(body: bytes, contract: Contract) -> tuple[Request, bytes]:
    """Makes a request of a body that is one tensor and nothing else, for a model of one input.

    Returns:
        The request, answered in bytes as well, and the body that its places refer to.

    Raises:
        BadRequest: the model has several inputs, or samples of no fixed size.
        BadInput: the body is not as long as one or more samples.
    """
    spec = contract.input
    datatype, sample = NAMES[spec.dtype], spec.sample_shape
    if contract.columns:
        if len(contract.columns) > 1:
            raise BadRequest(
                f"This model has {len(contract.columns)} inputs, so their lengths must be told: a body without JSON "
                "(Inference-Header-Content-Length: 0) is for models of one input."
            )
        sample = ()
    name = contract.columns[0].name if contract.columns else spec.name
    if datatype == BYTES:
        body = len(body).to_bytes(4, "little") + body
        return Request((Tensor(name, BYTES, (1,), 1, 0, len(body), None),), Wanted(binary=True)), body
    if None in sample:
        raise BadRequest("The samples of this model have no fixed size, so their shape must be told in JSON.")
    sizes = [size or 0 for size in sample]
    each = math.prod(sizes) * NUMBERS[datatype].itemsize
    if not body or each == 0 or len(body) % each:
        raise BadInput(
            f"The body has {len(body)} bytes; one sample of input '{spec.name}' is {each}: {datatype} of shape "
            f"{shown_shape(sizes)}."
        )
    rows = len(body) // each
    tensor = Tensor(name, datatype, (rows, *sizes), rows * math.prod(sizes), 0, len(body), None)
    return Request((tensor,), Wanted(binary=True)), body


def shown_shape(sizes: Any) -> str:
    """Writes a shape as the protocol does: [-1,28,28]."""
    return f"[{','.join('-1' if size is None else str(size)[:20] for size in sizes)}]"


def shown(name: str) -> str:
    """Cuts a name for a message."""
    return listed([name], _SHOWN_BYTES)


def _parameters(holder: dict[str, Any], what: str) -> dict[str, Any]:
    """Returns the parameters of a request, a tensor or an output; those that mean nothing here are left alone."""
    parameters = holder.get("parameters")
    if parameters is None:
        return {}
    if not isinstance(parameters, dict):
        raise BadRequest(f"{what} has 'parameters' that are no object of names and values.")
    return parameters


def _flag(parameters: dict[str, Any], name: str, default: bool) -> bool:
    value = parameters.get(name, default)
    if not isinstance(value, bool):
        raise BadRequest(f"The parameter {name} must be true or false.")
    return value


def _tensor(entry: Any, start: int, size: int) -> Tensor:
    if not isinstance(entry, dict):
        raise BadRequest("Each of 'inputs' must be an object with name, shape, datatype and data.")
    name, datatype, shape = entry.get("name"), entry.get("datatype"), entry.get("shape")
    if not isinstance(name, str) or not name:
        raise BadRequest("Each of 'inputs' must have a 'name', a text.")
    if not isinstance(datatype, str) or datatype not in DATATYPES:
        raise BadInput(f"Input '{shown(name)}' has no 'datatype' of the protocol: {', '.join(DATATYPES)}.")
    if (
        not isinstance(shape, list)
        or len(shape) > _MOST_DIMENSIONS
        or not all(type(length) is int and 0 <= length < 2**63 for length in shape)
    ):
        raise BadInput(
            f"Input '{shown(name)}' has no 'shape': a list of up to {_MOST_DIMENSIONS} whole numbers, 0 or more."
        )
    parameters = _parameters(entry, "An input")
    if "shared_memory_region" in parameters:
        raise BadInput(f"Input '{shown(name)}' is in shared memory, which this server does not read; send its data.")
    count, data = math.prod(shape), entry.get("data", _ABSENT)
    length = parameters.get("binary_data_size", _ABSENT)
    if length is _ABSENT:
        if data is _ABSENT:
            raise BadInput(f"Input '{shown(name)}' has neither 'data' nor the parameter binary_data_size.")
        return Tensor(name, datatype, tuple(shape), count, -1, -1, data)
    if data is not _ABSENT:
        raise BadInput(f"Input '{shown(name)}' has both 'data' and the parameter binary_data_size.")
    if type(length) is not int or not 0 <= length <= size - start:
        raise BadInput(
            f"Input '{shown(name)}' must have a binary_data_size from 0 to {size - start}, the bytes of the body that "
            "are left for it."
        )
    if datatype != BYTES and length != count * NUMBERS[datatype].itemsize:
        raise BadInput(
            f"Input '{shown(name)}' has {length} bytes by its binary_data_size; {datatype} of its shape has "
            f"{NUMBERS[datatype].itemsize} for each of {str(count)[:20]} elements."
        )
    return Tensor(name, datatype, tuple(shape), count, start, start + length, None)


def _wanted(entries: Any, parameters: dict[str, Any], contract: Contract) -> Wanted:
    """Reads 'outputs'. Models have one output, so there is one way to write it."""
    binary = _flag(parameters, "binary_data_output", default=False)
    if entries is None or entries == []:
        return Wanted(binary)
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise BadRequest("'outputs' must be a list of objects with name and parameters.")
    names = [entry.get("name") for entry in entries]
    if not all(isinstance(name, str) for name in names):
        raise BadRequest("Each of 'outputs' must have a 'name', a text.")
    unknown = [name for name in names if name != contract.output.name]
    if unknown:
        raise BadInput(
            f"unexpected inference output '{shown(unknown[0])}': this model has the output '{contract.output.name}'."
        )
    if len(names) > 1:
        raise BadRequest(f"'outputs' has '{contract.output.name}' more than once.")
    own = _parameters(entries[0], "An output")
    if "shared_memory_region" in own:
        raise BadRequest("An output is wanted in shared memory, which this server does not write.")
    classes = own.get("classification", _ABSENT)
    if classes is not _ABSENT and (type(classes) is not int or classes < 1):
        raise BadRequest("The parameter classification must be how many classes to tell, a whole number from 1 on.")
    return Wanted(_flag(own, "binary_data", binary), 0 if classes is _ABSENT else classes)
