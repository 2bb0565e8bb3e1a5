"""Requests that come again and again, with other numbers each time: their JSON is read and checked once.

A client that sends its tensors as bytes sends the same few hundred bytes of JSON before them, so what follows from that
JSON is kept: where the tensor lies, what is wanted back, and the JSON of the answer.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from services.model_server.package import Contract
from services.model_server.protocols.base import Headers, Reply
from services.model_server.protocols.open_inference.datatypes import BYTES, from_bytes
from services.model_server.protocols.open_inference.outputs import OCTETS, write_answer
from services.model_server.protocols.open_inference.request import Request
from services.model_server.protocols.tensors import Array
from services.model_server.served import ServedModel

# Longer JSON is not kept, nor more of it for one model: what clients send must not fill the memory.
_LONGEST_BYTES = 1024
_MOST = 128


class _Answered(NamedTuple):
    """What the last answer began with: the same again for outputs of the same shape."""

    shape: tuple[int, ...]
    head: bytes
    headers: Headers


class Known:
    """One request whose only tensor comes as bytes, for a model whose only input it is.

    Attributes:
        request: What its JSON says.
        count: How many samples it has.
    """

    __slots__ = ("_answered", "_count", "_datatype", "_dtype", "_shape", "_single", "_start", "count", "request")

    def __init__(self, request: Request, rows: Array, single: bool) -> None:
        (tensor,) = request.tensors
        self.request = request
        self.count = len(rows)
        self._datatype, self._start, self._count = tensor.datatype, tensor.start, tensor.elements
        self._dtype, self._shape, self._single = rows.dtype, rows.shape, single
        self._answered: _Answered | None = None

    def rows(self, body: bytes | memoryview) -> Array:
        """Reads the tensor of a body with the same JSON and of the same length."""
        array = from_bytes(body, self._datatype, self._start, self._count)
        if array.dtype != self._dtype:
            array = array.astype(self._dtype)
        return array.reshape(self._shape)

    def write(self, outputs: Array, model: ServedModel) -> Reply:
        """Writes the answer, as `outputs.write_answer` does."""
        last = self._answered
        if last is not None and last.shape == outputs.shape:
            return Reply(last.head + outputs.tobytes(), media_type=OCTETS, headers=last.headers)
        reply = write_answer(outputs, self._single, self.request, model)
        wanted = self.request.wanted
        if wanted.binary and not wanted.classes and outputs.dtype.isnative and reply.body.endswith(outputs.tobytes()):
            head = reply.body[: len(reply.body) - outputs.nbytes]
            self._answered = _Answered(outputs.shape, head, reply.headers)
        return reply


def recall(head: bytes, size: int, model: ServedModel) -> Known | None:
    """Finds what is known of a request with this JSON in a body of so many bytes."""
    known: Known | None = model.memory.get((head, size))
    return known


def remember(head: bytes, size: int, model: ServedModel, request: Request, rows: Array, single: bool) -> None:
    """Keeps what follows from the JSON of a request that was read and checked."""
    if len(head) > _LONGEST_BYTES or not _simple(request, model.contract):
        return
    memory: dict[Any, Any] = model.memory
    if len(memory) >= _MOST:  # somebody writes other JSON each time, an id perhaps
        memory.clear()
    memory[head, size] = Known(request, rows, single)


def _simple(request: Request, contract: Contract) -> bool:
    tensor = request.tensors[0]
    return (
        len(request.tensors) == 1
        and not contract.columns
        and tensor.name == contract.input.name
        and tensor.start >= 0
        and tensor.data is None
        and tensor.datatype != BYTES
    )
