"""Executors: one file a kind. To add one, write its file, and list it here, with what people read of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

ExecutorKind = Literal["inline", "processes", "docker", "ray"]

EXECUTORS: Mapping[str, str] = {
    "inline": """The sweep's own process: for a debugger.

    A trial that takes the process with it ends the sweep, too; the same command goes on.
    """,
    "processes": """Warm worker processes of this machine: what a sweep uses unless it is told otherwise.

    Each trains many trials. One that dies or grows too large is replaced, and its trials go on elsewhere.
    """,
    "docker": """Workers in containers of this machine's Docker engine.

    Each has its own cores, GPU and memory limit. `make image` makes the image; docs/docker.md tells the rest.
    """,
    "ray": """Workers on the nodes of a Ray cluster, which need no file system in common.

    Trials of a node that leaves go on elsewhere. docs/scale.md tells the rest.
    """,
}
"""Of each kind, a sentence and what else there is to know, as a docstring has it."""
