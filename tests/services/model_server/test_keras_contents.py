"""What a `.keras` file may be made of: Keras's own layers, and nothing that runs or fetches somebody's code."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from pipelines.models import strangers as training_side
from services.model_server.keras_engine.contents import Refused, refuse_strangers, strangers
from services.model_server.keras_engine.model import sizes_up_to

LAYER: dict[str, Any] = {
    "module": "keras.layers",
    "class_name": "Dense",
    "config": {
        "units": 3,
        "dtype": {"module": "keras", "class_name": "DTypePolicy", "config": {"name": "float32"}},
        "kernel_initializer": {"module": "keras.initializers", "class_name": "Zeros", "config": {}},
    },
    "registered_name": None,
}


def model(*layers: Any, **more: Any) -> dict[str, Any]:
    parts = {"module": "keras.src.models.functional", "class_name": "Functional", "config": {"layers": [*layers]}}
    return {**parts, **more}


def keras_file(folder: Path, config: Any, **files: str) -> Path:
    path = folder / "model.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("metadata.json", "{}")
        archive.writestr("model.weights.h5", b"\x89HDF")
        archive.writestr("config.json", config if isinstance(config, str) else json.dumps(config))
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def test_keras_s_own_layers_and_operations_are_welcome(tmp_path: Path) -> None:
    operation = {"module": "keras.src.ops.numpy", "class_name": "Log1p", "config": {}}
    tensor = {"class_name": "__keras_tensor__", "config": {"shape": [None, 8]}}
    shape = {"module": "builtins", "class_name": "__tuple__", "items": [1, 2], "config": {}}
    compiled = {"loss": {"module": "strange", "class_name": "Loss", "config": {}}}

    refuse_strangers(keras_file(tmp_path, model(LAYER, operation, tensor, shape, compile_config=compiled)))


@pytest.mark.parametrize(
    ("part", "named"),
    [
        ({"module": "os", "class_name": "system", "config": {}}, "the class os.system"),
        ({"module": "my.layers", "class_name": "Mine", "config": {}}, "the class my.layers.Mine"),
        ({"module": "kerasy", "class_name": "Mine", "config": {}}, "the class kerasy.Mine"),
        ({"module": "builtins", "class_name": "function", "config": "gelu"}, "the function 'gelu'"),
        ({"module": "builtins", "class_name": "eval", "config": {}}, "the class 'eval'"),
        ({"class_name": "__lambda__", "config": {"value": "4wAA"}}, "a lambda"),
        ({"module": "keras.layers", "class_name": "Lambda", "config": {}}, "the layer Lambda"),
        ({"class_name": "Lambda", "config": {}}, "the layer Lambda"),
        ({"module": "keras.layers", "class_name": "TFSMLayer", "config": {}}, "the layer TFSMLayer"),
        ({"module": "keras.utils", "class_name": "get_file", "config": {}}, "the class keras.utils.get_file"),
        ({"module": "keras.src.utils.file_utils", "class_name": "x", "config": {}}, "keras.src.utils.file_utils.x"),
        ({"module": "keras.saving", "class_name": "load_model", "config": {}}, "the class keras.saving.load_model"),
        ({"module": ["os"], "class_name": "system", "config": {}}, "the class ['os'].system"),
    ],
)
@pytest.mark.parametrize("place", ["a layer", "in a layer", "the model"])
def test_what_is_not_keras_s_own_is_refused_wherever_it_stands(
    tmp_path: Path, part: dict[str, Any], named: str, place: str
) -> None:
    config = {"a layer": model(LAYER, part), "in a layer": model({**LAYER, "config": {"a": [part]}}), "the model": part}

    with pytest.raises(Refused) as caught:
        refuse_strangers(keras_file(tmp_path, config[place]))

    assert named in str(caught.value)
    assert "a model server runs no code of a model" in str(caught.value)


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("os", "system"),
        ("my.layers", "Mine"),
        ("builtins", "function"),
        ("keras.layers", "Lambda"),
        ("keras.layers", "TFSMLayer"),
        ("keras.src.utils.jax_layer", "JaxLayer"),
        ("keras.utils", "get_file"),
        ("keras.src.saving.saving_lib", "load_model"),
        ("keras.layers", "Dense"),
        ("keras.src.ops.numpy", "Log1p"),
        ("keras.src.models.functional", "Functional"),
        ("keras", "DTypePolicy"),
    ],
)
def test_what_the_server_refuses_the_training_side_knows_before(module: str, name: str) -> None:
    config = {"function": {"class_name": "__lambda__", "config": {}}} if name == "Lambda" else {}
    part = {"module": module, "class_name": name, "config": config}

    config = model(LAYER, part)
    known = [*training_side.strangers(config), *training_side.unloadable(config)]
    assert bool(list(strangers(config))) == bool(known)


@pytest.mark.parametrize("name", ["code.py", "../outside", "assets/../../outside", "/etc/passwd"])
def test_a_file_that_no_keras_model_has_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(Refused, match="which no Keras model has"):
        refuse_strangers(keras_file(tmp_path, model(LAYER), **{name: "x"}))


def test_a_vocabulary_is_an_asset(tmp_path: Path) -> None:
    refuse_strangers(keras_file(tmp_path, model(LAYER), **{"assets/layers/string_lookup/vocabulary.txt": "Oslo"}))


@pytest.mark.parametrize("config", ["{", "[" * 100_000], ids=["no JSON", "too deep"])
def test_a_config_that_cannot_be_read_is_refused(tmp_path: Path, config: str) -> None:
    with pytest.raises(Refused, match="is no Keras file"):
        refuse_strangers(keras_file(tmp_path, config))


def test_a_deep_config_that_can_be_read_is_looked_through(tmp_path: Path) -> None:
    lambda_layer = '{"module": "keras.layers", "class_name": "Lambda", "config": {}}'

    with pytest.raises(Refused, match="the layer Lambda"):
        refuse_strangers(keras_file(tmp_path, "[" * 200 + lambda_layer + "]" * 200))


def test_what_is_no_archive_or_not_there_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.keras").write_bytes(b"not an archive")

    with pytest.raises(Refused, match=r"model.keras is no Keras file \(BadZipFile"):
        refuse_strangers(tmp_path / "model.keras")
    with pytest.raises(Refused, match=r"is no Keras file \(FileNotFoundError"):
        refuse_strangers(tmp_path / "nothing.keras")


@pytest.mark.parametrize(
    ("most", "sizes"),
    [
        (1, (1,)),
        (2, (1, 2)),
        (8, (1, 2, 3, 4, 6, 8)),
        (20, (1, 2, 3, 4, 6, 8, 12, 16, 20)),
        (256, (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256)),
    ],
)
def test_batches_are_padded_to_few_sizes_and_never_by_more_than_half(most: int, sizes: tuple[int, ...]) -> None:
    found = sizes_up_to(most)

    assert found == sizes
    assert all(next(size for size in found if size >= rows) <= rows * 1.5 for rows in range(1, most + 1))
