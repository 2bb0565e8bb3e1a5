"""Whatever comes as an Open Inference request is answered or refused, and the server never fails on it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.model_server.protocols.open_inference.datatypes import DATATYPES
from tests.services.model_server.fuzzing import Fuzzed
from tests.services.model_server.parts import NUMBERS, WORDS

HEADER = "inference-header-content-length"
MODELS = {"grey": "multiclass grey", "numbers": "regression numbers", "words": "binary words"}
NAMES = ["image", "row", "probabilities", "prediction", "probability", *(c["name"] for c in (*NUMBERS, *WORDS))]


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fuzzed]:
    made = Fuzzed(tmp_path_factory.mktemp("fuzzed"), MODELS)
    yield made
    made.close()


scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.integers(-3, 40),
    st.floats(),
    st.text(st.characters(codec="utf-8"), max_size=300),
    st.sampled_from(NAMES),
)
anything = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=5), st.dictionaries(st.text(max_size=9), inner, max_size=3)),
)
numbers = st.lists(st.one_of(st.integers(0, 16), st.floats(0, 16), st.none()), max_size=14)
parameters = st.fixed_dictionaries(
    {},
    optional={
        "binary_data_size": st.one_of(st.integers(-1, 80), anything),
        "binary_data": st.one_of(st.booleans(), anything),
        "binary_data_output": st.one_of(st.booleans(), anything),
        "classification": st.one_of(st.integers(-1, 9), anything),
        "shared_memory_region": anything,
    },
)
tensors = st.fixed_dictionaries(
    {},
    optional={
        "name": st.one_of(st.sampled_from(NAMES), anything),
        "datatype": st.one_of(st.sampled_from(DATATYPES), anything),
        "shape": st.one_of(
            st.lists(st.integers(0, 6), max_size=4), st.sampled_from([[1, 3, 2], [3, 2], [2], []]), anything
        ),
        "data": st.one_of(numbers, st.lists(st.text(max_size=5), max_size=4), anything),
        "parameters": st.one_of(parameters, anything),
    },
)
requests = st.fixed_dictionaries(
    {},
    optional={
        "id": st.one_of(st.text(st.characters(codec="utf-8")), anything),
        "inputs": st.one_of(st.lists(st.one_of(tensors, anything), max_size=5), anything),
        "outputs": st.one_of(
            st.lists(
                st.fixed_dictionaries({"name": st.sampled_from(NAMES)}, optional={"parameters": parameters}), max_size=2
            ),
            anything,
        ),
        "parameters": st.one_of(parameters, anything),
    },
)


@settings(max_examples=400, deadline=None)
@given(
    model=st.sampled_from(sorted(MODELS)),
    document=st.one_of(requests, anything),
    rest=st.binary(max_size=80),
    header=st.sampled_from(["right", "none", "zero"]),
)
def test_whatever_json_comes_is_answered_or_refused(
    fuzzed: Fuzzed, model: str, document: Any, rest: bytes, header: str
) -> None:
    head = json.dumps(document).encode()
    headers = {"right": {HEADER: str(len(head))}, "none": {}, "zero": {HEADER: "0"}}[header]
    response = fuzzed.send(f"/v2/models/{model}/infer", head + (rest if header == "right" else b""), headers)
    assert response.status_code in (200, 400), response.text
    if response.status_code == 400:
        assert list(response.json()) == ["error"]
        assert len(response.json()["error"]) < 700


shapes = {"grey": [2, 3, 2], "numbers": [3], "words": [3]}


@settings(max_examples=200, deadline=None)
@given(data=st.data(), model=st.sampled_from(sorted(MODELS)))
def test_one_change_to_a_good_request_is_answered_or_refused(fuzzed: Fuzzed, data: st.DataObject, model: str) -> None:
    columns: Any = {"grey": [{"name": "image", "type": "number"}], "numbers": NUMBERS, "words": WORDS}[model]
    count = 12 if model == "grey" else 3
    inputs = [
        {
            "name": column["name"],
            "shape": shapes[model],
            "datatype": "FP32" if column["type"] == "number" else "BYTES",
            "data": [1.5] * count if column["type"] == "number" else ["Oslo"] * count,
        }
        for column in columns
    ]
    assert fuzzed.send(f"/v2/models/{model}/infer", json.dumps({"inputs": inputs}).encode(), {}).status_code == 200
    entry = data.draw(st.sampled_from(inputs))
    key = data.draw(st.sampled_from(["name", "shape", "datatype", "data", "cell"]))
    if key == "cell":
        entry["data"][data.draw(st.integers(0, count - 1))] = data.draw(anything)
    else:
        entry[key] = data.draw(st.one_of(anything, st.sampled_from(DATATYPES)))
    response = fuzzed.send(f"/v2/models/{model}/infer", json.dumps({"inputs": inputs}).encode(), {})
    assert response.status_code in (200, 400), response.text
