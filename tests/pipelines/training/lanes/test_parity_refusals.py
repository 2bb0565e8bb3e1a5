"""What cannot be trained in lanes is found out before it trains, and is trained by `fit`, which the run says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.pipelines.training.lanes.parity import Config, Parity, assert_alike
from tests.pipelines.training.lanes.parity_cases import OWN, Cases, own_model

REFUSED: dict[str, tuple[Config, str]] = {
    "state from batch to batch": (
        {
            "model": own_model("stateful"),
            "dataset": {"name": "synthetic_images", "samples": 100, "shape": [6, 6], "classes": 5},
            "batch_size": 16,
        },
        "keeps a state from batch to batch",
    ),
    "sparse gradients": ({"model": own_model("words")}, "gradients of the layer 'embedding' are sparse"),
    "weights from NumPy": ({"model": own_model("numpy_weights")}, "not built in the same way for every seed"),
    "what it was adapted to": ({"model": own_model("adapted")}, "not built in the same way for every seed"),
    "a variable of its own": ({"model": own_model("counting")}, "no program could be made of it"),
    "TensorFlow's own stream": ({"model": own_model("shaking")}, "whose state all lanes would share"),
    "draws that XLA has otherwise": ({"model": own_model("truncating")}, "draws other numbers where XLA compiles it"),
    "layers that share how they begin": ({"model": own_model("attention")}, "not built in the same way for every seed"),
    "a step of its own": ({"model": own_model("own_step")}, "the model has a train_step of its own"),
    "loops of layers": ({"model": own_model("recurrences")}, "no program could be made of it"),
    "batches of the validation": (
        {"callbacks": {"own": {"name": "class", "path": f"{OWN}:TestBatches"}}},
        "the callback 'own' acts in the batches of the validation",
    ),
}


@pytest.fixture(scope="module")
def parity(keras: Any, tmp_path_factory: pytest.TempPathFactory) -> Parity:
    return Parity(tmp_path_factory.mktemp("parity"))


@pytest.fixture
def any_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """Models that a recipe may not name, such as one for batches of one size, as well."""
    monkeypatch.setattr("pipelines.models.function._wrong_with", lambda *about: None)
    monkeypatch.setattr("pipelines.training.reloading._SAMPLES", 16)  # which is that size


@pytest.mark.usefixtures("any_model")
@pytest.mark.parametrize("case", REFUSED)
def test_what_no_lane_can_train_is_trained_by_fit_and_the_run_says_why(parity: Parity, case: str) -> None:
    config, why = REFUSED[case]
    (told,) = parity.lanes({case: config}).values()
    assert told.trainer.startswith("fit: ")
    assert why in told.trainer
    assert told.ended.error is None
    assert_alike(told, parity.fit(config), 0.0)


def test_data_that_is_read_from_disk_is_trained_by_fit(keras: Any, tmp_path: Path) -> None:
    parity = Parity(tmp_path, data_bytes=0)
    (told,) = parity.lanes({"": {}}).values()
    assert told.trainer == "fit: its data is larger than execution.data_memory_mb, and is read from disk"
    assert_alike(told, parity.fit({}), 0.0)


def test_a_model_that_cannot_be_made_fails_as_it_does_in_fit(parity: Parity) -> None:
    config = {"model": own_model("broken")}
    (told,) = parity.lanes({"": config}).values()
    assert told.ended.error is not None
    assert "this model is never made" in told.ended.error
    assert told.ended.error == parity.fit(config).ended.error


@pytest.mark.usefixtures("any_model")
def test_lanes_go_on_beside_what_is_trained_by_fit(parity: Parity) -> None:
    cases: Cases = {
        "in a lane": {"epochs": 4},
        "by itself": {"model": own_model("counting"), "epochs": 2},
        "in a lane too": {"seed": 1},
    }
    told = parity.lanes(cases)
    assert [one.in_a_lane for one in told.values()] == [True, False, True]
    for name, case in cases.items():
        assert_alike(told[name], parity.fit(case), 1e-5)
