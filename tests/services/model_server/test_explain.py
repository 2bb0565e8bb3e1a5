"""Hiding parts of a sample: what is hidden covers everything, costs one bounded batch, and finds what mattered."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from services.model_server.errors import BadRequest
from services.model_server.protocols.occlusion import (
    MOST_ROWS,
    background_of,
    hide_patches,
    replace_columns,
    summary_of,
)
from tests.services.model_server.parts import (
    WORD_ROWS,
    FolderStore,
    ask,
    golden_arrays,
    run,
    serving,
    write_kind,
    write_package,
)

# -------------------------------------------------------------------------------------------------------------- patches


@given(
    height=st.integers(1, 300),
    width=st.integers(1, 300),
    channels=st.sampled_from([None, 1, 3]),
)
def test_every_pixel_is_hidden_somewhere_and_the_first_row_is_whole(height: int, width: int, channels: Any) -> None:
    shape = (height, width) if channels is None else (height, width, channels)
    sample = np.ones(shape, dtype=np.float32)

    patches = hide_patches(sample, 0.0)

    assert 2 <= len(patches.rows) <= MOST_ROWS
    assert patches.rows[0].min() == 1
    assert patches.rows.min(axis=0).max() == 0
    assert all((row == 0).any() for row in patches.rows[1:])
    assert patches.heat(np.ones(len(patches.boxes))).tolist() == np.ones(patches.grid).tolist()
    assert patches.grid[0] * patches.cell[0] >= height
    assert patches.grid[1] * patches.cell[1] >= width


def test_the_heat_is_where_the_drop_is() -> None:
    sample = np.zeros((28, 28), dtype=np.float32)
    sample[4:8, 20:24] = 1  # all there is to see

    patches = hide_patches(sample, 0.0)
    drops = patches.rows[0].sum() - patches.rows[1:].sum(axis=(1, 2))
    heat = patches.heat(drops)

    place = np.unravel_index(heat.argmax(), heat.shape)
    assert (int(place[0]) * patches.cell[0], int(place[1]) * patches.cell[1]) in {
        (y, x) for y in (3, 6) for x in (18, 21)
    }
    assert heat[0, 0] == 0


def test_large_images_are_hidden_in_fewer_and_larger_patches() -> None:
    patches = hide_patches(np.zeros((500, 500, 3), dtype=np.float32), np.zeros(3))

    assert patches.rows.size <= 9 << 20
    with pytest.raises(BadRequest, match="too large"):
        hide_patches(np.broadcast_to(np.float32(0), (4000, 4000)), 0.0)


def test_few_rows_are_enough() -> None:
    assert len(hide_patches(np.zeros((28, 28)), 0.0, most_rows=20).rows) <= 20


def test_the_background_is_the_median_of_each_channel() -> None:
    grey = np.zeros((4, 5, 5))
    grey[:, 1:3, 1:3] = 9
    colour = np.full((4, 5, 5, 3), (1.0, 2.0, 3.0))

    assert background_of(grey) == 0
    assert background_of(colour).tolist() == [1, 2, 3]


# -------------------------------------------------------------------------------------------------------------- columns


@given(columns=st.integers(1, 255), golden=st.integers(1, 40))
def test_each_column_and_no_other_is_replaced_by_golden_values(columns: int, golden: int) -> None:
    row = np.full(columns, -1.0)
    replaced = replace_columns(row, np.arange(golden * columns, dtype=float).reshape(golden, columns))

    assert len(replaced.rows) == 1 + columns * replaced.fillings <= MOST_ROWS
    assert (replaced.rows[0] == -1).all()
    for column in range(columns):
        rows = replaced.rows[1 + column * replaced.fillings : 1 + (column + 1) * replaced.fillings]
        assert (rows[:, column] % columns == column).all()
        assert (np.delete(rows, column, axis=1) == -1).all()


def test_a_row_that_is_too_wide_is_refused() -> None:
    with pytest.raises(BadRequest, match="256 columns is too wide"):
        replace_columns(np.zeros(256), np.zeros((2, 256)))


def test_the_summary_has_mean_least_and_most_of_each_column() -> None:
    assert summary_of(np.array([1.0, 3.0, -2.0, 0.0]), 2) == [
        {"drop": 2.0, "least": 1.0, "most": 3.0},
        {"drop": -1.0, "least": -2.0, "most": 0.0},
    ]


# -------------------------------------------------------------------------------------------------------------- address


def corner(folder: Path) -> Path:
    """A model that looks at the pixel at (1, 6) of eight by eight and at nothing else: dark is `off`, bright `on`."""
    weights = np.zeros((64, 2), dtype=np.float32)
    weights[1 * 8 + 6] = (-1, 1)
    nodes = [
        helper.make_node("Flatten", ["image"], ["flat"]),
        helper.make_node("Gemm", ["flat", "weights", "bias"], ["scores"]),
        helper.make_node("Softmax", ["scores"], ["probabilities"]),
    ]
    graph = helper.make_graph(
        nodes,
        "corner",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 8, 8])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", 2])],
        [
            numpy_helper.from_array(weights, "weights"),
            numpy_helper.from_array(np.array([2, -2], dtype=np.float32), "bias"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    inputs = np.zeros((4, 8, 8), dtype=np.float32)
    inputs[0, 1, 6] = inputs[1, 2:5, 2:5] = inputs[2, 6] = 16
    return write_package(folder, graph=model, shape=(8, 8), labels=("off", "on"), golden={"inputs": inputs})


@pytest.fixture
def lamp(tmp_path: Path) -> FolderStore:
    store = FolderStore(tmp_path / "cache")
    store.add(corner(tmp_path / "v1"), "lamp", "1")
    return store


def explained(store: FolderStore, path: str, body: Any, **settings: Any) -> Any:
    response = ask(store, "POST", path, body, **settings)
    assert response.status_code == 200, response.text
    return response.json()


def test_the_part_of_an_image_that_decides_is_the_hottest(lamp: FolderStore) -> None:
    image = np.zeros((8, 8))
    image[1, 6] = 16

    found = explained(lamp, "/explain/lamp", {"inputs": image.tolist()})

    heat = np.array(found["heat"])
    assert found["of"]["label"] == "on"
    assert (found["kind"], found["cell"], heat.shape) == ("patches", [1, 1], (8, 8))
    assert int(heat.argmax()) == 1 * 8 + 6
    assert heat.max() == pytest.approx(found["of"]["probability"], abs=0.02)
    assert heat[4:, :4].max() == 0
    assert found["model"] == {"name": "lamp", "version": "1", "alias": "champion"}


def test_another_class_may_be_explained(lamp: FolderStore) -> None:
    image = np.zeros((8, 8))
    image[1, 6] = 16

    found = explained(lamp, "/explain/lamp", {"inputs": [image.tolist()], "label": "off"})

    assert found["of"] == {"label": "off", "probability": pytest.approx(0, abs=0.001)}
    assert np.array(found["heat"]).min() < -0.9


@pytest.mark.parametrize("kind", ["multiclass words", "binary words", "regression words", "binary numbers"])
def test_the_columns_of_a_table_are_explained(tmp_path: Path, kind: str) -> None:
    store = FolderStore(tmp_path / "cache")
    store.add(write_kind(tmp_path / "v1", kind), "m", "1")
    row = [61, "Rome", None, ""] if "words" in kind else [39, None, 0.1]

    found = explained(store, "/explain/m", {"inputs": row})

    names = ["age", "city", "income", "size"] if "words" in kind else ["age", "bmi", "s1"]
    assert (found["kind"], [column["name"] for column in found["columns"]]) == ("columns", names)
    assert all(column["least"] <= column["drop"] <= column["most"] for column in found["columns"])
    assert any(column["drop"] for column in found["columns"])
    assert found["rows"] == 1 + len(names) * (len(WORD_ROWS) if "words" in kind else 3)
    assert set(found["of"]) == ({"value", "target"} if "regression" in kind else {"label", "probability"})


@pytest.mark.parametrize("kind", ["multiclass colour", "regression grey"])
def test_images_of_every_task_are_explained(tmp_path: Path, kind: str) -> None:
    store = FolderStore(tmp_path / "cache")
    package = write_kind(tmp_path / "v1", kind)
    store.add(package, "m", "1")
    sample = golden_arrays(package)["inputs"][0]

    found = explained(store, "/explain/m", {"inputs": sample.tolist()})

    assert np.array(found["heat"]).shape == (3, 2)


def test_a_version_or_an_alias_picks_the_model(lamp: FolderStore) -> None:
    body = {"inputs": np.zeros((8, 8)).tolist()}

    assert explained(lamp, "/explain/lamp?version=1", body)["model"]["version"] == "1"
    assert explained(lamp, "/explain/lamp?alias=champion", body)["model"]["version"] == "1"
    assert ask(lamp, "POST", "/explain/lamp?version=2", body).status_code == 404


@pytest.mark.parametrize(
    ("body", "status", "told"),
    [
        ("", 400, "empty"),
        ("[]", 400, "must be an object"),
        ({}, 400, "must be an object"),
        ({"inputs": [[0] * 8] * 8, "more": 1}, 400, "must be an object"),
        ({"inputs": 5}, 400, "One sample at a time"),
        ({"inputs": []}, 400, "One sample at a time"),
        ({"inputs": [[[0] * 8] * 8] * 2}, 400, "One sample at a time"),
        ({"inputs": [[0] * 7] * 8}, 400, "One sample at a time"),
        ({"inputs": [[[0] * 7] * 8]}, 400, "A sample of this model is 8 x 8"),
        ({"inputs": [[True] * 8] * 8}, 400, "Boolean"),
        ({"inputs": [["x" * 1000] * 8] * 8}, 400, "String"),
        ({"inputs": [[0] * 8] * 8, "label": "none" * 1000}, 400, "'label' must be one of"),
        ({"inputs": [[0] * 8] * 8, "label": 1}, 400, "'label' must be one of"),
    ],
)
def test_what_cannot_be_explained_is_refused_in_a_sentence(
    lamp: FolderStore, body: Any, status: int, told: str
) -> None:
    response = ask(lamp, "POST", "/explain/lamp", body)

    assert response.status_code == status
    assert told in response.json()["error"]
    assert len(response.content) < 450


def test_no_such_model_and_the_wrong_method_have_their_codes(lamp: FolderStore) -> None:
    assert ask(lamp, "POST", "/explain/none", {"inputs": 1}).status_code == 404
    assert ask(lamp, "GET", "/explain/lamp").status_code == 405
    assert ask(lamp, "POST", "/explain/lamp", {"inputs": 1}, api_key="secret").status_code == 401


def test_what_is_explained_counts_neither_as_prediction_nor_as_traffic(lamp: FolderStore) -> None:
    async def work() -> tuple[int, int, list[Any]]:
        seen: list[Any] = []
        async with serving(lamp) as server:
            server.engine.note = lambda *facts: seen.append(facts)
            model = server.engine.find("lamp")
            body = {"inputs": np.full((8, 8), 99.0).tolist()}
            response = await server.client.post("/explain/lamp", json=body)
            assert response.status_code == 200, response.text
            return model.stats.answered.count, model.stats.strange_rows, seen

    assert run(work()) == (0, 0, [])


def test_a_short_queue_still_explains(lamp: FolderStore) -> None:
    found = explained(lamp, "/explain/lamp", {"inputs": np.zeros((8, 8)).tolist()}, queue=16, max_batch=4)

    assert found["rows"] <= 16


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=9) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=80,
)


def _dumped(value: Any) -> bytes:
    return json.dumps({"inputs": value}, ensure_ascii=True).encode()


def test_whatever_is_sent_is_answered_without_a_failure_of_the_server(lamp: FolderStore, tmp_path: Path) -> None:
    lamp.add(write_kind(tmp_path / "words", "multiclass words"), "words", "1")

    async def work() -> None:
        async with serving(lamp) as server:

            @settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
            @given(st.sampled_from(["lamp", "words"]), st.binary(max_size=60) | _JSON.map(_dumped))
            def ask_all(name: str, body: bytes) -> None:
                sent.append((name, body))

            sent: list[tuple[str, bytes]] = []
            ask_all()
            for name, body in sent:
                response = await server.client.post(f"/explain/{name}", content=body)
                assert response.status_code in (200, 400), (body, response.text)
                assert len(response.json().get("error", "")) < 700

    run(work())
