"""The four formats of MLflow's JSON to what is to be predicted, and how an answer is written."""

from __future__ import annotations

from typing import Any

from services.model_server.engine import Answer
from services.model_server.errors import BadInput, BadRequest
from services.model_server.package import Contract, TensorSpec
from services.model_server.protocols.base import Call, Prepared, Reply
from services.model_server.protocols.bulk import Place
from services.model_server.protocols.cells import Typing, listed
from services.model_server.protocols.frames import known_places, read_frame
from services.model_server.protocols.tables import picked, read_table
from services.model_server.protocols.tensors import (
    NOT_FINITE,
    Array,
    as_batch,
    dump_array,
    has_nulls,
    load_samples,
    refuse_booleans,
    to_array,
)
from services.model_server.served import ServedModel

_PLACES: tuple[Place, ...] = (("instances",), ("inputs",))
# So many cells may be missing without being named: they take no bytes of the body, and memory all the same.
_MOST_HOLES = 1 << 20
FORMATS = ("dataframe_split", "dataframe_records", "instances", "inputs")


def read_json(_: Call, model: ServedModel, body: bytes | memoryview) -> Prepared:
    """Reads a body of JSON.

    Args:
        model: That is asked.
        body: As it came.

    Raises:
        BadRequest: it is not one of MLflow's four formats.
        BadInput: its samples are not those of the model.
    """
    body = bytes(body)
    request = load_samples(body, model.contract, _PLACES, tokens=True)
    rows, single = _parse(request, model.contract, body)
    return Prepared(rows, _write_one if single else write)


def write(answer: Answer) -> Reply:
    """Answers a list of samples."""
    return _told(answer.outputs)


def _write_one(answer: Answer) -> Reply:
    return _told(answer.outputs[0])


def _told(outputs: Array) -> Reply:
    encoded = dump_array(outputs)
    return Reply(b'{"predictions":%b}' % encoded, headers=(NOT_FINITE,) if has_nulls(encoded) else ())


def _parse(request: Any, contract: Contract, body: bytes) -> tuple[Array, bool]:
    """Reads the one format that the request uses.

    Returns:
        Rows (n, *sample shape), and whether it was one sample without its batch dimension, to be answered in kind.
    """
    wanted = f"The input must be a JSON dictionary with exactly one of the input fields {', '.join(FORMATS)}"
    if not isinstance(request, dict):
        raise BadRequest(f"{wanted}. Received a {type(request).__name__}.")
    used = [key for key in FORMATS if key in request]
    if len(used) != 1:
        raise BadRequest(f"{wanted}. Received dictionary with input fields: {listed(list(request), 64)}.")
    value, spec = request[used[0]], contract.input
    frame = _frame_of(used[0], value, contract)
    if frame is not None:
        columns, data = frame
        _check_frame(columns, data)
        if contract.columns:
            if columns is not None and len(places := known_places(columns, contract)) < len(columns):
                columns, data = [columns[place] for place in places], picked(data, places)
            return read_frame(columns, data, contract, body), False
        refuse_booleans(body, data, spec)
        return _tensor_of_frame(data, spec), False
    if used[0] == "instances" and isinstance(value, list) and value and isinstance(value[0], dict):
        if not all(isinstance(item, dict) for item in value):
            raise BadRequest("'instances' must be all tensors or all objects.")
        if not contract.columns:
            value = [_only(item, spec) for item in value]
    if contract.columns:
        value = _without_more(value, contract)
        rows, single = read_table(value, contract, body, columnar=used[0] == "inputs", typing=Typing.FRAME)
        # MLflow itself takes one row by name, and answers it as a list of one.
        return rows, single and not isinstance(value, dict)
    if used[0] == "inputs" and isinstance(value, dict):
        value = _only(value, spec)
    refuse_booleans(body, value, spec)
    return as_batch(to_array(value, spec, nulls=True), contract)


def _frame_of(key: str, value: Any, contract: Contract) -> tuple[list[Any] | None, list[Any]] | None:
    """Takes a data frame apart, into its names and its rows; None if what came is none.

    `inputs` of a table are one where pandas makes something of them that is not all there: of rows by name with holes,
    and of columns without a cell.
    """
    if key == "dataframe_split":
        return _split(value)
    if key == "dataframe_records":
        return _records(value, contract)
    if key != "inputs" or not contract.columns or not value:
        return None
    if isinstance(value, dict):
        return (list(value), []) if all(cells == [] for cells in value.values()) else None
    if not isinstance(value, list) or not all(isinstance(row, dict) for row in value):
        return None
    names = frozenset(contract.column_names)
    holes = any(not names <= row.keys() for row in value) and any(not names.isdisjoint(row) for row in value)
    return _records(value, contract) if holes else None


def _without_more(value: Any, contract: Contract) -> Any:
    """Leaves out columns that the model does not have, as MLflow does, unless one of the model's is missing."""
    if isinstance(value, list):
        return [_without_more(row, contract) for row in value] if value and isinstance(value[0], dict) else value
    names = contract.column_names
    if isinstance(value, dict) and len(value) > len(names) and all(name in value for name in names):
        return {name: value[name] for name in names}
    return value


def _only(value: dict[str, Any], spec: TensorSpec) -> Any:
    if spec.name not in value:
        got = listed(sorted(value), 96)
        raise BadInput(f"Failed to enforce schema: this model takes the input '{spec.name}', got: {got}.")
    return value[spec.name]


def _split(value: Any) -> tuple[list[Any] | None, list[Any]]:
    if not isinstance(value, dict) or not isinstance(value.get("data"), list):
        raise BadRequest(
            "'dataframe_split' must be an object with 'data', a list of rows, and may have 'columns' and 'index'."
        )
    columns = value.get("columns")
    if columns is not None and not isinstance(columns, list):
        raise BadRequest("'columns' of 'dataframe_split' must be a list.")
    return columns, value["data"]


def _records(value: Any, contract: Contract) -> tuple[list[Any], list[Any]]:
    """Takes rows by name apart. As in pandas, a cell that is only in other rows is missing, and may be in none."""
    if not isinstance(value, list) or not all(isinstance(row, dict) for row in value):
        raise BadRequest("'dataframe_records' must be a list of objects, one for each row.")
    columns = list(value[0]) if value else []
    if all(row.keys() == value[0].keys() for row in value):
        return columns, [[row[column] for column in columns] for row in value]
    if not contract.columns:
        raise BadRequest("All rows of 'dataframe_records' must have the same columns.")
    # What the model does not have is left out at once: each row may have something else.
    columns = [name for name in contract.column_names if any(name in row for row in value)]
    if len(value) * len(columns) - sum(map(len, value)) > _MOST_HOLES:
        raise BadRequest(f"The rows leave out more than {_MOST_HOLES} cells; send null for what is missing.")
    return columns, [[row.get(column) for column in columns] for row in value]


def _check_frame(columns: list[Any] | None, data: list[Any]) -> None:
    if not all(isinstance(row, list) for row in data):
        raise BadRequest("Every row of 'data' must be a list of cells.")
    widths = {len(row) for row in data}
    if len(widths) > 1 or (columns is not None and widths and widths != {len(columns)}):
        raise BadRequest("Every row of 'data' must have as many cells as there are columns.")


def _tensor_of_frame(data: list[Any], spec: TensorSpec) -> Array:
    """Reads rows of cells: one cell for every number of a sample in row-major order, or one column of nested lists."""
    if data and len(data[0]) == 1 and isinstance(data[0][0], list):
        return to_array([row[0] for row in data], spec, nulls=True)
    rows = to_array(data, spec, nulls=True)
    if rows.ndim == 2 and rows.shape[1] == spec.sample_size:
        return rows.reshape(len(rows), *(size or 0 for size in spec.sample_shape))
    return rows
