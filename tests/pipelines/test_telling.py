"""What is said while a command runs."""

from __future__ import annotations

import io

from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipelines.telling import Reasons, say, show_table

LONG = "The server cannot reach its artifacts in s3://bucket/[a-folder]: " + "it said so. " * 30


def test_a_log_gets_a_line_whole_however_narrow_its_console_is() -> None:
    log = io.StringIO()
    say(Console(file=log, width=40, force_terminal=False), LONG, "yellow")

    assert log.getvalue() == f"{LONG}\n"


def test_a_terminal_gets_it_in_colour_and_within_its_width() -> None:
    screen = io.StringIO()
    say(Console(file=screen, width=40, force_terminal=True, color_system="standard"), Text(LONG, "yellow"))

    assert "\x1b[33m" in screen.getvalue()
    assert screen.getvalue().count("\n") > len(LONG) // 40
    assert "[a-folder]" in screen.getvalue()


def a_table() -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_row("trials", "3 complete")
    table.add_row("", "[bold]a longer line[/]")
    return table


def test_the_lines_of_a_table_end_in_a_log_where_their_words_do() -> None:
    log = io.StringIO()

    show_table(Console(file=log, width=60, force_terminal=False), a_table())

    assert log.getvalue() == "trials  3 complete\n        a longer line\n"


def test_a_terminal_gets_a_table_with_its_styles() -> None:
    screen = io.StringIO()

    show_table(Console(file=screen, width=60, force_terminal=True, color_system="standard"), a_table())

    assert "\x1b[1m" in screen.getvalue()


def test_a_reason_is_news_once_and_after_the_last_one_nothing_is() -> None:
    reasons = Reasons(2)
    assert reasons.none_yet
    assert not reasons.is_news(None)
    assert not reasons.is_news("")
    assert reasons.none_yet

    assert [reasons.is_news(why) for why in ("refused", "refused", "full", "refused", "gone")] == [
        True,
        False,
        True,
        False,
        False,
    ]
    assert not reasons.none_yet
