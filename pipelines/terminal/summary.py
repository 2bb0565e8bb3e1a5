"""What a sweep prints when it is over: what came of it, where to look, and what to type next."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table

from pipelines.home import Home
from pipelines.telling import show_table
from pipelines.terminal.seats import brief

if TYPE_CHECKING:
    from rich.console import Console

    from pipelines.ending.upshot import Summary


def show_summary(summary: Summary, console: Console, *, command: str) -> None:
    """Prints a summary for a person."""
    counts, best = summary.counts, summary.best
    console.print()
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    table.add_row(
        "trials",
        f"{counts.complete} complete, {counts.pruned} pruned, {counts.failed} failed, {_time(summary)}",
    )
    table.add_row("ended", _sentence(summary.ending.text))
    if best is not None and best.value is not None:
        table.add_row(
            "best",
            f"trial {best.number}, {summary.history.metric} {best.value:.4f} at epoch {best.best_epoch} (from 0)",
        )
        table.add_row("", brief(best.params))
        front = summary.history.front
        if front:
            values = ", ".join(f"{name} {value:.6g}" for name, value in best.values.items())
            how = {"knee": "the nearest to the best of all objectives"}.get(
                summary.history.pick or "", f"the best {summary.history.metric}"
            )
            table.add_row("", f"{values}: {how}, on a front of {len(front)} trial{'s' if len(front) > 1 else ''}")
    if summary.promoted is not None:
        word = "champion" if summary.promoted.decision.promoted else "champion kept"
        table.add_row(word, summary.promoted.sentence())
    elif summary.not_promoted:
        table.add_row("champion", summary.not_promoted)
    if summary.delivered != summary.written:
        table.add_row(
            "record",
            f"{summary.delivered} of {summary.written} entries are in MLflow; the rest is safe in the journal and goes "
            f"there with: regatta sync ({summary.problem or 'the server was slow'})",
        )
    else:
        table.add_row("record", f"all {summary.written} entries of the journal are in MLflow")
    show_table(console, table)
    console.print()
    evidence = summary.promoted.evidence_address if summary.promoted is not None else None
    links = [("trials and curves", summary.address), ("evidence", evidence), ("report", str(summary.report))]
    for name, address in links:
        if address:
            # never wrapped: it is there to be clicked or copied
            console.print(f"{name}: {address}", soft_wrap=True)
    if summary.interrupted:
        console.print(f"Interrupted; this goes on with it: {command}", soft_wrap=True)
    elif summary.promoted is not None:
        name = summary.promoted.version.name
        make = _make()
        console.print(f'Next: {make} up-local && {make} predict ARGS="--model {name}"', highlight=False, soft_wrap=True)


def _make() -> str:
    """`make`, and in a folder of the user's own where the Makefile is and where the state is, as make changes there."""
    makefile = Path(__file__).resolve().parents[2] / "Makefile"
    if Path("Makefile").resolve() == makefile or not makefile.exists():
        return "make"
    return shlex.join(["make", "-C", str(makefile.parent), f"REGATTA_HOME={Home.from_environment().root}"])


def _time(summary: Summary) -> str:
    """How long it took; the trials of earlier starts were not trained in this one's time."""
    now, whole = f"{summary.seconds:.0f} s", f"{summary.study_seconds:.0f} s"
    return f"in {now}" if now == whole else f"in {whole} over all starts; this one took {now}"


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + ("" if text.endswith(".") else ".")
