"""The worker of most sweeps is started before its recipe is read, as it takes longest of all to be ready."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from pipelines import devices
from pipelines.executors.recruits import Recruits
from pipelines.home import Home
from pipelines.readying import get_ready, modules_for
from pipelines.worker import shares

_USUAL = (None, "auto")


@contextmanager
def early_workers(executor: str | None, workers: str | None, lanes: str | None) -> Iterator[Recruits]:
    """Starts the processes that a recipe needs which says nothing of where its trials train: one, or one a GPU.

    Where the recipe says otherwise, they are let go of: who looks for workers takes only such as have the environment
    that is wanted.

    Args:
        executor: What the command line says, if anything.
        workers: The same.
        lanes: The same.

    Yields:
        Those that were started; who is still not hired in the end is dismissed.
    """
    found = devices.gpus()
    early = Recruits()
    if executor in (None, "processes") and workers in _USUAL and lanes != "off":
        programs = "" if found else str(Home.from_environment().lanes)
        environments = shares(devices.cores(), max(1, len(found)), found)
        early = Recruits(environments, partial(get_ready, modules_for(lanes=True), programs))
    try:
        yield early
    finally:
        early.dismiss()
