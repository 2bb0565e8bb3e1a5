"""Digests of the user's own code that a config names."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pipelines.own.digest import CODE_SHA256_TAG, CODE_TAG, code_tags, named_modules, other_code, own_code

CONFIG = {
    "model": {"name": "function", "function": "mine:make", "arguments": {"width": 3}},
    "search_space": {"model.arguments.width": [1, 2], "callbacks": [{"name": "class", "path": "shop.tools:Watch"}]},
}
Write = Callable[[str, str], Path]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Writes a module into the folder that the user stands in."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))

    def write(name: str, text: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    return write


def fill(write: Write) -> None:
    write("mine.py", "import numpy\nimport helpers\nfrom shop import later\n\ndef make(): pass\n")
    write("helpers.py", "raise RuntimeError('nobody runs it')\n")
    write("unused.py", "")
    write("shop/__init__.py", "")
    write("shop/tools.py", "from . import deep\nfrom .more.parts import all_of\n\nclass Watch: pass\n")
    write("shop/deep.py", "def later():\n    import json, keras\n")
    write("shop/later.py", "from ..mine import nothing\n")
    write("shop/more/parts.py", "all_of = 1\n")


def test_every_module_that_is_named_and_what_it_imports_of_the_users_has_a_digest(write: Write, tmp_path: Path) -> None:
    fill(write)

    found = own_code(CONFIG)

    named = ["helpers", "mine", "shop", "shop.deep", "shop.later", "shop.more.parts", "shop.tools"]
    assert list(found) == named
    assert found["helpers"] == hashlib.sha256((tmp_path / "helpers.py").read_bytes()).hexdigest()
    assert not {"mine", "helpers", "shop"} & set(sys.modules)


@pytest.mark.parametrize("name", ["mine.py", "helpers.py", "shop/__init__.py", "shop/deep.py"])
def test_a_change_of_any_of_them_is_told_by_its_name(write: Write, name: str) -> None:
    fill(write)
    before = own_code(CONFIG)

    write(name, "changed = True\n" + Path(name).read_text(encoding="utf-8"))

    module = name.removesuffix(".py").replace("/", ".").removesuffix(".__init__")
    assert other_code(before, own_code(CONFIG)) == [module]
    assert code_tags(before)[CODE_SHA256_TAG] != code_tags(own_code(CONFIG))[CODE_SHA256_TAG]


def test_what_is_not_used_is_no_change(write: Write) -> None:
    fill(write)
    before = own_code(CONFIG)

    write("unused.py", "changed = True\n")

    assert own_code(CONFIG) == before
    assert code_tags(before) == code_tags(own_code(CONFIG))


@pytest.mark.parametrize(
    "named",
    ["json:loads", "numpy:zeros", "pipelines.models.dense:Dense", "nobody.has.it:x", "a label: with words", "broken:x"],
)
def test_libraries_regatta_and_what_is_not_there_have_no_digest(write: Write, named: str) -> None:
    write("broken.py", "def (:\n")
    assert own_code({"function": named}) == {}


def test_a_run_is_tagged_with_one_digest_and_with_the_modules(write: Write) -> None:
    fill(write)
    found = own_code({"function": "helpers:x"})

    tags = code_tags(found)

    assert json.loads(tags[CODE_TAG]) == {"helpers": found["helpers"][:12]}
    assert len(tags[CODE_SHA256_TAG]) == 64
    assert other_code(json.loads(tags[CODE_TAG]), found) == []
    assert code_tags({}) == {}
    assert list(code_tags({f"module_{number}": "0" * 64 for number in range(999)})) == [CODE_SHA256_TAG]


def test_many_modules_are_counted() -> None:
    assert named_modules(["a", "b"]) == "a, b"
    assert named_modules(list("abcdefg")) == "a, b, c, d, e and 2 more"
