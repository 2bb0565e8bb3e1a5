"""Parts of Keras that hardly anybody uses are imported when somebody does: a worker that is waited for saves a second.

For its wrappers and galleries Keras imports scikit-learn, SciPy and Matplotlib, which no training needs.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import LazyLoader
from types import ModuleType
from typing import Any

SELDOM_USED = (
    "keras.visualization",
    "keras.wrappers",
    "keras.src.visualization.plot_image_gallery",
    "keras._tf_keras.keras.visualization",
    "keras._tf_keras.keras.wrappers",
)
"""Of Keras 3. Where another version has no such module, or uses it at once, everything is as it was."""
_ABOUT_ITSELF = {"__class__", "__file__", "__loader__", "__name__", "__package__", "__spec__"}


@contextmanager
def imported_later(names: Iterable[str] = SELDOM_USED) -> Iterator[None]:
    """Has modules that are imported inside the block be loaded when something of them is used first.

    Args:
        names: Full names. What is imported already stays as it is.
    """
    finder = _Finder(frozenset(names))
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


class _Finder(MetaPathFinder):
    """Finds the modules where they are, and has them loaded later."""

    def __init__(self, names: frozenset[str]) -> None:
        self._names = names

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """See `importlib.abc.MetaPathFinder`."""
        if name not in self._names:
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader)
        return spec


class _Loader(LazyLoader):
    """Loads a module when something of it is used: not when somebody asks what file it is of.

    Python asks that of every module that there is when it looks for the source of a function, as TensorFlow and
    pydantic have it do; they would load all that was put off.
    """

    def exec_module(self, module: ModuleType) -> None:
        """See `importlib.abc.Loader`."""
        super().exec_module(module)
        loads = type(module)

        def of(asked: ModuleType, name: str) -> Any:
            if name in _ABOUT_ITSELF:
                return object.__getattribute__(asked, name)
            asked.__class__ = loads
            return getattr(asked, name)

        module.__class__ = type("Later", (loads,), {"__getattribute__": of})
