from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.tracking.entries import (
    CheckpointDropped,
    CheckpointKept,
    Entry,
    FileKept,
    Logged,
    PictureKept,
    RunBegun,
    RunEnded,
    from_line,
    starts_line_of,
    to_line,
)

WORDS = st.text(max_size=40)
TEXTS = st.dictionaries(WORDS, WORDS, max_size=5)
TIMES = st.integers(0, 2**53)
ENTRIES: st.SearchStrategy[Any] = st.one_of(
    st.builds(RunBegun, WORDS, WORDS, WORDS, TIMES, st.none() | WORDS, TEXTS, TEXTS),
    st.builds(
        Logged, WORDS, TIMES, st.integers(0, 2**31), st.dictionaries(WORDS, st.floats(), max_size=5), TEXTS, TEXTS
    ),
    st.builds(FileKept, WORDS, WORDS, WORDS),
    st.builds(
        CheckpointKept,
        WORDS,
        TIMES,
        WORDS,
        WORDS,
        st.integers(0, 2**31),
        WORDS,
        st.dictionaries(WORDS, st.floats(), max_size=5),
    ),
    st.builds(CheckpointDropped, WORDS, TIMES, WORDS, WORDS),
    st.builds(PictureKept, WORDS, TIMES, WORDS, WORDS, st.integers(0, 2**31)),
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


@given(ENTRIES)
def test_a_line_starts_with_its_kind_and_with_no_other(entry: Entry) -> None:
    kinds = ("begun", "logged", "file", "picture", "checkpoint", "dropped", "ended")

    assert [kind for kind in kinds if to_line(entry).startswith(starts_line_of(kind))] == [entry.kind]


@pytest.mark.parametrize(
    ("line", "entry"),
    [
        (
            '{"kind":"begun","uid":"u","experiment":"x","name":"t","time_ms":1,"parent":"p","tags":{"a":"b"},"params":{}}',
            RunBegun("u", "x", "t", 1, "p", {"a": "b"}),
        ),
        (
            '{"kind":"logged","uid":"u","time_ms":2,"step":3,"metrics":{"loss":NaN},"tags":{},"params":{}}',
            Logged("u", 2, 3, {"loss": math.nan}),
        ),
        ('{"kind":"file","uid":"u","path":"trials/best.keras","folder":"checkpoint"}',
         FileKept("u", "trials/best.keras", "checkpoint")),
        ('{"kind":"ended","uid":"u","time_ms":9,"status":"FINISHED"}', RunEnded("u", 9, "FINISHED")),
    ],
)  # fmt: skip
def test_a_journal_from_before_there_were_pictures_is_read_as_ever(line: str, entry: Entry) -> None:
    assert repr(from_line(line.encode() + b"\n")) == repr(entry)


def test_a_line_leaves_out_what_goes_without_saying() -> None:
    assert json.loads(to_line(Logged("u", 1, 0, {"loss": 0.5}))) == {
        "kind": "logged",
        "uid": "u",
        "time_ms": 1,
        "metrics": {"loss": 0.5},
    }
