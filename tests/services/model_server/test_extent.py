"""Numbers of a table that lie far from all golden samples: answered, counted, and warned of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn import datasets

from services.model_server.extent import extent_of
from services.model_server.package import Contract, Golden
from services.model_server.strange import strange_rows
from tests.services.model_server.drawn import contract_of
from tests.services.model_server.parts import FolderStore, Server, run, serving, write_kind

AGES = np.linspace(17, 90, 16)
INCOMES = np.linspace(0, 100_000, 16)
NAN, INF = float("nan"), float("inf")


def table(*names: str, words: str = "") -> Contract:
    columns: list[dict[str, Any]] = [{"name": name, "type": "number"} for name in names]
    if words:
        columns.append({"name": words, "type": "category", "words": ["Oslo", "Rome"]})
    dtype = "string" if words else "float32"
    facts = {"input": {"name": "row", "dtype": dtype, "shape": [None, len(columns)]}, "columns": columns}
    return Contract.model_validate(WHOLE | facts)


WHOLE: dict[str, Any] = {
    "format": 1,
    "name": "m",
    "task": "regression",
    "output": {"name": "prediction", "dtype": "float32", "shape": [None, 1]},
    "input": {"name": "row", "dtype": "float32", "shape": [None, 1]},
}


def golden(inputs: Any) -> Golden:
    return Golden(inputs, np.zeros((len(inputs), 1), np.float32), targets=np.zeros(len(inputs), np.float32))


def texts(rows: Any) -> Any:
    return np.array([[str(cell) for cell in row] for row in rows], dtype=object)


@pytest.mark.parametrize(
    ("rows", "strange"),
    [
        ([[39, 1200.5]], 0),
        ([[0, -10_000], [150, 900_000]], 0),
        ([[NAN, NAN]], 0),
        ([[1e9, 1200.5]], 1),
        ([[39, -1e12]], 1),
        ([[1e9, -1e12], [39, 1], [NAN, 1e9]], 2),
        ([[INF, 1], [1, -INF], [3e38, 1]], 3),
    ],
)
@pytest.mark.parametrize("words", ["", "city"])
def test_what_lies_far_from_the_golden_samples_is_strange(rows: Any, strange: int, words: str) -> None:
    contract = table("age", "income", words=words)
    numbers = np.stack([AGES, INCOMES], axis=1)
    if words:
        samples, asked = texts([[*row, "Oslo"] for row in numbers]), texts([[*row, "Rome"] for row in rows])
    else:
        samples, asked = numbers.astype(np.float32), np.array(rows, np.float32)
    extent = extent_of(contract, golden(samples))
    assert strange_rows(asked, contract, None, extent) == strange
    assert strange_rows(samples, contract, None, extent) == 0


def test_of_a_column_of_which_little_is_known_nothing_is_said() -> None:
    contract = table("always", "rare", "age")
    samples = np.stack([np.full(16, 3), np.where(np.arange(16) < 7, np.arange(16), NAN), AGES], axis=1)
    extent = extent_of(contract, golden(samples.astype(np.float32)))
    rows = np.array([[1e30, -1e30, 39], [INF, 1, 39], [1, 1, 1e9]], np.float32)
    assert extent is not None
    assert [extent.count(row[np.newaxis]) for row in rows] == [0, 1, 1]
    assert extent.count(np.tile(rows, (100, 1))) == 200


def test_what_has_a_range_of_its_own_and_what_is_no_table_has_no_extent() -> None:
    samples = golden(np.zeros((16, 2), np.float32))
    contract = table("a", "b")
    ranged = contract.model_copy(update={"input": contract.input.model_copy(update={"range": (0.0, 1.0)})})
    assert extent_of(ranged, samples) is None
    assert extent_of(contract_of((2,)), samples) is None


@pytest.mark.parametrize("name", ["iris", "wine", "breast_cancer", "diabetes"])
def test_rows_of_real_tables_are_hardly_ever_far(name: str) -> None:
    rows = getattr(datasets, f"load_{name}")().data.astype(np.float32)
    contract = table(*(f"c{index}" for index in range(rows.shape[1])))
    for seed in range(20):
        samples = rows[np.random.default_rng(seed).choice(len(rows), 16, replace=False)]
        extent = extent_of(contract, golden(samples))
        assert strange_rows(rows, contract, None, extent) <= 0.002 * len(rows)
        assert strange_rows(rows * 1e6, contract, None, extent) > 0.5 * len(rows)


@pytest.mark.parametrize("kind", ["regression numbers", "binary words"])
def test_every_dialect_counts_them_and_our_own_names_the_column(tmp_path: Path, kind: str) -> None:
    store = FolderStore(tmp_path / "cache")
    if "words" in kind:
        names, other = ["age", "city", "income", "size"], ["Oslo", 1200.5, "1"]
        inputs: Any = np.array(
            [[str(age), "Oslo", str(income), "1"] for age, income in zip(AGES, INCOMES, strict=True)]
        )
    else:
        names, other = ["age", "bmi", "s1"], [25.0, 0.1]
        inputs = np.stack([AGES, np.linspace(18, 40, 16), np.linspace(-1, 1, 16)], axis=1).astype(np.float32)
    store.add(write_kind(tmp_path / "v1", kind, golden={"inputs": inputs}), "m", "1")
    row = [1e9, *other]

    async def work(server: Server) -> None:
        for count, (path, body) in enumerate(
            [
                ("/predict/m", {"inputs": [[39, *other], row]}),
                ("/v1/models/m:predict", {"instances": [row]}),
                ("/invocations", {"dataframe_split": {"columns": names, "data": [row]}}),
            ],
            1,
        ):
            response = await server.client.post(path, json=body)
            assert response.status_code == 200, response.text
            metrics = (await server.client.get("/metrics")).text
            assert f'model_server_out_of_range_rows_total{{model="m",version="1"}} {count}.0' in metrics
            if path == "/predict/m":
                (warning,) = response.json()["warnings"]
                assert warning == (
                    "Column 'age' has 1e+09 in row 2 of 2, far from the golden samples, where it is from 17 to 90; "
                    "check its unit."
                )
        both = await server.client.post("/predict/m", json={"inputs": [row, [-1e12, *other]]})
        assert "1e+09 in row 1 of 2, and 1 more like it" in both.json()["warnings"][0]
        usual = await server.client.post("/predict/m", json={"inputs": [39, *other]})
        assert "warnings" not in usual.json()

    async def over() -> None:
        async with serving(store) as server:
            await work(server)

    run(over())
