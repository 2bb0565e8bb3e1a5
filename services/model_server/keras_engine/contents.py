"""What a `.keras` file may be made of here: Keras's own layers, and nothing that runs somebody's code.

Keras's safe mode refuses a Lambda. This looks first, and refuses as well what only some versions of it do: classes of
other modules, functions by their name, and layers that load further files.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_CONFIG = "config.json"
_PARTS = {_CONFIG, "metadata.json", "model.weights.h5"}
_FOLDERS = ("assets/",)
_MOST_CONFIG_BYTES = 64 * 2**20
# Modules of Keras whose members do more than compute: read files, fetch addresses, make objects of configs.
_ACTING = ("utils", "saving", "src.utils", "src.saving", "src.legacy", "legacy", "callbacks", "src.callbacks", "export")
_LOADERS = {"Lambda", "TFSMLayer", "TorchModuleWrapper", "JaxLayer", "FlaxLayer"}


class Refused(Exception):
    """The file is not one that is loaded here; the message is a part of a sentence."""


def refuse_strangers(path: Path) -> None:
    """Looks into a `.keras` file before Keras does.

    Raises:
        Refused: it is none, or holds something that is not Keras's own.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                if name not in _PARTS and not (name.startswith(_FOLDERS) and ".." not in name.split("/")):
                    raise Refused(f"{path.name} holds {name[:64]!r}, which no Keras model has")
            if archive.getinfo(_CONFIG).file_size > _MOST_CONFIG_BYTES:
                raise Refused(f"{path.name} has a {_CONFIG} of more than {_MOST_CONFIG_BYTES} bytes")
            config = json.loads(archive.read(_CONFIG))
    except (OSError, KeyError, ValueError, RecursionError, zipfile.BadZipFile) as error:
        raise Refused(f"{path.name} is no Keras file ({type(error).__name__}: {error})") from None
    found = list(dict.fromkeys(strangers(config)))
    if found:
        raise Refused(
            f"{path.name} has what is not Keras's own: {', '.join(found[:3])}; a model server runs no code of a model"
        )


def strangers(config: Any) -> Iterator[str]:
    """Yields what in a model's config plain Keras does not have, or would have to run or fetch."""
    waiting = [config]
    while waiting:
        part = waiting.pop()
        if isinstance(part, list):
            waiting += part
        elif isinstance(part, dict):
            name = part.get("class_name")
            if isinstance(name, str) and ("module" in part or "config" in part):
                stranger = _stranger(name, part)
                if stranger is not None:
                    yield stranger
            waiting += [value for key, value in part.items() if key != "compile_config"]  # which is never read here


def _stranger(name: str, part: dict[str, Any]) -> str | None:
    module = part.get("module")
    if name == "__lambda__":
        return "a lambda"
    if name in _LOADERS:
        return f"the layer {name}"
    if name == "function":
        return f"the function {str(part.get('config'))[:64]!r}"
    if module is None or module == "builtins":  # such as __tensor__, __tuple__ and the parts of older files
        return None if name.startswith("__") or module is None else f"the class {name[:64]!r}"
    inside = str(module).removeprefix("keras").removeprefix(".")
    own = str(module) == "keras" or str(module).startswith("keras.")
    if not own or any(inside == acting or inside.startswith(f"{acting}.") for acting in _ACTING):
        return f"the class {str(module)[:64]}.{name[:64]}"
    return None
