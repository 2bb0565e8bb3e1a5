"""What an earlier attempt at a trial left, and whether this one can go on from it."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.computing import LATER
from pipelines.records import TrialSpec
from pipelines.training.states import FILES as FILES
from pipelines.training.states import newest_state
from pipelines.training.values import Values


@dataclass(frozen=True)
class Earlier:
    """What an earlier attempt left at the end of an epoch."""

    content: Mapping[str, Any]

    @property
    def first_epoch(self) -> int:
        """The epoch to go on with."""
        return int(self.content["epoch"]) + 1

    @property
    def over(self) -> bool:
        """Whether nothing is left to be trained: it only was not ended properly."""
        return bool(self.content["over"])

    def carry_files(self, folder: Path) -> None:
        """Copies what callbacks wrote by then into this attempt's folder, beside which that of the earlier one lies.

        Copies, as Keras overwrites files in place: a link would let two attempts write to one file.
        """
        # by its name alone: on another machine, it lay elsewhere
        before, now = folder.with_name(Path(self.content["folder"]).name) / FILES, folder / FILES
        for name in self.content["files"]:
            (now / name).parent.mkdir(parents=True, exist_ok=True)
            with suppress(FileNotFoundError):
                shutil.copy2(before / name, now / name)


def earlier_attempt(spec: TrialSpec, values: Values) -> Earlier | None:
    """What this attempt goes on from, or None where there is nothing that belongs to this very training."""
    state = newest_state(Path(spec.states), spec.attempt) if spec.states else None
    if state is None or state.content["training"] != digest_of(spec):
        return None
    fits = values.form() == state.content["form"]  # own code may have changed, or change the model while it trains
    return Earlier(state.content) if fits else None


def digest_of(spec: TrialSpec) -> str:
    """Stands for everything that makes one training another."""
    config = {name: value for name, value in spec.config.items() if name not in LATER or value != LATER[name]}
    what = [config, spec.objective, spec.direction]
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()
