"""The 1 797 handwritten digits that ship with scikit-learn."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field

from pipelines.datasets.base import DatasetSpec, Samples, Source
from pipelines.inputs import InputFacts


class Digits(DatasetSpec):
    """1 797 real grey images of handwritten digits, 8x8, values 0 to 16. Ships with scikit-learn: no download.

    Source: E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI, 1998 (its test part).
    """

    name: Literal["digits"] = "digits"
    test_share: float = Field(0.2, gt=0, lt=1)
    """Share of all samples that is sealed for promotion; drawn class by class."""

    @property
    def held_out_share(self) -> float:
        """The recipe's `test_share`."""
        return self.test_share

    def load(self, folder: Path | None) -> Source:
        """images: uint8 (1797, 8, 8), 0-16."""
        from sklearn.datasets import load_digits  # a second to import

        bundle = load_digits()
        samples = Samples(bundle.images.astype(np.uint8), bundle.target.astype(np.int64))
        return Source(samples, None, InputFacts((8, 8), 0.0, 16.0, tuple(str(digit) for digit in range(10))))
