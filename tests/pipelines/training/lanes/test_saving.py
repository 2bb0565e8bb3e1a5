from __future__ import annotations

import json
import time
import zipfile
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines.checkpoints import sha256_of
from pipelines.inputs import Column, InputFacts
from pipelines.recipe.config import TrainingConfig

CLASSES = ("a", "b", "c")
GREY = InputFacts((8, 8), 0.0, 16.0, CLASSES, "image", mean=(5.0,), deviation=(4.0,))
COLUMNS = (Column("age"), Column("colour", ("red", "blue")), Column("year"))
TABLE = InputFacts((3,), None, None, CLASSES, "table", COLUMNS, "kind", (40.0, 0.0, 1990.0), (10.0, 1.0, 8.0))
PRICES = InputFacts((3,), None, None, (), "table", COLUMNS, "price", (40.0, 0.0, 9.0), (10.0, 1.0, 8.0), 150.0, 7.0)
POINTS = InputFacts((2,), -6.0, 6.0, ("orange", "blue"), "points", mean=(0.5, -1.0), deviation=(3.0, 2.0))
SPIRAL = {"dataset": {"name": "spiral"}}
DENSE = {"units": [10, 6]}
KINDS: dict[str, tuple[InputFacts, dict[str, Any]]] = {
    "adam": (GREY, {"model": DENSE}),
    "functional": (GREY, {"model": {**DENSE, "api": "functional"}}),
    "amsgrad": (GREY, {"model": DENSE, "optimizer": {"name": "adam", "amsgrad": True, "clipnorm": 1.0}}),
    "plain sgd": (GREY, {"model": DENSE, "optimizer": {"name": "sgd"}}),
    "sgd with momentum": (GREY, {"model": DENSE, "optimizer": {"name": "sgd", "momentum": 0.9, "nesterov": True}}),
    "rmsprop": (GREY, {"model": DENSE, "optimizer": {"name": "rmsprop", "centered": True, "momentum": 0.5}}),
    "adafactor": (GREY, {"model": DENSE, "optimizer": {"name": "adafactor"}}),
    "lamb": (GREY, {"model": DENSE, "optimizer": {"name": "lamb", "weight_decay": 0.01}}),
    "moving average": (GREY, {"model": DENSE, "optimizer": {"name": "adam", "use_ema": True}}),
    "accumulation": (GREY, {"model": DENSE, "optimizer": {"name": "adam", "gradient_accumulation_steps": 2}}),
    "schedule": (GREY, {"model": DENSE, "optimizer": {"name": "adam", "learning_rate": "cosine"}}),
    "a rate that is its own mark": (GREY, {"model": DENSE, "optimizer": {"name": "sgd", "learning_rate": 12.0}}),
    "batch norm and dropout": (GREY, {"model": {**DENSE, "batch_norm": True, "dropout": 0.2}}),
    "cnn": (GREY, {"model": {"name": "cnn", "filters": [3, 4], "units": [5], "batch_norm": True}}),
    "penalties": (GREY, {"model": {**DENSE, "l1": 1e-3, "l2": [0.1, 0.2], "max_norm": 2.0}}),
    "table": (TABLE, {"model": {"units": [6], "dropout": 0.5}}),
    "a number in its own units": (PRICES, {"model": {"units": [6]}}),
    "playground": (POINTS, {"model": {"units": [4], "features": ["x1", "x1_squared", "sin_x2"]}, **SPIRAL}),
    "many layers": (GREY, {"model": {"units": [3] * 20}}),
}


@pytest.fixture(autouse=True)
def cleared(keras: Any) -> None:
    keras.backend.clear_session(free_memory=False)


def built(facts: InputFacts, seed: int = 1, **settings: Any) -> Any:
    """A model as `fit` builds it, with its optimizer's state."""
    from pipelines.training.fit import build_model
    from pipelines.training.values import variables_of

    model = build_model(TrainingConfig.model_validate({**settings, "seed": seed}), facts, 3)
    variables_of(model)
    return model


def samples(facts: InputFacts, count: int = 48) -> tuple[Any, Any]:
    found = np.random.default_rng(4)
    x = found.uniform(0, 3, (count, *facts.shape)).astype(np.float32)
    y = found.integers(0, len(facts.labels), count) if facts.labels else found.normal(150, 7, (count, 1))
    return x, y.astype(np.float32).reshape(-1, 1) if len(facts.labels) == 2 else y


def trained(model: Any, facts: InputFacts, epochs: int = 1) -> Any:
    x, y = samples(facts)
    return model.fit(x, y, epochs=epochs, batch_size=16, verbose=0, shuffle=False)


def values_of(model: Any) -> list[Any]:
    return [np.asarray(variable.numpy()) for variable in [*model.variables, *model.optimizer.variables]]


def saved_of(model: Any) -> list[Any]:
    """The same without what no file holds: where the streams of dropout stand."""
    variables = [*model.variables, *model.optimizer.variables]
    return [np.asarray(variable.numpy()) for variable in variables if "seed_generator" not in variable.path]


def stamp_of(model: Any, **settings: float) -> Any:
    from pipelines.training.lanes.stamping import stamp_of

    return stamp_of(model, {name.replace("__", "."): value for name, value in settings.items()})


def bits(values: Any) -> list[tuple[Any, ...]]:
    return [(value.dtype, value.shape, value.tobytes()) for value in values]


def content(path: Path) -> dict[str, Any]:
    """What is in a file, without what belongs to the moment and the process in which it was saved."""
    with zipfile.ZipFile(path) as archive:
        entries = [
            (entry.filename, entry.external_attr, entry.flag_bits, entry.compress_type, entry.file_size, entry.extra)
            for entry in archive.infolist()
            if entry.filename != "config.json"
        ]
        config = json.loads(archive.read("config.json"), object_hook=_without_ids)
        metadata = json.loads(archive.read("metadata.json"))
        assert archive.testzip() is None
        weights = archive.read("model.weights.h5")
    return {"entries": entries, "config": config, "metadata": {**metadata, "date_saved": ""}, "weights": weights}


def _without_ids(found: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in found.items() if key != "shared_object_id"}


@pytest.mark.parametrize("kind", KINDS)
def test_a_stamped_file_is_what_keras_would_have_saved(keras: Any, kind: str, tmp_path: Path) -> None:
    facts, settings = KINDS[kind]
    stamp = stamp_of(built(facts, **settings))
    assert stamp is not None
    keras.backend.clear_session(free_memory=False)
    other = built(facts, seed=7, **settings)
    found = np.random.default_rng(1)
    for variable in [*other.variables, *other.optimizer.variables]:
        variable.assign(found.uniform(0, 50, variable.shape))
    real, stamped = tmp_path / "real.keras", tmp_path / "stamped.keras"
    other.save(real)
    assert stamp.write(stamped, values_of(other)) == sha256_of(stamped)
    assert content(stamped) == content(real)


@pytest.mark.parametrize("kind", [
    "adam", "functional", "plain sgd", "sgd with momentum", "rmsprop", "adafactor", "lamb", "moving average",
    "schedule", "batch norm and dropout", "cnn", "a number in its own units", "playground",
])  # fmt: skip
def test_a_loaded_file_says_the_same_as_keras_own_and_goes_on_the_same(keras: Any, kind: str, tmp_path: Path) -> None:
    facts, settings = KINDS[kind]
    stamp = stamp_of(built(facts, **settings))
    keras.backend.clear_session(free_memory=False)
    other = built(facts, seed=7, **settings)
    trained(other, facts)
    real, stamped = tmp_path / "real.keras", tmp_path / "stamped.keras"
    other.save(real)
    stamp.write(stamped, values_of(other))

    x, y = samples(facts)
    told = []
    for path in (real, stamped):
        keras.utils.set_random_seed(5)
        loaded = keras.saving.load_model(path)
        assert bits(saved_of(loaded)) == bits(saved_of(other))
        said = bits([loaded.predict(x, verbose=0)]), loaded.evaluate(x, y, verbose=0), bits(values_of(loaded))
        history = trained(loaded, facts).history
        told.append((*said, history, bits(values_of(loaded))))
    assert told[0] == told[1]


@pytest.mark.parametrize(("kind", "settings", "changed"), [
    ("sgd with momentum", {"optimizer.momentum": 0.9}, {"optimizer": {"momentum": 0.35}}),
    ("rmsprop", {"optimizer.rho": 0.9, "optimizer.momentum": 0.5}, {"optimizer": {"rho": 0.7, "momentum": 0.25}}),
    ("lamb", {"optimizer.weight_decay": 0.01}, {"optimizer": {"weight_decay": 0.5}}),
    ("schedule", {"optimizer.beta_1": 0.9, "optimizer.epsilon": 1e-7},
     {"optimizer": {"beta_1": 0.501953125, "epsilon": 1e-3}}),
    ("batch norm and dropout", {"dropout.0": 0.2, "dropout.1": 0.2}, {"model": {"dropout": [0.4, 0.1]}}),
    ("penalties", {"l1.0": 1e-3, "l1.1": 1e-3, "l1.2": 1e-3, "l2.0": 0.1, "l2.1": 0.2},
     {"model": {"l1": 0.5, "l2": [0.3, 0.4]}}),
])  # fmt: skip
def test_settings_in_which_trials_differ_stand_in_the_file_as_keras_writes_them(
    keras: Any, kind: str, settings: dict[str, float], changed: dict[str, Any], tmp_path: Path
) -> None:
    from pipelines.training.lanes.lifting import places
    from pipelines.training.lanes.stamping import stamp_of

    facts, given = KINDS[kind]
    template = built(facts, **given)
    before = template.get_config(), template.optimizer.get_config()
    stamp = stamp_of(template, settings)
    assert stamp is not None
    assert (template.get_config(), template.optimizer.get_config()) == before
    keras.backend.clear_session(free_memory=False)
    merged = {**given, **{part: {**given.get(part, {}), **new} for part, new in changed.items()}}
    other = built(facts, seed=2, **merged)
    trained(other, facts)
    found = places(other, other.optimizer)
    own = {name: float(getattr(*found[name][0])) for name in settings}
    assert own != settings
    real, stamped = tmp_path / "real.keras", tmp_path / "stamped.keras"
    other.save(real)
    stamp.write(stamped, values_of(other), own)
    assert content(stamped) == content(real)


def test_rate_seed_and_callbacks_of_a_trial_change_nothing_else(keras: Any, tmp_path: Path) -> None:
    facts, settings = KINDS["batch norm and dropout"]
    stamp = stamp_of(built(facts, **settings))
    keras.backend.clear_session(free_memory=False)
    stopping = {"early_stopping": {"name": "early_stopping", "patience": 3}}
    other = built(facts, seed=9, **settings, optimizer={"name": "adam", "learning_rate": 0.02}, callbacks=stopping)
    x, y = samples(facts)
    halving = keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate / 2)
    other.fit(x, y, epochs=2, verbose=0, callbacks=[halving])
    real, stamped = tmp_path / "real.keras", tmp_path / "stamped.keras"
    other.save(real)
    stamp.write(stamped, values_of(other))
    assert content(stamped) == content(real)
    with zipfile.ZipFile(stamped) as archive:
        config = json.loads(archive.read("config.json"))["compile_config"]["optimizer"]["config"]
    assert config["learning_rate"] == float(np.float32(0.005))


def test_mixed_precision_and_other_types_are_stamped(keras: Any, tmp_path: Path) -> None:
    before = keras.config.dtype_policy()
    try:
        for policy in ("mixed_float16", "bfloat16", "float64"):
            keras.config.set_dtype_policy(policy)
            keras.backend.clear_session(free_memory=False)
            stamp = stamp_of(built(GREY, model=DENSE))
            assert stamp is not None
            keras.backend.clear_session(free_memory=False)
            other = built(GREY, seed=7, model=DENSE, optimizer={"name": "adam", "learning_rate": 0.03})
            trained(other, GREY)
            other.save(tmp_path / "real.keras")
            stamp.write(tmp_path / "stamped.keras", values_of(other))
            assert content(tmp_path / "stamped.keras") == content(tmp_path / "real.keras")
    finally:
        keras.config.set_dtype_policy(before)


def test_making_a_stamp_leaves_model_and_streams_as_they_were(keras: Any) -> None:
    from pipelines.training.randomness import streams

    facts, settings = KINDS["batch norm and dropout"]
    model = built(facts, **settings)
    trained(model, facts)
    values, stood = bits(values_of(model)), repr(streams())
    assert stamp_of(model) is not None
    assert bits(values_of(model)) == values
    assert repr(streams()) == stood


def test_a_file_says_when_it_was_stamped(keras: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pipelines.training.lanes import saving

    class Later(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return cls(2031, 2, 3, 4, 5, 6)

    stamp = stamp_of(built(GREY, model=DENSE))
    monkeypatch.setattr(saving, "datetime", Later)
    stamp.write(tmp_path / "one.keras", values_of(built(GREY, model=DENSE)))
    with zipfile.ZipFile(tmp_path / "one.keras") as archive:
        metadata = json.loads(archive.read("metadata.json"))
    assert metadata == {"keras_version": keras.__version__, "date_saved": "2031-02-03@04:05:06"}


def odd_models(keras: Any) -> dict[str, Callable[[], Any]]:
    """Models that only Keras can save."""

    def compiled(*layers: Any, shape: tuple[int, ...] = (6,)) -> Any:
        model = keras.Sequential([keras.Input(shape), *layers, keras.layers.Dense(2)])
        model.compile("sgd", "mean_squared_error")
        return model

    class Compressing(keras.layers.Dense):  # type: ignore[misc]
        def save_own_variables(self, store: Any) -> None:
            for number, variable in enumerate(self.variables):
                store._h5_entry_group.create_dataset(f"{number}", data=variable.numpy(), compression="gzip")

    class Adding(keras.layers.Dense):  # type: ignore[misc]
        def save_own_variables(self, store: Any) -> None:
            super().save_own_variables(store)
            store["sum"] = self.kernel.numpy().sum()

    class Halving(keras.layers.Dense):  # type: ignore[misc]
        def save_own_variables(self, store: Any) -> None:
            store["0"], store["1"] = self.kernel.numpy() / 2, self.bias.numpy()

    class Telling(keras.layers.Dense):  # type: ignore[misc]
        def get_config(self) -> dict[str, Any]:
            return {**super().get_config(), "mean": float(self.kernel.numpy().mean()) * 3}

    class Noting(keras.layers.Dense):  # type: ignore[misc]
        def save_assets(self, folder: str) -> None:
            (Path(folder) / "note.txt").write_text("mine")

    return {
        "compressed": lambda: compiled(Compressing(3)),
        "more than variables": lambda: compiled(Adding(3)),
        "other values": lambda: compiled(Halving(3)),
        "settings that follow values": lambda: compiled(Telling(3)),
        "assets": lambda: compiled(Noting(3)),
        "a seed that was drawn": lambda: compiled(
            keras.layers.RandomCrop(4, 4), keras.layers.Flatten(), shape=(6, 6, 1)
        ),
    }


@pytest.mark.parametrize("kind", [
    "compressed", "more than variables", "other values", "settings that follow values", "assets",
    "a seed that was drawn",
])  # fmt: skip
def test_a_model_that_is_saved_in_a_way_of_its_own_has_no_stamp_and_stays_as_it_was(keras: Any, kind: str) -> None:
    model = odd_models(keras)[kind]()
    model.optimizer.build(model.trainable_variables)
    before = bits(values_of(model))
    assert stamp_of(model) is None
    assert bits(values_of(model)) == before


def test_a_setting_that_no_file_says_has_no_stamp(keras: Any) -> None:
    model = built(GREY, model=DENSE)
    model.optimizer.unsaid = 0.5
    assert stamp_of(model, optimizer__unsaid=0.5) is None
    assert stamp_of(model, optimizer__beta_1=0.9) is not None


def test_values_and_settings_of_another_model_are_refused_and_leave_no_file(keras: Any, tmp_path: Path) -> None:
    model = built(GREY, model=DENSE)
    stamp, values, path = stamp_of(model, optimizer__beta_1=0.9), values_of(model), tmp_path / "one.keras"
    with pytest.raises(ValueError, match=r"holds 20 variables.*got 19 values"):
        stamp.write(path, values[:-1])
    with pytest.raises(ValueError, match=r"Value 0 must be float32 of shape \(64, 10\).*got float64"):
        stamp.write(path, [values[0].astype(np.float64), *values[1:]])
    with pytest.raises(ValueError, match=r"got float32 of shape \(10, 64\)"):
        stamp.write(path, [values[0].T, *values[1:]])
    with pytest.raises(ValueError, match=r"do not differ in 'optimizer.beta_2'.*; they differ in optimizer.beta_1"):
        stamp.write(path, values, {"optimizer.beta_2": 0.9})
    assert list(tmp_path.glob("**/*.keras")) == []


def test_a_file_that_cannot_be_finished_leaves_the_one_before(keras: Any, tmp_path: Path) -> None:
    model = built(GREY, model=DENSE)
    stamp, path = stamp_of(model), tmp_path / "one.keras"
    digest = stamp.write(path, values_of(model))
    with pytest.raises(ValueError, match="got 0 values"):
        stamp.write(path, [])
    assert sha256_of(path) == digest
    assert [one.name for one in tmp_path.iterdir() if one.is_file()] == ["one.keras"]


def test_values_in_any_layout_are_laid_down_alike(keras: Any, tmp_path: Path) -> None:
    model = built(GREY, model=DENSE)
    stamp, values = stamp_of(model), values_of(model)
    stack = np.stack([values[0], values[0] + 1], axis=-1)  # a lane of a stack is no block of memory
    stamp.save(tmp_path / "one.keras", [stack[..., 1], *values[1:]])
    stamp.save(tmp_path / "two.keras", [values[0] + 1, *values[1:]])
    assert content(tmp_path / "one.keras") == content(tmp_path / "two.keras")


def test_stamping_is_faster_than_saving(keras: Any, tmp_path: Path) -> None:
    model = built(GREY, model={"units": [100, 30]})
    stamp, values = stamp_of(model), values_of(model)

    def fastest(call: Callable[[Path], Any]) -> float:
        times = []
        for _ in range(5):
            begun = time.perf_counter()
            call(tmp_path / "one.keras")
            times.append(time.perf_counter() - begun)
        return min(times)

    assert fastest(lambda path: stamp.save(path, values)) * 4 < fastest(model.save)
