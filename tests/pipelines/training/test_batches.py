from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines.datasets import Samples
from pipelines.tasks import Targets

COUNT = 23


def samples(count: int = COUNT) -> Samples:
    x = np.arange(count * 4, dtype=np.uint8).reshape(count, 2, 2)
    return Samples(x, np.arange(count, dtype=np.int64))


def batches(steps: int, *, batch_size: int = 5, seed: int = 1, first_epoch: int = 0, count: int = COUNT) -> list[Any]:
    from pipelines.training.batches import shuffled_batches

    stream = shuffled_batches(samples(count), batch_size, seed=seed, first_epoch=first_epoch)
    return [(x.numpy(), y.numpy()) for x, y in islice(stream, steps)]


def order(found: list[Any]) -> list[int]:
    return [int(number) for _, y in found for number in y]


@pytest.mark.usefixtures("keras")
class TestBatches:
    @pytest.mark.parametrize(
        ("count", "batch_size", "steps"), [(23, 5, 5), (20, 5, 4), (3, 5, 1), (1, 1, 1), (6, 5, 2), (5, 5, 1)]
    )
    def test_every_epoch_has_every_sample_once_with_the_smaller_batch_last(
        self, count: int, batch_size: int, steps: int
    ) -> None:
        from pipelines.training.batches import steps_in_epoch

        assert steps_in_epoch(count, batch_size) == steps
        found = batches(3 * steps, count=count, batch_size=batch_size)
        for epoch in range(3):
            part = found[epoch * steps : (epoch + 1) * steps]
            assert sorted(order(part)) == list(range(count))
            assert [len(y) for _, y in part[:-1]] == [batch_size] * (steps - 1)
            assert len(part[-1][1]) == count - batch_size * (steps - 1)

    def test_images_stay_with_their_labels_and_become_floats(self) -> None:
        whole = samples()
        for x, y in batches(5):
            assert x.dtype == np.float32
            assert y.dtype == np.int64
            np.testing.assert_array_equal(x, whole.x[y])

    def test_every_epoch_has_an_order_of_its_own(self) -> None:
        found = batches(15)
        orders = [tuple(order(found[start : start + 5])) for start in (0, 5, 10)]
        assert len(set(orders)) == 3
        assert tuple(range(COUNT)) not in orders

    def test_the_seed_decides_the_order(self) -> None:
        assert order(batches(10)) == order(batches(10)) != order(batches(10, seed=2))

    @pytest.mark.parametrize("first_epoch", [1, 2])
    def test_going_on_at_an_epoch_gives_the_batches_of_the_unbroken_stream(self, first_epoch: int) -> None:
        unbroken = batches(15)[first_epoch * 5 :]
        resumed = batches(15 - first_epoch * 5, first_epoch=first_epoch)
        for (x, y), (their_x, their_y) in zip(unbroken, resumed, strict=True):
            np.testing.assert_array_equal(x, their_x)
            np.testing.assert_array_equal(y, their_y)

    def test_seeds_as_large_as_a_recipe_allows_are_fine(self) -> None:
        assert sorted(order(batches(5, seed=2**31 - 1))) == list(range(COUNT))

    def test_rows_from_disk_come_in_the_order_and_with_the_values_of_rows_in_memory(self, tmp_path: Path) -> None:
        from pipelines.training.batches import shuffled_batches

        whole = samples()
        np.save(tmp_path / "x.npy", whole.x[:])
        mapped = Samples(np.load(tmp_path / "x.npy", mmap_mode="r"), whole.y)
        weights = np.arange(COUNT, dtype=np.float32)
        for step, (x, y, weight) in enumerate(
            islice(shuffled_batches(mapped, 5, seed=1, weights=weights, streamed=True), 10)
        ):
            held_x, held_y = batches(10)[step]
            np.testing.assert_array_equal(x, held_x)
            np.testing.assert_array_equal(y, held_y)
            np.testing.assert_array_equal(weight, weights[held_y])
            assert x.dtype == np.float32
            assert x.shape[1:] == (2, 2)

    def test_ordered_batches_are_all_samples_once_in_their_own_order(self) -> None:
        from pipelines.training.batches import ordered_batches

        found = [(x.numpy(), y.numpy()) for x, y in ordered_batches(samples(), 5, "one_hot", COUNT)]
        assert [len(x) for x, _ in found] == [5, 5, 5, 5, 3]
        np.testing.assert_array_equal(np.concatenate([x for x, _ in found]), samples().x)
        np.testing.assert_array_equal(np.concatenate([y for _, y in found]), np.eye(COUNT))

    @pytest.mark.parametrize(
        ("targets", "expected"), [("index", [0, 2]), ("one_hot", [[1, 0, 0], [0, 0, 1]]), ("column", [[0.0], [2.0]])]
    )
    def test_targets_take_the_form_that_a_loss_names(self, targets: Targets, expected: list[Any]) -> None:
        from pipelines.training.batches import encoded

        found = encoded(np.array([0, 2]), targets, 3).numpy()
        assert found.tolist() == expected
        assert found.dtype == (np.int64 if targets == "index" else np.float32)
