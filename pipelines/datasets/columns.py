"""Columns of a table, told for what they are from their cells: numbers, or words that stand for categories."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from pipelines.errors import DataError
from pipelines.inputs import Column

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

ColumnType = Literal["number", "category"]
MOSTLY = 0.5
"""Share of a column's cells above which, being numbers, they make the others look like mistakes."""
ALL_DIFFERENT = 20
"""Words that all differ are taken for names of the rows, rather than for categories, from this many on."""
_LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class Reading:
    """How cells are read.

    Attributes:
        missing: Texts that stand for no value.
        decimal: What stands between the whole and the fraction of a number.
        most_categories: Different words that a column of categories may have.
        row: Says where a row is, given its number from 0.
    """

    missing: tuple[str, ...]
    decimal: str
    most_categories: int
    row: Callable[[int], str]


def read_column(
    name: str, cells: pd.Series[Any], declared: ColumnType | None, reading: Reading
) -> tuple[Column, NDArray[np.float32]]:
    """What a column of texts is, and its values: numbers with NaN where one is missing, or places of words from 1.

    Args:
        name: Its name.
        cells: Text of every row, of the test part too, without white space around it.
        declared: What the user says it is; None to tell it from the cells.
        reading: How cells are read.

    Raises:
        DataError: It is neither, or has too many categories.
    """
    missing = is_missing(cells, reading)
    if missing.all():
        raise DataError(f"Column '{name}' has no value in any row. Leave it out: drop: [{name}].")
    if declared == "category":
        return categories(name, cells, missing, reading)
    numbers, bad = parse_numbers(cells, missing, reading)
    if not len(bad):
        return Column(name), numbers.astype(np.float32)
    if declared == "number":
        raise DataError(f"Column '{name}' is to be a number, but {_cells(cells, bad, reading)}. {_mend(reading)}")
    if (np.isnan(numbers) & ~missing).sum() < (1 - MOSTLY) * (~missing).sum():
        raise DataError(
            f"Column '{name}' looks like numbers, but {_cells(cells, bad, reading)}. {_mend(reading)} Or say that "
            f"it holds words: types: {{{name}: category}}."
        )
    words = cells[~missing]
    if len(words) >= ALL_DIFFERENT and words.is_unique:
        raise DataError(
            f"Column '{name}' has another text in every row, such as {_examples(words.tolist())}, so nothing can be "
            f"learned from it. Leave it out: drop: [{name}]; or insist: types: {{{name}: category}}."
        )
    return categories(name, cells, missing, reading)


def categories(
    name: str, cells: pd.Series[Any], missing: NDArray[np.bool_], reading: Reading
) -> tuple[Column, NDArray[np.float32]]:
    """A column of words: their sorted list, and for every row the place of its word from 1, or 0 for none.

    Raises:
        DataError: There are too many different words.
    """
    import pandas as pd

    words = tuple(sorted({str(word) for word in cells[~missing].unique()}))
    if len(words) > reading.most_categories:
        raise DataError(
            f"Column '{name}' has {len(words)} different texts, such as {_examples(words)}; at most "
            f"{reading.most_categories} make a category. Leave it out: drop: [{name}]; or raise most_categories."
        )
    known = cells.where(~missing, None)
    codes = np.asarray(pd.Categorical(known, categories=list(words)).codes, np.float32) + 1
    return Column(name, words), codes.astype(np.float32)


def is_missing(cells: pd.Series[Any], reading: Reading) -> NDArray[np.bool_]:
    """Where there is no value."""
    return np.asarray(cells.isin(list(reading.missing)), np.bool_)


def parse_numbers(
    cells: pd.Series[Any], missing: NDArray[np.bool_], reading: Reading
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """The cells as numbers, NaN where missing or none, and the rows whose cells are no finite number for float32."""
    import pandas as pd

    texts = cells if reading.decimal == "." else cells.str.replace(".", "_").str.replace(reading.decimal, ".")
    numbers = np.asarray(pd.to_numeric(texts, errors="coerce"), np.float64).copy()
    numbers[missing] = np.nan
    fits = np.isfinite(numbers) & (np.abs(np.where(np.isfinite(numbers), numbers, 0.0)) <= _LARGEST)
    bad = np.flatnonzero(~fits & ~missing)
    numbers[np.isin(numbers, _numbers_among(reading.missing))] = np.nan  # -999 also stands there as -999.0
    return numbers, bad


def _numbers_among(texts: Sequence[str]) -> list[float]:
    found = []
    for text in texts:
        with contextlib.suppress(ValueError):
            found.append(float(text))
    return found


def _cells(cells: pd.Series[Any], bad: NDArray[np.int64], reading: Reading) -> str:
    """`3 of its 891 cells are not: 'abc' in data row 4, …`."""
    shown = ", ".join(f"'{cells.iloc[int(at)]}' in {reading.row(int(at))}" for at in bad[:3])
    more = ", …" if len(bad) > 3 else ""
    return f"{len(bad)} of its {len(cells)} cells {'is' if len(bad) == 1 else 'are'} not: {shown}{more}"


def _mend(reading: Reading) -> str:
    known = "', '".join(reading.missing)
    return f"Mend the cells, or add the text to `missing` if it means no value (now '{known}')."


def _examples(words: Sequence[str]) -> str:
    return ", ".join(f"'{word[:40]}'" for word in words[:3])
