"""What the bulk door takes: a line of JSON that says what comes, and then the contents of files, one after another."""

# mypy: allow-untyped-calls
from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal, TypeVar

from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE
from pydantic import BaseModel, ConfigDict, Field, ValidationError

PROTOCOL = 2
"""Of this way to talk; a client that knows another one keeps to MLflow's calls."""
MOST_BYTES = 16 << 20
MOST_ENTRIES = 256

_Long = Annotated[int, Field(ge=-(2**63), lt=2**63)]
_Time = Annotated[int, Field(ge=0, lt=2**63)]
Point = tuple[str, float, _Time, _Long]
"""A metric's name, value, time in milliseconds since 1970, and step."""


class _Form(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class DatasetUsed(_Form):
    """What a run learns from. `context` is what for, in MLflow's words; the rest is as in MLflow's own form of it."""

    name: str = Field(min_length=1, max_length=500)
    digest: str = Field(min_length=1, max_length=36)
    context: str = Field(max_length=500)
    source_type: str = Field(max_length=36)
    source: str


class NewRun(_Form):
    """A run that is not there yet."""

    experiment_id: str
    name: str
    start_ms: _Time
    dataset: DatasetUsed | None = None


class RunEnd(_Form):
    """How a run is closed, and when."""

    status: Literal["FINISHED", "FAILED", "KILLED"]
    time_ms: _Time


class RunPart(_Form):
    """Some of a run, or all of it: its making or its id, what was logged, its end."""

    run: NewRun | str
    tags: dict[str, str] = {}
    params: dict[str, str] = {}
    metrics: list[Point] = []
    end: RunEnd | None = None


class Checkpoint(_Form):
    """A model that is one file, with metrics of the run that it belongs to. `bytes` is its size."""

    run_id: str
    name: str
    model_type: str
    step: _Long
    tags: dict[str, str] = {}
    metrics: list[Point] = []
    file: str
    bytes: int = Field(ge=0)
    sha256: str


class File(_Form):
    """An artifact of a run. With `picture`, the run's page is told to look for pictures. `bytes` is its size."""

    run_id: str
    folder: str = ""
    file: str
    bytes: int = Field(ge=0)
    picture: bool = False


class Runs(_Form):
    """Parts of runs."""

    runs: list[RunPart] = Field(max_length=MOST_ENTRIES)


class Checkpoints(_Form):
    """Checkpoints, in the order of their contents."""

    checkpoints: list[Checkpoint] = Field(max_length=MOST_ENTRIES)


class Files(_Form):
    """Files, in the order of their contents."""

    files: list[File] = Field(max_length=MOST_ENTRIES)


_Taken = TypeVar("_Taken", Runs, Checkpoints, Files)


def read(kind: type[_Taken], body: bytes) -> tuple[_Taken, memoryview]:
    """The form in a request's first line, and all that follows it.

    Raises:
        MlflowException: It is no such form; the text says where it is not.
    """
    if len(body) > MOST_BYTES:
        raise refusal(f"A request takes at most {MOST_BYTES} bytes, got {len(body)}; send fewer entries at once.")
    end = body.find(b"\n")
    if end < 0:
        raise refusal("A request is one line of JSON and then the contents of files; it holds no line.")
    try:
        return kind.model_validate_json(body[:end]), memoryview(body)[end + 1 :]
    except ValidationError as problem:
        found = problem.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, found["loc"])) or "the line"
        raise refusal(f"The request is not as this server takes it: {where}: {found['msg']}.") from None


def cut(contents: memoryview, sizes: Sequence[int]) -> list[memoryview]:
    """The contents, cut into files of these sizes.

    Raises:
        MlflowException: They are not as long together.
    """
    if sum(sizes) != len(contents):
        raise refusal(f"The files are to have {sum(sizes)} bytes together, {len(contents)} have come.")
    found, at = [], 0
    for size in sizes:
        found.append(contents[at : at + size])
        at += size
    return found


def refusal(text: str) -> MlflowException:
    """MLflow's answer to a request that will never be taken."""
    return MlflowException(text, INVALID_PARAMETER_VALUE)
