"""A callback of the user's own."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, ValidationInfo, field_validator

from pipelines.callbacks.base import CallbackSpec, Surroundings
from pipelines.own.calls import accepted
from pipelines.own.code import Arguments, Reference, load

if TYPE_CHECKING:
    import keras

AROUND = "around"
"""The argument under which a class may ask for its surroundings."""


class OwnCallback(CallbackSpec):
    """A callback of your own: any subclass of keras.callbacks.Callback, named as `module:Class`.

    What it does to the learning rate, to files and to the end of the training shows in the run, as with Keras's own. It
    can say more: sentences that it appends to a list `self.notes` become events of the run. Where its constructor has
    an argument `around`, it gets the training's surroundings: a folder for files, some training samples (`x`, `y`), all
    validation samples (`x_val`, `y_val`: raw samples, and what is right of them), and `draw` for pictures.

    A trial that goes on after its worker was lost makes the callback anew, tells it that a training begins, and then
    gives it its attributes back: numbers, texts, lists and dicts of such, arrays, variables, metrics, generators of
    random numbers. What else it has is kept where it has `get_state()`, which returns such, and `set_state(state)`.
    """

    name: Literal["class"] = "class"
    path: Reference
    """Where it is, as `module:Class`; the module is looked for in the current folder too."""
    arguments: Arguments = Field(default_factory=dict)
    """Keyword arguments of its constructor; each can be searched, as `callbacks.<label>.arguments.<argument>`."""
    adds: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    """Metrics of its own, such as `val_f1`, that it puts into `logs` at the end of every epoch (`logs["val_f1"] = …`);
    they can be the objective, be bounded and be monitored."""

    @field_validator("arguments")
    @classmethod
    def _takes_them(cls, arguments: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        return accepted(info.data.get("path"), arguments)

    def added_metrics(self) -> tuple[str, ...]:
        """Those that it is said to add."""
        return self.adds

    def build(self, around: Surroundings) -> keras.callbacks.Callback:
        """The callback, with its arguments.

        Raises:
            TypeError: The class does not take these arguments, or what it makes is no Keras callback.
        """
        import keras  # heavy, and not needed to read a recipe

        made = load(self.path)
        if not callable(made):
            raise TypeError(f"'{self.path}' must be a class, got {type(made).__name__}")
        arguments: dict[str, Any] = dict(self.arguments)
        try:
            parameters = inspect.signature(made)
            if AROUND in parameters.parameters and AROUND not in arguments:
                arguments[AROUND] = around
            parameters.bind(**arguments)
        except TypeError as error:
            raise TypeError(f"'{self.path}' does not take these arguments: {error}; it takes {parameters}") from None
        except ValueError:
            pass  # a class without a signature, in compiled code
        callback = made(**arguments)
        if not isinstance(callback, keras.callbacks.Callback):
            raise TypeError(
                f"'{self.path}' must make a keras.callbacks.Callback, got {type(callback).__name__}; let the class "
                f"inherit from keras.callbacks.Callback"
            )
        return callback
