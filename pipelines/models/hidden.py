"""Settings that all hidden layers know, each once for all of them or once a layer, and the Keras layers they make."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, ValidationError, model_validator
from pydantic_core import InitErrorDetails

from pipelines.models.layered import LayeredModel

if TYPE_CHECKING:
    import keras

ActivationName = Literal[
    "relu", "tanh", "sigmoid", "linear", "leaky_relu", "elu", "selu", "celu", "gelu", "silu", "mish", "softplus",
    "softsign", "relu6", "hard_sigmoid", "hard_silu", "exponential",
]  # fmt: skip
_OTHER_NAMES = {"swish": "silu", "hard_swish": "hard_silu"}
Activation = Annotated[
    ActivationName, BeforeValidator(lambda name: _OTHER_NAMES.get(name, name) if isinstance(name, str) else name)
]
"""Keras takes both names of the same thing; a config has one."""
KernelInitializer = Literal[
    "auto", "glorot_uniform", "glorot_normal", "he_uniform", "he_normal", "lecun_uniform", "lecun_normal", "orthogonal",
    "variance_scaling", "random_uniform", "random_normal", "truncated_normal", "zeros", "ones",
]  # fmt: skip
BiasInitializer = Literal["zeros", "ones", "random_uniform", "random_normal", "truncated_normal"]
NotNegative = Annotated[float, Field(ge=0)]
Rate = Annotated[float, Field(ge=0, lt=1)]
Norm = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]


@dataclass(frozen=True)
class HiddenLayer:
    """The settings of one hidden layer; see the fields of `HiddenLayers`."""

    activation: str
    negative_slope: float
    kernel_initializer: str
    bias_initializer: str
    use_bias: bool
    l1: float
    l2: float
    max_norm: float | None
    batch_norm: bool
    dropout: float

    @property
    def _own_activation(self) -> bool:
        """Whether the activation is a layer of its own, as something is before it or it has a setting."""
        return self.batch_norm or self.activation == "leaky_relu"

    def linear_arguments(self, axis: int | list[int]) -> dict[str, Any]:
        """Arguments of the Dense or Conv2D layer; `axis` are those of the kernel that lead into one unit."""
        import keras

        return {
            "activation": None if self._own_activation else self.activation,
            "use_bias": self.use_bias,
            "kernel_initializer": kernel_initializer(self.kernel_initializer),
            "bias_initializer": self.bias_initializer,
            "kernel_regularizer": regularizer(self.l1, self.l2),
            "kernel_constraint": keras.constraints.MaxNorm(self.max_norm, axis=axis) if self.max_norm else None,
        }

    def norm_and_activation(self, name: str) -> Iterator[keras.layers.Layer]:
        """What follows a linear layer called `name`, where it is not in that layer."""
        import keras

        if self.batch_norm:
            yield keras.layers.BatchNormalization(name=f"{name}_norm")
        if self.activation == "leaky_relu":
            yield keras.layers.LeakyReLU(negative_slope=self.negative_slope, name=f"{name}_activation")
        elif self._own_activation:
            yield keras.layers.Activation(self.activation, name=f"{name}_activation")

    def dropout_layers(self, name: str) -> Iterator[keras.layers.Layer]:
        """The dropout after the layer or block called `name`, if there is any."""
        import keras

        if self.dropout:
            yield keras.layers.Dropout(self.dropout, name=f"{name}_dropout")

    def dense(self, units: int, name: str) -> Iterator[keras.layers.Layer]:
        """A Dense layer with all that belongs to it."""
        import keras

        yield keras.layers.Dense(units, name=name, **self.linear_arguments(axis=0))
        yield from self.norm_and_activation(name)
        yield from self.dropout_layers(name)


class HiddenLayers(LayeredModel):
    """An architecture with hidden layers."""

    activation: Activation | tuple[Activation, ...] = "relu"
    """Of all hidden layers, or one a layer."""
    negative_slope: NotNegative | tuple[NotNegative, ...] = 0.2
    """What leaky_relu multiplies negative values by, for all layers or one a layer."""
    kernel_initializer: KernelInitializer | tuple[KernelInitializer, ...] = "auto"
    """What the weights of hidden layers are drawn from, for all or one a layer; `auto` is Keras's glorot_uniform."""
    bias_initializer: BiasInitializer | tuple[BiasInitializer, ...] = "zeros"
    """What the biases of hidden layers begin with, for all or one a layer."""
    use_bias: bool | tuple[bool, ...] = True
    """Whether hidden layers have biases, for all or one a layer. Behind a batch norm they do nothing."""
    l1: NotNegative | tuple[NotNegative, ...] = 0.0
    """Penalty on the absolute weights: one number for all layers with the output layer, or one a hidden layer, to which
    the output layer's may be added as the last."""
    l2: NotNegative | tuple[NotNegative, ...] = 0.0
    """Penalty on the squared weights, given like `l1`."""
    max_norm: Norm | tuple[Norm | None, ...] | None = None
    """Largest norm of the weights that lead into one hidden unit, for all or one a layer; none where left out."""
    batch_norm: bool | tuple[bool, ...] = False
    """Batch normalisation between the linear part and the activation, for all hidden layers or one a layer."""
    dropout: Rate | tuple[Rate, ...] = 0.0
    """Share of values that are dropped after each hidden layer while training, for all or one a layer."""

    @property
    @abstractmethod
    def hidden_count(self) -> int:
        """How many hidden layers have settings of their own."""

    @property
    def hidden_words(self) -> str:
        """The same, for a person."""
        return f"{self.hidden_count} hidden layer{'' if self.hidden_count == 1 else 's'}"

    @model_validator(mode="after")
    def _one_each(self) -> Self:
        found = self.miscounted()
        if found:  # each at its own place in the recipe
            details: list[InitErrorDetails] = [
                {
                    "type": "value_error",
                    "loc": (field,),
                    "input": getattr(self, field),
                    "ctx": {"error": ValueError(why)},
                }
                for field, why in found.items()
            ]
            raise ValidationError.from_exception_data(type(self).__name__, details)
        return self

    def miscounted(self) -> dict[str, str]:
        """What is wrong with fields that have one value a layer, by field."""
        count = self.hidden_count
        wrong: dict[str, str] = {}
        for field in HiddenLayer.__dataclass_fields__:
            value = getattr(self, field)
            if not isinstance(value, tuple) or len(value) == count:
                continue
            if field not in ("l1", "l2"):
                wrong[field] = (
                    f"has {values(len(value))} for {self.hidden_words}: give one for all, or exactly one each"
                )
            elif len(value) != count + 1:
                wrong[field] = (
                    f"has {values(len(value))} for {self.hidden_words} and the output layer: give one for all, "
                    f"one a hidden layer, or one more for the output layer"
                )
        return wrong

    def layer(self, place: int) -> HiddenLayer:
        """The settings of the hidden layer at `place`, from 0."""
        fields = HiddenLayer.__dataclass_fields__
        return HiddenLayer(**{field: at(getattr(self, field), place) for field in fields})

    def output_arguments(self) -> dict[str, Any]:
        """See `LayeredModel.output_arguments`."""
        count = self.hidden_count
        l1, l2 = (
            (value[count] if len(value) > count else 0.0) if isinstance(value, tuple) else value
            for value in (self.l1, self.l2)
        )
        return {"kernel_regularizer": regularizer(l1, l2)}


def at(value: Any, place: int) -> Any:
    """The value for one layer, where a field has one for all or one each."""
    return value[place] if isinstance(value, tuple) else value


def values(count: int) -> str:
    """`3 values`."""
    return f"{count} value{'' if count == 1 else 's'}"


def regularizer(l1: float, l2: float) -> Any:
    """Keras's penalty on weights, or None."""
    import keras

    return keras.regularizers.L1L2(l1=l1, l2=l2) if l1 or l2 else None


def kernel_initializer(name: str) -> str:
    """Keras's word for an initializer."""
    return "glorot_uniform" if name == "auto" else name
