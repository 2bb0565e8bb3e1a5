from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODULES = sorted(path for wing in ("pipelines", "services") for path in (ROOT / wing).rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
PICKLES = {"pickle", "cPickle", "_pickle", "cloudpickle", "dill", "shelve", "marshal", "joblib"}
MOST_LINES = 400


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_there_are_modules_to_look_at() -> None:
    assert len(MODULES) > 60
    assert len(TESTS) > 10


@pytest.mark.parametrize("path", [*MODULES, *TESTS], ids=named)
def test_no_module_imports_a_pickle(path: Path) -> None:
    assert not {name.split(".")[0] for name in imported(path)} & PICKLES


@pytest.mark.parametrize("path", MODULES, ids=named)
def test_no_module_turns_pickles_on(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.keyword) and node.arg in {"allow_pickle", "safe_mode"}:
            right = node.arg == "safe_mode"
            assert isinstance(node.value, ast.Constant), "written out, so that it can be read here"
            assert node.value.value is right


@pytest.mark.parametrize("path", MODULES, ids=named)
def test_a_module_is_short_enough_to_be_read(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) < MOST_LINES


@pytest.mark.parametrize("path", MODULES, ids=named)
def test_a_module_opens_with_a_docstring(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))


def test_no_package_hides_among_the_tests() -> None:
    assert [named(path) for path in TESTS if path.name == "__init__.py"] == []


def test_the_two_wings_never_import_each_other() -> None:
    for wing, other in (("pipelines", "services"), ("services", "pipelines")):
        for path in (ROOT / wing).rglob("*.py"):
            assert not [name for name in imported(path) if name.split(".")[0] == other], named(path)
