"""The body of an inference request, JSON or JSON with tensors as bytes behind it, to what is to be predicted."""

from __future__ import annotations

from services.model_server.engine import Answer
from services.model_server.protocols.base import Call, Prepared, Reply
from services.model_server.protocols.open_inference.framing import json_length, read_document
from services.model_server.protocols.open_inference.inputs import read_inputs
from services.model_server.protocols.open_inference.known import recall, remember
from services.model_server.protocols.open_inference.outputs import check_wanted, write_answer
from services.model_server.protocols.open_inference.request import raw_request, read_request
from services.model_server.protocols.tensors import load_json
from services.model_server.served import ServedModel


def read_body(header: str | None, _: Call, model: ServedModel, body: bytes | memoryview) -> Prepared:
    """Reads one request.

    Args:
        header: The value of Inference-Header-Content-Length.
        model: That is asked.
        body: Unpacked.

    Raises:
        BadRequest: it is not what the protocol says.
        BadInput: its tensors are not those of the model.
    """
    contract, size = model.contract, len(body)
    start = json_length(header, size)
    if 0 < start < size:
        head = bytes(body[:start])
        known = recall(head, size, model)
        if known is not None:
            return Prepared(known.rows(body), lambda answer: known.write(answer.outputs, model), known.request.as_is)
        content = bytes(body)
        request = read_request(load_json(head, tokens=True), start, size, contract)
    elif start or not body:
        content = bytes(body)
        request = read_request(read_document(content, contract, header is not None), start, size, contract)
    else:
        request, content = raw_request(bytes(body), contract)
    check_wanted(request, contract)
    rows, single = read_inputs(request, content, contract)
    if 0 < start < size:
        remember(head, size, model, request, rows, single)

    def write(answer: Answer) -> Reply:
        return write_answer(answer.outputs, single, request, model)

    return Prepared(rows, write, request.as_is)
