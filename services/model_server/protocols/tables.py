"""Tables in JSON to rows of cells: lists in column order, objects by column name, and columns. `cells` reads these."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from operator import itemgetter
from typing import Any

from services.model_server.errors import BadInput, BadRequest
from services.model_server.package import Contract
from services.model_server.protocols.cells import SHOWN_BYTES, Typing, listed, to_rows, type_of
from services.model_server.protocols.tensors import Array

Row = Sequence[Any]


def read_table(
    value: Any, contract: Contract, body: bytes, columnar: bool = True, typing: Typing = Typing.STRICT
) -> tuple[Array, bool]:
    """Turns the JSON form of one or more rows into what the model takes. null is a missing value.

    Args:
        value: A list of rows or one row; a row is a list of cells in column order, or an object by column name.
        contract: Of a model with columns.
        body: The request's body. Booleans are looked for only if it may hold some.
        columnar: Whether an object may also hold lists: all cells of each column.
        typing: What a cell may be. `INPUT` holds for lists of cells alone: a cell with a name is of its column's type.

    Returns:
        The rows (n, columns) in the contract's dtype, and whether it was one row alone, to be answered in kind.

    Raises:
        BadInput: names the columns that are missing or unknown, or the column of a cell that cannot be used.
    """
    named = Typing.STRICT if typing is Typing.INPUT else typing
    if isinstance(value, dict):
        if _names_the_input(value, contract):
            return read_table(value[contract.input.name], contract, body, columnar, typing)
        if columnar and any(isinstance(cells, list) for cells in value.values()):
            return to_rows(_transposed(value, contract), contract, body, named), False
        return to_rows(_by_name([value], contract), contract, body, named), True
    if not isinstance(value, list):
        raise BadInput(
            f"Input '{contract.input.name}' is of type {type_of(value)}; this model takes rows: lists of "
            f"{len(contract.columns)} cells, or objects with {listed(contract.column_names)}."
        )
    if not value:
        raise BadInput(f"Input '{contract.input.name}' has no rows; send one or more.")
    if isinstance(value[0], dict):
        if not all(isinstance(row, dict) for row in value):
            raise BadRequest("Rows must be all lists or all objects.")
        if _names_the_input(value[0], contract) and all(row.keys() == value[0].keys() for row in value):
            return to_rows([row[contract.input.name] for row in value], contract, body, typing), False
        return to_rows(_by_name(value, contract), contract, body, named), False
    if isinstance(value[0], list):
        return to_rows(value, contract, body, typing), False
    return to_rows([value], contract, body, typing), True


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
    told = [f"{kind}: {listed(names, SHOWN_BYTES // 4)}" for kind, names in mistakes.items() if names]
    if told:
        raise BadInput(f"{what} has other columns than this model: {'; '.join(told)}.")


def picked(rows: Sequence[Any], keys: Sequence[Any]) -> list[Row]:
    """Takes the cells of each row by their places or names, in this order."""
    if len(keys) == 1:
        return [(row[keys[0]],) for row in rows]
    return list(map(itemgetter(*keys), rows))


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
            raise BadInput(f"Column '{name}' is of type {type_of(cells)}; it must be a list, as the others are.")
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
