"""What in a Keras model is not Keras's own: layers, functions and the like of the user's, and where each of them is.

A model's file has their names alone. Whoever loads it gives Keras what they name, found in the user's code.
"""

from __future__ import annotations

import json
import sys
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FunctionType
from typing import Any

from pipelines.own.code import OwnCodeError, load
from pipelines.own.digest import own_code

# Of Keras itself, and all the same nothing that anybody loads: what brings further code or files along.
_LOADERS = ("TFSMLayer", "TorchModuleWrapper", "JaxLayer", "FlaxLayer")
_ACTING = tuple(
    f"keras.{inside}{part}" for inside in ("", "src.") for part in ("utils", "saving", "legacy", "callbacks", "export")
)
_CONFIG = "config.json"
_CODE = "4w"
"""How Python's marshalled code begins in base64."""


@dataclass(frozen=True)
class Stranger:
    """A class or a function in a model's config that plain Keras does not have.

    Attributes:
        key: By which Keras looks for it: its name, or `package>name` where it is registered.
        name: Of the class or the function in its module.
        module: Where it was defined; None for a function, of which Keras does not write that down.
    """

    key: str
    name: str
    module: str | None

    @property
    def told(self) -> str:
        """What it is called in a sentence."""
        return f"the {'function' if self.module is None else 'class'} {self.name}"


def config_in(path: Path) -> Any:
    """The config in a `.keras` file, as plain JSON types, read without Keras.

    Raises:
        OSError, ValueError, KeyError, zipfile.BadZipFile: It is no such file.
    """
    with zipfile.ZipFile(path) as archive:
        return json.loads(archive.read(_CONFIG))


def in_file(path: Path) -> bool:
    """Whether there are strangers in a `.keras` file; of one that cannot be read, whoever loads it says so."""
    try:
        return any(strangers(config_in(path)))
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):
        return False


def strangers(config: Any) -> Iterator[Stranger]:
    """Those in a model's config, as Keras serializes it, in order and maybe again and again."""
    for part in _parts(config):
        name, module = part["class_name"], part.get("module")
        if name == "function":
            key = str(part.get("config"))
            yield Stranger(key, key.rpartition(">")[2], None)
        elif name != "__lambda__" and not is_keras(module):
            yield Stranger(str(part.get("registered_name") or name), name, str(module or ""))


def unloadable(config: Any) -> Iterator[str]:
    """Names of what in a model's config can be loaded by nobody, or brings along more than the file holds."""
    for part in _parts(config):
        name, module = part["class_name"], str(part.get("module") or "")
        if name == "__lambda__":
            yield "a lambda"
        elif name == "Function" and module.startswith("tensorflow."):
            yield "a tf.function (without @tf.function it is a plain one, and compiled all the same)"
        elif is_keras(module) and (name in _LOADERS or module.startswith(_ACTING)):
            yield f"{name}, which loads more than the model's own file holds"


def places(config: Any, reference: str) -> dict[str, str]:
    """Where the strangers in a model's config are, as `module:name`, by the key by which Keras looks for them.

    Args:
        config: Of the model, as Keras serializes it.
        reference: The function that makes the model, as `module:name`: functions are looked for in its module and in
            what that imports of the user's own.

    Raises:
        OwnCodeError: One of them cannot be found by its name, or two have the same.
    """
    found: dict[str, str] = {}
    for stranger in dict.fromkeys(strangers(config)):
        if stranger.module is None:
            place = _place_of_function(stranger, reference)
        else:
            place = f"{stranger.module}:{stranger.name}"
            if stranger.module in sys.modules and not hasattr(sys.modules[stranger.module], stranger.name):
                raise OwnCodeError(_nowhere(stranger, reference))
            load(place)
        if found.setdefault(stranger.key, place) != place:
            raise OwnCodeError(_twice(found[stranger.key], place))
    return found


def objects(found: Mapping[str, str]) -> dict[str, Any]:
    """What `places` found, for `keras.saving.custom_object_scope`. Importing their modules runs these.

    Raises:
        OwnCodeError: They cannot be had here.
    """
    return {key: load(place) for key, place in found.items()}


def is_keras(module: Any) -> bool:
    """Whether a module is Keras's own, given by its name."""
    return str(module) == "keras" or str(module).startswith("keras.")


def _parts(config: Any) -> Iterator[dict[str, Any]]:
    """Everything in a model's config that names a class or a function."""
    if isinstance(config, list | tuple):
        for part in config:
            yield from _parts(part)
    elif isinstance(config, dict):
        name = config.get("class_name")
        if isinstance(name, str) and (name in ("__lambda__", "function") or "module" in config):
            yield config
        elif _is_lambda(config.get("value")):
            yield {"class_name": "__lambda__"}
        for key, part in config.items():
            if key != "compile_config":  # of a model within: what it was trained with once trains nothing here
                yield from _parts(part)


def _is_lambda(value: Any) -> bool:
    """Whether it is what Keras writes of an activation that is a lambda: code, defaults, closure, and no word of it."""
    return isinstance(value, list | tuple) and len(value) == 3 and str(value[0]).startswith(_CODE)


def _place_of_function(stranger: Stranger, reference: str) -> str:
    import keras

    load(reference)  # which registers what its module registers
    found: dict[int, str] = {}
    for module in dict.fromkeys([reference.partition(":")[0], *own_code({"function": reference})]):
        for name, value in list(vars(sys.modules[module]).items()) if module in sys.modules else ():
            if isinstance(value, FunctionType) and keras.saving.get_registered_name(value) == stranger.key:
                found.setdefault(id(value), _home_of(value) or f"{module}:{name}")
    if len(found) == 1:
        return next(iter(found.values()))
    if found:
        raise OwnCodeError(_twice(*list(found.values())[:2]))
    if callable(getattr(keras.ops, stranger.key, None)):  # Keras names it in a file, and does not find it again
        return f"keras.ops:{stranger.key}"
    raise OwnCodeError(_nowhere(stranger, reference))


def _home_of(function: FunctionType) -> str | None:
    """Where it was defined; None where it is not to be found there, as one that a decorator made."""
    home = sys.modules.get(function.__module__)
    there = getattr(home, function.__name__, None) is function
    return f"{function.__module__}:{function.__name__}" if there else None


def _nowhere(stranger: Stranger, reference: str) -> str:
    return (
        f"The model that '{reference}' returned has {stranger.told}, which stands at the top level of no module of "
        f"yours that it imports, so that its file could not be loaded: define it there. What Keras has is named as "
        f"keras.activations.…, keras.ops.… or by its name."
    )


def _twice(one: str, other: str) -> str:
    return (
        f"The model may have {one} or {other}, which Keras's files cannot tell apart: put "
        f"@keras.saving.register_keras_serializable('{other.partition(':')[0]}') before one of them."
    )
