"""`profile.json` of a package: what the training data looked like, as `pipelines/packaging/profile.py` writes it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from services.model_server.errors import PackageRejected
from services.model_server.package import Contract, named_files

PROFILE = "profile.json"
_MOST_BYTES = 8 * 2**20

_Count = Annotated[float, Field(ge=0, le=1e15, allow_inf_nan=False)]
_Edge = Annotated[float, Field(allow_inf_nan=False)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Group(_Part):
    """One distribution.

    Counts have a bin more than edges, and a last one for what is missing; or one for each word, one for all other words
    that the model knows, and one for unknown and missing words.
    """

    name: str = Field(min_length=1, max_length=500)
    kind: Literal["values", "mean", "number", "words"]
    edges: tuple[_Edge, ...] = Field((), max_length=1000)
    words: tuple[str, ...] = Field((), max_length=1000)
    counts: tuple[_Count, ...] = Field(max_length=1002)

    @property
    def expected(self) -> NDArray[np.float64]:
        """The counts as numbers."""
        return np.array(self.counts, dtype=np.float64)


class Output(_Part):
    """How often each class was in the training data, or how its targets were spread, as in `Group`."""

    kind: Literal["labels", "number"]
    edges: tuple[_Edge, ...] = Field((), max_length=1000)
    counts: tuple[_Count, ...] = Field(max_length=100_000)


class Profile(_Part):
    """A whole profile. `rows` is how many training rows it was made from."""

    format: Literal[1]
    rows: int = Field(ge=1)
    groups: tuple[Group, ...] = Field(max_length=10_000)
    output: Output

    def contradictions(self, contract: Contract) -> list[str]:
        """Says what does not fit itself or the contract, as parts of a sentence."""
        wrong = []
        types = {column.name: column.type for column in contract.columns}
        for group in self.groups:
            wanted = len(group.words if group.kind == "words" else group.edges) + 2
            if len(group.counts) != wanted or list(group.edges) != sorted(group.edges):
                wrong.append(f"the counts of {group.name[:64]!r} do not go with its bins")
            of_column = {"number": "number", "words": "category"}.get(group.kind)
            if types.get(group.name) != of_column if of_column else bool(contract.columns):
                wrong.append(f"{group.name[:64]!r} is not what the contract says")
        output = self.output
        classes = len(contract.labels)
        if (output.kind == "labels") != bool(classes):
            wrong.append(f"the output is of {output.kind}s, and the task is {contract.task}")
        elif len(output.counts) != (classes or len(output.edges) + 2):
            wrong.append("the counts of the output do not go with its bins")
        return wrong


def read_profile(folder: Path, contract: Contract) -> Profile | str:
    """Reads the profile of a verified package.

    Returns:
        The profile, or why there is none, as a sentence. A model is served without one all the same.
    """
    path = folder / PROFILE
    try:
        if PROFILE not in named_files(folder):
            return f"The package has no {PROFILE}; it was made by an older release. Promote the model again."
        if path.stat().st_size > _MOST_BYTES:
            return f"{PROFILE} is larger than {_MOST_BYTES} bytes."
        profile = Profile.model_validate_json(path.read_bytes())
    except (OSError, PackageRejected) as error:
        return f"{PROFILE} cannot be read: {error}."
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        return f"{PROFILE}: {'.'.join(map(str, problem['loc'])) or 'the file'}: {problem['msg']}."
    wrong = profile.contradictions(contract)
    return f"{PROFILE}: {wrong[0]}." if wrong else profile
