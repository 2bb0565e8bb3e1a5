"""Words of the user's data: as fields of specs, which YAML may have read as something else, and listed in errors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import BeforeValidator


def as_word(value: Any) -> Any:
    """A number as its text; what YAML reads as true, false or nothing is refused, as its text is lost."""
    if isinstance(value, bool) or value is None:
        raise ValueError(
            f"must be a text, got {value}: YAML reads yes, no, on, off, true, false, null and ~ as something else, so "
            f"write it in quotes"
        )
    return f"{value:g}" if isinstance(value, float) else str(value) if isinstance(value, int) else value


Word = Annotated[str, BeforeValidator(as_word)]
"""A text of the user's data: a label, a column's name, what stands for a missing value."""


def listed(words: Sequence[str], most: int = 10) -> str:
    """`a, b, c`, or the first of them where there are many."""
    return ", ".join(words[:most]) + (", …" if len(words) > most else "")
