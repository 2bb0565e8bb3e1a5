"""What is predicted, however it came: class numbers, words, true and false, or numbers; told apart and checked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pipelines.datasets.words import listed
from pipelines.errors import DataError
from pipelines.mistakes import did_you_mean
from pipelines.tasks import Task

if TYPE_CHECKING:
    from numpy.typing import NDArray

FEW = 20
"""Whole numbers with at most this many different values may be meant as classes, and nobody but the user can tell."""
MOST_CLASSES = 1000
"""Class numbers up to here are taken for classes without a question."""
ASK = "Say in the recipe what is learned: `task: multiclass`, `task: binary` or `task: regression`."


@dataclass(frozen=True)
class Targets:
    """What is predicted, as models take it.

    Attributes:
        train: int64 (n,) numbers of classes, or float32 (n,) numbers.
        test: The same for the test part, where there is one.
        labels: Names of the classes in the order of their numbers; empty where a number is predicted.
    """

    train: NDArray[Any]
    test: NDArray[Any] | None
    labels: tuple[str, ...]


def read_targets(
    train: Any,
    test: Any | None,
    task: Task | None,
    *,
    what: str,
    labels: Sequence[str] = (),
    positive: str | None = None,
) -> Targets:
    """Tells what is predicted from the values and, where those leave it open, from the recipe.

    Args:
        train: (n,) or (n, 1) values: words, true and false, whole numbers, or floats.
        test: The same for the test part, or None.
        task: What the recipe wants learned, or None.
        what: Word for the values in an error: `column 'species'`, `y`.
        labels: Names of the classes in order, where the user gave them.
        positive: The one of two classes that a probability is for, where the user said so.

    Raises:
        DataError: The values are none of these, do not suit the task, or leave open what is meant.
    """
    parts = {what: _column(train, what)}
    if test is not None:
        parts[f"{what} of the test part"] = _column(test, f"{what} of the test part")
    values = list(parts.values())
    words = [found.dtype.kind in "Ub" for found in values]
    if any(words) != all(words):
        raise DataError(f"{what} holds words in one part of the data and numbers in the other.")
    if task is Task.REGRESSION or (task is None and not labels and positive is None and _is_number(values[0], what)):
        if labels or positive is not None:
            raise DataError(f"`task: regression` predicts a number, so {what} has no labels and no positive class.")
        numbers = [_numbers(found, name) for name, found in parts.items()]
        return Targets(numbers[0], numbers[1] if test is not None else None, ())
    return _classes(parts, task, what, tuple(labels), positive)


def _classes(
    parts: dict[str, NDArray[Any]], task: Task | None, what: str, labels: tuple[str, ...], positive: str | None
) -> Targets:
    if labels:  # false and true are the first and the second of them
        parts = {name: found.astype(np.int64) if found.dtype.kind == "b" else found for name, found in parts.items()}
    first = parts[what]
    known = _known_labels(first, what, labels)
    if positive is not None:
        known = _positive_last(known, positive, what)
    if len(known) < 2:
        raise DataError(f"{what} has one class alone, '{known[0]}': there is nothing to tell apart.")
    if task is Task.BINARY and len(known) != 2:
        raise DataError(f"`task: binary` needs two classes; {what} has {len(known)}: {listed(known)}.")
    # numbers stand for labels by their place where labels were given, and for themselves otherwise
    numbered = bool(labels) and first.dtype.kind != "U"
    order = {str(place): known.index(label) for place, label in enumerate(labels)} if numbered else {}
    codes = order or {label: place for place, label in enumerate(known)}
    found = []
    for name, values in parts.items():
        distinct, back = np.unique(_as_words(values, name), return_inverse=True)
        unknown = [str(word) for word in distinct if str(word) not in codes]
        if unknown:
            at = int(np.flatnonzero(back == int(np.flatnonzero(distinct == unknown[0])[0]))[0])
            named = "'" + unknown[0] + "'" if values.dtype.kind == "U" else unknown[0]
            allowed = f"0 to {len(labels) - 1} for the labels {listed(labels)}" if numbered else listed(known)
            hint = "" if numbered else did_you_mean(unknown[0], known)
            raise DataError(f"{name} holds {named} in row {at} (from 0), which is no class{hint}; there are {allowed}.")
        found.append(np.array([codes[str(word)] for word in distinct], np.int64)[back.reshape(-1)])
    return Targets(found[0], found[1] if len(found) > 1 else None, known)


def _column(values: Any, what: str) -> NDArray[Any]:
    """The values as (n,) of text, bool, whole numbers or floats.

    Raises:
        DataError: They have another form or type, or some are missing.
    """
    if isinstance(values, np.ma.MaskedArray) and values.mask.any():
        at = int(np.flatnonzero(values.mask.reshape(len(values), -1).any(axis=1))[0])
        raise DataError(f"{what} is masked in row {at} (from 0). Leave samples without a target out.")
    found = np.asarray(values)
    if found.ndim == 2 and found.shape[1] == 1:
        found = found[:, 0]
    if found.ndim != 1:
        one_hot = found.ndim == 2 and found.dtype.kind in "biuf" and bool((np.asarray(found).sum(axis=1) == 1).all())
        hint = ": this looks one-hot, so give y.argmax(axis=1)" if one_hot else ""
        raise DataError(f"{what} must have one value a sample, shape (n,); got {found.shape}{hint}.")
    if found.dtype.kind == "O":
        found = _of_objects(found, what)
    if found.dtype.kind == "T":  # NumPy's strings of any length
        found = np.array(found.tolist(), np.str_)
    if found.dtype.kind == "S":  # bytes, which is how h5py gives words
        found = np.char.decode(found, "utf-8", "replace")
    if found.dtype.kind not in "Ubiuf":
        raise DataError(f"{what} must hold words, true and false, or numbers; got {found.dtype}.")
    if found.dtype.kind == "f" and not np.isfinite(found).all():
        bad = np.flatnonzero(~np.isfinite(found))
        raise DataError(
            f"{what} holds {len(bad)} value{'s' * (len(bad) > 1)} that {'are' if len(bad) > 1 else 'is'} missing or "
            f"infinite, first {found[bad[0]]} in row {bad[0]} (from 0). Leave those samples out."
        )
    return found


def _of_objects(values: NDArray[Any], what: str) -> NDArray[Any]:
    """An array of Python objects as an array of a type, where all of them are of one sort."""
    for sort, dtype in ((str, np.str_), (bool | np.bool_, np.bool_), (int | np.integer, np.int64)):
        if len(values) and all(isinstance(value, sort) for value in values):
            return values.astype(dtype)
    if len(values) and all(isinstance(value, int | float | np.number) for value in values):
        return values.astype(np.float64)
    first = type(values[0]) if len(values) else object
    other = next((place for place, value in enumerate(values) if type(value) is not first or value is None), 0)
    got = f"{values[other]!r} in row {other} (from 0)" if len(values) else "nothing"
    raise DataError(f"{what} must hold words, true and false, or numbers, all of one sort; got {got}.")


def _is_number(values: NDArray[Any], what: str) -> bool:
    """Whether a number is predicted, told from the values alone.

    Raises:
        DataError: The values leave it open.
    """
    if values.dtype.kind in "Ub":
        return False
    if not len(values):
        raise DataError(f"{what} is empty: there are no samples.")
    distinct = np.unique(values)
    whole = bool((distinct == np.floor(distinct)).all())
    if values.dtype.kind in "iu":  # arrays hold class numbers in this form, counted from 0
        few = len(distinct) <= min(MOST_CLASSES, max(FEW, len(values) // 2))
        if few and distinct[0] == 0 and distinct[-1] == len(distinct) - 1:
            return False
    elif not whole or len(distinct) > FEW:
        return True
    raise DataError(
        f"{what} holds whole numbers, {len(distinct)} different ones from {int(distinct[0])} to {int(distinct[-1])}: "
        f"they may be classes, or numbers to predict. {ASK}"
    )


def _numbers(values: NDArray[Any], what: str) -> NDArray[np.float32]:
    if values.dtype.kind == "U":
        raise DataError(f"`task: regression` predicts a number; {what} holds words, such as '{values[0]}'.")
    with np.errstate(over="ignore"):
        numbers = values.astype(np.float32)
    if not np.isfinite(numbers).all():
        raise DataError(f"{what} holds {np.abs(values).max():g}, which is too large for float32. Use another unit.")
    return numbers


def _known_labels(values: NDArray[Any], what: str, labels: tuple[str, ...]) -> tuple[str, ...]:
    """The classes in order: as the user gave them, or sorted."""
    if labels:
        if len(set(labels)) != len(labels):
            twice = next(label for label in labels if labels.count(label) > 1)
            raise DataError(f"The labels of {what} name '{twice}' twice.")
        return labels
    if not len(values):
        raise DataError(f"{what} is empty: there are no samples.")
    known = tuple(str(word) for word in dict.fromkeys(_as_words(np.unique(values), what).tolist()))
    if len(known) > max(FEW, len(values) // 2):
        raise DataError(
            f"{what} holds {len(known)} different values in {len(values)} samples, such as {listed(known[:3])}: too "
            f"many to be classes. Is it the right target?"
        )
    return known


def _as_words(values: NDArray[Any], what: str) -> NDArray[np.str_]:
    """Class values as text: 3 and 3.0 are `3`."""
    if values.dtype.kind == "f":
        fractions = np.flatnonzero(values != np.floor(values))
        if len(fractions):
            raise DataError(
                f"{what} holds {values[fractions[0]]:g}, which is no class number. For a number to predict, say "
                f"`task: regression`."
            )
        values = values.astype(np.int64)
    return values.astype(np.str_)


def _positive_last(known: tuple[str, ...], positive: str, what: str) -> tuple[str, ...]:
    if len(known) != 2:
        raise DataError(f"`positive` chooses between two classes; {what} has {len(known)}: {listed(known)}.")
    if positive not in known:
        raise DataError(
            f"`positive` must be one of {listed(known)}, got '{positive}'{did_you_mean(positive, known) or '.'}"
        )
    return known if known[1] == positive else (known[1], known[0])
