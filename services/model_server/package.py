"""The package of a model version on disk: manifest, contract, golden samples. Reads and verifies, and runs nothing."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from services.model_server.errors import PackageRejected

MANIFEST = "manifest.json"
GRAPH = "model.onnx"
CONTRACT = "contract.json"
GOLDEN = "golden.npz"


class _Part(BaseModel):
    # Open on purpose: a newer trainer may say more than this server needs to know.
    model_config = ConfigDict(frozen=True, extra="ignore")


class TensorSpec(_Part):
    """One tensor of the contract. `shape` counts the batch as its first, open (None) dimension."""

    name: str = Field(min_length=1)
    dtype: Literal["float32", "float64", "int64", "int32", "uint8"]
    shape: tuple[int | None, ...] = Field(min_length=1)
    range: tuple[float, float] | None = None

    @property
    def sample_size(self) -> int | None:
        """How many numbers one sample has; None if a dimension is open."""
        return None if None in self.sample_shape else math.prod(size or 0 for size in self.sample_shape)

    @property
    def sample_shape(self) -> tuple[int | None, ...]:
        """The shape of one sample, without the batch dimension."""
        return self.shape[1:]


class Contract(_Part):
    """What a model takes and gives, and where it came from: the content of contract.json."""

    format: Literal[1]
    name: str
    task: str = "multiclass"
    input: TensorSpec
    output: TensorSpec
    labels: tuple[str, ...] = ()
    metrics: dict[str, float] = Field(default_factory=dict)
    source: dict[str, Any] = Field(default_factory=dict)
    dataset: dict[str, Any] = Field(default_factory=dict)


@dataclass(frozen=True)
class Golden:
    """Samples that travel with the model. Clients see them, and every load replays them.

    Attributes:
        inputs: (n, *sample shape), in the dtype of the contract, raw as a client sends them.
        outputs: float32 (n, outputs), what the trainer's own model answered.
        labels: int64 (n,), the true class.
    """

    inputs: NDArray[Any]
    outputs: NDArray[np.float32]
    labels: NDArray[np.int64]


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
    for needed in (GRAPH, CONTRACT, GOLDEN):
        if needed not in files:
            raise PackageRejected(f"its {MANIFEST} does not name {needed}")
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
    try:
        with np.load(folder / GOLDEN, allow_pickle=False) as arrays:
            golden = Golden(
                np.ascontiguousarray(arrays["inputs"], dtype=contract.input.dtype),
                np.ascontiguousarray(arrays["outputs"], dtype=np.float32),
                np.ascontiguousarray(arrays["labels"], dtype=np.int64),
            )
    except (OSError, ValueError, KeyError) as error:
        raise PackageRejected(f"{GOLDEN} cannot be read: {error}") from None
    if not len(golden.inputs) == len(golden.outputs) == len(golden.labels) or len(golden.inputs) == 0:
        raise PackageRejected(f"{GOLDEN} must have as many outputs and labels as inputs, and one or more of each")
    return Package(folder, digest, contract, golden)
