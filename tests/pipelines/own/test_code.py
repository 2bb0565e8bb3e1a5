from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from pipelines.errors import RegattaError
from pipelines.own.code import OwnCodeError, Reference, check, load, told
from pipelines.spec import Spec

Write = Callable[..., Path]

EVERYTHING = """
import os as system, json.decoder
from pathlib import Path as Where

def made(): inner = 1
async def later(): pass
class Thing:
    attribute = 1
plain = one, (two, *rest) = 1, (2, 3)
typed: int = 1
bare: int
if plain:
    branch = 1
else:
    other = 2
try:
    tried = 1
except ValueError as caught:
    handled = 1
finally:
    last = 1
for turn in (1, 2):
    def looped(): pass
with open(__file__) as opened:
    within = 1
while (walrus := False): pass
match plain:
    case 1: matched = 1
    case _: unmatched = 2
made.attribute = 3
comprehended = [hidden for hidden in plain]
anonymous = lambda argument=(default := 1): argument
"""
THERE = [
    "system", "json", "Where", "made", "later", "Thing", "plain", "one", "two", "rest", "typed", "branch", "tried",
    "last", "turn", "looped", "opened", "within", "walrus", "unmatched", "comprehended", "anonymous",
]  # fmt: skip
IN_BRANCHES_NOT_TAKEN = ["other", "handled", "matched"]
NOT_THERE = ["inner", "attribute", "bare", "hidden", "argument", "os", "decoder", "Path", "caught"]


class Named(Spec):
    """Something that is the user's own."""

    function: Reference


@pytest.fixture(autouse=True)
def fresh_imports(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """The current folder is the test's own, and nothing that it imports outlives it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield
    for module in set(sys.modules) - before:
        path = getattr(sys.modules[module], "__file__", None) or ""
        if path.startswith(str(tmp_path)) or module == "space":
            del sys.modules[module]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(text: str = "def make(): return 7\n", name: str = "mine.py") -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_what_is_named_is_loaded_from_the_current_folder(write: Write) -> None:
    write()
    assert check("mine:make") is None
    assert load("mine:make")() == 7


def test_a_module_within_packages_is_loaded(write: Write) -> None:
    write("", "package/__init__.py")
    write("", "package/inner/__init__.py")
    write(name="package/inner/mine.py")
    assert check("package.inner.mine:make") is None
    assert load("package.inner.mine:make")() == 7


def test_a_folder_without_init_is_a_package_too(write: Write) -> None:
    write(name="space/mine.py")
    assert check("space.mine:make") is None
    assert load("space.mine:make")() == 7


def test_so_are_folders_in_folders(write: Write) -> None:
    write(name="outer/inner/innermost/mine.py")
    assert "no module 'outer.inner.other'" in str(check("outer.inner.other:make"))
    assert check("outer.inner.innermost.mine:make") is None
    assert load("outer.inner.innermost.mine:make")() == 7


def test_own_code_may_import_its_neighbours_later_too(write: Write) -> None:
    write("def make():\n    import helper\n    return helper.VALUE\n")
    write("VALUE = 8\n", "helper.py")
    assert load("mine:make")() == 8


def test_what_is_installed_may_be_named() -> None:
    assert check("json:loads") is None
    assert load("json:loads") is json.loads
    assert check("ctypes.macholib.framework:framework_info") is None
    assert "ctypes.macholib.framework" not in sys.modules  # of no use here, so that nobody else has imported it


def test_compiled_modules_are_left_to_the_import() -> None:
    name = "_zoneinfo" if "_zoneinfo" not in sys.modules else "_lsprof"
    assert check(f"{name}:nothing_like_it") is None
    with pytest.raises(OwnCodeError, match="no 'nothing_like_it'"):
        load(f"{name}:nothing_like_it")


def test_checking_runs_nothing(write: Write, tmp_path: Path) -> None:
    touch = "from pathlib import Path\nPath(__file__).with_suffix('.ran').touch()\n"
    write(touch, "package/__init__.py")
    write(touch + "def make(): return 7\n", "package/mine.py")
    assert check("package.mine:make") is None
    assert "has no 'mak'" in str(check("package.mine:mak"))
    assert "no module 'package.other'" in str(check("package.other:make"))
    assert not [name for name in sys.modules if name.startswith("package")]
    assert sorted(path.name for path in tmp_path.rglob("*.ran")) == []
    load("package.mine:make")
    assert sorted(path.name for path in tmp_path.rglob("*.ran")) == ["__init__.ran", "mine.ran"]


@pytest.mark.parametrize("name", THERE)
def test_a_name_counts_as_there_however_it_is_made(write: Write, name: str) -> None:
    write(EVERYTHING)
    assert check(f"mine:{name}") is None
    assert load(f"mine:{name}") is not NotImplemented


@pytest.mark.parametrize("name", IN_BRANCHES_NOT_TAKEN)
def test_which_branch_is_taken_only_the_import_shows(write: Write, name: str) -> None:
    write(EVERYTHING)
    assert check(f"mine:{name}") is None
    with pytest.raises(OwnCodeError, match=f"has no '{name}'"):
        load(f"mine:{name}")


@pytest.mark.parametrize("name", NOT_THERE)
def test_a_name_within_something_is_not_at_the_top(write: Write, name: str) -> None:
    write(EVERYTHING)
    assert f"has no '{name}'" in str(check(f"mine:{name}"))


@pytest.mark.parametrize("text", ["from json import *\n", "def __getattr__(name): return len(name)\n"])
def test_names_that_only_running_shows_are_left_to_the_import(write: Write, text: str) -> None:
    write(text)
    assert check("mine:loads") is None
    assert load("mine:loads") in (json.loads, 5)


def test_a_module_that_is_imported_is_asked_itself(write: Write) -> None:
    write("globals()['secret'] = 3\nmake = 1\n")
    assert "has no 'secret'" in str(check("mine:secret"))
    load("mine:make")
    assert check("mine:secret") is None
    assert "did you mean 'secret'?" in str(check("mine:secrt"))


def test_a_file_in_another_encoding_is_read_as_it_says(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_bytes("# -*- coding: latin-1 -*-\nword = 'é'\n".encode("latin-1"))
    assert check("mine:word") is None
    assert load("mine:word") == "é"


FORM = "must be module:name, such as my_code:make, got "
WRONG: list[tuple[str, str | None, str, str]] = [
    # reference, content of mine.py, how the sentence begins, what else is in it
    ("", None, FORM + "''", ""),
    ("make", None, FORM + "'make'", ""),
    ("mine:", None, FORM + "'mine:'", ""),
    (":make", None, FORM + "':make'", ""),
    ("mine:make:more", None, FORM, ""),
    ("mine:Thing.make", None, FORM, ""),
    ("mine make", None, FORM, ""),
    ("mine..other:make", None, FORM, ""),
    ("mine.make", None, FORM, "; did you mean 'mine:make'?"),
    ("mine.py:make", None, FORM, "; did you mean 'mine:make'?"),
    ("folder/mine.py:make", None, FORM, "; did you mean 'folder.mine:make'?"),
    ("./mine.py:make", None, FORM, "; did you mean 'mine:make'?"),
    ("mien:make", "make = 1\n", "must name code that can be imported, but there is no module 'mien'", "'mine'?"),
    ("mine.inner:make", "make = 1\n", "must name code that can be imported", "no module 'mine.inner'"),
    ("a.b.c:make", None, "must name code that can be imported", "no module 'a'"),
    ("json.nothing:make", None, "must name code that can be imported", "no module 'json.nothing'"),
    ("mine:mkae", "def make(): pass\ndef other(): pass\n", "must name something at the top level of",
     "which has no 'mkae'; did you mean 'make'?; it has make, other"),
    ("mine:make", "", "must name something at the top level of", "has no 'make'"),
    ("mine:make", "".join(f"n{i} = 1\n" for i in range(12)), "must name something at the top level",
     "; it has n0, n1, n10, n11, n2, n3, n4, n5, n6, n7, …"),
    ("mine:make", "def make(:\n", "must name code that can", "mine.py, line 1 is no Python: invalid syntax"),
    ("mine:make", "make = 1\n  x = 2\n", "must name code that can", "line 2 is no Python: unexpected indent"),
    ("mine:make", "# -*- coding: klingon -*-\nmake = 1\n", "must name code", "is no Python: unknown encoding"),
    ("mine:make", "make = 1\0\n", "must name code that can be imported", "null bytes"),
]  # fmt: skip


@pytest.mark.parametrize(("reference", "text", "begins", "holds"), WRONG)
def test_what_is_wrong_is_one_sentence_in_the_check_the_spec_and_the_load(
    write: Write, reference: str, text: str | None, begins: str, holds: str
) -> None:
    if text is not None:
        write(text)
    said = check(reference)
    assert said is not None
    assert said.startswith(begins)
    assert holds in said
    with pytest.raises(ValidationError) as refused:
        Named.model_validate({"function": reference})
    assert str(refused.value.errors()[0]["ctx"]["error"]) == said
    with pytest.raises(OwnCodeError) as caught:
        load(reference)
    assert str(caught.value) == f"'{reference}' {said}."
    assert isinstance(caught.value, RegattaError)


def test_a_spec_keeps_the_reference_as_it_was_written(write: Write) -> None:
    write()
    assert Named(function="mine:make").model_dump() == {"function": "mine:make"}


def test_an_import_hook_that_breaks_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken:
        def find_spec(self, *arguments: Any) -> None:
            raise RuntimeError("hooked")

    monkeypatch.setattr(sys, "meta_path", [Broken()])
    assert "looking for the module 'mine' failed (RuntimeError: hooked)" in str(check("mine:make"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("make = 1\n\nraise ValueError('too few sails')\n", "ValueError: too few sails ({path}, line 3)"),
        ("make = 1\nimport no_such_thing\n", "ModuleNotFoundError: No module named 'no_such_thing' ({path}, line 2)"),
        ("import sys\nmake = 1\nsys.exit('bye')\n", "SystemExit: bye ({path}, line 3)"),
        ("import json\nmake = json.loads('{')\n", "({path}, line 2)"),
        ("make = 1\nassert make == 2\n", "AssertionError ({path}, line 2)"),
    ],
)  # fmt: skip
def test_a_module_that_fails_as_it_is_imported_tells_what_and_where(write: Write, text: str, words: str) -> None:
    path = write(text)
    assert check("mine:make") is None
    with pytest.raises(OwnCodeError) as caught:
        load("mine:make")
    assert str(caught.value).startswith("'mine:make' cannot be imported: ")
    assert words.format(path=path) in str(caught.value)


def test_a_parent_package_that_fails_is_named_at_the_import_alone(write: Write) -> None:
    path = write("raise ValueError('no')\n", "package/__init__.py")
    write(name="package/mine.py")
    assert check("package.mine:make") is None
    with pytest.raises(OwnCodeError) as caught:
        load("package.mine:make")
    assert f"ValueError: no ({path}, line 1)" in str(caught.value)


def test_a_name_that_the_text_promises_and_the_import_breaks_is_told(write: Write) -> None:
    write("make = 1\ndel make\n")
    with pytest.raises(OwnCodeError, match="has no 'make'"):
        load("mine:make")


def test_an_error_of_ones_own_code_is_told_without_ours() -> None:
    with pytest.raises(OwnCodeError) as caught:
        load("nothing:make")
    assert f"({__file__}, line " in told(caught.value)
    assert told(KeyError()) == "KeyError"


HERE = "from pipelines.own.code import load\nprint(load('mine:make')())\n"
IN_A_WORKER = """
import multiprocessing
from pipelines.own.code import load

def work(): print(load("mine:make")())

if __name__ == "__main__":
    process = multiprocessing.get_context("spawn").Process(target=work)
    process.start()
    process.join()
"""


@pytest.mark.parametrize("text", [HERE, IN_A_WORKER], ids=["itself", "its worker"])
def test_a_program_elsewhere_finds_the_current_folder(
    write: Write, repository: Path, tmp_path: Path, text: str
) -> None:
    write()
    program = tmp_path / "bin" / "regatta.py"
    program.parent.mkdir()
    program.write_text(text)
    environment = {**os.environ, "PYTHONPATH": str(repository)}
    done = subprocess.run(
        [sys.executable, str(program)], capture_output=True, text=True, env=environment, cwd=tmp_path, timeout=60
    )
    assert (done.stdout, done.stderr) == ("7\n", "")
