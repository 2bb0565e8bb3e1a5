from __future__ import annotations

import threading

import pytest

from pipelines.training.timing import Stopwatch


def test_time_within_a_phase_counts_once_and_for_the_innermost() -> None:
    now = [0.0]
    watch = Stopwatch(lambda: now[0])
    with watch.during("fit"):
        now[0] += 5
        with watch.during("checkpoints"):
            now[0] += 2
            with watch.during("tracking"):
                now[0] += 1
            now[0] += 2
        now[0] += 3
    now[0] += 100  # between phases
    with watch.during("tracking"):
        now[0] += 10
    assert watch.seconds == {"fit": 8, "checkpoints": 4, "tracking": 11}


def test_a_phase_that_raises_is_counted_and_over() -> None:
    now = [0.0]
    watch = Stopwatch(lambda: now[0])

    def fails() -> None:
        with watch.during("fit"), watch.during("states"):
            now[0] += 2
            raise KeyError

    with pytest.raises(KeyError):
        fails()
    with watch.during("build"):
        now[0] += 1
    assert watch.seconds == {"fit": 0, "states": 2, "build": 1}


def test_another_thread_counts_for_itself() -> None:
    now = [0.0]
    watch = Stopwatch(lambda: now[0])

    def other() -> None:
        with watch.during("tracking"):
            now[0] += 4

    with watch.during("fit"):
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    assert watch.seconds == {"fit": 4, "tracking": 4}
