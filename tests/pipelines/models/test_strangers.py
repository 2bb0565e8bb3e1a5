"""What in a model's config is not Keras's own, and where it is found again."""

from __future__ import annotations

import json
import sys
import zipfile
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from pipelines.models.strangers import Stranger, in_file, objects, places, strangers, unloadable
from pipelines.own.code import OwnCodeError

DENSE = {"module": "keras.layers", "class_name": "Dense", "config": {"units": 3}, "registered_name": None}
FIRST = """
from own_second import swish
import keras

def make(): ...
@keras.saving.register_keras_serializable("own", name="steep")
def very_steep(x): ...
def both(x): ...
class Gate: ...
"""
SECOND = """
def swish(x): ...
def both(x): ...
def far(x): ...
class Gate: ...
"""


def of_class(module: str, name: str, key: str | None = None) -> dict[str, Any]:
    return {"module": module, "class_name": name, "config": {}, "registered_name": key or name}


def of_function(key: str) -> dict[str, Any]:
    return {"module": "builtins", "class_name": "function", "config": key, "registered_name": "function"}


def model(*parts: Any) -> dict[str, Any]:
    held = [DENSE, *({**DENSE, "config": {"activation": part}} for part in parts)]
    compiled = {"loss": of_function("own_loss")}
    return {
        "module": "keras.src.models.functional",
        "class_name": "Functional",
        "config": {"layers": held},
        "compile_config": compiled,
    }


@pytest.fixture
def code(keras: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two modules of a user's."""
    (tmp_path / "own_first.py").write_text(FIRST)
    (tmp_path / "own_second.py").write_text(SECOND)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    for module in ("own_first", "own_second"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    return tmp_path


def test_they_are_told_wherever_they_stand_but_not_what_it_was_compiled_with() -> None:
    config = model(of_class("my.layers", "Gate", "own>Gate"), [of_function("own>steep")], of_function("swish"))

    assert list(strangers(config)) == [
        Stranger("own>Gate", "Gate", "my.layers"),
        Stranger("own>steep", "steep", None),
        Stranger("swish", "swish", None),
    ]
    assert not list(strangers(model())), "a model of Keras's own layers has some"


@pytest.mark.parametrize(
    ("part", "told"),
    [
        ({"class_name": "__lambda__", "config": {"value": "4wAA"}}, "a lambda"),
        ({"value": ["4wEAAAAA", None, None]}, "a lambda"),
        (of_class("tensorflow.python.eager.polymorphic_function", "Function"),
         "a tf.function (without @tf.function it is a plain one, and compiled all the same)"),
        (of_class("keras.layers", "TFSMLayer"), "TFSMLayer, which loads more than the model's own file holds"),
        (of_class("keras.utils", "get_file"), "get_file, which loads more than the model's own file holds"),
    ],
    ids=lambda value: str(value)[:40],
)  # fmt: skip
def test_what_nobody_loads_is_named(part: Any, told: str) -> None:
    assert list(unloadable(model(part))) == [told]


def test_keras_s_own_that_nobody_loads_counts_as_nobody_s_own() -> None:
    parts = [{"class_name": "__lambda__", "config": {}}, of_class("keras.layers", "TFSMLayer")]
    assert not list(strangers(model(*parts)))


def test_each_is_found_by_the_name_that_keras_knows_it_by(code: Path) -> None:
    functions = [of_function(name) for name in ("swish", "own>steep", "far", "sin")]
    config = model(of_class("own_second", "Gate"), *functions)

    found = places(config, "own_first:make")

    assert found == {
        "Gate": "own_second:Gate",
        "swish": "own_second:swish",
        "own>steep": "own_first:very_steep",
        "far": "own_second:far",
        "sin": "keras.ops:sin",
    }
    assert objects(found)["swish"] is import_module("own_second").swish


@pytest.mark.parametrize(
    ("parts", "told"),
    [
        ([of_function("nowhere")], "has the function nowhere, which stands at the top level of no module of yours"),
        ([of_class("own_second", "Gone")], "has the class Gone, which stands at the top level of no module of yours"),
        ([of_class("own_third", "Gate")], "there is no module 'own_third'"),
        ([of_function("both")], "may have own_first:both or own_second:both, which Keras's files cannot tell apart"),
        ([of_class("own_first", "Gate"), of_class("own_second", "Gate")],
         r"own_second:Gate, which .* put @keras.saving.register_keras_serializable\('own_second'\) before"),
    ],
)  # fmt: skip
def test_what_cannot_be_found_again_is_told_with_the_way_out(code: Path, parts: list[Any], told: str) -> None:
    with pytest.raises(OwnCodeError, match=told):
        places(model(of_function("swish"), *parts), "own_first:make")


def test_a_file_is_looked_into_without_keras(tmp_path: Path) -> None:
    path = tmp_path / "model.keras"
    for parts, there in (((), False), ((of_function("swish"),), True)):
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("config.json", json.dumps(model(*parts)))
        assert in_file(path) is there
    path.write_text("torn")
    assert not in_file(path)
    assert not in_file(tmp_path / "gone.keras")
