from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from pipelines.callbacks.own import OwnCallback
from tests.pipelines.small_training import READ, fit, model, surroundings

MODULE = """
{how}

class Halver(Callback):
    def __init__(self, factor=0.5, every=1, names=()):
        super().__init__()
        self.factor, self.every, self.names = factor, every, names

    def on_epoch_end(self, epoch, logs=None):
        if epoch % self.every == 0:
            self.model.optimizer.learning_rate = self.model.optimizer.learning_rate * self.factor

class Seeing(Callback):
    def __init__(self, around, alpha=1.0):
        super().__init__()
        self.around, self.alpha = around, alpha

def made(factor):
    return Halver(factor)

class NoCallback:
    pass

NUMBER = 3
"""


@pytest.fixture(params=["from keras.callbacks import Callback", "from tensorflow.keras.callbacks import Callback"])
def own(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "own_callbacks.py").write_text(MODULE.format(how=request.param))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "own_callbacks", raising=False)
    return "own_callbacks"


def test_a_class_of_ones_own_trains_with_its_arguments(keras: Any, own: str, tmp_path: Path) -> None:
    settings = {"name": "class", "path": f"{own}:Halver", "arguments": {"factor": 0.25, "every": 2}}
    spec = READ.validate_python(settings)
    assert READ.validate_python(spec.model_dump(mode="json")) == spec
    assert own not in sys.modules  # reading a recipe runs none of it
    built = spec.build(surroundings(tmp_path))
    made = model(keras, optimizer=keras.optimizers.SGD(1.0))
    fit(made, [built], 3)
    assert float(made.optimizer.learning_rate) == 1 / 16


def test_a_function_that_makes_the_callback_does_too(keras: Any, own: str, tmp_path: Path) -> None:
    assert OwnCallback(path=f"{own}:made", arguments={"factor": 0.25}).build(surroundings(tmp_path)).factor == 0.25


def test_a_class_that_asks_for_its_surroundings_gets_them(keras: Any, own: str, tmp_path: Path) -> None:
    around = surroundings(tmp_path)
    built = OwnCallback(path=f"{own}:Seeing", arguments={"alpha": 2}).build(around)
    assert built.around is around
    assert built.alpha == 2


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ("1e-3", 1e-3),  # as YAML gives it
        ("-1.5E4", -15000.0),
        ("1.0", "1.0"),  # quoted in the recipe, as YAML reads it as a number by itself
        ("e5", "e5"),
        (3, 3),
        (True, True),
        (None, None),
        (["1e-3", "relu"], [1e-3, "relu"]),
        ({"low": "1e-3"}, {"low": 1e-3}),
    ],
    ids=repr,
)
def test_arguments_are_what_the_recipe_says(own: str, given: Any, read: Any) -> None:
    assert OwnCallback(path=f"{own}:Halver", arguments={"factor": given}).arguments == {"factor": read}


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("own_callbacks", "must be module:name"),
        ("own_callbacks.Halver", "did you mean 'own_callbacks:Halver'"),
        ("own_callbacks:Halfer", "did you mean 'Halver'"),
        ("own_calbacks:Halver", "there is no module 'own_calbacks'"),
    ],
)
def test_code_that_is_not_there_is_refused_when_the_recipe_is_read(own: str, path: str, words: str) -> None:
    with pytest.raises(ValidationError) as caught:
        OwnCallback(path=path)
    assert words in str(caught.value)


def test_an_argument_that_its_constructor_does_not_take_is_refused_when_the_recipe_is_read(own: str) -> None:
    with pytest.raises(ValidationError, match=r"'faktor' is no argument of .*; did you mean 'factor'"):
        OwnCallback(path=f"{own}:Halver", arguments={"faktor": 1})


@pytest.mark.parametrize(
    ("name", "arguments", "words"),
    [
        ("made", {}, "does not take these arguments: missing a required argument: 'factor'"),
        ("NoCallback", {}, "must make a keras.callbacks.Callback, got NoCallback"),
        ("NUMBER", {}, "must be a class, got int"),
    ],
)
def test_what_is_no_callback_fails_with_a_sentence(
    keras: Any, own: str, tmp_path: Path, name: str, arguments: dict[str, Any], words: str
) -> None:
    with pytest.raises(TypeError, match=words):
        OwnCallback(path=f"{own}:{name}", arguments=arguments).build(surroundings(tmp_path))
