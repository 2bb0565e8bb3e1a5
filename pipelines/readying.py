"""What a worker's process does before it has work: it imports what takes seconds. Importing this takes no time."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path

from pipelines.collecting import nothing_to_collect
from pipelines.compiled import keep_in
from pipelines.later import imported_later

FIRST = ("pipelines.recipe.config",)
"""Before anything else: pydantic looks through all modules that there are for the sources of the specs' docstrings."""
HEAVY = ("tensorflow", "keras")
OF_LANES = ("pipelines.training.lanes.trainer",)


def modules_for(*, lanes: bool) -> tuple[str, ...]:
    """What a worker imports before its first trial. TensorFlow alone takes 2 to 15 s."""
    return (*FIRST, *HEAVY, *(OF_LANES if lanes else ()))


def get_ready(modules: Sequence[str], programs: str) -> None:
    """Imports modules, in a worker's process that has no work yet.

    Args:
        modules: Their names.
        programs: Folder of compiled programs, which TensorFlow must find when it starts; none where it is empty.
    """
    if programs:
        with suppress(OSError):  # the worker says so where it is made
            keep_in(Path(programs))
    with nothing_to_collect(for_good=True), imported_later():
        for module in modules:
            import_module(module)
