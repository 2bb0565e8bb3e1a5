"""What every model spec promises: raw inputs in, one probability a class out."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

from pipelines.inputs import InputFacts
from pipelines.spec import Spec

if TYPE_CHECKING:
    import keras

INPUT_NAME = "image"
OUTPUT_NAME = "probabilities"


class ModelSpec(Spec):
    """Settings of one architecture."""

    @abstractmethod
    def build(self, inputs: InputFacts) -> keras.Model:
        """An uncompiled model: float32 (n, *shape) raw values in, float32 (n, classes) probabilities out."""
