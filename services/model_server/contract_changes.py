"""What clients of one version meet with the next: the registry decides what is champion, whatever it takes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from services.model_server.package import Contract

_MOST_NAMES = 5
_LONGEST_NAME = 40


def contract_changes(before: Contract, after: Contract) -> str:
    """Says what is otherwise in the contract of a version than in the one before it; "" if clients can go on as ever.

    Ranges, known words and metrics change with the training data: they are no part of it.
    """
    return "; ".join(_changes(before, after))


def _changes(before: Contract, after: Contract) -> Iterator[str]:
    if before.task != after.task:
        yield f"the task was {before.task} and is {after.task}"
    if before.columns and after.columns:
        yield from _names("columns", before.column_names, after.column_names)
        types = {column.name: column.type for column in before.columns}
        for column in after.columns:
            if types.get(column.name, column.type) != column.type:
                yield f"column {_short(column.name)} was a {types[column.name]} and is a {column.type}"
    elif _form(before) != _form(after):
        yield f"the input was {_form(before)} and is {_form(after)}"
    yield from _names("labels", before.labels, after.labels)
    if before.target != after.target:
        yield f"the target was {_short(before.target) or 'not named'} and is {_short(after.target) or 'not named'}"


def _form(contract: Contract) -> str:
    if contract.columns:
        return f"a row of {len(contract.columns)} columns"
    shape = ", ".join("any" if size is None else str(size) for size in contract.input.shape[1:])
    return f"{_short(contract.input.name)}, {contract.input.dtype} ({shape})"


def _names(what: str, before: Sequence[str], after: Sequence[str]) -> Iterator[str]:
    """Says which names went and which came, or that the same ones have another order."""
    gone, new = [name for name in before if name not in after], [name for name in after if name not in before]
    if gone:
        yield f"{what} gone: {_listed(gone)}"
    if new:
        yield f"{what} new: {_listed(new)}"
    if not gone and not new and tuple(before) != tuple(after):
        yield f"the {what} have another order"


def _listed(names: Sequence[str]) -> str:
    more = len(names) - _MOST_NAMES
    return ", ".join(map(_short, names[:_MOST_NAMES])) + (f" and {more} more" if more > 0 else "")


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else name[: _LONGEST_NAME - 1] + "…"
