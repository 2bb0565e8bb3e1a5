"""Pictures of a model's decision surface."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from pipelines.callbacks.base import CallbackSpec, Surroundings

if TYPE_CHECKING:
    import keras


class DecisionSurface(CallbackSpec):
    """Draws what the model says of every place of the plane when an epoch ends, with training samples as dots on it.

    Only for data of points, that is, of two numbers a sample. MLflow shows the pictures of a trial with a slider over
    its epochs, the report those of all trials side by side. Nothing about the training changes, to the last digit.
    """

    kinds = ("points",)
    name: Literal["decision_surface"] = "decision_surface"
    every: int = Field(1, ge=1)
    """Epochs from one picture to the next; the first epoch is drawn."""
    resolution: int = Field(50, ge=8, le=256)
    """The model is asked at so many times so many places; between them, colours go over into each other."""
    size: int = Field(320, ge=200, le=1200)
    """Width of a picture in pixels."""
    samples: int = Field(200, ge=0)
    """Training samples that are drawn as dots; never more than the worker has at hand for it, which is 256."""

    def build(self, around: Surroundings) -> keras.callbacks.Callback:
        """The Keras callback.

        Raises:
            ValueError: The data is not of points.
        """
        from pipelines.callbacks.surfacing import SurfaceDrawer  # imports TensorFlow

        shape = around.facts.shape
        if shape != (2,):
            raise ValueError(
                f"decision_surface draws models of points in the plane, which are two numbers a sample; a sample of "
                f"this data has the shape {shape}. Leave the callback out."
            )
        return SurfaceDrawer(around, self.every, self.resolution, self.size, self.samples)
