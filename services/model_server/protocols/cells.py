"""Rows of cells to what a table's model takes, and back.

Plain numbers go through NumPy at once. Only a table that holds words, or something that has no place in it, is looked
at cell by cell.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from enum import Enum
from itertools import chain
from types import NoneType
from typing import Any

import numpy as np

from services.model_server.errors import BadInput
from services.model_server.package import Column, Contract
from services.model_server.protocols.tensors import JSON_TYPES, Array, may_hold_booleans

SHOWN_BYTES = 256
"""How much of what a client sent a message shows."""
_MOST = float(np.finfo(np.float32).max)
_LEAST = float(np.finfo(np.float64).tiny)
_NUMBER = re.compile(r"[+-]?(?:(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?|inf(?:inity)?|nan)", re.IGNORECASE)


class Typing(Enum):
    """What a cell may be beside a number in a column of numbers, or a text in a column of words; null is missing."""

    STRICT = "strict"
    """Nothing else; but a number that is a known word counts as the word."""
    INPUT = "input"
    """A text that says a number, if the input's dtype is string: clients that go by it know of texts alone."""
    FRAME = "frame"
    """A text that says a number, and any number as a word: data frames turn one into the other."""


def to_rows(rows: Sequence[Any], contract: Contract, body: bytes = b"", typing: Typing = Typing.INPUT) -> Array:
    """Turns rows of cells in column order into an array (n, columns) of the contract's dtype.

    Args:
        rows: Of cells.
        contract: Of a model with columns.
        body: That they come from. Booleans are looked for only if it may hold some.
        typing: What a cell may be.

    Raises:
        BadInput: a row has another number of cells, or a cell cannot be used in its column.
    """
    if not rows:
        raise BadInput(f"Input '{contract.input.name}' has no rows; send one or more.")
    if contract.input.dtype == "string":
        return _texts(rows, contract, typing)
    try:
        raw = np.array(rows)
    except (ValueError, OverflowError, RecursionError):
        raw = np.empty(0)  # rows of unequal length, or something that is no number
    if raw.dtype.kind not in "iuf" or raw.ndim != 2 or raw.shape[1] != len(contract.columns) or may_hold_booleans(body):
        raw = _numbers(rows, contract, typing)
    with np.errstate(over="ignore"):  # too large for float32 becomes infinite, and is counted as strange
        return raw.astype(np.float32)


def to_cells(row: Array, contract: Contract) -> list[Any]:
    """Says a row of texts as a client would send it: numbers, words, and None where one is missing."""
    return [
        (None if cell == "" else cell) if column.type == "category" else _number_in(cell)
        for column, cell in zip(contract.columns, row.tolist(), strict=True)
    ]


def unknown_words(rows: Array, contract: Contract) -> Iterator[tuple[Column, list[str]]]:
    """Yields the columns in which rows (n, columns) have words that the model does not know, and these words."""
    for column, cells in zip(contract.columns, rows.T, strict=True):
        if column.type == "category":
            unknown = dict.fromkeys(cell for cell in cells.tolist() if cell not in column.known)
            if unknown:
                yield column, list(unknown)


def check_widths(rows: Sequence[Any], names: Sequence[str]) -> None:
    """Refuses what is no row, and rows with another number of cells than there are names.

    Raises:
        BadInput: says which row it is.
    """
    for index, row in enumerate(rows):
        if not isinstance(row, list | tuple):
            raise BadInput(
                f"Row {index + 1} of {len(rows)} is of type {type_of(row)}; rows must be all lists or all objects."
            )
        if len(row) != len(names):
            raise BadInput(
                f"Row {index + 1} of {len(rows)} has {len(row)} cell{'s' * (len(row) != 1)}; "
                f"a row has {len(names)}: {listed(names)}."
            )


def parsed_number(text: str) -> float | None:
    """Reads a number as people and data frames write it; None if it is something else."""
    text = text.strip()
    return float(text) if _NUMBER.fullmatch(text) else None


def listed(names: Sequence[str], most_bytes: int = SHOWN_BYTES) -> str:
    """Joins names for a message, and cuts what would be too long."""
    text = ", ".join(name[:most_bytes] for name in names[:most_bytes]) or "none"
    encoded = text.encode("utf-8", "replace")
    return text if len(encoded) <= most_bytes else encoded[: most_bytes - 3].decode("utf-8", "ignore") + "…"


def _numbers(rows: Sequence[Any], contract: Contract, typing: Typing) -> Array:
    """Reads rows of numbers of which some are missing, or says which cell is none."""
    check_widths(rows, contract.column_names)
    if typing is Typing.FRAME:
        rows = [[_said(cell) if type(cell) is str else cell for cell in row] for row in rows]
    if set(map(type, chain.from_iterable(rows))) <= {int, float, NoneType}:
        try:
            return np.array(rows, dtype=np.float64)  # None becomes NaN
        except OverflowError:  # an integer beyond every float
            pass
    for index, row in enumerate(rows):
        for column, cell in zip(contract.columns, row, strict=True):
            if cell is not None and type(cell) not in (int, float):
                raise _unfit(column, cell, index, len(rows))
            if type(cell) is int:
                _as_float(column, cell)
    raise AssertionError("unreachable: one of the cells is not a number")


def _said(cell: str) -> float | str:
    """Returns the number that a text says, or the text, which is refused where the name of its column is known."""
    number = parsed_number(cell)
    return cell if number is None else number


def _texts(rows: Sequence[Any], contract: Contract, typing: Typing) -> Array:
    """Reads rows into texts, column by column."""
    check_widths(rows, contract.column_names)
    texts = np.empty((len(rows), len(contract.columns)), dtype=object)
    for place, column in enumerate(contract.columns):
        cells = [row[place] for row in rows]
        if column.type == "category" and set(map(type, cells)) == {str}:
            texts[:, place] = cells
            continue
        read = _number_text if column.type == "number" else _word
        written = [read(column, cell, typing) for cell in cells]
        if None in written:
            index = written.index(None)
            raise _unfit(column, cells[index], index, len(rows))
        texts[:, place] = written
    return texts


def _number_text(column: Column, cell: Any, typing: Typing) -> str | None:
    """Writes a number for the graph, which reads it with C's strtod; None if the cell is none."""
    kind = type(cell)
    if kind is float:
        size = abs(cell)
        if _LEAST <= size <= _MOST or cell == 0:
            return repr(cell)
        if size > _MOST:
            return "inf" if cell > 0 else "-inf"
        return "0.0" if size < _LEAST else "nan"  # strtod fails on what is smaller
    if kind is int:
        as_float = _as_float(column, cell)
        return str(cell) if abs(as_float) <= _MOST else _number_text(column, as_float, typing)
    if cell is None:
        return "nan"
    if kind is str and typing is not Typing.STRICT:
        number = parsed_number(cell)
        return None if number is None else _number_text(column, number, typing)
    return None


def _word(column: Column, cell: Any, typing: Typing) -> str | None:
    """Returns the text of a cell in a column of words; None if it has none."""
    if type(cell) is str:
        return cell
    if cell is None or cell != cell:
        return ""
    if type(cell) in (int, float):  # words that look like numbers come as numbers from clients that know no better
        forms = (str(int(cell)), repr(cell)) if cell == cell // 1 and abs(cell) < 2**53 else (repr(cell),)
        return next((form for form in forms if form in column.known), repr(cell) if typing is Typing.FRAME else None)
    return None


def _as_float(column: Column, cell: int) -> float:
    try:
        return float(cell)
    except OverflowError:
        raise BadInput(
            f"Column '{column.name}' has an integer of {cell.bit_length()} bits, which is too large."
        ) from None


def _unfit(column: Column, cell: Any, index: int, count: int) -> BadInput:
    wanted = "numbers" if column.type == "number" else "words"
    shown = "" if isinstance(cell, list | dict) else f" {json.dumps(cell)[: SHOWN_BYTES // 4]}"
    known = ""
    if column.type == "category":
        known = f" Words of the training data: {listed(column.words, SHOWN_BYTES // 4)}."
    return BadInput(
        f"Column '{column.name}' takes {wanted}, and null where one is missing; row {index + 1} of {count} has "
        f"{type_of(cell)}{shown}.{known}"
    )


def type_of(value: Any) -> str:
    """Returns what JSON calls the type of a value."""
    return JSON_TYPES.get(type(value), type(value).__name__)


def _number_in(text: str) -> int | float | None:
    number = float(text)
    if number != number:
        return None
    return int(text) if re.fullmatch(r"-?[0-9]{1,15}", text) else number
