"""What a table's rows may not be, said with the column's name; what may be missing; and what training never saw."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from services.model_server.errors import BadInput, BadRequest
from services.model_server.package import Contract
from services.model_server.protocols.cells import Typing, unknown_words
from services.model_server.protocols.frames import read_csv
from services.model_server.protocols.tables import read_table
from services.model_server.strange import strange_rows
from tests.services.model_server.parts import (
    FolderStore,
    Server,
    run,
    serving,
    table_graph,
    write_kind,
    write_package,
)

JSON, CSV = {"content-type": "application/json"}, {"content-type": "text/csv"}


def contract_of(*columns: tuple[str, list[str] | None], name: str = "row") -> Contract:
    """A regression of these columns; None for numbers, else the words."""
    kinds = [
        {"name": column, "type": "number"} if words is None else {"name": column, "type": "category", "words": words}
        for column, words in columns
    ]
    dtype = "float32" if all(words is None for _, words in columns) else "string"
    return Contract.model_validate(
        {
            "format": 1,
            "name": "m",
            "task": "regression",
            "input": {"name": name, "dtype": dtype, "shape": [None, len(columns)]},
            "output": {"name": "prediction", "dtype": "float32", "shape": [None, 1]},
            "columns": kinds,
        }
    )


NUMBERS = contract_of(("age", None), ("bmi", None))
WORDS = contract_of(("age", None), ("city", ["Oslo", "Rome"]))


def read(value: Any, contract: Contract, **options: Any) -> list[list[Any]]:
    rows, _ = read_table(value, contract, json.dumps(value).encode(), **options)
    assert rows.dtype == contract.input.array_dtype
    return [list(row) for row in rows.tolist()]


# ---------------------------------------------------------------------------------------------------------------- cells


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        (39, "39"),
        (-4, "-4"),
        (39.0, "39.0"),
        (0.1, "0.1"),
        (-0.0, "-0.0"),
        (1e-5, "1e-05"),
        (2**70, str(2**70)),
        (None, "nan"),
        (float("nan"), "nan"),
        (float("-inf"), "-inf"),
        (1e300, "inf"),
        (-(10**300), "-inf"),
        (5e-324, "0.0"),
    ],
)
def test_a_number_is_written_so_that_the_graph_reads_the_same_number(cell: Any, text: str) -> None:
    assert read([[cell, "Oslo"]], WORDS) == [[text, "Oslo"]]


ALL, NO = frozenset(Typing), frozenset[Typing]()


@pytest.mark.parametrize(
    ("cell", "text", "taken"),
    [
        (39, "39", ALL),
        ("39", "39.0", ALL - {Typing.STRICT}),
        (" .5e1 ", "5.0", ALL - {Typing.STRICT}),
        ("NaN", "nan", ALL - {Typing.STRICT}),
        ("old", "", NO),
        (True, "", NO),
    ],
)
def test_whether_a_text_is_a_number_is_said_by_who_reads_it(cell: Any, text: str, taken: frozenset[Typing]) -> None:
    for typing in Typing:
        for value, of in (([[cell, "Oslo"]], typing), ({"age": cell, "city": "Oslo"}, typing)):
            # A cell with a name is of its column's type, whatever the type of the whole input is.
            if of in taken and not (isinstance(value, dict) and of is Typing.INPUT and isinstance(cell, str)):
                assert read(value, WORDS, typing=of) == [[text, "Oslo"]]
            else:
                with pytest.raises(BadInput, match="Column 'age' takes numbers"):
                    read(value, WORDS, typing=of)


@pytest.mark.parametrize(("cell", "number"), [("39", 39.0), (" .5e1 ", 5.0), ("-inf", -np.inf)])
def test_a_text_is_a_number_in_a_table_of_numbers_only_for_data_frames(cell: str, number: float) -> None:
    for value in ([[cell, 2]], [{"age": cell, "bmi": 2}], {"age": [cell], "bmi": [2]}):
        assert read(value, NUMBERS, typing=Typing.FRAME) == [[number, 2]]
        for typing in (Typing.STRICT, Typing.INPUT):
            with pytest.raises(BadInput, match="Column 'age' takes numbers"):
                read(value, NUMBERS, typing=typing)


@pytest.mark.parametrize(("cell", "word"), [(5, "5"), (2.5, "2.5"), (3.0, "3.0"), (2**60, str(2**60))])
def test_a_number_is_a_word_that_the_model_does_not_know_only_for_data_frames(cell: Any, word: str) -> None:
    assert read([[1, cell]], WORDS, typing=Typing.FRAME) == [["1", word]]
    for typing in (Typing.STRICT, Typing.INPUT):
        with pytest.raises(BadInput, match="Column 'city' takes words"):
            read([[1, cell]], WORDS, typing=typing)


@pytest.mark.parametrize(
    ("cell", "text"),
    [("Oslo", "Oslo"), ("Paris", "Paris"), ("", ""), (None, ""), (float("nan"), ""), (" Oslo", " Oslo")],
)
def test_a_word_goes_to_the_graph_as_it_is_and_a_missing_one_as_nothing(cell: Any, text: str) -> None:
    assert read([[1, cell], [2, "Rome"]], WORDS) == [["1", text], ["2", "Rome"]]


@pytest.mark.parametrize(("cell", "text"), [(1, "1"), (1.0, "1"), (2.5, "2.5"), (30.0, "30.0")])
def test_a_number_that_is_a_known_word_counts_as_the_word(cell: Any, text: str) -> None:
    contract = contract_of(("class", ["1", "2.5", "30.0"]))
    assert read([[cell]], contract) == [[text]]


def test_a_missing_number_is_not_a_number_in_a_table_of_numbers() -> None:
    found = read([[1, None], [2.5, 3]], NUMBERS)
    assert np.isnan(found[0][1])
    assert (found[0][0], found[1]) == (1, [2.5, 3])


@pytest.mark.parametrize("contract", [NUMBERS, WORDS], ids=["numbers", "words"])
@pytest.mark.parametrize(
    ("cell", "told"),
    [
        ("old", 'String "old"'),
        ("", 'String ""'),
        ("1_0", 'String "1_0"'),
        ("٣", "String"),
        (True, "Boolean true"),
        (False, "Boolean false"),
        ([1, 2], "Array"),
        ({"x": 1}, "Object"),
        (10**400, "too large"),
    ],
)
def test_what_is_no_number_is_refused_with_column_and_row(contract: Contract, cell: Any, told: str) -> None:
    last = 20 if contract is NUMBERS else "Oslo"
    for value in (
        [[1, last], [cell, last]],
        [{"age": 1, contract.column_names[1]: last}, {"age": cell, contract.column_names[1]: last}],
        {"age": [1, cell], contract.column_names[1]: [last, last]},
    ):
        with pytest.raises(BadInput, match="Column 'age'") as caught:
            read(value, contract)
        assert told in str(caught.value)
        assert "row 2 of 2" in str(caught.value) or told == "too large"


@pytest.mark.parametrize(
    ("cell", "told"), [(True, "Boolean true"), (3, "Number 3"), (2.5, "Number 2.5"), ([1], "Array"), ({}, "Object")]
)
def test_what_is_no_word_is_refused_with_the_words_that_are(cell: Any, told: str) -> None:
    with pytest.raises(BadInput, match="Column 'city' takes words") as caught:
        read([[1, cell]], WORDS)
    assert told in str(caught.value)
    assert "Oslo, Rome" in str(caught.value)


def test_booleans_among_plain_numbers_are_found() -> None:
    with pytest.raises(BadInput, match="Column 'bmi' takes numbers"):
        read([[1, 2], [3, True]], NUMBERS)
    assert read([{"age": 1, "bmi": 2}], NUMBERS) == [[1, 2]]  # and a column may be named like one
    assert read([{"true": 1, "false": 2}], contract_of(("true", None), ("false", None))) == [[1, 2]]


# ----------------------------------------------------------------------------------------------------------------- form


@pytest.mark.parametrize("contract", [NUMBERS, WORDS], ids=["numbers", "words"])
@pytest.mark.parametrize(
    ("value", "told"),
    [
        ([], "no rows"),
        (3, "is of type Number"),
        ("age", "is of type String"),
        (None, "is of type Null"),
        ([1], "Row 1 of 1 has 1 cell; a row has 2: age, "),
        ([[]], "has 0 cells"),
        ([[1, 2], [3]], "Row 2 of 2 has 1 cell"),
        ([[1, 2, 3]], "has 3 cells"),
        ([[[1, 2], [3, 4]]], "Column 'age'"),
        ([[1, 2], 3], "Row 2 of 2 is of type Number"),
        ([[1, 2], {"age": 1}], "Row 2 of 2 is of type Object"),
        ([{"age": 1}, [1, 2]], "all lists or all objects"),
        ({}, "missing: age, "),
        ({"age": 1}, "missing: "),
        ({"row": [1, 2, 3]}, "has 3 cells"),
    ],
)
def test_rows_of_another_form_are_refused(contract: Contract, value: Any, told: str) -> None:
    with pytest.raises((BadInput, BadRequest)) as caught:
        read(value, contract)
    assert told in str(caught.value)


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ({"age": 1, "bmi": 2, "size": 3}, "unknown: size."),
        ({"age": 1, "BMI": 2}, "missing: bmi; unknown: BMI."),
        ([{"age": 1, "bmi": 2}, {"age": 1, "weight": 2}], "Row 2 of 2 has other columns than this model: missing: bmi"),
        ({"age": [1], "bmi": [1, 2]}, "differ in length: age has 1, bmi has 2"),
        ({"age": [1], "bmi": 2}, "Column 'bmi' is of type Number; it must be a list"),
        ({"age": [1], "x": [2]}, "missing: bmi; unknown: x"),
        ({"age": [], "bmi": []}, "no rows"),
    ],
)
def test_columns_that_do_not_fit_are_named(value: Any, told: str) -> None:
    with pytest.raises(BadInput) as caught:
        read(value, NUMBERS)
    assert told in str(caught.value)


def test_lists_by_name_are_not_columns_where_only_rows_are_asked_for() -> None:
    with pytest.raises(BadInput, match=r"Column 'age' takes numbers.*Array"):
        read({"age": [1, 2], "bmi": [3, 4]}, NUMBERS, columnar=False)
    assert read({"age": [1], "bmi": 2}, NUMBERS, columnar=False) == [[1, 2]]


def test_a_message_about_columns_is_at_most_256_bytes_of_names() -> None:
    contract = contract_of(*((f"column {index:03d} of mañana", None) for index in range(300)))
    with pytest.raises(BadInput) as caught:
        read({f"other {index} é": 1 for index in range(1000)}, contract)
    names = str(caught.value).partition("this model: ")[2]
    assert len(names.encode()) <= 256
    assert "column 000" in names
    assert "other 0" in names


def test_a_column_may_be_named_like_the_input() -> None:
    one = contract_of(("row", None))
    assert read({"row": [1, 2]}, one) == [[1], [2]]
    assert read([{"row": 1}, {"row": 2}], one) == [[1], [2]]
    assert read([3], one) == [[3]]
    two = contract_of(("row", None), ("age", None))
    assert read({"row": [[1, 2]]}, two) == [[1, 2]]
    assert read({"row": 1, "age": 2}, two) == [[1, 2]]


# ------------------------------------------------------------------------------------------------------------------ CSV


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("age,city\n39,Oslo\n", [["39.0", "Oslo"]]),
        ("city,age\r\nOslo,39\r\n\r\nRome,40.5", [["39.0", "Oslo"], ["40.5", "Rome"]]),
        ('age,city\n,""\nNaN,"a ""b"",\nc"\n', [["nan", ""], ["nan", 'a "b",\nc']]),
        ("age,city\nNA,NA\nnull,null\n", [["nan", "NA"], ["nan", "null"]]),
        ("\ufeffage,city\n 1e2 ,Oslo\n", [["100.0", "Oslo"]]),
        ("age,city\n", []),
    ],
)
def test_csv_is_read_by_its_header(text: str, rows: list[list[str]]) -> None:
    assert read_csv(text.encode(), WORDS).tolist() == rows


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"", "its first line must name the columns"),
        (b"\n\n", "its first line must name the columns"),
        (b"39,Oslo\n", "missing: age, city; unknown: 39, Oslo"),
        (b"age,city,age\n1,Oslo,2\n", "twice: age"),
        (b"age,city\n1,Oslo,2\n", "Row 1 of 1 has 3 cells"),
        (b"age,city\n1,Oslo\nold,Oslo\n", "Column 'age' takes numbers, and null where one is missing; row 2 of 2"),
        (b"age,city\n1,\xff\n", "not UTF-8"),
        (b'age,city\n1,"Oslo\n', "cannot be read"),
        (b"age,city\n1," + b"x" * 200_000, "cannot be read"),
    ],
)
def test_csv_that_does_not_fit_is_refused(body: bytes, told: str) -> None:
    with pytest.raises((BadInput, BadRequest)) as caught:
        read_csv(body, WORDS)
    assert told in str(caught.value)


# ------------------------------------------------------------------------------------------ the same over every dialect


@pytest.fixture
def words(tmp_path: Path) -> FolderStore:
    store = FolderStore(tmp_path / "cache")
    store.add(write_kind(tmp_path / "v1", "binary words"), "m", "1")
    return store


def over(store: FolderStore, work: Callable[[Server], Any]) -> Any:
    async def inside() -> Any:
        async with serving(store) as server:
            return await work(server)

    return run(inside())


GOOD = {"age": 39, "city": "Oslo", "income": 1.5, "size": "1"}


@pytest.mark.parametrize(
    ("path", "wrap", "headers"),
    [
        ("/v1/models/m:predict", lambda row: {"instances": [row]}, {}),
        ("/v1/models/m:classify", lambda row: {"examples": [row]}, {}),
        ("/predict/m", lambda row: {"inputs": [row]}, {}),
        ("/invocations", lambda row: {"instances": [row]}, JSON),
        ("/invocations", lambda row: {"dataframe_records": [row]}, JSON),
        ("/invocations", lambda row: {"dataframe_split": {"columns": list(row), "data": [list(row.values())]}}, JSON),
    ],
)
def test_every_dialect_names_the_column_that_is_wrong(
    words: FolderStore, path: str, wrap: Callable[[Any], Any], headers: dict[str, str]
) -> None:
    async def work(server: Server) -> None:
        assert (await server.client.post(path, json=wrap(GOOD), headers=headers)).status_code == 200
        for row, told in (
            (GOOD | {"age": "old"}, "Column 'age' takes numbers"),
            (GOOD | {"income": True}, "Column 'income' takes numbers"),
            (GOOD | {"city": False}, "Column 'city' takes words"),
            ({name: cell for name, cell in GOOD.items() if name != "size"}, "missing: size"),
            ({"town" if name == "city" else name: cell for name, cell in GOOD.items()}, "unknown: town"),
        ):
            response = await server.client.post(path, json=wrap(row), headers=headers)
            assert response.status_code == 400, response.text
            assert told in response.text
        for row, told in ((GOOD | {"city": 7}, "'city' takes words"), (GOOD | {"age": "39"}, "'age' takes numbers")):
            response = await server.client.post(path, json=wrap(row), headers=headers)
            if path == "/invocations":  # pandas turns one into the other
                assert response.status_code == 200
            else:
                assert (response.status_code, told in response.text) == (400, True)
        response = await server.client.post(path, json=wrap(GOOD | {"town": 1}), headers=headers)
        if path in ("/invocations", "/v1/models/m:classify"):  # they leave out what a model has no column for
            assert response.status_code == 200
        else:
            assert (response.status_code, "unknown: town" in response.text) == (400, True)

    over(words, work)


def test_tf_serving_takes_numbers_as_texts_in_rows_of_texts_as_its_metadata_says(words: FolderStore) -> None:
    async def work(server: Server) -> None:
        dtype = (await server.client.get("/v1/models/m/metadata")).text
        assert "DT_STRING" in dtype
        answers = []
        for row in (["39", "Oslo", "1200.5", "1"], [39, "Oslo", 1200.5, "1"]):
            answers.append(await server.client.post("/v1/models/m:predict", json={"instances": [row]}))
            assert answers[-1].status_code == 200
            own = await server.client.post("/predict/m", json={"inputs": [row]})
            assert own.status_code == (200 if row[0] == 39 else 400)
        assert answers[0].json() == answers[1].json()

    over(words, work)


def test_mlflow_counts_the_cells_of_csv_rows_that_have_more_columns_than_the_model(words: FolderStore) -> None:
    async def work(server: Server) -> None:
        text = "age,town,city,income,size\n39,x,Oslo,1.5,1\n39,Oslo,1.5,1"
        response = await server.client.post("/invocations", content=text, headers={"content-type": "text/csv"})
        assert response.status_code == 400
        assert response.json()["message"] == "The CSV names 5 columns, and has a row of 4."

    over(words, work)


@pytest.mark.parametrize(
    ("body", "headers", "code", "told"),
    [
        ({"inputs": ["39", "Oslo", 1]}, JSON, "INVALID_PARAMETER_VALUE", "Row 1 of 1 has 3 cells"),
        ({"instances": {"age": 39}}, JSON, "INVALID_PARAMETER_VALUE", "missing: city"),
        ({"instances": [GOOD, 3]}, JSON, "BAD_REQUEST", "all tensors or all objects"),
        ({"dataframe_split": {"columns": ["age"], "data": [[1]]}}, JSON, "INVALID_PARAMETER_VALUE", "missing: city"),
        ({"dataframe_split": {"columns": [["age"]], "data": [[1]]}}, JSON, "INVALID_PARAMETER_VALUE", "type Array"),
        ({"dataframe_split": {"columns": [], "data": []}}, JSON, "INVALID_PARAMETER_VALUE", "missing: age"),
        ({"dataframe_split": {"data": []}}, JSON, "INVALID_PARAMETER_VALUE", "no rows"),
        ("age,city\n1,Oslo\n", CSV, "INVALID_PARAMETER_VALUE", "missing: income, size"),
        ("x", {"content-type": "application/vnd.apache.parquet"}, "BAD_REQUEST", "application/json or text/csv"),
    ],
)
def test_mlflow_refuses_tables_in_its_own_shape(
    words: FolderStore, body: Any, headers: dict[str, str], code: str, told: str
) -> None:
    content = body if isinstance(body, str) else json.dumps(body)

    async def work(server: Server) -> httpx.Response:
        response: httpx.Response = await server.client.post("/invocations", content=content, headers=headers)
        return response

    response = over(words, work)
    assert (response.status_code, response.json()["error_code"]) == (400, code)
    assert told in response.json()["message"]


def test_columns_named_by_numbers_may_come_as_numbers(tmp_path: Path) -> None:
    columns = [{"name": str(index), "type": "number"} for index in range(2)]
    store = FolderStore(tmp_path / "cache")
    facts = {"columns": columns, "input": {"name": "image", "dtype": "float32", "shape": [None, 2]}}
    store.add(write_package(tmp_path / "v1", shape=(2,), contract=facts), "m", "1")

    async def work(server: Server) -> None:
        answers = []
        for frame in (
            {"columns": [0, 1], "data": [[3, 4]]},
            {"columns": [1, "0"], "data": [[4, 3]]},
            {"data": [[3, 4]]},
        ):
            response = await server.client.post("/invocations", json={"dataframe_split": frame})
            assert response.status_code == 200, response.text
            answers.append(response.json())
        assert answers[0] == answers[1] == answers[2]

    over(store, work)


def test_tf_serving_takes_columns_as_inputs_and_not_as_instances(words: FolderStore) -> None:
    columns = {name: [cell, cell] for name, cell in GOOD.items()}

    async def work(server: Server) -> None:
        taken = await server.client.post("/v1/models/m:predict", json={"inputs": columns})
        assert len(taken.json()["outputs"]) == 2
        more = await server.client.post("/v1/models/m:predict", json={"inputs": columns | {"id": [7]}})
        assert (more.status_code, more.json()) == (200, taken.json())
        named = {"row": [list(GOOD.values())] * 2, "id": 7}
        more = await server.client.post("/v1/models/m:predict", json={"inputs": named})
        assert (more.status_code, more.json()) == (200, taken.json())
        missing = {"town" if name == "city" else name: cells for name, cells in columns.items()}
        refused = await server.client.post("/v1/models/m:predict", json={"inputs": missing})
        assert (refused.status_code, "missing: city; unknown: town" in refused.text) == (400, True)
        refused = await server.client.post("/v1/models/m:predict", json={"instances": columns})
        assert refused.status_code == 400
        assert "Column 'age' takes numbers" in refused.json()["error"]

    over(words, work)


def test_a_feature_of_an_example_counts_more_than_that_of_the_context(words: FolderStore) -> None:
    async def work(server: Server) -> None:
        path = "/v1/models/m:classify"
        alone = await server.client.post(path, json={"examples": [GOOD]})
        both = await server.client.post(path, json={"context": GOOD | {"age": 80}, "examples": [GOOD]})
        assert both.json() == alone.json()

    over(words, work)


@pytest.mark.parametrize("packed", ["T3Nsbw==", "T3Nsbw", "T3Nsbw="])
def test_a_text_in_base64_may_lack_what_fills_up_its_end(words: FolderStore, packed: str) -> None:
    async def work(server: Server) -> None:
        plain, answer = [
            await server.client.post("/v1/models/m:predict", json={"instances": [GOOD | {"city": city}]})
            for city in ("Oslo", {"b64": packed})
        ]
        if packed.endswith("w="):  # neither filled up nor left as it is
            assert answer.status_code == 400
        else:
            assert (answer.status_code, answer.json()) == (200, plain.json())

    over(words, work)


@pytest.mark.parametrize("cell", [{"b64": "?"}, {"b64": "/w=="}, {"b64": 3}, {"b64": "TQ==", "x": 1}])
def test_what_is_no_text_in_base64_is_refused(words: FolderStore, cell: Any) -> None:
    async def work(server: Server) -> httpx.Response:
        body = {"instances": [GOOD | {"city": cell}]}
        response: httpx.Response = await server.client.post("/v1/models/m:predict", json=body)
        return response

    assert over(words, work).status_code == 400


@pytest.mark.parametrize(
    "text",
    [
        '{"instances": [{"age": NaN, "city": "\\ud800", "income": 1, "size": "1"}]}',
        '{"instances": [{"age": NaN, "city": "Oslo", "income": 1, "\\ud800": "1"}]}',
    ],
)
@pytest.mark.parametrize("path", ["/v1/models/m:predict", "/invocations"])
def test_half_a_character_is_no_text(words: FolderStore, path: str, text: str) -> None:
    async def work(server: Server) -> httpx.Response:
        response: httpx.Response = await server.client.post(path, content=text, headers=JSON)
        return response

    response = over(words, work)
    assert response.status_code == 400
    assert "JSON Parse error" in response.text


# ------------------------------------------------------------------------------------------- what training never saw


def test_an_unknown_word_is_answered_and_the_own_dialect_warns_of_it(words: FolderStore) -> None:
    async def work(server: Server) -> None:
        rows = [GOOD, GOOD | {"city": "Paris"}, GOOD | {"city": "Bonn", "size": "3"}, GOOD | {"city": None}]
        body = (await server.client.post("/predict/m", json={"inputs": rows})).json()
        assert len(body["predictions"]) == 4
        city, size = body["warnings"]
        assert "'city'" in city
        assert "Paris, Bonn" in city
        assert "Oslo, Rome, São Paulo" in city
        assert "'size'" in size
        assert "warnings" not in (await server.client.post("/predict/m", json={"inputs": [GOOD]})).json()
        metrics = (await server.client.get("/metrics")).text
        assert 'model_server_out_of_range_rows_total{model="m",version="1"} 2.0' in metrics

    over(words, work)


def test_a_warning_is_bounded(tmp_path: Path) -> None:
    words = [f"word {index}" for index in range(1000)]
    columns = [{"name": "w", "type": "category", "words": words}]
    facts = {
        "task": "regression",
        "labels": [],
        "columns": columns,
        "input": {"name": "row", "dtype": "string", "shape": [None, 1]},
        "output": {"name": "prediction", "dtype": "float32", "shape": [None, 1]},
    }
    graph = table_graph(columns, 1, "Identity", "prediction")
    golden = {"inputs": np.array([["word 1"]])}
    store = FolderStore(tmp_path / "cache")
    store.add(write_package(tmp_path / "v1", graph=graph, contract=facts, golden=golden), "m", "1")

    async def work(server: Server) -> None:
        rows = [[f"other {index}"] for index in range(1000)]
        (warning,) = (await server.client.post("/predict/m", json={"inputs": rows})).json()["warnings"]
        assert "other 0" in warning
        assert "word 0" in warning
        assert len(warning.encode()) < 700

    over(store, work)


def test_numbers_that_are_not_finite_are_warned_of_and_missing_ones_are_not(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "cache")
    store.add(write_kind(tmp_path / "v1", "regression numbers"), "m", "1")

    async def work(server: Server) -> None:
        body = (await server.client.post("/predict/m", json={"inputs": [[1, None, 3], [1e300, 2, 3]]})).json()
        assert body["warnings"] == ["1 of 2 samples have values that are not finite."]
        assert "warnings" not in (await server.client.post("/predict/m", json={"inputs": [1, None, 3]})).json()

    over(store, work)


NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("bounds", "rows", "strange"),
    [
        (None, [[1, 2], [3, 4]], 0),
        (None, [[1, NAN], [NAN, NAN]], 0),
        (None, [[1, INF], [NAN, 2], [-INF, NAN]], 2),
        ((0, 3), [[1, NAN], [2, 2], [4, 0]], 2),
    ],
)
def test_missing_numbers_are_strange_only_where_a_range_says_what_is_not(
    bounds: tuple[float, float] | None, rows: Any, strange: int
) -> None:
    contract = NUMBERS.model_copy(update={"input": NUMBERS.input.model_copy(update={"range": bounds})})
    assert strange_rows(np.array(rows, dtype=np.float32), contract) == strange


def test_texts_are_strange_that_are_unknown_words_or_infinite() -> None:
    rows = np.array([["1", "Oslo"], ["nan", ""], ["inf", "Rome"], ["2", "Paris"], ["-inf", "x"]], dtype=object)
    assert strange_rows(rows, WORDS) == 3
    ((column, unknown),) = unknown_words(rows, WORDS)
    assert (column.name, unknown) == ("city", ["Paris", "x"])
