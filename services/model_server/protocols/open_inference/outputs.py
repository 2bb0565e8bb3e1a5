"""An answer in the protocol's form: numbers or classes, in the JSON or as bytes behind it."""

from __future__ import annotations

from typing import Any

import numpy as np
import orjson

from services.model_server.errors import BadInput
from services.model_server.package import Contract
from services.model_server.protocols.base import Headers, Reply
from services.model_server.protocols.open_inference.datatypes import BYTES, NAMES
from services.model_server.protocols.open_inference.framing import HEADER, write_texts
from services.model_server.protocols.open_inference.request import Request
from services.model_server.protocols.ranking import ranked
from services.model_server.protocols.tensors import NOT_FINITE, Array
from services.model_server.served import ServedModel

OCTETS = b"application/octet-stream"


def check_wanted(request: Request, contract: Contract) -> None:
    """Refuses to name classes where there are none; asked before anything is computed.

    Raises:
        BadInput: the model predicts a number.
    """
    if request.wanted.classes and not contract.labels:
        raise BadInput("The parameter classification is for models with classes; this one predicts a number.")


def write_answer(outputs: Array, single: bool, request: Request, model: ServedModel) -> Reply:
    """Writes the outputs (n, k) of a request; `single` leaves out the batch dimension, as the request did."""
    contract, wanted = model.contract, request.wanted
    name, datatype = contract.output.name, NAMES[contract.output.dtype]
    texts: list[str] = []
    if wanted.classes:
        datatype, (texts, shape) = BYTES, name_classes(outputs, contract, wanted.classes)
    else:
        shape = outputs.shape
    output: dict[str, Any] = {"name": name, "datatype": datatype, "shape": shape[1:] if single else shape}
    answer: dict[str, Any] = {"model_name": model.name, "model_version": model.version, "outputs": [output]}
    if request.identity is not None:
        answer["id"] = request.identity
    if wanted.binary:
        content = write_texts(texts) if wanted.classes else _little(outputs)
        output["parameters"] = {"binary_data_size": len(content)}
        head = orjson.dumps(answer)
        return Reply(head + content, media_type=OCTETS, headers=((HEADER, b"%d" % len(head)),))
    output["data"] = texts if wanted.classes else np.ravel(outputs)
    headers: Headers = ()
    if not wanted.classes and not np.isfinite(outputs).all():  # JSON has no such numbers: they are written as null
        headers = (NOT_FINITE,)
    return Reply(orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY), headers=headers)


def name_classes(outputs: Array, contract: Contract, top_k: int) -> tuple[list[str], tuple[int, int]]:
    """Says outputs (n, k) as the classification extension does: `value:index:label`, the best first.

    Returns:
        The texts, row after row, and their shape: (n, at most as many as there are labels).
    """
    scores, order = ranked(outputs, contract, top_k)
    best = np.take_along_axis(scores, order, axis=1)
    labels = contract.labels
    # NumPy's shortest text that is the same float32 again; Triton cuts to six decimals.
    texts = [
        f"{value!s}:{index}:{labels[index]}" for value, index in zip(best.ravel(), order.ravel().tolist(), strict=True)
    ]
    return texts, (len(order), order.shape[1])


def _little(outputs: Array) -> bytes:
    """The bytes of an array in row-major order, little-endian."""
    return outputs.astype(outputs.dtype.newbyteorder("<"), copy=False).tobytes()
