"""Says a line to whoever watches a command, on a terminal or in a log."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table


def say(console: Console, line: Text | str, style: str = "") -> None:
    """Says one line; a log has no edge to wrap it at, and is written without a terminal's ado.

    Args:
        console: The terminal, or a log.
        line: What is said; brackets in it are no markup.
        style: A colour for a line without one.
    """
    text = Text(line, style) if isinstance(line, str) else line
    if console.is_terminal:
        console.print(text, highlight=False)
    else:
        console.file.write(f"{text.plain}\n")
        console.file.flush()


def show_table(console: Console, table: Table) -> None:
    """Shows a table; in a log, its lines end where their words do, and are not filled up to the edge of a terminal."""
    if console.is_terminal:
        console.print(table)
        return
    with console.capture() as captured:
        console.print(table)
    console.file.write("".join(f"{line.rstrip()}\n" for line in captured.get().splitlines()))
    console.file.flush()


class Reasons:
    """Why something does not go on: each reason is told once, and after a few no more."""

    def __init__(self, most: int) -> None:
        """Takes how many are told."""
        self._most = most
        self._told: set[str] = set()

    @property
    def none_yet(self) -> bool:
        """Whether nothing was told so far."""
        return not self._told

    def is_news(self, reason: str | None) -> bool:
        """Whether this is to be told now; whoever asks tells it."""
        if not reason or reason in self._told or len(self._told) >= self._most:
            return False
        self._told.add(reason)
        return True
