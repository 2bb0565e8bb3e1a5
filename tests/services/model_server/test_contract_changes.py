"""What clients meet with another version, told in a few words: and nothing where they can go on as ever."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from services.model_server.contract_changes import contract_changes
from services.model_server.package import Contract, open_package
from tests.services.model_server.parts import FolderStore, run, serving, write_kind, write_package

IMAGE: dict[str, Any] = {
    "format": 1,
    "name": "digits",
    "input": {"name": "image", "dtype": "float32", "shape": (None, 2, 2), "range": (0, 16)},
    "output": {"name": "probabilities", "dtype": "float32", "shape": (None, 3)},
    "labels": ("zero", "one", "two"),
}
COLUMNS = ({"name": "age", "type": "number"}, {"name": "city", "type": "category", "words": ("Oslo",)})
TABLE = IMAGE | {"input": {"name": "row", "dtype": "string", "shape": (None, 2)}, "columns": COLUMNS}


@pytest.mark.parametrize(
    ("before", "changes", "told"),
    [
        (IMAGE, {"metrics": {"test_accuracy": 0.5}, "source": {"trial": 3}, "dataset": {"name": "other"}}, ""),
        (IMAGE, {"input": IMAGE["input"] | {"range": (0, 255)}}, ""),
        (TABLE, {"columns": (COLUMNS[0], {"name": "city", "type": "category", "words": ("Rome", "Oslo")})}, ""),
        (
            IMAGE,
            {"input": IMAGE["input"] | {"shape": (None, 28, 28)}},
            "the input was image, float32 (2, 2) and is image, float32 (28, 28)",
        ),
        (IMAGE, {"labels": ("zero", "one", "seven")}, "labels gone: two; labels new: seven"),
        (IMAGE, {"labels": ("one", "zero", "two")}, "the labels have another order"),
        (
            IMAGE,
            {"task": "regression", "target": "x" * 50},
            f"the task was multiclass and is regression; the target was not named and is {'x' * 39}…",
        ),
        (TABLE, {"columns": COLUMNS[::-1]}, "the columns have another order"),
        (
            TABLE,
            {"columns": ({"name": "age", "type": "category"}, COLUMNS[1])},
            "column age was a number and is a category",
        ),
        (
            TABLE,
            {"columns": (COLUMNS[1], *({"name": f"c{i}", "type": "number"} for i in range(7)))},
            "columns gone: age; columns new: c0, c1, c2, c3, c4 and 2 more",
        ),
        (
            IMAGE,
            {"input": TABLE["input"], "columns": COLUMNS},
            "the input was image, float32 (2, 2) and is a row of 2 columns",
        ),
        (
            TABLE,
            {"input": IMAGE["input"], "columns": ()},
            "the input was a row of 2 columns and is image, float32 (2, 2)",
        ),
    ],
)
def test_what_clients_meet_is_told_in_a_few_words(before: dict[str, Any], changes: dict[str, Any], told: str) -> None:
    assert contract_changes(Contract(**before), Contract(**(before | changes))) == told


def test_a_champion_of_another_kind_is_served_and_told(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "cache")
    pictures, table = write_package(tmp_path / "v1"), write_kind(tmp_path / "v2", "binary words")
    told = contract_changes(open_package(pictures).contract, open_package(table).contract)
    store.add(pictures, "m", "1")

    async def work() -> None:
        async with serving(store) as server:

            async def note() -> str:
                (first, *_) = (await server.client.get("/models")).json()["models"]
                return str(first["note"])

            assert await note() == ""
            store.add(write_package(tmp_path / "again", seed=2), "m", "2")
            await server.poll()
            assert await note() == ""
            assert server.events("contract_changed") == []
            store.add(table, "m", "3")
            await server.poll()
            (event,) = server.events("contract_changed")
            assert (event["level"], event["version"], event["changes"]) == ("warning", "3", told)
            assert await note() == f"version 3 has another contract than 2 before it: {told}"
            asked = await server.client.post(
                "/predict/m", json={"inputs": {"age": 1, "city": "Oslo", "income": 1, "size": "1"}}
            )
            assert asked.status_code == 200
            store.add(write_kind(tmp_path / "v4", "binary words"), "m", "4")
            await server.poll()
            assert await note() == ""

    run(work())
