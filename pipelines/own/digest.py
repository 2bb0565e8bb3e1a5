"""Digests of the user's own code that a config names, to tell whether two trials ran the same; runs none of it."""

from __future__ import annotations

import ast
import hashlib
import json
import re
import sysconfig
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pipelines.own.code import source_of

CODE_TAG, CODE_SHA256_TAG = "regatta.user_code", "regatta.user_code_sha256"
"""On a run: the modules with the beginnings of their digests, as JSON; one digest of them all, to search by."""
_SHORT = 12
_MOST_TAG = 5000
"""Characters of a tag; MLflow's limit for some databases."""
_REFERENCE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")
_LIBRARIES = ("site-packages", "dist-packages")
_MOST_NAMED = 5


def _references(value: Any) -> Iterator[str]:
    """Everything in a config, given as plain JSON types, that has the form `module:name`."""
    if isinstance(value, str):
        if _REFERENCE.fullmatch(value):
            yield value
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from _references(each)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _references(each)


def named_in(config: Any) -> set[str]:
    """Modules that a config, given as plain JSON types, names by what looks like `module:name` in it."""
    return {reference.partition(":")[0] for reference in _references(config)}


def own_code(config: Any) -> dict[str, str]:
    """The sha256 of the text of every module of the user's that a config uses, by the module's name, in order.

    These are the modules that it names, the packages that they are in, and what those import of the user's own, as far
    as their text shows it. Installed libraries and Regatta are left out, as the record has their versions; so is code
    that is not there as text. It is told from the files as they are now, and never fails.

    Args:
        config: A recipe or a training config, as plain JSON types.
    """
    return dict(sorted((module, hashlib.sha256(text).hexdigest()) for module, text, _ in _texts(config)))


def libraries(config: Any) -> set[str]:
    """Top-level names of all that the user's own code which a config uses imports, and that is no code of theirs."""
    texts = list(_texts(config))
    return {name.partition(".")[0] for _, _, imported in texts for name in imported} - {
        module.partition(".")[0] for module, _, _ in texts
    }


def _texts(config: Any) -> Iterator[tuple[str, bytes, list[str]]]:
    """The modules that `own_code` speaks of, with their texts and what they import."""
    waiting = list(named_in(config))
    seen: set[str] = set()
    while waiting:
        module = waiting.pop()
        if module in seen:
            continue
        seen.add(module)
        if "." in module:
            waiting.append(module.rpartition(".")[0])
        path = source_of(module)
        if path is None or not _is_the_users(path):
            continue
        try:
            text = path.read_bytes()
            tree = ast.parse(text)
        except (OSError, SyntaxError, ValueError):
            continue  # who calls it says so
        imported = list(_imported(tree, module, is_package=path.name == "__init__.py"))
        waiting.extend(imported)
        yield module, text, imported


def code_tags(modules: Mapping[str, str]) -> dict[str, str]:
    """What a run is tagged with; nothing where no code of the user's is used."""
    if not modules:
        return {}
    whole = hashlib.sha256(json.dumps(modules, sort_keys=True).encode()).hexdigest()
    listed = json.dumps({module: digest[:_SHORT] for module, digest in modules.items()})
    return {CODE_SHA256_TAG: whole, **({CODE_TAG: listed} if len(listed) <= _MOST_TAG else {})}


def code_in(tags: Mapping[str, str]) -> dict[str, str]:
    """What `code_tags` has put into a run's tags: the beginnings of the digests by module, where there was room."""
    listed: dict[str, str] = json.loads(tags.get(CODE_TAG) or "{}")
    return listed


def other_code(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """Modules whose text is another now, or that only one of them has.

    Args:
        before: Digests by module, or their beginnings.
        now: The same.
    """
    modules = sorted({*before, *now})
    return [name for name in modules if before.get(name, "-")[:_SHORT] != now.get(name, "-")[:_SHORT]]


def named_modules(modules: list[str]) -> str:
    """`my_code, helpers and 3 more`."""
    more = f" and {len(modules) - _MOST_NAMED} more" if len(modules) > _MOST_NAMED else ""
    return f"{', '.join(modules[:_MOST_NAMED])}{more}"


def _is_the_users(path: Path) -> bool:
    """Whether a file is neither Regatta's nor of an installed library or of Python."""
    path = path.resolve()
    foreign = (
        Path(__file__).resolve().parents[1],
        *(Path(sysconfig.get_path(key)) for key in ("stdlib", "platstdlib")),
    )
    return not any(path.is_relative_to(folder) for folder in foreign) and not {*path.parts} & {*_LIBRARIES}


def _imported(tree: ast.Module, module: str, *, is_package: bool) -> Iterator[str]:
    """What a module imports, anywhere in it; of `from a import b`, both `a` and `a.b`, which may be a module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = module.split(".")
                here = parts[: len(parts) - node.level + is_package]
                base = ".".join([*here, *([base] if base else [])])
            if base:
                yield base
                yield from (f"{base}.{alias.name}" for alias in node.names if alias.name != "*")
