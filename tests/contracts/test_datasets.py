"""What everything after a data set may expect of it, tried on every kind."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
from annotated_types import Ge, Gt, Interval, MaxLen, MinLen
from pydantic import TypeAdapter

from pipelines.datasets import Dataset
from pipelines.datasets.base import DatasetSpec, Source, chunks
from pipelines.datasets.cifar10 import BATCHES
from pipelines.datasets.prepared import prepare
from pipelines.datasets.rows import LazyRows
from pipelines.datasets.sealed import open_sealed
from pipelines.inputs import InputFacts
from pipelines.spec import kinds_of
from pipelines.tasks import Task, task_of

RANDOM = np.random.default_rng(8)
IMAGES = RANDOM.integers(0, 256, (60, 6, 5), dtype=np.uint8)
TABLE = np.where(RANDOM.random((60, 3)) < 0.1, np.nan, RANDOM.normal(size=(60, 3)))
CLASSES = np.arange(60) % 3


def nothing(folder: Path) -> None:
    """These are shipped or made up."""


def mnist_file(folder: Path) -> None:
    x = RANDOM.integers(0, 256, (50, 28, 28), dtype=np.uint8)
    y = np.arange(50, dtype=np.uint8) % 10
    np.savez(folder / "mnist.npz", x_train=x, y_train=y, x_test=x[:20], y_test=y[:20])


def fashion_files(folder: Path) -> None:
    from pipelines.datasets.published import IDX

    for name, count in zip(IDX, (50, 50, 20, 20), strict=True):
        shape = (count, 28, 28) if "images" in name else (count,)
        values = np.zeros(shape, np.uint8) if "images" in name else np.arange(count, dtype=np.uint8) % 10
        sizes = b"".join(size.to_bytes(4, "big") for size in shape)
        (folder / name).write_bytes(bytes([0, 0, 8, len(shape)]) + sizes + values.tobytes())


def cifar_files(folder: Path) -> None:
    for batch in BATCHES:
        images = RANDOM.integers(0, 256, (20, 3072), dtype=np.uint8)
        labels = np.arange(20, dtype=np.uint8)[:, None] % 10
        (folder / batch).write_bytes(np.hstack([labels, images]).tobytes())


def csv_file(folder: Path) -> None:
    rows = [f"{'' if place % 7 == 0 else place},{'uvw'[place % 3]},{place % 2 == 0},{place / 8}" for place in range(60)]
    (folder / "table.csv").write_text("number,word,flag,value\n" + "\n".join(rows) + "\n")
    (folder / "more.csv").write_text("number,word,flag,value\n" + "1,x,True,2\n2,u,False,3\n" * 3)


def npz_file(folder: Path) -> None:
    np.savez(folder / "data.npz", x=IMAGES, t=TABLE, f=IMAGES / 255, y=CLASSES, v=TABLE[:, 0].astype("f8").clip(-9, 9))


def folders(folder: Path, part: str = "") -> None:
    for place in range(30):
        path = folder / "pets" / part / ("cat", "dog", "eel")[place % 3] / f"{place}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        PIL.Image.fromarray(IMAGES[place]).save(path)


def parts(folder: Path) -> None:
    folders(folder, "train")
    folders(folder, "test")


def module(folder: Path) -> None:
    (folder / "contract_data.py").write_text(
        "import numpy as np\n"
        "class Stream:\n"
        "    def __init__(self, array): self.array, self.shape, self.dtype = array, array.shape, array.dtype\n"
        "    def __getitem__(self, chosen): return self.array[chosen]\n"
        "x = np.arange(60 * 4 * 4, dtype=np.uint8).reshape(60, 4, 4)\n"
        "y = np.arange(60) % 2\n"
        "def plain(): return x, y\n"
        "def parts(): return (x, y), (x[:9], y[:9])\n"
        "def stream(): return Stream(x), y\n"
        "def points(): return dict(x=x[:, 0, :2] / 9, y=y / 7, kind='points')\n"
    )


@dataclass(frozen=True)
class Case:
    """A recipe's data set, what must be there for it, and the task that the recipe asks for."""

    recipe: dict[str, Any]
    write: Callable[[Path], None] = nothing
    task: Task | None = None

    def __str__(self) -> str:
        return "-".join(
            str(value) for key, value in self.recipe.items() if key in {"name", "function", "x", "color"}
        ) + (f"-{self.task}" if self.task else "")


CASES = [
    *(Case({"name": name}) for name in ("digits", "breast_cancer", "iris", "wine", "diabetes")),
    *(Case({"name": name, "noise": 0.2}) for name in ("circle", "xor", "gauss", "spiral", "plane", "multi_gauss")),
    Case({"name": "breast_cancer"}, task=Task.MULTICLASS),
    Case({"name": "mnist"}, mnist_file),
    Case({"name": "fashion_mnist"}, fashion_files),
    Case({"name": "cifar10"}, cifar_files),
    Case({"name": "synthetic_images", "samples": 200, "shape": [9, 8]}),
    Case({"name": "synthetic_images", "samples": 200, "shape": [9, 8, 3], "classes": 2}),
    Case({"name": "csv", "path": "table.csv", "target": "word"}, csv_file),
    Case({"name": "csv", "path": "table.csv", "target": "value"}, csv_file),
    Case({"name": "csv", "path": "table.csv", "target": "flag", "positive": "False"}, csv_file, Task.BINARY),
    Case({"name": "csv", "path": "table.csv", "target": "value", "test_path": "more.csv"}, csv_file),
    Case({"name": "npz", "path": "data.npz"}, npz_file),
    Case({"name": "npz", "path": "data.npz", "x": "f", "labels": ["a", "b", "c"]}, npz_file),
    Case({"name": "npz", "path": "data.npz", "x": "t"}, npz_file, Task.REGRESSION),
    Case({"name": "npz", "path": "data.npz", "x_test": "x", "y_test": "y"}, npz_file),
    Case({"name": "image_folder", "path": "pets", "image_size": [7, 4], "color": "grey"}, folders),
    Case({"name": "image_folder", "path": "pets", "image_size": [7, 4]}, parts),
    *(Case({"name": "function", "function": f"contract_data:{name}"}, module) for name in ("plain", "parts", "stream")),
    Case({"name": "function", "function": "contract_data:points"}, module),
    Case({"name": "function", "function": "contract_data:plain"}, module, Task.REGRESSION),
]


@pytest.fixture(params=CASES, ids=str)
def case(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[DatasetSpec, Case, Path]]:
    """A data set that can be loaded, and the folder of its files."""
    case: Case = request.param
    case.write(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    spec: DatasetSpec = TypeAdapter(Dataset).validate_python(case.recipe)
    yield spec, case, tmp_path
    sys.modules.pop("contract_data", None)


@pytest.fixture
def source(case: tuple[DatasetSpec, Case, Path]) -> Source:
    spec, what, folder = case
    return spec.load(folder, what.task)


def of_all_parts(source: Source) -> list[Any]:
    return [part for part in (source.samples, source.official_test) if part is not None]


def test_every_kind_is_tried() -> None:
    assert {case.recipe["name"] for case in CASES} == set(kinds_of(Dataset))


def test_loading_again_gives_the_same_data(source: Source, case: tuple[DatasetSpec, Case, Path]) -> None:
    spec, what, folder = case
    assert spec.load(folder, what.task).sha256() == source.sha256()
    again = TypeAdapter(Dataset).validate_python(json.loads(json.dumps(spec.model_dump(mode="json"))))
    assert again == spec
    assert again.load(folder, what.task).sha256() == source.sha256()


def test_shapes_and_types_are_those_that_are_promised(source: Source) -> None:
    for part in of_all_parts(source):
        assert part.x.shape == (len(part), *source.facts.shape)
        assert len(part.x) == len(part.y) > 0
        whole = part.x[:]
        assert isinstance(whole, np.ndarray)
        assert (whole.shape, whole.dtype) == (part.x.shape, part.x.dtype)
        assert part.y.shape == (len(part),)
        assert part.y.dtype == (np.int64 if source.facts.labels else np.float32)
        assert part.x.dtype == source.samples.x.dtype
        assert np.dtype(part.x.dtype).isnative


def test_the_kind_decides_the_shape_the_range_and_the_columns(
    source: Source, case: tuple[DatasetSpec, Case, Path]
) -> None:
    facts = source.facts
    assert case[0].kind in (None, facts.kind)
    if facts.kind == "image":
        assert len(facts.shape) in (2, 3)
        assert facts.shape[2:] in ((), (1,), (3,), (4,))
        assert facts.columns == ()
        assert facts.low is not None
        assert facts.high is not None
        assert facts.low < facts.high
        for part in of_all_parts(source):
            assert facts.low <= part.x[:].min() <= part.x[:].max() <= facts.high
    else:
        assert source.samples.x.dtype == np.float32
        assert facts.shape == (len(facts.columns),)
        assert len({column.name for column in facts.columns}) == len(facts.columns)
        assert (facts.low is None) == (facts.high is None) == (facts.kind == "table")
    if facts.kind == "points":
        assert [column.name for column in facts.columns] == ["x1", "x2"]


def test_the_values_of_a_column_are_numbers_or_places_of_words(source: Source) -> None:
    for place, column in enumerate(source.facts.columns):
        for part in of_all_parts(source):
            values = part.x[:][:, place]
            if column.words is None:
                assert not np.isinf(values).any()
                continue
            assert list(column.words) == sorted(set(column.words))
            assert (values == np.floor(values)).all()
            assert 0 <= values.min() <= values.max() <= len(column.words)


def test_labels_cover_what_is_predicted(source: Source, case: tuple[DatasetSpec, Case, Path]) -> None:
    spec, what, _ = case
    labels = source.facts.labels
    for part in of_all_parts(source):
        if labels:
            assert 0 <= part.y.min() <= part.y.max() < len(labels)
        else:
            assert np.isfinite(part.y).all()
    assert len(set(labels)) == len(labels)
    if labels:
        assert set(source.samples.y.tolist()) == set(range(len(labels)))
        assert all(labels)
    if spec.tasks:
        assert task_of(labels) == spec.tasks[0]
    if what.task is not None:
        assert (what.task is Task.REGRESSION) == (labels == ())


def test_facts_survive_json(source: Source) -> None:
    assert InputFacts.from_json(json.loads(json.dumps(source.facts.to_json()))) == source.facts
    assert (source.facts.mean, source.facts.deviation) == ((), ())


def test_rows_by_slice_by_index_and_one_by_one_are_the_same(source: Source) -> None:
    for part in of_all_parts(source):
        rows, whole = part.x, part.x[:]
        count = len(rows)
        np.testing.assert_array_equal(np.concatenate(list(chunks(rows))), whole, strict=True)
        for chosen in (
            np.array([count - 1, 0, count // 2, 0]),
            np.arange(count)[::-1],
            np.empty(0, np.int64),
            slice(2, count // 2),
            slice(count - 3, count + 9),
            slice(0, 0),
        ):
            np.testing.assert_array_equal(rows[chosen], whole[chosen], strict=True)
        taken = part.take(np.array([3, 1]))
        np.testing.assert_array_equal(taken.x, whole[[3, 1]], strict=True)
        np.testing.assert_array_equal(taken.y, part.y[[3, 1]], strict=True)


def test_nothing_is_read_beyond_what_is_asked_for(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    rows: Any = source.samples.x
    if not isinstance(rows, LazyRows):
        assert isinstance(rows, np.ndarray)  # in memory already
        return
    read: list[int] = []
    make = type(rows).read

    def noted(self: LazyRows, indices: Any) -> Any:
        read.extend(indices.tolist())
        return make(self, indices)

    monkeypatch.setattr(type(rows), "read", noted)
    rows[np.array([4, 2])]
    rows[5:7]
    assert read == [4, 2, 5, 6]


def test_a_search_never_sees_what_is_sealed(
    source: Source, case: tuple[DatasetSpec, Case, Path], tmp_path: Path
) -> None:
    spec, what, folder = case
    data = prepare(spec, folder, tmp_path / "cache", what.task)
    sealed = open_sealed(spec, folder, sha256=data.sha256, split_sha256=data.split_sha256, task=what.task)
    count = sum(data.counts.values())
    if source.official_test is not None:
        assert (count, len(sealed)) == (len(source.samples), len(source.official_test))
    else:
        assert spec.held_out_share is not None
        assert count + len(sealed) == len(source.samples)
        assert len(sealed) == pytest.approx(spec.held_out_share * len(source.samples), abs=1)


@pytest.mark.parametrize("kind", kinds_of(Dataset).values(), ids=kinds_of(Dataset))
def test_a_kind_tells_what_it_is_and_what_its_settings_mean(kind: type[DatasetSpec]) -> None:
    first = (kind.__doc__ or "").strip().split("\n")[0]
    assert first.endswith(".")
    assert first[0].isupper() or first[0].isdigit()
    for name, field in kind.model_fields.items():
        if name == "name":
            continue
        assert (field.description or "").strip().endswith("."), name
        sort = field.annotation
        if sort in (int, float):
            assert [bound for bound in field.metadata if isinstance(bound, Ge | Gt | Interval)], f"{name} has no limit"
        if name in {"path", "image_size", "shape"}:
            assert [bound for bound in field.metadata if isinstance(bound, MinLen | MaxLen)], f"{name} may be empty"
