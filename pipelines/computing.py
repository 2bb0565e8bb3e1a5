"""What a training computes in, and whether XLA compiles it: the switches of a recipe, and what they do in Keras."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BeforeValidator

if TYPE_CHECKING:
    import keras

HALF = ("float16", "bfloat16")
_SINCE: Mapping[str, tuple[int, int]] = {"mixed_float16": (7, 0), "mixed_bfloat16": (8, 0)}
"""The compute capability from which on a GPU has tensor cores for it; below it, it only saves memory."""


def _as_word(data: Any) -> Any:
    """YAML reads `on` and `off` as true and false, also where one of several is drawn."""
    words = {True: "on", False: "off", "true": "on", "false": "off"}
    return words.get(data, data) if isinstance(data, bool | str) else data


Precision = Literal["float32", "mixed_float16", "mixed_bfloat16"]
Xla = Annotated[Literal["auto", "on", "off"], BeforeValidator(_as_word)]
LATER: Mapping[str, Any] = {"precision": "float32", "xla": "auto"}
"""Fields that training configs did not have from the beginning, with the values that say what was true before."""


@contextmanager
def computing_in(precision: str) -> Iterator[None]:
    """Has layers that are made in the block compute so. `float32` leaves it to Keras, whose default that is."""
    import keras

    if precision == LATER["precision"]:
        yield
        return
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def scaling_loss(optimizer: keras.optimizers.Optimizer, precision: str) -> keras.optimizers.Optimizer:
    """The optimizer, and with `mixed_float16` one around it that scales the loss.

    Keras would put it there by itself, but would not say so in the model's file: loaded from it, the optimizer would
    have forgotten everything.
    """
    if precision != "mixed_float16":
        return optimizer
    import keras

    return keras.optimizers.LossScaleOptimizer(optimizer, name="loss_scale_optimizer")


def compiling(xla: str) -> dict[str, bool]:
    """What `Model.compile` is told about it; nothing where Keras is to decide."""
    return {} if xla == "auto" else {"jit_compile": xla == "on"}


def remarks(precisions: Collection[str], capabilities: Sequence[tuple[int, int] | None]) -> list[str]:
    """What people should know who want 16 bits on these devices, a sentence each.

    Args:
        precisions: All that trials may have.
        capabilities: Compute capability of each GPU, None where it is not known; empty where there is none.
    """
    half = [one for one in precisions if one in _SINCE]
    if half and not capabilities:
        return [f"{one} is for GPUs: on a CPU it is slower than float32, and gains nothing." for one in half]
    known = [capability for capability in capabilities if capability is not None]
    return [
        f"{one} needs a GPU of compute capability {_dotted(_SINCE[one])} to be fast, and there is one of "
        f"{_dotted(min(known))}: it saves memory there, and no time."
        for one in half
        if known and min(known) < _SINCE[one]
    ]


def in_full_precision(model: keras.Model, file: Path) -> keras.Model:
    """The same weights in a model that computes in 32 bits throughout; the model itself where it does so already.

    What is judged, exported and served: ONNX Runtime has no 16 bits for most of what a CPU computes, and weights are
    kept in 32 anyway.

    Args:
        model: The model.
        file: The `.keras` file that it was loaded from. Its weights are read there again, as some layers make more of
            what they load, such as a `Normalization` that was adapted.
    """
    if not any(layer.compute_dtype in HALF for layer in model._flatten_layers(include_self=True)):
        return model
    import keras

    config = _full(keras.saving.serialize_keras_object(model))
    compiled = config.pop("compile_config", None)
    made = keras.saving.deserialize_keras_object(config, safe_mode=True)
    made.load_weights(file)
    if compiled:
        optimizer = compiled.get("optimizer")
        if isinstance(optimizer, dict) and optimizer.get("class_name") == "LossScaleOptimizer":
            compiled = {**compiled, "optimizer": optimizer["config"]["inner_optimizer"]}
        made.compile_from_config(compiled)
    return made


def _full(config: Any) -> Any:
    """A config with every policy of 16 bits replaced."""
    if isinstance(config, list | tuple):
        return [_full(part) for part in config]
    if not isinstance(config, dict):
        return config
    if config.get("class_name") == "DTypePolicy" and _is_half(config["config"].get("name")):
        return {**config, "config": {**config["config"], "name": "float32"}}
    return {key: "float32" if key == "dtype" and _is_half(part) else _full(part) for key, part in config.items()}


def _is_half(policy: Any) -> bool:
    return isinstance(policy, str) and policy.removeprefix("mixed_") in HALF


def _dotted(capability: tuple[int, int]) -> str:
    return f"{capability[0]}.{capability[1]}"
