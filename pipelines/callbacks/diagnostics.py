"""Diagnostics of layers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from pipelines.callbacks.base import CallbackSpec, Surroundings

if TYPE_CHECKING:
    import keras


class Diagnostics(CallbackSpec):
    """Measures each layer on a fixed batch of training samples: saturated and dead units, activations, gradients.

    For every dense and convolutional layer, when an epoch ends, as metrics `diagnostics/<layer>/<what>`:

    - `saturated`: share of activations near an end of their range, where the gradient vanishes (see `margin`); for
      sigmoid, hard_sigmoid, tanh, hard_tanh and softsign.
    - `dead`: share of units (channels of a convolution) that are 0 for every sample of the batch and so learn nothing
      from it; for relu and relu6. Leaky, elu, selu, gelu and silu units always pass a gradient on, so they have none.
    - `mean` and `deviation` of the activations.
    - `gradient`: norm of the gradient of the loss, penalties included, with respect to the layer's kernel.

    MLflow shows the layers side by side as the picture `layers`, with a slider over the epochs. When training ends, the
    tag `regatta.callback.diagnostics` says in a sentence or two whether gradients vanish or explode, units are dead or
    saturated, or nothing is wrong, going by the last five measured epochs.

    A layer's activation is taken where it is applied, also where that is a layer of its own after a normalisation.
    Dropout is off, and nothing about the training changes, to the last digit.
    """

    name: Literal["diagnostics"] = "diagnostics"
    every: int = Field(1, ge=1)
    """Epochs from one measurement to the next; the first epoch is measured."""
    samples: int = Field(256, ge=1)
    """Samples in the batch; there are never more than the worker has at hand for it, which is 256."""
    margin: float = Field(0.05, gt=0, lt=0.5)
    """How near to an end an activation is saturated, as a share of its range: at 0.05 a sigmoid below 0.05 or above
    0.95, a tanh below -0.9 or above 0.9."""

    picture: bool = True
    """Whether each measured epoch has its picture of the layers side by side: some 10 ms and 8 kB each."""

    def build(self, around: Surroundings) -> keras.callbacks.Callback:
        """The Keras callback."""
        from pipelines.callbacks.probing import LayerProbe  # imports TensorFlow

        count = self.samples
        draw = around.draw if self.picture else None
        return LayerProbe(around.x[:count], around.y[:count], every=self.every, margin=self.margin, draw=draw)
