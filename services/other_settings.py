"""What a service that runs was started with, where that is not what is asked for now."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import psutil

from services.tracking_server.settings import shown

_SECRET = re.compile(r"KEY|PASSWORD|SECRET|TOKEN|USERNAME")


def other_settings(
    process: psutil.Process, wanted: Mapping[str, str], asked: Mapping[str, str], beginnings: Sequence[str]
) -> list[str]:
    """Says which variables of a running process are others than those that it would be started with now.

    Args:
        process: That runs.
        wanted: Its environment, if it were started now.
        asked: What of it the user has said. Its own address counts only where it was: nobody asks for a default.
        beginnings: How the names of the variables begin that matter.

    Returns:
        A part of a sentence for each, without what is secret; none where the system does not tell.
    """
    try:
        found = process.environ()
    except psutil.Error:
        return []
    told = []
    for name in sorted(found.keys() | wanted.keys()):
        here, there = wanted.get(name, ""), found.get(name, "")
        if not name.startswith(tuple(beginnings)) or here == there:
            continue
        if name.endswith(("_PORT", "_HOST")) and not asked.get(name):
            continue
        if here and there and _SECRET.search(name):
            told.append(f"{name} is another one")
        else:
            told.append(f"{name} is {_told(name, there)} there, and {_told(name, here)} here")
    return told


def _told(name: str, value: str) -> str:
    if not value:
        return "not set"
    return "set" if _SECRET.search(name) else f"'{shown(value)}'"
