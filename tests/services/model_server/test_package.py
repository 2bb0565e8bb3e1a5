"""A package is served only if every named file, the contract and the golden samples hold."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest

from services.model_server.errors import PackageRejected
from services.model_server.host.cpus import cpu_budget
from services.model_server.onnx_engine import OnnxEngine
from services.model_server.package import open_package
from tests.services.model_server.parts import (
    NUMBERS,
    TASKS,
    WORD_ROWS,
    WORDS,
    affine_graph,
    expected,
    flip_byte,
    seal,
    slow_graph,
    table_graph,
    write_kind,
    write_package,
)


def test_a_whole_package_opens_with_its_contract_and_samples(tmp_path: Path) -> None:
    package = open_package(write_package(tmp_path))
    assert package.contract.input.sample_shape == (2, 2)
    assert package.golden.inputs.shape == (4, 2, 2)
    assert len(package.digest) == 64


@pytest.mark.parametrize("name", ["model.onnx", "contract.json", "golden.npz", "data/model.keras"])
def test_one_flipped_byte_in_any_named_file_is_found(tmp_path: Path, name: str) -> None:
    write_package(tmp_path)
    flip_byte(tmp_path / name, -2)
    with pytest.raises(PackageRejected, match=f"{name} is damaged"):
        open_package(tmp_path)


@pytest.mark.parametrize("name", ["model.onnx", "manifest.json"])
def test_a_missing_file_is_found(tmp_path: Path, name: str) -> None:
    write_package(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(PackageRejected, match=name):
        open_package(tmp_path)


def test_files_that_the_manifest_does_not_name_do_not_count(tmp_path: Path) -> None:
    write_package(tmp_path)
    (tmp_path / "registered_model_meta").write_text("added by the registry")
    open_package(tmp_path)


@pytest.mark.parametrize("name", ["../outside", "/etc/passwd", "a/../../b"])
def test_a_manifest_that_points_outside_is_refused(tmp_path: Path, name: str) -> None:
    write_package(tmp_path)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    manifest["files"][name] = {"sha256": "0" * 64, "bytes": 1}
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(PackageRejected, match="outside the package"):
        open_package(tmp_path)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"format": 2}, "format"),
        ({"input": {"name": "image", "dtype": "string", "shape": [None]}}, "input.dtype"),
        ({"labels": 3}, "labels"),
    ],
)
def test_a_contract_that_this_server_cannot_keep_is_refused(
    tmp_path: Path, change: dict[str, object], told: str
) -> None:
    with pytest.raises(PackageRejected, match=told):
        open_package(write_package(tmp_path, contract=change))


FORMS = ("grey", "colour", "numbers", "words")


@pytest.mark.parametrize("kind", [f"{task} {form}" for task in TASKS for form in FORMS])
def test_every_kind_opens_replays_and_warms(tmp_path: Path, kind: str) -> None:
    package = open_package(write_kind(tmp_path, kind))
    predictor = OnnxEngine(package)
    predictor.replay(package)
    assert predictor.warm(package, 8).of(1) > 0
    golden = package.golden
    assert (golden.targets is None, golden.labels is None) == ((False, True) if "regression" in kind else (True, False))
    assert golden.inputs.dtype == (object if "words" in kind else np.float32)


IMAGE = {"name": "image", "dtype": "float32", "shape": [None, 2, 2]}
ROW = {"name": "row", "dtype": "float32", "shape": [None, 3]}
TEXTS = {"name": "row", "dtype": "string", "shape": [None, 4]}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"task": "ranking"}, "task"),
        ({"labels": ["zero", "one"]}, "task is multiclass with 3 outputs and 2 labels"),
        ({"labels": []}, "task is multiclass with 3 outputs and 0 labels"),
        ({"task": "binary"}, "task is binary, which has one output; output.shape says 3"),
        (
            {"task": "binary", "output": {"name": "p", "dtype": "float32", "shape": [None, 1]}},
            "task is binary, which has two labels; labels has 3",
        ),
        (
            {"task": "regression", "output": {"name": "p", "dtype": "float32", "shape": [None, 1]}},
            "task is regression, which has no labels; labels has 3",
        ),
        ({"output": {"name": "p", "dtype": "string", "shape": [None, 3]}}, "output.dtype is string"),
        ({"output": {"name": "p", "dtype": "float32", "shape": [None]}}, r"output.shape is \[null\]"),
        ({"output": {"name": "p", "dtype": "float32", "shape": [None, None]}}, r"output.shape is \[null, null\]"),
        ({"input": IMAGE | {"range": [16, 0]}}, "input.range goes from 16 down to 0"),
        ({"input": IMAGE | {"dtype": "string"}}, "input.dtype is string, which only a table with columns has"),
        ({"columns": NUMBERS, "input": IMAGE}, r"input.shape is \[null, 2, 2\]; with 3 columns it must be \[null, 3\]"),
        ({"columns": NUMBERS, "input": ROW | {"shape": [None, 2]}}, "with 3 columns"),
        ({"columns": NUMBERS, "input": ROW | {"dtype": "int64"}}, "input.dtype is int64; a table is float32"),
        ({"columns": [*NUMBERS[:2], NUMBERS[0]], "input": ROW}, "columns has the name 'age' more than once"),
        ({"columns": WORDS, "input": TEXTS | {"dtype": "float32"}}, "column 'city' holds words"),
        ({"columns": WORDS, "input": TEXTS | {"range": [0, 1]}}, "texts have no range"),
        ({"columns": [{"name": "x", "type": "date"}], "input": ROW}, "columns.0.type"),
        ({"columns": [{"name": "", "type": "number"}], "input": ROW}, "columns.0.name"),
        (
            {"columns": [*NUMBERS[:2], {"name": "x", "type": "number", "words": ["a"]}], "input": ROW},
            "column 'x' holds numbers and has words",
        ),
    ],
)
def test_a_contract_that_contradicts_itself_is_refused(tmp_path: Path, change: dict[str, object], told: str) -> None:
    with pytest.raises(PackageRejected, match=told) as caught:
        open_package(_with(write_package(tmp_path), change))
    assert str(caught.value).startswith("contract.json: ")


def _with(folder: Path, change: dict[str, object]) -> Path:
    """Changes the contract of a package and leaves its samples as they are."""
    path = folder / "contract.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    seal(folder)
    return folder


def test_a_contract_of_the_first_trainers_still_opens(tmp_path: Path) -> None:
    write_package(tmp_path)
    path = tmp_path / "contract.json"
    old = {name: value for name, value in json.loads(path.read_text()).items() if name != "task"}
    path.write_text(json.dumps(old))
    seal(tmp_path)
    package = open_package(tmp_path)
    OnnxEngine(package).replay(package)
    assert (package.contract.task, package.contract.columns, package.contract.target) == ("multiclass", (), "")


ONES = np.ones(4, dtype=np.float32)


@pytest.mark.parametrize(
    ("kind", "golden", "told"),
    [
        ("regression grey", {"targets": None, "labels": ONES}, "has no targets, which a regression model's samples"),
        ("binary grey", {"labels": None, "targets": ONES}, "has no labels, which a binary model's samples"),
        ("binary grey", {"labels": np.array([0, 1, 2, 0])}, "labels outside 0 to 1"),
        ("binary grey", {"labels": np.array([0, 1])}, "as many outputs and labels as inputs"),
        ("regression grey", {"targets": np.ones((4, 1))}, r"targets of shape \(4, 1\)"),
        ("regression grey", {"outputs": np.ones((4, 2))}, r"outputs of shape \(4, 2\)"),
        ("regression grey", {"outputs": np.ones(4)}, r"outputs of shape \(4,\)"),
        ("binary words", {"inputs": np.ones((4, 4))}, "inputs of dtype float64; contract.json says string"),
        ("binary numbers", {"inputs": np.full((3, 3), "1")}, "contract.json says float32"),
        ("binary numbers", {"inputs": np.full((3, 3), b"1")}, "contract.json says float32"),
        ("binary grey", {"labels": np.array(1)}, r"labels of shape \(\)"),
        ("binary grey", {"inputs": np.array(1.0)}, "as many outputs and labels as inputs"),
        ("binary grey", {"inputs": np.ones((0, 3, 2)), "outputs": np.ones((0, 1)), "labels": ONES[:0]}, "one or more"),
    ],
)
def test_golden_samples_that_do_not_fit_the_contract_are_refused(
    tmp_path: Path, kind: str, golden: dict[str, object], told: str
) -> None:
    write_kind(tmp_path, kind)
    with np.load(tmp_path / "golden.npz") as arrays:
        changed = {**arrays, **golden}
    np.savez(tmp_path / "golden.npz", **{name: array for name, array in changed.items() if array is not None})
    seal(tmp_path)
    with pytest.raises(PackageRejected, match=told):
        open_package(tmp_path)


def one_array() -> bytes:
    file = io.BytesIO()
    np.save(file, np.ones(3))
    return file.getvalue()


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 and no more", b"text", one_array()])
def test_golden_samples_that_are_no_archive_are_refused(tmp_path: Path, content: bytes) -> None:
    write_package(tmp_path)
    (tmp_path / "golden.npz").write_bytes(content)
    seal(tmp_path)
    with pytest.raises(PackageRejected, match=r"golden\.npz cannot be read"):
        open_package(tmp_path)


def test_golden_texts_that_the_graph_cannot_read_are_refused(tmp_path: Path) -> None:
    rows = WORD_ROWS.copy()
    package = open_package(write_kind(tmp_path, "regression words"))
    rows[2, 0] = "old"
    package.golden.inputs[:] = rows
    with pytest.raises(PackageRejected, match="its golden inputs do not run"):
        OnnxEngine(package).replay(package)


@pytest.mark.parametrize(
    ("scale", "shift", "fine"), [(1e5, 5.0, True), (1e5, 50.0, False), (1.0, 5e-5, True), (1.0, 5e-4, False)]
)
def test_a_regression_is_held_to_the_scale_of_its_values(
    tmp_path: Path, scale: float, shift: float, fine: bool
) -> None:
    columns = NUMBERS[:1]
    graph = table_graph(columns, 1, "Identity", "prediction")
    for constant in graph.graph.initializer:
        if constant.name in ("weights", "bias"):
            value = 1 if constant.name == "weights" else 0
            constant.raw_data = np.full(tuple(constant.dims), value, dtype=np.float32).tobytes()
    facts = {
        "task": "regression",
        "labels": [],
        "columns": columns,
        "input": ROW | {"shape": [None, 1]},
        "output": {"name": "prediction", "dtype": "float32", "shape": [None, 1]},
    }
    golden = {"inputs": np.array([[scale], [0]], dtype=np.float32)}
    package = open_package(write_package(tmp_path, graph=graph, contract=facts, golden=golden, golden_shift=shift))
    if fine:
        OnnxEngine(package).replay(package)
    else:
        with pytest.raises(PackageRejected, match="golden sample 1 gives another answer"):
            OnnxEngine(package).replay(package)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"input": IMAGE | {"dtype": "float64"}}, "input is a tensor\\(float\\); the contract says float64"),
        (
            {"output": {"name": "probabilities", "dtype": "float64", "shape": [None, 3]}},
            "output is a tensor\\(float\\); the contract says float64",
        ),
    ],
)
def test_a_graph_of_another_type_than_the_contract_says_is_refused(
    tmp_path: Path, change: dict[str, object], told: str
) -> None:
    package = open_package(write_package(tmp_path, contract=change))
    with pytest.raises(PackageRejected, match=told):
        OnnxEngine(package)


def test_a_pickle_among_the_golden_samples_is_not_loaded(tmp_path: Path) -> None:
    write_package(tmp_path)
    anything = np.array([{"x": 1}], dtype=object)
    np.savez(tmp_path / "golden.npz", inputs=anything, outputs=anything, labels=anything)
    seal(tmp_path)
    with pytest.raises(PackageRejected, match=r"golden\.npz cannot be read"):
        open_package(tmp_path)


def test_a_graph_that_answers_otherwise_than_when_packed_is_refused(tmp_path: Path) -> None:
    package = open_package(write_package(tmp_path, golden_shift=0.01))
    with pytest.raises(PackageRejected, match="golden sample 0 gives another answer"):
        OnnxEngine(package).replay(package)


def test_a_graph_that_is_not_what_the_contract_says_is_refused(tmp_path: Path) -> None:
    other = {"name": "pixels", "dtype": "float32", "shape": [None, 2, 2]}
    package = open_package(write_package(tmp_path, contract={"input": other}))
    with pytest.raises(PackageRejected, match="the contract says pixels"):
        OnnxEngine(package)


def test_something_that_is_no_graph_is_refused_in_one_line(tmp_path: Path) -> None:
    write_package(tmp_path)
    (tmp_path / "model.onnx").write_bytes(b"not a graph")
    seal(tmp_path)
    with pytest.raises(PackageRejected, match="ONNX Runtime cannot open it") as caught:
        OnnxEngine(open_package(tmp_path))
    assert "\n" not in str(caught.value)


def test_warming_measures_that_more_rows_cost_more(tmp_path: Path) -> None:
    package = open_package(write_package(tmp_path, graph=slow_graph(width=256, depth=10)))
    cost = OnnxEngine(package).warm(package, 128)
    assert cost.of(128) > cost.of(1) > 0


def test_warming_keeps_the_answers(tmp_path: Path) -> None:
    package = open_package(write_package(tmp_path, graph=affine_graph((2, 2), 3, 5, "Softmax")))
    predictor = OnnxEngine(package, threads=2)
    predictor.warm(package, 8)
    np.testing.assert_allclose(
        predictor.run(package.golden.inputs), expected(tmp_path, package.golden.inputs), rtol=1e-6
    )


@pytest.mark.parametrize(
    ("files", "most"),
    [
        ({}, None),
        ({"cpu.max": "100000 100000"}, 1),
        ({"cpu.max": "50000 100000"}, 1),
        ({"cpu.max": "max 100000"}, None),
    ],
)
def test_the_thread_budget_keeps_to_the_cgroup(tmp_path: Path, files: dict[str, str], most: int | None) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    cores = cpu_budget(tmp_path / "no such folder")
    assert cpu_budget(tmp_path) == (most or cores)
