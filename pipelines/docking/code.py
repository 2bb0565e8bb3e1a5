"""Where the code of one's own is that a recipe names: folders that a worker elsewhere must be shown."""

from __future__ import annotations

import importlib.util
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from pipelines.own.code import make_importable
from pipelines.own.digest import named_in
from pipelines.recipe.config import SweepConfig


def code_folders(config: SweepConfig) -> Iterator[Path]:
    """Folders with the user's own code that a recipe names, the current one first; none where it names no code."""
    libraries = [Path(path).resolve() for path in (sys.prefix, sys.base_prefix, sysconfig.get_path("stdlib"))]
    found: dict[Path, None] = {}
    make_importable()
    for module in sorted(named_in(config.model_dump(mode="json"))):
        folder = _folder_of(module)
        if folder is not None and not any(folder.is_relative_to(library) for library in libraries):
            found[folder] = None
    here = Path.cwd()
    if found and here != Path(here.anchor):
        yield here
    yield from (folder for folder in found if folder == Path(here.anchor) or not folder.is_relative_to(here))


def _folder_of(module: str) -> Path | None:
    """The folder in which Python finds a module; it does not import it, nor what it is in."""
    top, *rest = module.split(".")
    with suppress(ImportError, ValueError, AttributeError):
        spec = importlib.util.find_spec(top)
        if spec is None:
            return None
        for place in map(Path, spec.submodule_search_locations or ()):
            target = place.joinpath(*rest)
            if target.is_dir() or target.with_suffix(".py").is_file():
                return place.resolve().parent
        return None if spec.origin is None else Path(spec.origin).resolve().parent
    return None
