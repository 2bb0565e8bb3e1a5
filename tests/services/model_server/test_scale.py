"""Values on another scale than training's are refused in every dialect, and right ones never are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.datasets import load_digits, load_sample_images

from services.model_server.errors import OtherScale
from services.model_server.scale import Scale, scale_of
from tests.services.model_server.drawn import contract_of, golden_of
from tests.services.model_server.parts import (
    NUMBERS,
    FolderStore,
    ask,
    expected,
    run,
    serving,
    write_kind,
    write_package,
)

DIGITS = load_digits().images.astype(np.float32)


def cuttings() -> NDArray[np.float32]:
    """Pieces of 28 x 28 pixels of the two photographs that scikit-learn ships."""
    photographs = [photograph[:420, :616, 1] for photograph in load_sample_images().images]
    pieces = [photograph.reshape(15, 28, 22, 28).swapaxes(1, 2).reshape(-1, 28, 28) for photograph in photographs]
    return np.concatenate(pieces).astype(np.float32)


PIXELS = cuttings()


def scale(samples: NDArray[Any], low: float, high: float) -> Scale:
    found = scale_of(contract_of(samples.shape[1:], (low, high)), golden_of(samples[:64]))
    assert found is not None
    return found


OF_DIGITS, OF_PIXELS = scale(DIGITS, 0, 16), scale(PIXELS, 0, 255)
OF_UNIT = scale(PIXELS / np.float32(255), 0, 1)
OF_BOTH = scale(PIXELS / np.float32(127.5) - 1, -1, 1)


def refused(of: Scale, rows: NDArray[Any]) -> bool:
    """What the engine asks: the scale itself is only asked about suspicious extremes."""
    rows = rows.astype(np.float32)
    least, most = rows.min(), rows.max()
    if not (most <= of.small or most >= of.large):
        return False
    try:
        of.check(rows, least, most)
    except OtherScale:
        return True
    return False


def some(samples: NDArray[Any]) -> st.SearchStrategy[NDArray[Any]]:
    """One sample up to some dozens of them, drawn from all."""
    return st.lists(st.integers(0, len(samples) - 1), min_size=1, max_size=48).map(lambda places: samples[places])


@given(some(DIGITS), some(PIXELS))
def test_real_samples_are_never_refused(digits: NDArray[Any], pixels: NDArray[Any]) -> None:
    assert not refused(OF_DIGITS, digits)
    assert not refused(OF_PIXELS, pixels)
    assert not refused(OF_UNIT, pixels / 255)
    assert not refused(OF_BOTH, pixels / 127.5 - 1)


@given(some(DIGITS), some(PIXELS))
def test_real_samples_that_were_divided_are_always_refused(digits: NDArray[Any], pixels: NDArray[Any]) -> None:
    assert refused(OF_DIGITS, digits / 16)
    assert refused(OF_DIGITS, digits / 255)
    assert refused(OF_DIGITS, digits / 16 - 0.5)
    assert refused(OF_PIXELS, pixels / 255)


@given(some(DIGITS), some(PIXELS))
def test_real_samples_that_were_multiplied_are_always_refused(digits: NDArray[Any], pixels: NDArray[Any]) -> None:
    assert refused(OF_DIGITS, np.rint(digits * 255 / 16))
    assert refused(OF_UNIT, digits)
    assert refused(OF_UNIT, pixels)
    assert refused(OF_BOTH, pixels)


def mostly(value: float, others: float = 200.0) -> NDArray[Any]:
    rows = np.full((2, 4, 4), others)
    rows[0, 0, :2] = value
    return rows


@pytest.mark.parametrize(
    ("of", "rows"),
    [
        (OF_PIXELS, np.zeros((3, 2, 2))),
        (OF_PIXELS, np.ones((3, 2, 2))),  # whole numbers that fit
        (OF_PIXELS, np.eye(4)[np.newaxis]),
        (OF_PIXELS, mostly(0.5)),
        (OF_PIXELS, mostly(1e9)),
        (OF_PIXELS, mostly(np.nan, 0.5)),
        (OF_PIXELS, mostly(np.inf, 0.5)),
        (OF_PIXELS, mostly(-np.inf, 0.5)),
        (OF_PIXELS, np.full((1, 2, 2), -300.0)),
        (OF_PIXELS, np.full((1, 2, 2), 400.0)),  # too much, and no other scale
        (OF_UNIT, mostly(200.0, 0.5)),
        (OF_UNIT, np.full((1, 2, 2), 1e8)),
        (OF_UNIT, np.full((1, 2, 2), 0.001)),
        (OF_DIGITS, np.full((1, 2, 2), 1.5)),
    ],
)
def test_a_few_strange_values_and_what_may_be_right_are_somebody_elses_business(of: Scale, rows: NDArray[Any]) -> None:
    assert not refused(of, rows)


def test_where_the_training_data_itself_is_of_small_fractions_they_are_not_refused() -> None:
    rare = np.zeros((8, 2, 2), np.float32)
    rare[:, 0, 0] = np.linspace(0.1, 200, 8)
    assert not refused(scale(rare, 0, 255), np.full((1, 2, 2), 0.5))


def test_tables_and_contracts_without_a_range_have_no_scale() -> None:
    assert scale_of(contract_of((2, 2), None), golden_of(np.zeros((2, 2, 2), np.float32))) is None
    table = contract_of((3,)).model_copy(update={"columns": ("x",)})
    assert scale_of(table, golden_of(np.zeros((2, 3), np.float32))) is None


# ------------------------------------------------------------------------------------------------------- every dialect


@pytest.fixture
def whole(tmp_path: Path) -> FolderStore:
    """A model of whole numbers from 0 to 16, as the handwritten digits are."""
    inputs = np.random.default_rng(1).integers(0, 17, (4, 2, 2)).astype(np.float32)
    store = FolderStore(tmp_path / "cache")
    store.add(write_package(tmp_path / "v1", seed=1, golden={"inputs": inputs}), "tiny", "1")
    return store


SMALL = [[0.1, 0.5], [0.25, 1.0]]
JSON = {"content-type": "application/json"}
TENSOR = {"name": "image", "shape": [1, 2, 2], "datatype": "FP32", "data": [0.1, 0.5, 0.25, 1.0]}
HEAD = json.dumps(
    {
        "inputs": [
            {"name": "image", "shape": [1, 2, 2], "datatype": "FP32", "parameters": {"binary_data_size": 16}},
        ]
    }
).encode()
DIALECTS: list[tuple[str, Any, dict[str, str], set[str]]] = [
    ("/v1/models/tiny:predict", {"instances": [SMALL]}, {}, {"error"}),
    ("/v1/models/tiny:predict", {"inputs": SMALL}, {}, {"error"}),
    ("/v1/models/tiny:classify", {"examples": [{"image": [0.1, 0.5, 0.25, 1.0]}]}, {}, {"error"}),
    ("/invocations", {"inputs": [SMALL]}, JSON, {"error_code", "message", "sqlstate", "error_class"}),
    ("/invocations", {"instances": [SMALL]}, JSON, {"error_code", "message", "sqlstate", "error_class"}),
    (
        "/invocations",
        {"dataframe_split": {"data": [[0.1, 0.5, 0.25, 1.0]]}},
        JSON,
        {"error_code", "message", "sqlstate", "error_class"},
    ),
    ("/v2/models/tiny/infer", {"inputs": [TENSOR]}, {}, {"error"}),
    (
        "/v2/models/tiny/infer",
        HEAD + np.array(SMALL, "<f4").tobytes(),
        {"inference-header-content-length": str(len(HEAD))},
        {"error"},
    ),
    ("/predict/tiny", {"inputs": [SMALL]}, {}, {"error"}),
    ("/predict/tiny", {"inputs": SMALL}, {}, {"error"}),
]


@pytest.mark.parametrize(("path", "body", "headers", "keys"), DIALECTS)
def test_every_dialect_refuses_another_scale_in_its_own_form_unless_it_is_asked_for(
    whole: FolderStore, path: str, body: Any, headers: dict[str, str], keys: set[str]
) -> None:
    response = ask(whole, "POST", path, body, headers)
    assert response.status_code == 400, response.text
    assert response.json().keys() == keys
    message = response.json().get("error") or response.json()["message"]
    assert message == (
        "All values lie between 0.1 and 1, those of the training data between 0 and 16: this looks like another scale. "
        "Send raw values, or add ?scale=as-is if they are right."
    )
    assert ask(whole, "POST", path + "?scale=as-is", body, headers).status_code == 200
    assert ask(whole, "POST", path + "?scale=other", body, headers).status_code == 400
    assert ask(whole, "POST", path, body, headers, scale_check=False).status_code == 200


def test_the_open_inference_protocol_has_a_parameter_for_it(whole: FolderStore, tmp_path: Path) -> None:
    body = {"parameters": {"scale": "as-is"}, "inputs": [TENSOR]}
    response = ask(whole, "POST", "/v2/models/tiny/infer", body)
    assert response.status_code == 200, response.text
    np.testing.assert_allclose(response.json()["outputs"][0]["data"], expected(tmp_path / "v1", [SMALL])[0], rtol=1e-5)


def test_what_is_taken_as_it_is_gives_the_answer_to_these_very_values(whole: FolderStore, tmp_path: Path) -> None:
    found = ask(whole, "POST", "/v1/models/tiny:predict?scale=as-is", {"instances": [SMALL]}).json()["predictions"]
    np.testing.assert_allclose(found, expected(tmp_path / "v1", [SMALL]), rtol=1e-5)


def test_a_refused_request_computes_and_counts_nothing(whole: FolderStore) -> None:
    async def work() -> None:
        async with serving(whole) as server:
            for _ in range(3):
                await server.client.post("/predict/tiny", json={"inputs": SMALL})
            (model,) = server.engine.loaded()
            assert model.stats.strange_rows == 0
            assert model.batcher.waiting_rows == 0

    run(work())


def test_a_table_takes_any_numbers(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "cache")
    store.add(write_kind(tmp_path / "v1", "regression numbers"), "m", "1")
    assert len(NUMBERS) == 3
    for row in ([0.1, 0.2, 0.3], [1000, 2000, 3000]):
        assert ask(store, "POST", "/predict/m", {"inputs": [row]}).status_code == 200
