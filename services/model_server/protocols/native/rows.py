"""Rows of a table as CSV, with a line of names or without: which of the two it is, is told by its first line."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

from services.model_server.errors import BadInput, BadRequest
from services.model_server.package import Column, Contract
from services.model_server.protocols.cells import listed
from services.model_server.protocols.frames import csv_lines, is_number_cell, read_lines
from services.model_server.protocols.native.options import Header
from services.model_server.protocols.tables import check_names
from services.model_server.protocols.tensors import Array

_SAY = "say so with ?header=yes or ?header=no"


def read_rows(body: bytes, contract: Contract, header: Header = "auto") -> tuple[Array, bool]:
    """Turns CSV (UTF-8, commas) into rows (n, columns).

    Args:
        body: The CSV.
        contract: Of a model with columns.
        header: Whether its first line has the names of the columns.

    Returns:
        The rows, and whether it was one row alone, without names.

    Raises:
        BadRequest: it is not CSV, or its first line may be names or a row.
        BadInput: the columns are not those of the model, or a cell cannot be used.
    """
    lines = csv_lines(body)
    first = next(lines, None)
    if first is None:
        raise BadRequest("The CSV is empty; send one row or more.")
    second = next(lines, None)
    rest = lines if second is None else chain((second,), lines)
    if header == "yes" or (header == "auto" and _are_names(first, contract, alone=second is None)):
        check_names(first, contract)
        return read_lines(rest, first, contract), False
    return read_lines(chain((first,), rest), contract.column_names, contract), second is None


def _are_names(first: Sequence[str], contract: Contract, alone: bool) -> bool:
    """Tells a line of names from a row.

    Raises:
        BadRequest: it may be both.
        BadInput: it is neither.
    """
    columns = contract.columns
    names = sorted(first) == sorted(contract.column_names)
    fits = len(first) == len(columns)
    row = fits and all(map(_is_usual, columns, first))
    if names and row:
        raise BadRequest(f"The first line of the CSV may be the names of the columns or a row of them; {_SAY}.")
    if names or row:
        if row and not alone and list(first) == [str(place) for place in range(len(first))]:
            raise BadRequest(f"The first line of the CSV numbers the columns, or is a row of such numbers; {_SAY}.")
        return names
    if set(first) & set(contract.column_names):
        return True  # some names are right: `check_names` says which are not
    numbers = [column for column in columns if column.type == "number"]
    if fits and all(map(_can_be, columns, first)):
        if numbers:
            return False  # a row with words that the model does not know
        raise BadRequest(
            f"The first line of the CSV has neither the names of the columns nor words that the model knows; {_SAY}."
        )
    if len(first) == 1 and len(columns) > 1 and any(mark in first[0] for mark in ";\t|"):
        raise BadInput("The cells of the CSV must be separated by commas, with a point in numbers.")
    wrong = next((column for column, cell in zip(columns, first, strict=False) if not _can_be(column, cell)), None)
    why = (
        f"it has {len(first)} cells"
        if not fits or wrong is None
        else f"column '{listed([wrong.name], 64)}' takes numbers"
    )
    raise BadInput(
        f"The first line of the CSV has neither the names of the columns nor a row of them: {why}. The columns are "
        f"{listed(contract.column_names, 96)}."
    )


def _is_usual(column: Column, cell: str) -> bool:
    return is_number_cell(cell) if column.type == "number" else cell in column.known


def _can_be(column: Column, cell: str) -> bool:
    return column.type == "category" or is_number_cell(cell)
