"""The 1 797 handwritten digits that ship with scikit-learn."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

import numpy as np

from pipelines.datasets.base import HeldOutSpec, Samples, Source
from pipelines.inputs import InputFacts, Kind
from pipelines.tasks import Task


class Digits(HeldOutSpec):
    """1 797 real grey images of handwritten digits, 8x8, values 0 to 16. Ships with scikit-learn: no download.

    Source: E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI, 1998 (its test part).
    """

    tasks: ClassVar[tuple[Task, ...]] = (Task.MULTICLASS,)
    kind: ClassVar[Kind | None] = "image"

    name: Literal["digits"] = "digits"

    def load(self, folder: Path | None, task: Task | None = None) -> Source:
        """images: uint8 (1797, 8, 8), 0-16."""
        from sklearn.datasets import load_digits  # a second to import

        bundle = load_digits()
        samples = Samples(bundle.images.astype(np.uint8), bundle.target.astype(np.int64))
        labels = tuple(str(digit) for digit in range(10))
        return Source(samples, None, InputFacts((8, 8), 0.0, 16.0, labels, target="digit"))
