"""Tables in CSV files of the user's own."""

from __future__ import annotations

import codecs
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from pydantic import Field, field_validator, model_validator

from pipelines.datasets.base import HeldOutSpec, Samples, Source
from pipelines.datasets.columns import ColumnType, Reading, is_missing, parse_numbers, read_column
from pipelines.datasets.places import find
from pipelines.datasets.targets import read_targets
from pipelines.datasets.words import Word, listed
from pipelines.errors import DataError
from pipelines.inputs import Column, InputFacts, Kind
from pipelines.mistakes import did_you_mean
from pipelines.tasks import Task

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

SEPARATORS = {"tab": "\t", "\\t": "\t", "space": " "}


class Csv(HeldOutSpec):
    """A table in a CSV file of your own: classes or a number, from columns of numbers and of categories.

    The first row has the columns' names. What a column holds is told from its cells: numbers, in which a missing one is
    NaN, or words, of which a missing one counts as unknown. Nothing is filled in here: the model does that, with what
    it learned from the training part alone.
    """

    tasks: ClassVar[tuple[Task, ...]] = ()
    kind: ClassVar[Kind | None] = "table"

    name: Literal["csv"] = "csv"
    path: str = Field(min_length=1)
    """The file, also compressed (.gz, .zip, .bz2, .xz): a whole path, or one from `REGATTA_DATA` or from here."""
    target: Word
    """The column that is predicted."""
    test_path: str | None = Field(None, min_length=1)
    """A file with the test part, of the same columns; without it, `test_share` of the rows is sealed."""
    columns: tuple[Word, ...] | None = Field(None, min_length=1)
    """The columns to learn from, in this order; left out, all but the target."""
    drop: tuple[Word, ...] = ()
    """Columns to leave out, such as numbers or names of the rows."""
    types: dict[Word, ColumnType] = Field(default_factory=dict)
    """What a column holds, `number` or `category`, where its cells would be misread."""
    missing: tuple[Word, ...] = ("", "NA", "N/A", "NaN", "nan", "null", "?")
    """Texts that stand for no value."""
    most_categories: int = Field(100, ge=2, le=100_000)
    """Different words that a column may have; with more, it is taken for a mistake."""
    positive: Word | None = None
    """The one of two classes that the probability is for; left out, the second in sorted order."""
    drop_missing_target: bool = False
    """Whether rows without a target are left out rather than refused."""
    separator: str = Field(",", min_length=1)
    """What stands between two cells: one character, `tab` or `space`."""
    decimal: Literal[".", ","] = "."
    """What stands between the whole and the fraction of a number."""
    encoding: str = "utf-8"
    """How the file writes letters, such as `utf-8`, `latin-1` or `cp1252`."""

    @property
    def held_out_share(self) -> float | None:
        """The recipe's `test_share`, or None where there is a file with the test part."""
        return None if self.test_path else self.test_share

    @field_validator("separator")
    @classmethod
    def _one_character(cls, separator: str) -> str:
        if len(SEPARATORS.get(separator, separator)) != 1 or separator in '"\n\r':
            raise ValueError(f"must be one character, `tab` or `space`, got '{separator}'")
        return separator

    @field_validator("encoding")
    @classmethod
    def _is_known(cls, encoding: str) -> str:
        try:
            "a".encode(encoding)
        except (LookupError, ValueError):  # ValueError: a zero within the name
            raise ValueError(
                f"must be an encoding that Python knows, such as utf-8 or latin-1, got '{encoding}'"
            ) from None
        return encoding

    @model_validator(mode="after")
    def _goes_together(self) -> Csv:
        if self.target in (self.columns or ()) or self.target in self.drop:
            where = "drop" if self.target in self.drop else "columns"
            raise ValueError(f"the target '{self.target}' stands in `{where}` too; it is never learned from")
        return self

    def load(self, folder: Path | None, task: Task | None = None) -> Source:
        """table: float32 (n, columns), NaN for a missing number, places from 1 of the words of a category."""
        import pandas as pd  # a second to import

        paths = [find(path, folder) for path in (self.path, self.test_path) if path]
        frames = [self._read(path) for path in paths]
        names = self._chosen(list(frames[0].columns), paths[0])
        for path, frame in zip(paths[1:], frames[1:], strict=True):
            lost = [name for name in (*names, self.target) if name not in frame.columns]
            if lost:
                raise DataError(f"{path} lacks the column{'s' * (len(lost) > 1)} {listed(lost)}, which {paths[0]} has.")
        kept = [self._with_target(frame, path) for frame, path in zip(frames, paths, strict=True)]
        numbers = [np.asarray(frame.index) for frame in kept]
        whole = pd.concat([frame[[*names, self.target]] for frame in kept], ignore_index=True)
        first = len(kept[0])

        def row(at: int) -> str:
            if at < first:
                return f"data row {numbers[0][at] + 1}"
            return f"data row {numbers[1][at - first] + 1} of {paths[1].name}"

        reading = Reading(self.missing, self.decimal, self.most_categories, row)
        read = [read_column(name, whole[name], self.types.get(name), reading) for name in names]
        x = np.stack([values for _, values in read], axis=1)
        values = self._targets(whole[self.target], task, reading)
        targets = read_targets(
            values[:first],
            values[first:] if len(kept) > 1 else None,
            task,
            what=f"'{self.target}'",
            positive=self.positive,
        )
        return Source(
            Samples(x[:first], targets.train),
            Samples(x[first:], targets.test) if targets.test is not None else None,
            _facts([column for column, _ in read], targets.labels, self.target),
        )

    def _read(self, path: Path) -> pd.DataFrame:
        """The file as texts, without white space around them; the index counts the rows from 0."""
        import pandas as pd

        separator = SEPARATORS.get(self.separator, self.separator)
        encoding = (
            "utf-8-sig" if codecs.lookup(self.encoding).name == "utf-8" else self.encoding
        )  # with a mark or without
        options: dict[str, Any] = {
            "sep": separator,
            "encoding": encoding,
            "dtype": str,
            "keep_default_na": False,
            "na_filter": False,
            "index_col": False,
            "skipinitialspace": separator != " ",
        }
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error", pd.errors.ParserWarning)  # rows longer than the header
                header = pd.read_csv(path, header=None, nrows=1, **options)
                frame = pd.read_csv(path, **options)
        except pd.errors.EmptyDataError:
            raise DataError(
                f"{path} is empty. It needs a row with the columns' names, and one for every sample."
            ) from None
        except pd.errors.ParserWarning:
            raise DataError(
                f"{path} has more cells in its rows than names in its first row. Name every column."
            ) from None
        except UnicodeDecodeError as error:
            raise DataError(
                f"{path} is not written in {self.encoding} ({error.reason} at byte {error.start}). Say how it is: "
                f"encoding: latin-1, cp1252, utf-16, …"
            ) from None
        except (pd.errors.ParserError, OSError, EOFError, ValueError) as error:  # ValueError: an archive of two files
            raise DataError(f"{path} cannot be read as CSV: {' '.join(str(error).split())}.") from None
        names = [str(name).strip() for name in header.iloc[0]]
        twice = [name for name in dict.fromkeys(names) if names.count(name) > 1]
        if twice:
            raise DataError(f"{path} has more than one column '{twice[0]}'. Give each a name of its own.")
        if not len(frame):
            raise DataError(f"{path} has names of columns, but no rows.")
        frame.columns = pd.Index(names)
        stripped: pd.DataFrame = frame.apply(lambda cells: cells.str.strip())
        return stripped

    def _chosen(self, names: Sequence[str], path: Path) -> list[str]:
        """The columns to learn from.

        Raises:
            DataError: The recipe names a column that is not there, or none is left.
        """
        asked = [("target", [self.target]), ("columns", self.columns or ()), ("drop", self.drop), ("types", self.types)]
        for field, wanted in asked:
            for name in wanted:
                if name not in names:
                    raise DataError(
                        f"{path} has no column '{name}', which `{field}` names{did_you_mean(name, names)}; it has "
                        f"{listed(names)}.{_other_separator(names)}"
                    )
        chosen = [name for name in self.columns or names if name != self.target and name not in self.drop]
        if "" in chosen:
            raise DataError(
                f"Column {list(names).index('') + 1} of {path} has no name; an index that pandas wrote has none. Leave "
                f"it out with drop: [''], or name it."
            )
        if not chosen:
            raise DataError(f"{path} leaves no column to learn from beside the target '{self.target}'.")
        unused = [name for name in self.types if name not in chosen]
        if unused:
            raise DataError(
                f"`types` says what column '{unused[0]}' holds, which is not learned from; take it out of `types`."
            )
        return chosen

    def _with_target(self, frame: pd.DataFrame, path: Path) -> pd.DataFrame:
        """The rows that have a target.

        Raises:
            DataError: Some have none, and the recipe does not say to leave them out; or none has one.
        """
        empty = np.asarray(frame[self.target].isin(list(self.missing)), np.bool_)
        if empty.all():
            raise DataError(f"Column '{self.target}' of {path} has no value in any row.")
        if empty.any() and not self.drop_missing_target:
            count = int(empty.sum())
            short = self._short_row(path, len(frame.columns))
            if short is not None:
                raise DataError(
                    f"Data row {short[0]} of {path} has {short[1]} cells, and the first row names {len(frame.columns)} "
                    f"columns, so its cells stand in the wrong ones. Is a separator missing there?"
                )
            raise DataError(
                f"Column '{self.target}' of {path} has no value in {count} row{'s' * (count > 1)}, first in data row "
                f"{int(np.flatnonzero(empty)[0]) + 1}. Fill {'them' if count > 1 else 'it'} in, or leave out the rows "
                f"without one: drop_missing_target: true."
            )
        return frame[~empty]

    def _short_row(self, path: Path, width: int) -> tuple[int, int] | None:
        """Number, from 1, and cells of the first row that has too few, which pandas fills up in silence."""
        import csv

        if path.suffix in (".gz", ".zip", ".bz2", ".xz"):
            return None
        separator = SEPARATORS.get(self.separator, self.separator)
        with path.open(encoding=self.encoding, errors="replace", newline="") as file:
            rows = (row for row in csv.reader(file, delimiter=separator) if row)
            return next(((at, len(row)) for at, row in enumerate(rows) if 0 < len(row) < width and at > 0), None)

    def _targets(self, cells: pd.Series[Any], task: Task | None, reading: Reading) -> NDArray[Any]:
        """The target's cells, as floats where all are numbers, and as texts otherwise.

        Raises:
            DataError: Most are numbers and some are not, and the recipe does not say that they are classes.
        """
        numbers, bad = parse_numbers(cells, is_missing(cells, reading), reading)
        if not len(bad):
            return numbers
        if task is Task.REGRESSION or (task is None and self.positive is None and len(bad) < len(cells) / 2):
            shown = ", ".join(f"'{cells.iloc[int(at)]}' in {reading.row(int(at))}" for at in bad[:3])
            raise DataError(
                f"Column '{self.target}' is no number everywhere: {shown}{', …' if len(bad) > 3 else ''}. Mend the "
                f"cells, or say that they are classes: `task: multiclass` or `task: binary`."
            )
        return np.asarray(cells.tolist(), np.str_)


def _facts(columns: list[Column], labels: tuple[str, ...], target: str) -> InputFacts:
    return InputFacts((len(columns),), None, None, labels, kind="table", columns=tuple(columns), target=target)


def _other_separator(names: Sequence[str]) -> str:
    """A hint where the whole header came as one name."""
    if len(names) > 1:
        return ""
    found = next((separator for separator in (";", "\t", "|", ",") if separator in names[0]), None)
    return f" Is the separator another: separator: {'tab' if found == chr(9) else repr(found)}?" if found else ""
