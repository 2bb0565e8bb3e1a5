"""Puts the user's own layers and functions into an MLflow model that is made of them, so that it loads anywhere."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from importlib.metadata import packages_distributions, version
from pathlib import Path

from pipelines.own.code import source_of
from pipelines.own.digest import libraries, own_code
from pipelines.tracking import own_parts_loader

_SAID = {"keras", "mlflow", "numpy", "tensorflow", "pipelines"}
"""What is named for every model, whatever distribution it comes of here; and Regatta, which no layer needs."""
CODE = "code"
"""The folder of an MLflow model that MLflow puts on Python's path before it loads the model."""


def carry(own: Mapping[str, str], folder: Path) -> None:
    """Has an MLflow model of the Keras flavour loaded with the user's code, which is copied into it.

    Args:
        own: Where each part of the model that is not Keras's own is, as `module:name`, by Keras's name for it.
        folder: Of the model.
    """
    from mlflow.models import Model
    from mlflow.models.model import MLMODEL_FILE_NAME

    code = folder / CODE
    for module in own_code(list(own.values())):
        source = source_of(module)
        assert source is not None  # it was read a moment ago
        place = code.joinpath(*module.split("."))
        place = place / source.name if source.name == "__init__.py" else place.with_suffix(".py")
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, place)
    code.mkdir(exist_ok=True)
    (code / own_parts_loader.PARTS).write_text(json.dumps(dict(own), indent=2) + "\n", encoding="utf-8")
    shutil.copyfile(own_parts_loader.__file__, code / f"{own_parts_loader.NAME}.py")
    kept = folder / MLMODEL_FILE_NAME
    model = Model.load(str(kept))
    model.flavors["python_function"].update(loader_module=own_parts_loader.NAME, code=CODE)
    model.save(str(kept))


def requirements(own: Mapping[str, str]) -> list[str]:
    """The installed packages in which parts of a model are, and which those that go along import, as pip takes them."""
    places = list(own.values())
    named = {place.partition(":")[0].split(".")[0] for place in places if not own_code(place)} | libraries(places)
    known = packages_distributions()
    packages = {package for module in named - _SAID for package in known.get(module, ())}
    return [f"{package}=={version(package)}" for package in sorted(packages)]
