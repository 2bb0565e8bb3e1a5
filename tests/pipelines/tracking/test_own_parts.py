"""The user's code in an MLflow model: which of it goes along, and whose is imported where two have one name."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from importlib import import_module, invalidate_caches
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pipelines.tracking import own_parts_loader
from pipelines.tracking.own_parts import requirements

NAMES = ("own_team", "own_team.layers", "own_team.maths", "own_late")


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """What Keras was given for each model that was loaded, in a process that MLflow would load them in."""
    given: list[Any] = []

    def scope(parts: Any) -> Any:
        given.append(parts)
        return pytest.MonkeyPatch.context()

    monkeypatch.setitem(sys.modules, "keras", SimpleNamespace(saving=SimpleNamespace(custom_object_scope=scope)))
    flavour = SimpleNamespace(_load_pyfunc=lambda path: path)
    monkeypatch.setitem(sys.modules, "mlflow", SimpleNamespace(keras=flavour))
    monkeypatch.setitem(sys.modules, "mlflow.keras", flavour)
    for name in NAMES:
        monkeypatch.delitem(sys.modules, name, raising=False)
    yield given
    for name in NAMES:
        sys.modules.pop(name, None)


def model(folder: Path, says: str, **more: str) -> Path:
    """A model whose layer says something, by way of another module of its package."""
    texts = {
        "own_team/__init__.py": "",
        "own_team/layers.py": "from .maths import SAYS\nclass Gate:\n    says = SAYS\n",
        "own_team/maths.py": f"SAYS = {says!r}\n",
        **more,
    }
    for name, text in texts.items():
        (folder / "code" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "code" / name).write_text(text)
    (folder / "code" / own_parts_loader.PARTS).write_text(json.dumps({"Gate": "own_team.layers:Gate"}))
    return folder


def test_two_versions_with_other_code_of_one_name_each_get_their_own(loaded: list[Any], tmp_path: Path) -> None:
    path = list(sys.path)
    for says in ("first", "second", "first"):
        own_parts_loader._load_pyfunc(str(model(tmp_path / says, says)))

    assert [parts["Gate"].says for parts in loaded] == ["first", "second", "first"]
    assert loaded[0]["Gate"] is loaded[2]["Gate"], "the same code was imported twice"
    assert sys.path == path


def test_the_users_own_module_is_theirs_again_when_a_model_is_loaded(
    loaded: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(model(tmp_path / "mine", "mine") / "code")
    invalidate_caches()
    mine = import_module("own_team.layers")

    own_parts_loader._load_pyfunc(str(model(tmp_path / "old", "old", **{"own_late.py": ""})))

    assert loaded[0]["Gate"].says == "old"
    assert import_module("own_team.layers") is mine
    assert sys.modules["own_team.maths"].SAYS == "mine"


def test_what_their_code_imports_is_required_with_its_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "own_wide.py").write_text(
        "import json, keras, tensorflow as tf\nfrom own_deep import f\nfrom pipelines.tasks import Head\n"
    )
    (tmp_path / "own_deep.py").write_text("def f():\n    from sklearn.utils import shuffle\n")

    found = requirements({"Wide": "own_wide:Wide", "sin": "keras.ops:sin"})

    assert [each.partition("==")[0] for each in found] == ["scikit-learn"]
    assert found[0].partition("==")[2]
