"""The package of a model version on disk: manifest, contract, golden samples. Reads and verifies, and runs nothing."""

from __future__ import annotations

import hashlib
import json
import math
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from services.model_server.errors import PackageRejected
from services.model_server.npz import read_arrays

MANIFEST = "manifest.json"
GRAPH = "model.onnx"
KERAS_FILE = "data/model.keras"
CONTRACT = "contract.json"
GOLDEN = "golden.npz"


class _Part(BaseModel):
    # Open on purpose: a newer trainer may say more than this server needs to know.
    model_config = ConfigDict(frozen=True, extra="ignore")


class TensorSpec(_Part):
    """One tensor of the contract. `shape` counts the batch as its first, open (None) dimension."""

    name: str = Field(min_length=1)
    dtype: Literal["float32", "float64", "int64", "int32", "uint8", "string"]
    shape: tuple[int | None, ...] = Field(min_length=1)
    range: tuple[float, float] | None = None
    picture: tuple[int, ...] | None = None
    """Of samples that are pictures in one row: (height, width), or these and channels, in row-major order."""

    @property
    def sample_size(self) -> int | None:
        """How many numbers one sample has; None if a dimension is open."""
        return None if None in self.sample_shape else math.prod(size or 0 for size in self.sample_shape)

    @property
    def sample_shape(self) -> tuple[int | None, ...]:
        """The shape of one sample, without the batch dimension."""
        return self.shape[1:]

    @property
    def array_dtype(self) -> np.dtype[Any]:
        """The dtype of an array for this tensor. Texts are objects: one long text must not widen all the others."""
        return np.dtype(object) if self.dtype == "string" else np.dtype(self.dtype)


class Column(_Part):
    """One column of a table."""

    name: str = Field(min_length=1)
    type: Literal["number", "category"]
    words: tuple[str, ...] = ()
    """Of a category: the words of the training data. Any other word is one that the model does not know."""

    @cached_property
    def known(self) -> frozenset[str]:
        """The words, and the empty text that stands for a missing one."""
        return frozenset((*self.words, ""))


class Contract(_Part):
    """What a model takes and gives, and where it came from: the content of contract.json."""

    format: Literal[1]
    name: str
    task: Literal["multiclass", "binary", "regression"] = "multiclass"
    input: TensorSpec
    output: TensorSpec
    labels: tuple[str, ...] = ()
    """The classes by the model's outputs; of a binary model two, and its output is the probability of the second."""
    target: str = ""
    """The name of what is predicted."""
    columns: tuple[Column, ...] = ()
    """Of a table: its columns, in the order of the input's last dimension. Empty for everything else."""
    metrics: dict[str, float] = Field(default_factory=dict)
    source: dict[str, Any] = Field(default_factory=dict)
    dataset: dict[str, Any] = Field(default_factory=dict)
    engine: Literal["onnx", "keras"] = "onnx"
    """Who computes it: ONNX Runtime the graph, or Keras the file of a model that ONNX cannot hold."""
    engine_reason: str = Field("", max_length=500)
    """Why it is not ONNX, as a part of a sentence."""

    @cached_property
    def column_names(self) -> tuple[str, ...]:
        """The names of the columns, in their order."""
        return tuple(column.name for column in self.columns)

    def contradictions(self) -> Iterator[str]:
        """Says what in the contract cannot be true at the same time, as parts of a sentence."""
        yield from self._output_contradictions()
        low, high = self.input.range or (0.0, 0.0)
        if low > high:
            yield f"input.range goes from {low:g} down to {high:g}"
        if self.input.dtype == "string" and self.input.range is not None:
            yield "input.range is set, and input.dtype is string: texts have no range"
        if self.input.picture is not None and math.prod(self.input.picture) != self.input.sample_size:
            yield f"input.picture is {_shape(self.input.picture)}, which is not what a sample has by input.shape"
        if self.columns:
            yield from self._table_contradictions()
        elif self.input.dtype == "string":
            yield "input.dtype is string, which only a table with columns has"

    def _output_contradictions(self) -> Iterator[str]:
        if self.output.dtype not in ("float32", "float64"):
            yield f"output.dtype is {self.output.dtype}; an output is float32"
        width = self.output.shape[1] if len(self.output.shape) == 2 else None
        if width is None:
            yield f"output.shape is {_shape(self.output.shape)}; it must be [null, number of outputs]"
        elif self.task == "multiclass" and width != len(self.labels):
            yield f"task is multiclass with {width} outputs and {len(self.labels)} labels; each output needs a label"
        elif self.task != "multiclass" and width != 1:
            yield f"task is {self.task}, which has one output; output.shape says {width}"
        if self.task == "binary" and len(self.labels) != 2:
            yield f"task is binary, which has two labels; labels has {len(self.labels)}"
        if self.task == "regression" and self.labels:
            yield f"task is regression, which has no labels; labels has {len(self.labels)}"

    def _table_contradictions(self) -> Iterator[str]:
        if self.input.shape != (None, len(self.columns)):
            yield f"input.shape is {_shape(self.input.shape)}; with {len(self.columns)} columns it must be " + _shape(
                (None, len(self.columns))
            )
        if self.input.dtype not in ("float32", "string"):
            yield f"input.dtype is {self.input.dtype}; a table is float32, or string if it holds words"
        names = self.column_names
        if len(set(names)) < len(names):
            yield f"columns has the name {next(name for name in names if names.count(name) > 1)!r} more than once"
        for column in self.columns:
            if column.type == "category" and self.input.dtype == "float32":
                yield f"column {column.name!r} holds words, and input.dtype is float32; it must be string"
            if column.type == "number" and column.words:
                yield f"column {column.name!r} holds numbers and has words"


def _shape(shape: tuple[int | None, ...]) -> str:
    return json.dumps(shape)


@dataclass(frozen=True)
class Golden:
    """Samples that travel with the model. Clients see them, and every load replays them.

    Attributes:
        inputs: (n, *sample shape), in the dtype of the contract, raw as a client sends them; texts as objects.
        outputs: float32 (n, outputs), what the trainer's own model answered.
        labels: int64 (n,), the true class; None for a regression.
        targets: float32 (n,), the true value; None for classes.
    """

    inputs: NDArray[Any]
    outputs: NDArray[np.float32]
    labels: NDArray[np.int64] | None = None
    targets: NDArray[np.float32] | None = None

    def __len__(self) -> int:
        return len(self.inputs)


@dataclass(frozen=True)
class Package:
    """A verified package: `digest` is the sha256 of its manifest, which in turn names the digest of every file."""

    folder: Path
    digest: str
    contract: Contract
    golden: Golden

    @property
    def graph(self) -> Path:
        """The ONNX file."""
        return self.folder / GRAPH

    @property
    def keras_file(self) -> Path:
        """The Keras file."""
        return self.folder / KERAS_FILE


def sha256_of(path: Path) -> str:
    """Returns the sha256 of a file as hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def named_files(folder: Path) -> dict[str, Any]:
    """Reads the manifest: {relative name: {"sha256": hex, "bytes": size}} of every file that counts.

    Raises:
        PackageRejected: no manifest, not ours, or it names files outside the folder.
    """
    try:
        manifest = json.loads((folder / MANIFEST).read_bytes())
    except FileNotFoundError:
        raise PackageRejected(f"it has no {MANIFEST}; register it with `python -m pipelines promote`") from None
    except ValueError:
        raise PackageRejected(f"its {MANIFEST} is not JSON") from None
    if not isinstance(manifest, dict) or manifest.get("format") != 1 or not isinstance(manifest.get("files"), dict):
        raise PackageRejected(f"its {MANIFEST} is not of format 1, the only one this server reads")
    files: dict[str, Any] = manifest["files"]
    for name, facts in files.items():
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or "\\" in name or not path.parts:
            raise PackageRejected(f"its {MANIFEST} names {name!r}, which is outside the package")
        if not isinstance(facts, dict) or not isinstance(facts.get("sha256"), str):
            raise PackageRejected(f"its {MANIFEST} has no sha256 for {name}")
    for needed in (CONTRACT, GOLDEN):
        if needed not in files:
            raise PackageRejected(f"its {MANIFEST} does not name {needed}")
    if GRAPH not in files and KERAS_FILE not in files:
        raise PackageRejected(f"its {MANIFEST} does not name {GRAPH}")
    return files


def verify(folder: Path) -> str:
    """Compares every named file with the manifest and returns the digest of the package.

    Raises:
        PackageRejected: a file is missing or differs.
    """
    for name, facts in named_files(folder).items():
        path = folder / name
        if not path.is_file():
            raise PackageRejected(f"{name} is missing")
        found = sha256_of(path)
        if found != facts["sha256"]:
            raise PackageRejected(
                f"{name} is damaged: its sha256 is {found[:12]}…, the manifest says {facts['sha256'][:12]}…"
            )
    return sha256_of(folder / MANIFEST)


def open_package(folder: Path) -> Package:
    """Verifies a folder and reads its contract and golden samples.

    Raises:
        PackageRejected: with the reason, as a part of a sentence ("model.onnx is missing").
    """
    digest = verify(folder)
    try:
        contract = Contract.model_validate_json((folder / CONTRACT).read_bytes())
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in problem["loc"]) or "the file"
        raise PackageRejected(f"{CONTRACT}: {where}: {problem['msg']}") from None
    for contradiction in contract.contradictions():
        raise PackageRejected(f"{CONTRACT}: {contradiction}")
    needed = GRAPH if contract.engine == "onnx" else KERAS_FILE
    if needed not in named_files(folder):
        raise PackageRejected(f"its {MANIFEST} does not name {needed}")
    return Package(folder, digest, contract, _read_golden(folder / GOLDEN, contract))


def _read_golden(path: Path, contract: Contract) -> Golden:
    truth = "targets" if contract.task == "regression" else "labels"
    try:
        arrays = read_arrays(path)
        for needed in ("inputs", "outputs", truth):
            if needed not in arrays:
                raise PackageRejected(f"{GOLDEN} has no {needed}, which a {contract.task} model's samples have")
        inputs, outputs, true = arrays["inputs"], arrays["outputs"], arrays[truth]
        if inputs.dtype.kind not in ("U" if contract.input.dtype == "string" else "biuf"):
            raise PackageRejected(
                f"{GOLDEN} has inputs of dtype {inputs.dtype}; {CONTRACT} says {contract.input.dtype}"
            )
        golden = Golden(
            np.ascontiguousarray(inputs, dtype=contract.input.array_dtype),
            np.ascontiguousarray(outputs, dtype=np.float32),
            labels=np.ascontiguousarray(true, dtype=np.int64) if truth == "labels" else None,
            targets=np.ascontiguousarray(true, dtype=np.float32) if truth == "targets" else None,
        )
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise PackageRejected(f"{GOLDEN} cannot be read: {error}") from None
    if true.ndim != 1:
        raise PackageRejected(f"{GOLDEN} has {truth} of shape {true.shape}; there must be one for each sample")
    if not len(golden.inputs) == len(golden.outputs) == len(true) or len(true) == 0:
        raise PackageRejected(f"{GOLDEN} must have as many outputs and {truth} as inputs, and one or more of each")
    if golden.outputs.shape != (len(true), contract.output.shape[1]):
        raise PackageRejected(
            f"{GOLDEN} has outputs of shape {golden.outputs.shape}; {CONTRACT} says {_shape(contract.output.shape)}"
        )
    if golden.labels is not None and not ((golden.labels >= 0) & (golden.labels < len(contract.labels))).all():
        raise PackageRejected(f"{GOLDEN} has labels outside 0 to {len(contract.labels) - 1}, the classes of {CONTRACT}")
    return golden
