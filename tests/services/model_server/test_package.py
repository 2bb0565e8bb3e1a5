"""A package is served only if every named file, the contract and the golden samples hold."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from services.model_server.errors import PackageRejected
from services.model_server.package import open_package
from services.model_server.predictor import Predictor, cpu_budget
from tests.services.model_server.parts import affine_graph, expected, flip_byte, seal, slow_graph, write_package


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
        Predictor(package).replay(package)


def test_a_graph_that_is_not_what_the_contract_says_is_refused(tmp_path: Path) -> None:
    other = {"name": "pixels", "dtype": "float32", "shape": [None, 2, 2]}
    package = open_package(write_package(tmp_path, contract={"input": other}))
    with pytest.raises(PackageRejected, match="the contract says pixels"):
        Predictor(package)


def test_something_that_is_no_graph_is_refused_in_one_line(tmp_path: Path) -> None:
    write_package(tmp_path)
    (tmp_path / "model.onnx").write_bytes(b"not a graph")
    seal(tmp_path)
    with pytest.raises(PackageRejected, match="ONNX Runtime cannot open it") as caught:
        Predictor(open_package(tmp_path))
    assert "\n" not in str(caught.value)


def test_warming_measures_that_more_rows_cost_more(tmp_path: Path) -> None:
    package = open_package(write_package(tmp_path, graph=slow_graph(width=256, depth=10)))
    cost = Predictor(package).warm(package, 128)
    assert cost.of(128) > cost.of(1) > 0


def test_warming_keeps_the_answers(tmp_path: Path) -> None:
    package = open_package(write_package(tmp_path, graph=affine_graph((2, 2), 3, 5, "Softmax")))
    predictor = Predictor(package, threads=2)
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
