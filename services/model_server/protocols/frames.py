"""Data frames and CSV to what a table's model takes: columns come in any order and are put in that of the contract."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Any

from services.model_server.errors import BadInput, BadRequest
from services.model_server.package import Contract
from services.model_server.protocols.tables import check_names, check_widths, parsed_number, picked, to_rows
from services.model_server.protocols.tensors import JSON_TYPES, Array

# What data frames write where a number is missing.
_NO_NUMBER = frozenset({"", "na", "n/a", "nan", "null", "none", "<na>"})


def read_frame(names: Sequence[Any] | None, data: Sequence[Any], contract: Contract, body: bytes = b"") -> Array:
    """Turns a data frame into rows (n, columns).

    Args:
        names: The frame's column names; None if it has none, and then the cells are in the order of the contract.
        data: As many cells as names for each row.
        contract: Of a model with columns.
        body: As in `tables.read_table`.

    Raises:
        BadInput: the columns are not those of the model, or a cell cannot be used.
    """
    if names is None:
        return to_rows(data, contract, body)
    found = []
    for name in names:
        if not isinstance(name, str) and type(name) is not int:
            raise BadInput(f"A column's name must be a text; it is of type {JSON_TYPES[type(name)]}.")
        found.append(str(name))  # pandas numbers the columns of a frame that was made without names
    if found == [contract.input.name] and contract.column_names != (contract.input.name,):
        return to_rows([row[0] for row in data], contract, body)
    check_names(found, contract)
    if found != list(contract.column_names):
        place = {name: index for index, name in enumerate(found)}
        data = picked(data, [place[name] for name in contract.column_names])
    return to_rows(data, contract, body)


def read_csv(body: bytes, contract: Contract) -> Array:
    """Turns CSV (UTF-8, a header line with the column names, commas) into rows (n, columns).

    An empty cell is a missing value; in a column of numbers so are the marks that data frames write, such as NaN.

    Raises:
        BadRequest: it is not CSV.
        BadInput: as in `read_frame`.
    """
    try:
        text = body.decode("utf-8-sig")
        lines = [line for line in csv.reader(io.StringIO(text, newline=""), strict=True) if line]
    except UnicodeDecodeError:
        raise BadRequest("The CSV is not UTF-8.") from None
    except csv.Error as error:
        raise BadRequest(f"The CSV cannot be read: {error}.") from None
    if not lines:
        raise BadRequest("The CSV is empty; its first line must name the columns.")
    header, *data = lines
    check_names(header, contract)
    check_widths(data, header)
    types = {column.name: column.type for column in contract.columns}
    readers = [_number if types[name] == "number" else _word for name in header]
    return read_frame(header, [[read(cell) for read, cell in zip(readers, row, strict=True)] for row in data], contract)


def _number(text: str) -> Any:
    number = parsed_number(text)
    if number is None and text.strip().lower() not in _NO_NUMBER:
        return text  # is refused where the column's name is known
    return number


def _word(text: str) -> str | None:
    return text or None
