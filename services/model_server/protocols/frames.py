"""Data frames and CSV to what a table's model takes: columns come in any order and are put in that of the contract."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np

from services.model_server.errors import BadInput, BadRequest
from services.model_server.package import Contract
from services.model_server.protocols.cells import Typing, check_widths, parsed_number, to_rows
from services.model_server.protocols.tables import check_names, picked
from services.model_server.protocols.tensors import JSON_TYPES, Array

# What data frames write where a number is missing.
_NO_NUMBER = frozenset({"", "na", "n/a", "nan", "null", "none", "<na>"})
# How many lines of CSV are cells at a time.
_BLOCK = 4096


def read_frame(names: Sequence[Any] | None, data: Sequence[Any], contract: Contract, body: bytes = b"") -> Array:
    """Turns a data frame into rows (n, columns). With the names of all columns it may have no rows.

    Args:
        names: The frame's column names; None if it has none, and then the cells are in the order of the contract.
        data: As many cells as names for each row.
        contract: Of a model with columns.
        body: As in `cells.to_rows`.

    Raises:
        BadInput: the columns are not those of the model, or a cell cannot be used.
    """
    if names is None:
        return to_rows(data, contract, body, Typing.FRAME)
    found = []
    for name in names:
        if not isinstance(name, str) and type(name) is not int:
            raise BadInput(f"A column's name must be a text; it is of type {JSON_TYPES[type(name)]}.")
        found.append(str(name))  # pandas numbers the columns of a frame that was made without names
    if found == [contract.input.name] and contract.column_names != (contract.input.name,):
        return to_rows([row[0] for row in data], contract, body, Typing.FRAME)
    check_names(found, contract)
    if not data:
        return np.empty((0, len(contract.columns)), dtype=contract.input.array_dtype)
    if found != list(contract.column_names):
        place = {name: index for index, name in enumerate(found)}
        data = picked(data, [place[name] for name in contract.column_names])
    return to_rows(data, contract, body, Typing.FRAME)


def read_csv(body: bytes, contract: Contract) -> Array:
    """Turns CSV (UTF-8, a header line with the column names, commas) into rows (n, columns), as MLflow does.

    An empty cell is a missing value; in a column of numbers so are the marks that data frames write, such as NaN.
    Columns that the model does not have are left out.

    Raises:
        BadRequest: it is not CSV.
        BadInput: as in `read_frame`.
    """
    lines = csv_lines(body)
    header = next(lines, None)
    if header is None:
        raise BadRequest("The CSV is empty; its first line must name the columns.")
    places = known_places(header, contract)
    names = [header[place] for place in places]
    check_names(names, contract)
    return read_lines(_chosen(lines, len(header), places), names, contract)


def known_places(names: Sequence[Any], contract: Contract) -> list[int]:
    """Where the columns of the model are among the names of a frame; everywhere, if one of them is missing."""
    wanted = set(contract.column_names)
    known = [place for place, name in enumerate(names) if str(name) in wanted]
    complete = {str(names[place]) for place in known} == wanted
    return known if complete else list(range(len(names)))


def _chosen(lines: Iterator[list[str]], width: int, places: list[int]) -> Iterator[list[str]]:
    """Takes the cells of these places out of lines of cells, if they are not all of them."""
    if len(places) == width:
        yield from lines
        return
    for line in lines:
        if len(line) != width:
            raise BadInput(f"The CSV names {width} columns, and has a row of {len(line)}.")
        yield [line[place] for place in places]


def csv_lines(body: bytes) -> Iterator[list[str]]:
    """Yields the lines of CSV that hold something, as cells.

    Raises:
        BadRequest: it is not CSV; told when the place is reached.
    """
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise BadRequest("The CSV is not UTF-8.") from None
    try:
        for line in csv.reader(io.StringIO(text, newline=""), strict=True):
            if line:
                yield line
    except csv.Error as error:
        raise BadRequest(f"The CSV cannot be read: {error}.") from None


def read_lines(lines: Iterator[list[str]], header: Sequence[str], contract: Contract) -> Array:
    """Turns the lines of CSV into rows (n, columns), some thousand at a time: cells take far more memory than rows.

    Args:
        lines: Of cells.
        header: The names of their columns, in any order.
        contract: Of a model with columns.

    Raises:
        BadRequest, BadInput: as in `read_csv`.
    """
    types = {column.name: column.type for column in contract.columns}
    readers = [_number if types[name] == "number" else _word for name in header]
    pieces: list[Array] = []
    while (block := list(islice(lines, _BLOCK))) or not pieces:
        try:
            check_widths(block, header)
            cells = [[read(cell) for read, cell in zip(readers, row, strict=True)] for row in block]
            pieces.append(read_frame(header, cells, contract))
        except BadInput as error:
            if not pieces:
                raise
            start = _BLOCK * len(pieces)
            raise BadInput(f"Rows {start + 1} to {start + len(block)}: {error}") from None
    return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)


def is_number_cell(text: str) -> bool:
    """Whether a cell of CSV can be in a column of numbers: a number, or what says that there is none."""
    return parsed_number(text) is not None or text.strip().lower() in _NO_NUMBER


def _number(text: str) -> Any:
    number = parsed_number(text)
    if number is None and text.strip().lower() not in _NO_NUMBER:
        return text  # is refused where the column's name is known
    return number


def _word(text: str) -> str | None:
    return text or None
