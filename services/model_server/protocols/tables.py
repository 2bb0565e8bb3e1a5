"""Rows of a table to what its model takes: lists in column order, objects by column name, and columns; and back.

Plain numbers go through NumPy at once. Only a table that holds words, or something that has no place in it, is looked
at cell by cell.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import chain
from operator import itemgetter
from types import NoneType
from typing import Any

import numpy as np

from services.model_server.errors import BadInput, BadRequest
from services.model_server.package import Column, Contract
from services.model_server.protocols.tensors import JSON_TYPES, Array, may_hold_booleans

Row = Sequence[Any]

_MOST = float(np.finfo(np.float32).max)
_LEAST = float(np.finfo(np.float64).tiny)
_NUMBER = re.compile(r"[+-]?(?:(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?|inf(?:inity)?|nan)", re.IGNORECASE)
_SHOWN_BYTES = 256


def read_table(value: Any, contract: Contract, body: bytes, columnar: bool = True) -> tuple[Array, bool]:
    """Turns the JSON form of one or more rows into what the model takes. null is a missing value.

    Args:
        value: A list of rows or one row; a row is a list of cells in column order, or an object by column name.
        contract: Of a model with columns.
        body: The request's body. Booleans are looked for only if it may hold some.
        columnar: Whether an object may also hold lists: all cells of each column.

    Returns:
        The rows (n, columns) in the contract's dtype, and whether it was one row alone, to be answered in kind.

    Raises:
        BadInput: names the columns that are missing or unknown, or the column of a cell that cannot be used.
    """
    if isinstance(value, dict):
        if _names_the_input(value, contract):
            return read_table(value[contract.input.name], contract, body, columnar)
        if columnar and any(isinstance(cells, list) for cells in value.values()):
            return to_rows(_transposed(value, contract), contract, body), False
        return to_rows(_by_name([value], contract), contract, body), True
    if not isinstance(value, list):
        raise BadInput(
            f"Input '{contract.input.name}' is of type {_type_of(value)}; this model takes rows: lists of "
            f"{len(contract.columns)} cells, or objects with {listed(contract.column_names)}."
        )
    if not value:
        raise BadInput(f"Input '{contract.input.name}' has no rows; send one or more.")
    if isinstance(value[0], dict):
        if not all(isinstance(row, dict) for row in value):
            raise BadRequest("Rows must be all lists or all objects.")
        if _names_the_input(value[0], contract) and all(row.keys() == value[0].keys() for row in value):
            return to_rows([row[contract.input.name] for row in value], contract, body), False
        return to_rows(_by_name(value, contract), contract, body), False
    if isinstance(value[0], list):
        return to_rows(value, contract, body), False
    return to_rows([value], contract, body), True


def to_rows(rows: Sequence[Any], contract: Contract, body: bytes = b"") -> Array:
    """Turns rows of cells in column order into an array (n, columns) of the contract's dtype.

    Raises:
        BadInput: a row has another number of cells, or a cell cannot be used in its column.
    """
    if not rows:
        raise BadInput(f"Input '{contract.input.name}' has no rows; send one or more.")
    if contract.input.dtype == "string":
        return _texts(rows, contract)
    try:
        raw = np.array(rows)
    except (ValueError, OverflowError, RecursionError):
        raw = np.empty(0)  # rows of unequal length, or something that is no number
    if raw.dtype.kind not in "iuf" or raw.ndim != 2 or raw.shape[1] != len(contract.columns) or may_hold_booleans(body):
        raw = _numbers(rows, contract)
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


def listed(names: Sequence[str], most_bytes: int = _SHOWN_BYTES) -> str:
    """Joins names for a message, and cuts what would be too long."""
    text = ", ".join(name[:most_bytes] for name in names[:most_bytes]) or "none"
    encoded = text.encode("utf-8", "replace")
    return text if len(encoded) <= most_bytes else encoded[: most_bytes - 3].decode("utf-8", "ignore") + "…"


def check_names(found: Sequence[str], contract: Contract, what: str = "The table") -> None:
    """Refuses other columns than the model's, in whatever order.

    Raises:
        BadInput: names the columns that are missing, unknown or there twice.
    """
    wanted = set(contract.column_names)
    counts = Counter(found)
    mistakes = {
        "missing": [name for name in contract.column_names if name not in counts],
        "unknown": [name for name in counts if name not in wanted],
        "twice": [name for name, count in counts.items() if count > 1],
    }
    told = [f"{kind}: {listed(names, _SHOWN_BYTES // 4)}" for kind, names in mistakes.items() if names]
    if told:
        raise BadInput(f"{what} has other columns than this model: {'; '.join(told)}.")


def picked(rows: Sequence[Any], keys: Sequence[Any]) -> list[Row]:
    """Takes the cells of each row by their places or names, in this order."""
    if len(keys) == 1:
        return [(row[keys[0]],) for row in rows]
    return list(map(itemgetter(*keys), rows))


def check_widths(rows: Sequence[Any], names: Sequence[str]) -> None:
    """Refuses what is no row, and rows with another number of cells than there are names.

    Raises:
        BadInput: says which row it is.
    """
    for index, row in enumerate(rows):
        if not isinstance(row, list | tuple):
            raise BadInput(
                f"Row {index + 1} of {len(rows)} is of type {_type_of(row)}; rows must be all lists or all objects."
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


# ---------------------------------------------------------------------------------------------------------------- names


def _names_the_input(value: dict[str, Any], contract: Contract) -> bool:
    """Whether an object has the one input of the model by its name, and not columns."""
    return value.keys() == {contract.input.name} and contract.column_names != (contract.input.name,)


def _by_name(records: list[dict[str, Any]], contract: Contract) -> list[Row]:
    names = contract.column_names
    try:
        rows: list[Row] | None = picked(records, names)
    except KeyError:
        rows = None
    if rows is None or set(map(len, records)) != {len(names)}:
        for index, record in enumerate(records):
            check_names(list(record), contract, f"Row {index + 1} of {len(records)}")
        raise AssertionError("unreachable: one of the records has other columns")
    if any(isinstance(cell, list) for cell in rows[0]):  # TF Serving's features are lists, even those of one value
        rows = [[_alone(cell) for cell in row] for row in rows]
    return rows


def _transposed(columns: dict[str, Any], contract: Contract) -> list[Row]:
    check_names(list(columns), contract)
    for name, cells in columns.items():
        if not isinstance(cells, list):
            raise BadInput(f"Column '{name}' is of type {_type_of(cells)}; it must be a list, as the others are.")
        if cells and isinstance(cells[0], list):
            columns = columns | {name: [_alone(cell) for cell in cells]}
    lengths = {name: len(cells) for name, cells in columns.items()}
    if len(set(lengths.values())) > 1:
        raise BadInput(
            f"The columns differ in length: {listed([f'{name} has {length}' for name, length in lengths.items()])}."
        )
    return list(zip(*(columns[name] for name in contract.column_names), strict=True))


def _alone(cell: Any) -> Any:
    return cell[0] if isinstance(cell, list) and len(cell) == 1 else cell


# --------------------------------------------------------------------------------------------------------------- cells


def _numbers(rows: Sequence[Any], contract: Contract) -> Array:
    """Reads rows of numbers of which some are missing, or says which cell is none."""
    check_widths(rows, contract.column_names)
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


def _texts(rows: Sequence[Any], contract: Contract) -> Array:
    """Reads rows into texts, column by column."""
    check_widths(rows, contract.column_names)
    texts = np.empty((len(rows), len(contract.columns)), dtype=object)
    for place, column in enumerate(contract.columns):
        cells = [row[place] for row in rows]
        if column.type == "category" and set(map(type, cells)) == {str}:
            texts[:, place] = cells
            continue
        read = _number_text if column.type == "number" else _word
        written = [read(column, cell) for cell in cells]
        if None in written:
            index = written.index(None)
            raise _unfit(column, cells[index], index, len(rows))
        texts[:, place] = written
    return texts


def _number_text(column: Column, cell: Any) -> str | None:
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
        return str(cell) if abs(as_float) <= _MOST else _number_text(column, as_float)
    if cell is None:
        return "nan"
    if kind is str:  # the input's type is string, so clients that go by it send numbers as texts
        number = parsed_number(cell)
        return None if number is None else _number_text(column, number)
    return None


def _word(column: Column, cell: Any) -> str | None:
    """Returns the text of a cell in a column of words; None if it has none."""
    if type(cell) is str:
        return cell
    if cell is None or cell != cell:
        return ""
    if type(cell) in (int, float):  # words that look like numbers come as numbers from clients that know no better
        forms = (str(int(cell)), repr(cell)) if cell == cell // 1 and abs(cell) < 2**53 else (repr(cell),)
        return next((form for form in forms if form in column.known), None)
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
    shown = "" if isinstance(cell, list | dict) else f" {json.dumps(cell)[: _SHOWN_BYTES // 4]}"
    known = ""
    if column.type == "category":
        known = f" Words of the training data: {listed(column.words, _SHOWN_BYTES // 4)}."
    return BadInput(
        f"Column '{column.name}' takes {wanted}, and null where one is missing; row {index + 1} of {count} has "
        f"{_type_of(cell)}{shown}.{known}"
    )


def _type_of(value: Any) -> str:
    return JSON_TYPES.get(type(value), type(value).__name__)


def _number_in(text: str) -> int | float | None:
    number = float(text)
    if number != number:
        return None
    return int(text) if re.fullmatch(r"-?[0-9]{1,15}", text) else number
