"""Reads YAML the way a recipe needs it: no key twice, `1e-3` is a number, and every value knows its line."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from pipelines.errors import ConfigError, Mistake

Path_ = tuple[str | int, ...]
_MERGE = "tag:yaml.org,2002:merge"
_FLOAT = "tag:yaml.org,2002:float"
_EXPONENT = re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)[eE][-+]?[0-9]+$")
"""Numbers as YAML 1.2, JSON and Python write them, which PyYAML takes for text unless they have a dot and a sign."""


class _Reader(yaml.SafeLoader):
    """PyYAML's safe loader, which by itself lets a later key silently replace an earlier one."""


def _mapping(loader: _Reader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: set[Any] = set()
    for key_node, _ in node.value:
        key = None if key_node.tag == _MERGE else loader.construct_object(key_node, deep=True)
        if key in seen:
            raise yaml.constructor.ConstructorError(
                None, None, f"the key {key!r} stands here a second time", key_node.start_mark
            )
        seen.add(key)
    loader.flatten_mapping(node)  # what `<<` brings in stands first, so that the mapping's own keys win
    construct = loader.construct_object
    return {construct(key_node, deep=True): construct(value_node, deep=True) for key_node, value_node in node.value}


_Reader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)
# a field of ours would mend the text by itself; a choice, and an argument of the user's own code, has no field
_Reader.add_implicit_resolver(_FLOAT, _EXPONENT, list("-+.0123456789"))


class Document:
    """A YAML file read into plain types. `line(path)` is where a value stands, from 1."""

    def __init__(self, data: dict[str, Any], lines: dict[Path_, int]) -> None:
        """Holds the values and, by path of keys and indices, the lines they start on."""
        self.data = data
        self._lines = lines

    def line(self, path: Path_) -> int | None:
        """The line of the value at `path`, or of the nearest ancestor that stands in the file."""
        for length in range(len(path), 0, -1):
            if path[:length] in self._lines:
                return self._lines[path[:length]]
        return None


def read(path: Path) -> Document:
    """Reads the mapping in a YAML file.

    Raises:
        ConfigError: The file is missing, is not YAML, holds a key twice, or is not a mapping.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        near = sorted(str(found) for found in path.parent.glob("*.yaml")) if path.parent.is_dir() else []
        hint = f"; there are {', '.join(near)}" if near else ""
        raise ConfigError(str(path), [Mistake("", f"there is no such file{hint}")]) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(str(path), [Mistake("", f"cannot be read: {error}")]) from None
    return parse(text, str(path))


def parse(text: str, source: str) -> Document:
    """Reads a mapping from YAML text; `source` names it in errors."""
    try:
        loader = _Reader(text)
        node = loader.get_single_node()
        data = loader.construct_document(node) if node is not None else {}
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else None
        raise ConfigError(source, [Mistake("", f"is not YAML: {error.problem}", line)]) from None
    except yaml.YAMLError as error:
        raise ConfigError(source, [Mistake("", f"is not YAML: {error}")]) from None
    except (TypeError, ValueError) as error:  # a key that is a list, or a date such as 2024-13-45
        raise ConfigError(source, [Mistake("", f"holds what YAML cannot read: {error}; quote it")]) from None
    if not isinstance(data, dict):
        message = f"must hold a mapping of keys to values, got {type(data).__name__}"
        raise ConfigError(source, [Mistake("", message)])
    lines: dict[Path_, int] = {}
    if node is not None:
        _collect_lines(node, (), lines)
    return Document(data, lines)


def value(text: str) -> Any:
    """One value in YAML, as it is set on the command line.

    Raises:
        yaml.YAMLError, TypeError, ValueError: It is no YAML.
    """
    return yaml.load(text, _Reader)  # noqa: S506 - a safe loader


def _collect_lines(node: yaml.Node, path: Path_, lines: dict[Path_, int]) -> None:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            lines[(*path, key.value)] = key.start_mark.line + 1
            _collect_lines(value, (*path, key.value), lines)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            lines[(*path, index)] = value.start_mark.line + 1
            _collect_lines(value, (*path, index), lines)
