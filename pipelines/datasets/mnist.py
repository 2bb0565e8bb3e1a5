"""MNIST: 70 000 grey images of handwritten digits."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

from pipelines.datasets.base import DatasetSpec, Source
from pipelines.datasets.published import Arrays, Published, idx_form, npz_form
from pipelines.inputs import Kind
from pipelines.tasks import Task


class Mnist(DatasetSpec):
    """Grey images of handwritten digits, 28x28, values 0 to 255, ten classes, with a test part of its own.

    Read from the four IDX files or Keras's `mnist.npz` in `REGATTA_DATA` or its subfolder `mnist`; without them, from
    Keras's download. Source: Y. LeCun, C. Cortes, C. Burges, "The MNIST database", 1998.
    """

    tasks: ClassVar[tuple[Task, ...]] = (Task.MULTICLASS,)
    kind: ClassVar[Kind | None] = "image"

    name: Literal["mnist"] = "mnist"

    def load(self, folder: Path | None, task: Task | None = None) -> Source:
        """images: uint8 (n, 28, 28), 0-255."""
        return MNIST.load(folder)


def _download() -> Arrays:
    from keras.datasets import mnist  # brings TensorFlow: some seconds

    (train_x, train_y), (test_x, test_y) = mnist.load_data()
    return train_x, train_y, test_x, test_y


MNIST = Published(
    name="mnist",
    title="MNIST",
    shape=(28, 28),
    labels=tuple(str(digit) for digit in range(10)),
    target="digit",
    forms=(idx_form(), npz_form("mnist.npz")),
    download=lambda: _download(),
)
