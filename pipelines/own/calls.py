"""Whether a user's own code takes the arguments that a recipe gives it, told from its text, without running it."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

from pipelines.mistakes import did_you_mean
from pipelines.own.code import looked_for, source_of


def accepted(reference: str | None, arguments: dict[str, Any], given: int = 0) -> dict[str, Any]:
    """Returns the arguments, for the validator of a config that names code of the user's.

    Args:
        reference: The code; None where the recipe names none that can be called.
        arguments: As for `unknown_arguments`.
        given: As for `unknown_arguments`.

    Raises:
        ValueError: The code does not take them.
    """
    wrong = None if reference is None else unknown_arguments(reference, arguments, given)
    if wrong is not None:
        raise ValueError(wrong)
    return arguments


def called_with(reference: str, given: tuple[str, ...]) -> str:
    """Returns the reference, for the validator of a config: the code is called with `given`, by position.

    Args:
        reference: The function, as `module:name`.
        given: What each of them is, in a word.

    Raises:
        ValueError: Its text shows that it takes fewer.
    """
    takes = _shown(reference)
    if takes is not None and len(takes) < len(given):
        raise ValueError(f"is called with ({', '.join(given)}), and {reference} takes ({', '.join(takes)})")
    return reference


def names_class(reference: str) -> bool:
    """Whether the code's text shows that it is a class."""
    text, name = _text_of(reference)
    return text is not None and _is_class(text, name)


def unknown_arguments(reference: str, arguments: Mapping[str, Any] | Iterable[str], given: int = 0) -> str | None:
    """What is wrong with the names of arguments, as a sentence, or None.

    An argument that is missing is no mistake here, as the search space may bring it. Nothing is said of code whose
    parameters its text does not show: what is decorated, inherited, compiled, imported from elsewhere, or takes any.

    Args:
        reference: The function or class, as `module:name`.
        arguments: What it is called with by name.
        given: How many it is given before these, such as the inputs and the head of a model.
    """
    takes = _shown(reference)
    if takes is None:
        return None
    known = takes[given:]
    unknown = [argument for argument in arguments if argument not in known]
    if not unknown:
        return None
    listed = f"it takes {', '.join(known)}" if known else "it takes none"
    named = " and ".join(f"'{argument}'" for argument in unknown)
    verb = "are no arguments" if len(unknown) > 1 else "is no argument"
    return f"{named} {verb} of {reference}{did_you_mean(unknown[0], known)}; {listed}"


def _shown(reference: str) -> tuple[str, ...] | None:
    """What the code takes, as far as its text shows; see `_parameters`."""
    text, name = _text_of(reference)
    return None if text is None else _parameters(text, name)


def _text_of(reference: str) -> tuple[bytes | None, str]:
    """The text of the module, None where it is not there or not looked for, and the name in it."""
    module, _, name = reference.partition(":")
    path = source_of(module) if looked_for() else None
    return None if path is None else path.read_bytes(), name


@lru_cache(maxsize=64)
def _parameters(text: bytes, name: str) -> tuple[str, ...] | None:
    """The parameters of a function, or of a class's own constructor; None where the text does not tell them all.

    Args:
        text: Of the module; Python finds its encoding.
        name: At the module's top level.
    """
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError):
        return None  # said already, where the name was looked for
    if any(_binds(node, name) for node in ast.walk(tree) if node not in tree.body):
        return None  # what it is at the end, only running it shows
    made: list[Any] = [node for node in tree.body if _binds(node, name)]
    if len(made) == 1 and isinstance(made[0], ast.ClassDef) and not made[0].decorator_list and not made[0].keywords:
        made = [node for node in made[0].body if _binds(node, "__init__")]
        skipped = 1  # self
    else:
        skipped = 0
    if len(made) != 1 or not isinstance(made[0], ast.FunctionDef) or made[0].decorator_list:
        return None
    takes = made[0].args
    if takes.kwarg is not None or takes.vararg is not None:
        return None
    return tuple(each.arg for each in (*takes.posonlyargs, *takes.args, *takes.kwonlyargs))[skipped:]


@lru_cache(maxsize=64)
def _is_class(text: bytes, name: str) -> bool:
    try:
        return any(isinstance(node, ast.ClassDef) and node.name == name for node in ast.parse(text).body)
    except (SyntaxError, ValueError):
        return False


def _binds(node: ast.AST, name: str) -> bool:
    """Whether a node of the text makes a name: a definition, or an assignment."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return node.name == name
    return isinstance(node, ast.Name) and node.id == name and isinstance(node.ctx, ast.Store)
