from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.tracking.entries import Entry, FileKept, Logged, RunBegun, RunEnded, from_line, to_line

WORDS = st.text(max_size=40)
TEXTS = st.dictionaries(WORDS, WORDS, max_size=5)
TIMES = st.integers(0, 2**53)
ENTRIES: st.SearchStrategy[Any] = st.one_of(
    st.builds(RunBegun, WORDS, WORDS, WORDS, TIMES, st.none() | WORDS, TEXTS, TEXTS),
    st.builds(
        Logged, WORDS, TIMES, st.integers(0, 2**31), st.dictionaries(WORDS, st.floats(), max_size=5), TEXTS, TEXTS
    ),
    st.builds(FileKept, WORDS, WORDS, WORDS),
    st.builds(RunEnded, WORDS, TIMES, st.sampled_from(["FINISHED", "FAILED", "KILLED"])),
)


@given(ENTRIES)
def test_an_entry_becomes_one_line_and_the_line_the_entry_again(entry: Entry) -> None:
    line = to_line(entry)

    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")
    assert repr(from_line(line)) == repr(entry)  # by its text, as NaN equals nothing


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 0.1 + 0.2, 5e-324, -0.0])
def test_every_float_survives_exactly(value: float) -> None:
    back = from_line(to_line(Logged("u", 1, 0, {"loss": value})))

    assert isinstance(back, Logged)
    assert repr(back.metrics["loss"]) == repr(value)


def test_a_line_names_its_kind_for_people_who_read_the_file() -> None:
    assert json.loads(to_line(RunEnded("u", 1, "KILLED"))) == {
        "kind": "ended",
        "uid": "u",
        "time_ms": 1,
        "status": "KILLED",
    }
