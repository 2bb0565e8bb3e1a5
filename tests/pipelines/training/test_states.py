from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines.training import states
from pipelines.training.states import StateWriter, newest_state


def written(folder: Path, attempt: int, *steps: int) -> StateWriter:
    writer = StateWriter(folder, attempt)
    for step in steps:
        assert writer.write(step, lambda: {"step": step, "values": [np.full(3, step)]})  # noqa: B023
    return writer


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_newest_state_is_found_with_all_that_is_in_it(tmp_path: Path) -> None:
    folder = tmp_path / "states" / "00005"
    written(folder, 2, 0, 1, 2)
    found = newest_state(folder, 3)
    assert found is not None
    assert (found.attempt, found.step, found.content["step"]) == (2, 2, 2)
    assert np.array_equal(found.content["values"][0], [2, 2, 2])
    assert names(folder) == ["state-0002-a.bin", "state-0002-b.bin"]


def test_where_nothing_is_there_is_nothing_to_go_on_from(tmp_path: Path) -> None:
    assert newest_state(tmp_path / "none", 2) is None
    (tmp_path / "other.txt").write_text("not ours")
    assert newest_state(tmp_path, 2) is None


def cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


def flipped(data: bytes) -> bytes:
    return data[:-3] + bytes([data[-3] ^ 1]) + data[-2:]


def of_another_form(data: bytes) -> bytes:
    return data.replace(b"regatta-state 1", b"regatta-state 2")


@pytest.mark.parametrize("spoil", [cut, flipped, of_another_form, lambda data: b""])
def test_a_spoilt_state_is_passed_over_for_the_one_before(tmp_path: Path, spoil: Callable[[bytes], bytes]) -> None:
    written(tmp_path, 1, 4, 5)
    newest = tmp_path / "state-0001-b.bin"
    newest.write_bytes(spoil(newest.read_bytes()))
    found = newest_state(tmp_path, 2)
    assert found is not None
    assert found.step == 4
    other = tmp_path / "state-0001-a.bin"
    other.write_bytes(spoil(other.read_bytes()))
    assert newest_state(tmp_path, 2) is None


def test_the_latest_attempt_counts_and_not_the_highest_step(tmp_path: Path) -> None:
    written(tmp_path, 2, 3)
    written(tmp_path, 1, 7)  # it was given up, and is still alive
    found = newest_state(tmp_path, 3)
    assert found is not None
    assert (found.attempt, found.step) == (2, 3)
    (tmp_path / "state-0002-a.bin").write_bytes(b"torn")
    found = newest_state(tmp_path, 3)
    assert found is not None
    assert (found.attempt, found.step) == (1, 7)


@pytest.mark.parametrize("attempt", [1, 2])
def test_an_attempt_goes_on_from_none_but_those_before_it(tmp_path: Path, attempt: int) -> None:
    written(tmp_path, 2, 3)
    assert newest_state(tmp_path, attempt) is None


def test_an_attempts_first_state_takes_the_place_of_those_before(tmp_path: Path) -> None:
    written(tmp_path, 1, 0, 1)
    (tmp_path / "state-0001-a.part").write_bytes(b"half")
    (tmp_path / "other.txt").write_text("not ours")
    writer = StateWriter(tmp_path, 2)
    assert newest_state(tmp_path, 2) is not None
    writer.write(2, lambda: None)
    assert names(tmp_path) == ["other.txt", "state-0002-a.bin"]
    written(tmp_path, 1, 2)  # touches nothing of its successor
    assert names(tmp_path) == ["other.txt", "state-0001-a.bin", "state-0002-a.bin"]


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("took_s", "wait_s"),
    [(0.001, 0.0), (0.05, 0.0), (0.2, 1.8), (3.0, 27.0)],
)
def test_slow_writes_are_spaced_so_that_they_take_a_tenth_of_the_time(
    tmp_path: Path, took_s: float, wait_s: float
) -> None:
    clock = Clock()
    writer = StateWriter(tmp_path, 1, clock=clock)

    def content() -> Any:
        clock.now += took_s
        return None

    assert writer.due()
    assert writer.write(0, content)
    end = clock.now
    assert writer.due() == (wait_s == 0.0)
    clock.now = end + wait_s * 0.99
    assert writer.due() == (wait_s == 0.0)
    clock.now = end + wait_s + 1e-9
    assert writer.due()


def test_a_full_disk_leaves_the_state_before_and_is_tried_again_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    writer = StateWriter(tmp_path, 1, clock=clock)
    writer.write(0, lambda: "first")
    monkeypatch.setattr(states, "_FORM", FullDisk())
    assert not writer.write(1, lambda: "second")
    monkeypatch.undo()
    assert names(tmp_path) == ["state-0001-a.bin"]
    found = newest_state(tmp_path, 2)
    assert found is not None
    assert found.content == "first"
    assert not writer.due()
    clock.now = 30.0
    assert writer.due()
    assert writer.write(2, lambda: "third")
    assert names(tmp_path) == ["state-0001-a.bin", "state-0001-b.bin"]


class FullDisk:
    """What is written first has no room."""

    def __add__(self, other: bytes) -> bytes:
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_mistake_in_what_is_kept_is_no_full_disk(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="cannot be packed"):
        StateWriter(tmp_path, 1).write(0, lambda: object())
    assert names(tmp_path) == []
