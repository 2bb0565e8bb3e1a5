"""Loads the MLflow model in whose folder `code` this lies, with layers or functions whose modules lie here as well."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib import import_module, invalidate_caches
from pathlib import Path
from types import ModuleType
from typing import Any

NAME = "own_parts_loader"
PARTS = "own_parts.json"
"""Where each of them is, as `module:name`, by Keras's name for it."""


def _load_pyfunc(path: str) -> Any:
    """What MLflow calls for `mlflow.pyfunc.load_model`.

    Args:
        path: The model's folder.
    """
    import keras
    import mlflow.keras

    code = Path(path) / "code"
    places = json.loads((code / PARTS).read_text(encoding="utf-8"))
    with _first_on_the_path(code):
        parts = {key: _found(*place.split(":")) for key, place in places.items()}
        with keras.saving.custom_object_scope(parts):
            return mlflow.keras._load_pyfunc(path)


def _found(module: str, name: str) -> Any:
    return getattr(import_module(module), name)


@contextmanager
def _first_on_the_path(code: Path) -> Iterator[None]:
    """Has the modules in `code` imported from there, also where others of the same names are imported already.

    Such as those of another version of the model, or the user's own as they are by now: these are back afterwards.
    """
    mine = {_name_of(path.relative_to(code)) for path in code.rglob("*.py")} - {NAME}
    mine |= {name.rpartition(".")[0] for name in mine if "." in name}
    here = {name: sys.modules[name] for name in mine if name in sys.modules}
    aside = not all(_is_copied(module, name, code) for name, module in here.items())  # one may have names of another
    if aside:
        _forget(mine)
    sys.path.insert(0, str(code))
    invalidate_caches()
    try:
        yield
    finally:
        sys.path.remove(str(code))
        if aside:
            _forget(mine)
            sys.modules.update(here)


def _forget(names: Iterable[str]) -> None:
    for name in names:
        sys.modules.pop(name, None)


def _name_of(path: Path) -> str:
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _is_copied(module: ModuleType, name: str, code: Path) -> bool:
    """Whether a module's text is that of the one in `code`."""
    place = code.joinpath(*name.split("."))
    place = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
    try:
        return place.read_bytes() == Path(str(module.__file__)).read_bytes()
    except OSError:
        return False
