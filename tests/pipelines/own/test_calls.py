"""Whether own code takes the arguments of a recipe, told from its text."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.own.calls import unknown_arguments
from pipelines.own.code import may_be_elsewhere

CODE = """
import functools
from elsewhere import imported

def make(inputs, head, width=8, *, depth=2):
    raise RuntimeError("nobody runs this")

def anything(inputs, head, **more): ...

@functools.cache
def wrapped(inputs, head, width): ...

class Base: ...

class Own(Base):
    def __init__(self, threshold, around=None): ...

class Inherits(Base): ...

class Registered(Base, key="a"):
    def __init__(self, threshold): ...

alias = make

def rebound(inputs, head): ...
rebound = make

def twice(inputs, head): ...
if imported:
    def twice(inputs, head, width): ...
"""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "called_code.py"
    path.write_text(CODE)
    return path


@pytest.mark.parametrize(
    ("name", "arguments", "given", "wrong"),
    [
        ("make", ["width", "depth"], 2, None),
        ("make", [], 2, None),
        ("make", ["widht"], 2, "'widht' is no argument of {}; did you mean 'width'?; it takes width, depth"),
        ("make", ["inputs"], 2, "'inputs' is no argument of {}; it takes width, depth"),
        ("make", ["a", "b"], 2, "'a' and 'b' are no arguments of {}; it takes width, depth"),
        ("Own", ["threshold", "around"], 0, None),
        ("Own", ["treshold"], 0,
         "'treshold' is no argument of {}; did you mean 'threshold'?; it takes threshold, around"),
    ],
)  # fmt: skip
def test_a_name_that_the_code_does_not_take_is_told_with_the_nearest(
    name: str, arguments: list[str], given: int, wrong: str | None
) -> None:
    assert unknown_arguments(f"called_code:{name}", arguments, given) == (wrong and wrong.format(f"called_code:{name}"))


@pytest.mark.parametrize(
    "name", ["anything", "wrapped", "Inherits", "Registered", "alias", "imported", "rebound", "twice", "absent"]
)
def test_nothing_is_said_of_code_whose_text_does_not_show_what_it_takes(name: str) -> None:
    assert unknown_arguments(f"called_code:{name}", ["widht"], 2) is None


def test_code_that_was_mended_is_read_again(here: Path) -> None:
    assert unknown_arguments("called_code:make", ["units"], 2) is not None
    here.write_text(CODE.replace("width=8", "units=8"))

    assert unknown_arguments("called_code:make", ["units"], 2) is None


def test_nothing_is_looked_for_where_the_code_may_be_elsewhere() -> None:
    with may_be_elsewhere():
        assert unknown_arguments("called_code:make", ["widht"], 2) is None
