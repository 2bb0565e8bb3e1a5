"""The tensors of a request to what the model takes: one tensor, or one for each column of a table."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any, NamedTuple

import numpy as np

from services.model_server.errors import BadInput
from services.model_server.package import Column, Contract
from services.model_server.protocols.bulk import Numbers
from services.model_server.protocols.cells import listed, to_rows
from services.model_server.protocols.open_inference.datatypes import (
    BF16,
    BOOL,
    BYTES,
    FITTING,
    NAMES,
    NUMBERS,
    from_bytes,
)
from services.model_server.protocols.open_inference.framing import read_texts
from services.model_server.protocols.open_inference.request import Request, Tensor, shown, shown_shape
from services.model_server.protocols.tables import check_names
from services.model_server.protocols.tensors import Array, may_hold_booleans, to_array

# A column of numbers takes all of them, and rounds to what the model computes with, as it does with numbers in the JSON
# of every dialect: data frames have INT64 and FP64, whatever they hold.
_FOR_NUMBERS = tuple(NUMBERS)
# What a table's cells may be where the model takes texts: a text can be any number.
_FOR_TEXTS = (*(name for name in NUMBERS if name != BOOL), BYTES)


class _Typed(NamedTuple):
    """What `to_array` needs to know of a tensor."""

    name: str
    dtype: str


def read_inputs(request: Request, body: bytes, contract: Contract) -> tuple[Array, bool]:
    """Turns the tensors of a request into rows.

    Args:
        request: What came.
        body: The bytes that its places refer to.
        contract: Of the model.

    Returns:
        The rows (n, *sample shape) in the contract's dtype, and whether it was one sample without its batch dimension.

    Raises:
        BadInput: names, datatypes, shapes or values are not the model's.
    """
    names = [tensor.name for tensor in request.tensors]
    if not contract.columns or (names == [contract.input.name] and contract.column_names != (contract.input.name,)):
        return _whole(request.tensors, body, contract)
    check_names(names, contract, "The request")
    return _columns({tensor.name: tensor for tensor in request.tensors}, body, contract)


def _whole(tensors: Sequence[Tensor], body: bytes, contract: Contract) -> tuple[Array, bool]:
    """Reads the one tensor that holds all of the rows."""
    spec, tensor = contract.input, tensors[0]
    if len(tensors) > 1 or tensor.name != spec.name:
        got = listed([tensor.name for tensor in tensors], 128)
        raise BadInput(f"This model takes the input '{spec.name}' and nothing else, got: {got}.")
    _check_datatype(tensor, NAMES[spec.dtype], _taken(contract))
    single = _fits(tensor.shape, spec.sample_shape)
    if not single and not (tensor.shape and _fits(tensor.shape[1:], spec.sample_shape)):
        raise BadInput(
            f"unexpected shape for input '{spec.name}'. Expected {shown_shape(spec.shape)}, got "
            f"{shown_shape(tensor.shape)}. One sample may leave out the first dimension."
        )
    if spec.dtype == "string":
        texts = np.array(_texts(tensor, body), dtype=object).reshape(tensor.shape)
        return to_rows((texts[np.newaxis] if single else texts).tolist(), contract), single
    array = _numbers(tensor, body, spec.array_dtype, nulls=bool(contract.columns)).reshape(tensor.shape)
    return (array[np.newaxis] if single else array), single


def _columns(tensors: dict[str, Tensor], body: bytes, contract: Contract) -> tuple[Array, bool]:
    """Reads one tensor for each column: [n] or [n,1] for n rows, [] for one row alone."""
    first = tensors[contract.columns[0].name]
    for tensor in tensors.values():
        if len(tensor.shape) > 2 or (len(tensor.shape) == 2 and tensor.shape[1] != 1):
            raise BadInput(
                f"unexpected shape for input '{shown(tensor.name)}'. Expected [-1], got {shown_shape(tensor.shape)}."
            )
        if tensor.elements != first.elements or (tensor.shape == ()) != (first.shape == ()):
            raise BadInput(
                f"The inputs differ in length: '{shown(first.name)}' is {shown_shape(first.shape)}, "
                f"'{shown(tensor.name)}' is {shown_shape(tensor.shape)}."
            )
    single = first.shape == ()
    if contract.input.dtype != "string":
        dtype = contract.input.array_dtype
        for tensor in tensors.values():
            _check_datatype(tensor, NAMES[contract.input.dtype], _taken(contract))
        numbers = [_numbers(tensors[name], body, dtype, nulls=True).reshape(-1) for name in contract.column_names]
        return np.stack(numbers, axis=1), single
    cells = [_cells(tensors[column.name], body, column) for column in contract.columns]
    return to_rows(list(zip(*cells, strict=True)), contract), single


def _cells(tensor: Tensor, body: bytes, column: Column) -> list[Any]:
    """Reads a column of a table that goes to its model as texts, which hold every number."""
    if tensor.datatype == BYTES:
        return _texts(tensor, body)
    _check_datatype(tensor, "FP32" if column.type == "number" else BYTES, _FOR_TEXTS)
    cells: list[Any] = _numbers(tensor, body, None, nulls=True).reshape(-1).tolist()
    return cells


def _fits(shape: tuple[int, ...], wanted: tuple[int | None, ...]) -> bool:
    return len(shape) == len(wanted) and all(
        size is None or size == own for size, own in zip(wanted, shape, strict=True)
    )


def _taken(contract: Contract) -> tuple[str, ...]:
    """Returns the datatypes that the numbers of a model's input may have."""
    return _FOR_NUMBERS if contract.columns and contract.input.dtype != "string" else FITTING[contract.input.dtype]


def _check_datatype(tensor: Tensor, target: str, fitting: tuple[str, ...]) -> None:
    if tensor.datatype not in fitting:
        others = ", ".join(name for name in fitting if name != target)
        told = "every other kind of number" if fitting == _FOR_NUMBERS else f"what that holds without loss: {others}"
        raise BadInput(
            f"Input '{shown(tensor.name)}' is {tensor.datatype}; this model takes {target}"
            + (f", and {told}." if others else ".")
        )


def _numbers(tensor: Tensor, body: bytes, dtype: np.dtype[Any] | None, nulls: bool) -> Array:
    """Reads numbers as an array of `dtype` (as they are, if None): from the bytes of a body, or from its JSON.

    `nulls` lets null in the JSON of a floating-point datatype be a number that is missing.
    """
    if tensor.data is None and tensor.start >= 0:
        array = from_bytes(body, tensor.datatype, tensor.start, tensor.elements)
    else:
        array = _from_json(tensor, body, nulls)
        if array.size != tensor.elements:
            raise BadInput(
                f"Input '{shown(tensor.name)}' has {array.size} values in 'data'; its shape "
                f"{shown_shape(tensor.shape)} makes {str(tensor.elements)[:20]}."
            )
    if dtype is None or array.dtype == dtype:
        return array
    with np.errstate(over="ignore"):  # too large for float32 becomes infinite, and is counted as strange
        return array.astype(dtype)


def _from_json(tensor: Tensor, body: bytes, nulls: bool) -> Array:
    name, data, datatype = shown(tensor.name), tensor.data, tensor.datatype
    if not isinstance(data, list | Numbers) and tensor.shape:
        raise BadInput(f"Input '{name}' must have a list as its 'data'.")
    if datatype == BF16:
        raise BadInput(f"Input '{name}' is BF16, which JSON has no numbers for; send it as bytes, or as FP32.")
    if isinstance(data, Numbers) and datatype != BOOL:
        return to_array(data, _Typed(name, NUMBERS[datatype].name))
    kinds = _flat(data)[1] if datatype == BOOL or may_hold_booleans(body) else set()
    if datatype == BOOL:
        if kinds - {bool}:
            raise BadInput(f"Input '{name}' is BOOL; its 'data' may have true and false, and nothing else.")
        try:
            return np.array(data, dtype=np.bool_)
        except ValueError:
            raise BadInput(f"Input '{name}' is ragged: all lists of one level must have the same length.") from None
    if bool in kinds:  # NumPy would count them as 1 and 0
        raise BadInput(f"Input '{name}' has true or false among its numbers; they are of datatype BOOL.")
    dtype = NUMBERS[datatype]
    return to_array(data, _Typed(name, dtype.name), nulls=nulls and dtype.kind == "f")


def _texts(tensor: Tensor, body: bytes) -> list[Any]:
    """Reads texts, flat; null in JSON is a word that is missing."""
    name = shown(tensor.name)
    if tensor.data is None and tensor.start >= 0:
        return read_texts(body, tensor.start, tensor.stop, tensor.elements, name)
    if not isinstance(tensor.data, list) and tensor.shape:
        raise BadInput(f"Input '{name}' must have a list as its 'data'.")
    flat, kinds = _flat(tensor.data)
    if kinds - {str, type(None)}:
        raise BadInput(f"Input '{name}' is BYTES; its 'data' may have texts, and null where one is missing.")
    if len(flat) != tensor.elements:
        raise BadInput(
            f"Input '{name}' has {len(flat)} values in 'data'; its shape {shown_shape(tensor.shape)} makes "
            f"{str(tensor.elements)[:20]}."
        )
    return flat


def _flat(data: Any) -> tuple[list[Any], set[type]]:
    """Takes nested lists apart, level by level, and says of which types the values are.

    A level that has lists and others stays as it is.
    """
    level: list[Any] = [data]
    kinds = {type(data)}
    while kinds == {list}:
        level = list(chain.from_iterable(level)) if len(level) > 1 else level[0]
        kinds = set(map(type, level))
    return level, kinds
