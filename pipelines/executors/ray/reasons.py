"""What Ray says of an actor that is gone, or of a cluster that cannot be had, in a few words and in kind. Pure."""

from __future__ import annotations

import re

_OF_NODES = re.compile(r"node (has |is |was )?(died|dead|terminated|removed|unreachable)|node.{0,40}has died", re.I)
_OF_MEMORY = re.compile(r"running low on memory|ran out of memory|out of memory \(OOM\)|OutOfMemoryError", re.I)
_EXIT_CODE = re.compile(r"exit code[ :=]+(-?\d+)", re.I)
_MOST = 300


def kind_of(problem: BaseException) -> tuple[str, str]:
    """What became of an actor, as `pipelines.executors.ray.words.Dead` has it: the kind, and the reason for people."""
    name, text = type(problem).__name__, str(problem)
    if name.startswith("RayTaskError"):
        return "raised", _last_line(text)
    if "runtime env" in text.lower():
        return "raised", f"its environment could not be made on its node: {_last_line(text)}"
    # the kernel may have done it, too, but Ray only guesses that
    certain = text.partition("There are some potential root causes")[0]
    if name == "OutOfMemoryError" or _OF_MEMORY.search(certain):
        return "memory", "Ray ended it as its node ran out of memory"
    if name == "NodeDiedError" or _OF_NODES.search(certain):
        return "node", "its node left"
    code = _EXIT_CODE.search(certain)
    if code is not None:
        return "died", f"its process exited with code {code[1]}"
    if "ray.kill" in text:
        return "died", "somebody ended it through Ray"
    return "died", "its process was ended from outside, or broke off"


def in_a_sentence(problem: BaseException) -> str:
    """What an exception says, in one line and without its end."""
    text = _last_line(str(problem)) if type(problem).__name__.startswith("RayTaskError") else str(problem)
    line = " ".join(text.split()) or type(problem).__name__
    line = line if len(line) <= _MOST else f"{line[: _MOST - 1]}…"
    return line.rstrip(".")


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "it raised"
