"""How far two distributions are from each other, and how far chance alone brings them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.model_server.traffic.distances import by_chance, jensen_shannon, level, psi
from services.model_server.traffic.shadow import wilson
from services.model_server.traffic.windows import PARTS, Window

counts = st.lists(st.integers(0, 10**9), min_size=2, max_size=20)


@given(st.data())
def test_distances_are_symmetric_nothing_to_oneself_and_never_infinite(data: st.DataObject) -> None:
    first = np.array(data.draw(counts), float)
    second = np.array(data.draw(st.lists(st.integers(0, 10**9), min_size=len(first), max_size=len(first))), float)
    for distance in (psi, jensen_shannon):
        assert distance(first, second) == pytest.approx(distance(second, first), abs=1e-9)
        assert distance(first, first) == pytest.approx(0, abs=1e-7)
        assert 0 <= distance(first, second) + 1e-12 < math.inf
    assert jensen_shannon(first, second) <= 1


def test_the_index_is_the_one_of_the_textbooks() -> None:
    expected, found = np.array([3000.0, 4000, 3000]), np.array([4000.0, 4000, 2000])
    by_hand = (0.4 - 0.3) * math.log(0.4 / 0.3) + (0.2 - 0.3) * math.log(0.2 / 0.3)
    assert psi(expected, found) == pytest.approx(by_hand, rel=1e-2)
    assert jensen_shannon(np.array([1e9, 0]), np.array([0, 1e9])) == pytest.approx(1, abs=1e-3)


def test_without_a_change_chance_is_hardly_ever_exceeded() -> None:
    random = np.random.default_rng(0)
    shares = random.dirichlet(np.ones(10))
    exceeded = sum(
        psi(random.multinomial(2000, shares).astype(float), random.multinomial(300, shares).astype(float))
        > by_chance(10, 2000, 300)
        for _ in range(2000)
    )
    assert exceeded <= 10


@pytest.mark.parametrize(
    ("index", "chance", "said"),
    [(0.05, 0, "none"), (0.2, 0.01, "moderate"), (0.3, 0.01, "major"), (0.3, 0.4, "none"), (9, 0.01, "major")],
)
def test_an_index_is_said_in_a_word(index: float, chance: float, said: str) -> None:
    assert level(index, chance) == said


def test_of_nothing_everything_may_be_chance() -> None:
    assert by_chance(10, 1000, 0) == math.inf
    assert by_chance(1, 1000, 10) == 0


def test_an_interval_of_a_share_holds_it_and_narrows() -> None:
    assert wilson(0, 0) is None
    wide, narrow = wilson(9, 10), wilson(900, 1000)
    assert wide is not None
    assert narrow is not None
    assert wide[0] < narrow[0] < 0.9 < narrow[1] < wide[1] <= 1


def test_a_window_forgets_what_is_older_and_keeps_the_total() -> None:
    now = [100.0]
    window = Window(2, span_s=120, clock=lambda: now[0])
    window.add(np.array([1.0, 10.0]))
    now[0] += 60
    window.add(np.array([2.0, 20.0]))
    assert window.sums().tolist() == [3, 30]
    now[0] += 119 - 60 + 10
    assert window.sums().tolist() == [2, 20]
    now[0] += 1e6
    assert window.sums().tolist() == [0, 0]
    assert window.total.tolist() == [3, 30]


def test_a_window_needs_the_memory_of_its_parts_only() -> None:
    now = [0.0]
    window = Window(1, span_s=12, clock=lambda: now[0])
    for second in range(1000):
        now[0] = float(second)
        window.add(np.ones(1))
    assert len(window._parts) == PARTS
    assert window.sums().tolist() == [PARTS]
