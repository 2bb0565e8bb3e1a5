"""The user's own model: a function of theirs that makes it."""

from __future__ import annotations

import inspect
import warnings
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from pipelines.computing import HALF
from pipelines.inputs import InputFacts
from pipelines.models.base import ModelSpec
from pipelines.models.strangers import is_keras, places, unloadable
from pipelines.models.unsaved import namesakes, why_unsaved
from pipelines.own.calls import accepted, called_with
from pipelines.own.code import Arguments, OwnCodeError, Reference, load
from pipelines.tasks import Head

if TYPE_CHECKING:
    import keras


class FunctionModel(ModelSpec):
    """Your own Keras model: what `function(inputs: InputFacts, head: Head, **arguments)` returns.

    It takes raw samples (n, *inputs.shape) and ends in `head.units` units with `head.activation`; where a number is
    predicted, the last layer multiplies by `head.scale` and adds `head.offset`. It has one input and one output. What
    is your own in it, layers and functions, stands at the top level of a module. It is not compiled: optimizer, loss
    and metrics are the recipe's.
    """

    own = True
    name: Literal["function"] = "function"
    function: Reference
    """The function, as `module:function`; looked for in the current folder too."""
    arguments: Arguments = Field(default_factory=dict)
    """What it is called with beside inputs and head, by name; each can vary, such as `model.arguments.width`."""

    @field_validator("function")
    @classmethod
    def _takes_inputs_and_head(cls, reference: str) -> str:
        return called_with(reference, ("inputs", "head"))

    @field_validator("arguments")
    @classmethod
    def _takes_them(cls, arguments: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        return accepted(info.data.get("function"), arguments, given=2)

    @model_validator(mode="after")
    def _prepares_itself(self) -> Self:
        fields = ModelSpec.model_fields
        idle = [field for field in ("scaling", "features") if getattr(self, field) != fields[field].default]
        if idle:
            raise ValueError(f"{' and '.join(idle)} would do nothing: the function prepares its raw samples itself")
        return self

    def own_parts(self, config: Any) -> dict[str, str]:
        """See `ModelSpec.own_parts`."""
        return places(config, self.function)

    def build(self, inputs: InputFacts, head: Head) -> keras.Model:
        """See `ModelSpec.build`.

        Raises:
            OwnCodeError: The function cannot be had or called so, or what it returned is no such model.
        """
        self.refuse_misfits(inputs)
        function = load(self.function)
        if not callable(function):
            raise OwnCodeError(f"'{self.function}' must be a function, got {_a(function)}.")
        try:
            inspect.signature(function).bind(inputs, head, **self.arguments)
        except TypeError as error:
            called = ", ".join(["inputs", "head", *(f"{key}={value!r}" for key, value in self.arguments.items())])
            raise OwnCodeError(f"'{self.function}' cannot be called with ({called}): {error}.") from None
        except ValueError:
            pass  # a function without a signature, such as one in C
        model = function(inputs, head, **self.arguments)
        wrong = _wrong_with(model, inputs, head, self.function)
        if wrong is not None:
            raise OwnCodeError(f"The model that '{self.function}' returned {wrong}.")
        made: keras.Model = model
        return made


def _wrong_with(model: Any, inputs: InputFacts, head: Head, reference: str) -> str | None:
    """What is wrong with a model, as a sentence without its subject; None for a good one."""
    import keras

    if not isinstance(model, keras.Model):
        return f"must be a keras.Model, got {_a(model)}"
    begin = f"begin with keras.Input({inputs.shape})"
    if not getattr(model, "inputs", None) and not is_keras(type(model).__module__):
        name = type(model).__name__
        return f"has no input yet: take x = keras.Input({inputs.shape}), and return keras.Model(x, {name}(…)(x))"
    if not getattr(model, "inputs", None):
        return f"has no input yet: {begin}, and make it with keras.Sequential or keras.Model(input, output)"
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        return f"must have one input and one output, got {len(model.inputs)} and {len(model.outputs)}"
    given, wanted = tuple(model.inputs[0].shape), (None, *inputs.shape)
    if given != wanted:
        return f"takes {_form(given)}, and a batch of raw samples is {_form(wanted)}: {begin}"
    if model.inputs[0].dtype != "float32":
        return f"takes {model.inputs[0].dtype}, and raw samples are float32: {begin}"
    given, wanted = tuple(model.outputs[0].shape), (None, head.units)
    if given != wanted:
        return f"gives {_form(given)}, and this task needs {_form(wanted)}: end with keras.layers.Dense(head.units)"
    if model.outputs[0].dtype in HALF:
        return (
            f"gives {model.outputs[0].dtype}, in which a loss loses too much: make the last layer with dtype='float32'"
        )
    if model.compiled:  # silently replaced, its loss would be taken for the one that was trained with
        return (
            "is compiled, and the recipe says what it is trained with: leave compile() away, and name optimizer, loss "
            "and metrics in the recipe; a model that is loaded is loaded with compile=False"
        )
    try:
        config = config_of(model)
    except Exception as error:  # whatever a class of the user's raises
        return why_unsaved(error)
    refused = list(dict.fromkeys(unloadable(config)))
    if refused:
        return (
            f"has {', '.join(refused)}: its file could be loaded by nobody, or only by running what is in it. Give a "
            f"lambda a name, as a function at the top level of a module, and make the rest of Keras's layers and "
            f"keras.ops"
        )
    if same_name := next(namesakes(model), None):
        return (
            f"has an activation of your own that is named like Keras's {same_name}, and says something else: its file "
            f"would come back with Keras's. Give yours another name"
        )
    places(config, reference)
    return None


def config_of(model: keras.Model) -> Any:
    """An uncompiled model as Keras serializes it, in plain JSON types."""
    import keras

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The object being serialized includes a `lambda`")  # such a model is refused
        return keras.saving.serialize_keras_object(model)


def _a(value: Any) -> str:
    return "nothing (does it return the model?)" if value is None else f"one of {type(value).__name__}"


def _form(shape: tuple[int | None, ...]) -> str:
    return (
        "(" + ", ".join("n" if side is None else str(side) for side in shape) + ("," if len(shape) == 1 else "") + ")"
    )
