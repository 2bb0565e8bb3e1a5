"""What `regatta list` prints: the rooms of a recipe and the kinds in them, and the studies of the home."""

from __future__ import annotations

import textwrap
from collections.abc import Collection, Iterator

from pipelines.errors import ConfigError, Mistake
from pipelines.home import Home
from pipelines.mistakes import did_you_mean
from pipelines.recipe.catalogue import Kind, rooms
from pipelines.studies import told_studies

STUDIES = "studies"
_WIDTH = 110


def listed(room: str | None, name: str | None) -> Iterator[str]:
    """The lines of a room, of one thing in it, or of all rooms that a recipe can name, without their parameters.

    Args:
        room: Such as `optimizers`, or `studies`.
        name: One of the room, such as `adam`.

    Raises:
        ConfigError: There is no such room, or nothing of that name in it.
    """
    found = rooms()
    if room is not None:
        _refuse("KIND", room, [*found, STUDIES])
    if room == STUDIES:
        yield from _studies(name)
        return
    for each, kinds in found.items():
        if room is None:
            yield f"{each}:"
        elif room != each:
            continue
        if room is not None and name is not None:
            _refuse("NAME", name, list(kinds), among=room)
        width = max(map(len, kinds))
        for label, kind in kinds.items():
            if name in (None, label):
                yield f"  {label:<{width}}  {kind.summary}".rstrip()
                if room is not None:
                    yield from _inside(kind)


def _inside(kind: Kind) -> Iterator[str]:
    """What else there is to say of a kind, and its parameters."""
    for paragraph in kind.paragraphs:
        yield from _wrapped(paragraph, 6)
    for parameter, default, what in kind.parameters:
        yield f"      {parameter:<24} {default}".rstrip()
        yield from _wrapped(what, 35)


def _studies(name: str | None) -> Iterator[str]:
    home = Home.from_environment()
    names = home.studies()
    if name is not None:
        _refuse("NAME", name, names, among=STUDIES)
        names = [name]
    elif not names:
        yield f"  There is no study under {home.root} yet. Begin with: make sweep"
    width = max(map(len, names), default=0)
    for label, sentence, more in told_studies(home, names):
        yield f"  {label:<{width}}  {sentence}"
        for line in more:
            yield f"      {line}"


def _wrapped(text: str, indent: int) -> list[str]:
    space = " " * indent
    return textwrap.wrap(text, _WIDTH, initial_indent=space, subsequent_indent=space)


def _refuse(argument: str, asked: str, known: Collection[str], among: str = "") -> None:
    """Refuses what is not known.

    Raises:
        ConfigError: It is not.
    """
    if asked not in known:
        inside = f" among {among}" if among else ""
        there = ", ".join(known) or "none yet"
        text = f"there is no '{asked}'{inside}{did_you_mean(asked, list(known))}; there are {there}"
        raise ConfigError("list", [Mistake(argument, text)])
