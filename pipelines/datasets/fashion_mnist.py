"""Fashion-MNIST: 70 000 grey images of clothes."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

from pipelines.datasets.base import DatasetSpec, Source
from pipelines.datasets.published import Arrays, Published, idx_form
from pipelines.inputs import Kind
from pipelines.tasks import Task

LABELS = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip


class FashionMnist(DatasetSpec):
    """Grey images of clothes, 28x28, values 0 to 255, ten classes, with a test part of its own.

    Read from the four IDX files in `REGATTA_DATA` or its subfolder `fashion_mnist`; without them, from Keras's
    download. Source: H. Xiao, K. Rasul, R. Vollgraf, "Fashion-MNIST", 2017.
    """

    tasks: ClassVar[tuple[Task, ...]] = (Task.MULTICLASS,)
    kind: ClassVar[Kind | None] = "image"

    name: Literal["fashion_mnist"] = "fashion_mnist"

    def load(self, folder: Path | None, task: Task | None = None) -> Source:
        """images: uint8 (n, 28, 28), 0-255."""
        return FASHION_MNIST.load(folder)


def _download() -> Arrays:
    from keras.datasets import fashion_mnist  # brings TensorFlow: some seconds

    (train_x, train_y), (test_x, test_y) = fashion_mnist.load_data()
    return train_x, train_y, test_x, test_y


FASHION_MNIST = Published(
    name="fashion_mnist",
    title="Fashion-MNIST",
    shape=(28, 28),
    labels=LABELS,
    target="garment",
    forms=(idx_form(),),
    download=lambda: _download(),
)
