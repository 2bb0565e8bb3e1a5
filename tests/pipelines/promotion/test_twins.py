"""Whether two packages hold one model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from pipelines.promotion.twins import are_twins


def package(folder: Path, tag: str = "", weight: float = 2.0, operator: str = "Mul", **contract: Any) -> Path:
    """A package whose graph doubles its input and adds one; `tag` goes into every inner name."""
    folder.mkdir()
    inner = helper.make_graph([helper.make_node("Identity", [f"product{tag}"], [f"same{tag}"])], "inner", [], [])
    inner.output.append(helper.make_tensor_value_info(f"same{tag}", TensorProto.FLOAT, ["n"]))
    nodes = [
        helper.make_node(operator, ["x", f"w{tag}"], [f"product{tag}"], name=f"first{tag}"),
        helper.make_node("If", [f"always{tag}"], [f"chosen{tag}"], then_branch=inner, else_branch=inner),
        helper.make_node("Add", [f"chosen{tag}", f"one{tag}"], ["y"], name=f"second{tag}"),
    ]
    weights = [
        numpy_helper.from_array(np.array([weight], np.float32), f"w{tag}"),
        numpy_helper.from_array(np.array([1.0], np.float32), f"one{tag}"),
        numpy_helper.from_array(np.array([True]), f"always{tag}"),
    ]
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, [f"unk{tag}"])
    told = helper.make_tensor_value_info("y", TensorProto.FLOAT, [f"unk{tag}"])
    graph = helper.make_graph(nodes, f"graph{tag}", [given], [told], weights, doc_string=tag)
    onnx.save(helper.make_model(graph), str(folder / "model.onnx"))
    found = {"task": "regression", "labels": [], "source": {"trial": tag}, "engine": "onnx", **contract}
    (folder / "contract.json").write_text(json.dumps(found))
    return folder


def test_one_model_is_known_again_whatever_an_export_calls_its_inner_parts(tmp_path: Path) -> None:
    assert are_twins(package(tmp_path / "a"), package(tmp_path / "b", tag="__38"))


@pytest.mark.parametrize("other", [{"weight": 2.5}, {"operator": "Div"}, {"labels": ["a"]}, {"task": "binary"}])
def test_another_weight_operator_or_contract_is_another_model(tmp_path: Path, other: dict[str, Any]) -> None:
    assert not are_twins(package(tmp_path / "a"), package(tmp_path / "b", tag="__38", **other))


def test_a_model_that_keras_serves_is_known_by_its_file(tmp_path: Path) -> None:
    folders = [package(tmp_path / name, engine="keras") for name in "ab"]
    for folder in folders:
        (folder / "data").mkdir()
        (folder / "data/model.keras").write_bytes(b"weights")

    assert are_twins(*folders)
    (folders[0] / "data/model.keras").write_bytes(b"other")
    assert not are_twins(*folders)
