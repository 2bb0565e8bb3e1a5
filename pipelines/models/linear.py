"""No hidden layer: linear or logistic regression."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pipelines.inputs import InputFacts
from pipelines.models.hidden import BiasInitializer, KernelInitializer, NotNegative, kernel_initializer, regularizer
from pipelines.models.layered import LayeredModel, flatten

if TYPE_CHECKING:
    import keras


class LinearModel(LayeredModel):
    """Nothing but the output layer: linear regression for a number, logistic regression for classes."""

    name: Literal["linear"] = "linear"
    kernel_initializer: KernelInitializer = "auto"
    """What the weights are drawn from; `auto` is Keras's glorot_uniform."""
    bias_initializer: BiasInitializer = "zeros"
    """What the biases begin with."""
    use_bias: bool = True
    """Whether there is an intercept."""
    l1: NotNegative = 0.0
    """Penalty on the absolute weights, as in the lasso."""
    l2: NotNegative = 0.0
    """Penalty on the squared weights, as in ridge regression."""

    def hidden(self, inputs: InputFacts) -> list[keras.layers.Layer]:
        """See `LayeredModel.hidden`."""
        return flatten(inputs)

    def output_arguments(self) -> dict[str, Any]:
        """See `LayeredModel.output_arguments`."""
        return {
            "kernel_initializer": kernel_initializer(self.kernel_initializer),
            "bias_initializer": self.bias_initializer,
            "use_bias": self.use_bias,
            "kernel_regularizer": regularizer(self.l1, self.l2),
        }
