"""Runs a sweep from a recipe. What takes long to import comes after the workers' processes have been started."""

from __future__ import annotations

import sys
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

from pipelines.collecting import nothing_to_collect
from pipelines.executors.recruits import Recruits
from pipelines.facts import StudyFacts
from pipelines.home import Home
from pipelines.recipe.reading import identity
from pipelines.staffing import Ahead, make_sure, recruit

if TYPE_CHECKING:
    from rich.console import Console

    from pipelines.ending.upshot import Summary
    from pipelines.recipe.config import SweepConfig

_SWITCH_S = 0.0005
"""How long the controller waits for another thread of its process to let it go on, after each word that it reads or
writes. Python's 5 ms are made for fewer words: beside a busy sender it would do little else than wait."""


def run_sweep(
    config: SweepConfig,
    *,
    console: Console,
    command: str,
    fresh: bool = False,
    promote: bool = True,
    early: Recruits | None = None,
) -> Summary:
    """Runs a sweep to its end and says what came of it.

    Args:
        config: The recipe.
        console: Where progress goes.
        command: What was typed, for the record.
        fresh: Begin anew even where a study of the same recipe can be gone on with.
        promote: Judge the best trial at the end.
        early: Worker processes that were started before the recipe was known; see `pipelines.early`.

    Raises:
        RegattaError: The sweep could not begin or go on; what was recorded so far is safe.
    """
    begun = time.monotonic()
    home = Home.from_environment()
    folder = home.study(config.study)
    with ExitStack() as open_rooms:
        open_rooms.enter_context(folder.locked("or give this sweep another name with --set study=NAME"))
        open_rooms.callback(sys.setswitchinterval, sys.getswitchinterval())
        sys.setswitchinterval(_SWITCH_S)
        goes_on = StudyFacts.read(folder) if folder.exists() and not fresh else None
        if goes_on is not None and goes_on.identity != identity(config):
            goes_on = None
        make_sure(config, cache=home.lanes)
        # one that goes on may be done already, which its storage tells, later
        ahead = recruit(config, cache=home.lanes, early=early) if goes_on is None else Ahead()
        open_rooms.callback(ahead.dismiss)
        if early is not None:
            early.dismiss()  # who was not wanted
        with nothing_to_collect(for_good=True):
            from pipelines.conduct import conduct  # the study, the tracker, the report: half a second

        return conduct(
            config,
            home,
            folder,
            goes_on,
            ahead,
            open_rooms,
            console=console,
            command=command,
            fresh=fresh,
            promote=promote,
            begun=begun,
        )
