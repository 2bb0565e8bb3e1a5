from __future__ import annotations

import numpy as np
import pytest

pytestmark = pytest.mark.usefixtures("keras")


def test_what_is_written_is_read_at_once_and_reaches_the_device_before_the_next_step() -> None:
    from pipelines.training.lanes.bank import Bank

    bank = Bank(3, [np.zeros(2, np.float32), np.array(7, np.int64)])
    bank.write(1, {0: np.array([1.0, 2.0]), 1: np.array(8)})
    assert bank.read(1, 0).tolist() == [1.0, 2.0]
    assert bank.read(0, 0).tolist() == [0.0, 0.0]
    weights, count = bank.layout.unpacked(bank.stacks())
    assert weights.numpy().tolist() == [[0.0, 0.0], [1.0, 2.0], [0.0, 0.0]]
    assert count.numpy().tolist() == [7, 8, 7]
    assert (weights.dtype.name, count.dtype.name) == ("float32", "int64")


def test_what_the_steps_made_replaces_what_was_there() -> None:
    from pipelines.training.lanes.bank import Bank

    bank = Bank(2, [np.zeros(2, np.float32)])
    (stack,) = bank.stacks()
    bank.replace([stack + 1.0])
    bank.write(0, {0: np.full(2, 5.0)})
    assert bank.read(1, 0).tolist() == [1.0, 1.0]
    assert bank.stacks()[0].numpy().tolist() == [[5.0, 5.0], [1.0, 1.0]]


def test_what_was_read_is_a_copy() -> None:
    from pipelines.training.lanes.bank import Bank

    bank = Bank(2, [np.zeros(2, np.float32)])
    read = bank.read(0, 0)
    read += 1
    (kept,) = bank.read_all(0)
    assert kept.tolist() == [0.0, 0.0]
    assert bank.stacks()[0].numpy().tolist() == [[0.0, 0.0], [0.0, 0.0]]
