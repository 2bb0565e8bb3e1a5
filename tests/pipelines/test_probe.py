"""The probe trial: which training is tried, what is asked of its worker, and what is remembered."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipelines.datasets.prepared import PreparedData
from pipelines.devices import Device, Need
from pipelines.executors.base import Handler, Loss
from pipelines.probe import Needs, Probed, ProbeRequest, candidates, largest, probe
from pipelines.records import Ended, EpochEnded, Stepped, Verdict
from tests.pipelines.scripted import recipe

NEED = Need(120.0, 480.0, 0.3, 1000, 7.5)
H100 = Device(0, "GPU-a", "NVIDIA H100", 81559, 80000)
SPACE: dict[str, Any] = {
    "model.units": [[16], [512, 256], [64]],
    "batch_size": {"type": "int", "low": 16, "high": 256},
    "optimizer.learning_rate": {"type": "float", "low": 1e-4, "high": 1e-1},
}
REQUEST = ProbeRequest(({},), "data", ("val_loss", "minimize"))


class Scripted:
    """An executor of one worker, which does what it is told to."""

    def __init__(self, *acts: Any) -> None:
        self.acts = list(acts)
        self.assigned: list[Any] = []
        self.closed = False

    def start(self, handler: Handler) -> None:
        self.handler = handler

    def wait(self, timeout_s: float) -> None:
        act, *self.acts = self.acts or [lambda handler: None]
        act(self.handler)

    def assign(self, worker: int, task: Any) -> None:
        self.assigned.append((worker, task))

    def close(self) -> None:
        self.closed = True


def offers(handler: Handler) -> None:
    handler.on_room(0, 1)


def tried(executor: Scripted, **more: Any) -> Probed:
    return probe(REQUEST, executor, **more)  # type: ignore[arg-type]


def test_what_the_worker_found_is_the_answer_and_its_process_is_ended() -> None:
    executor = Scripted(offers, offers, lambda handler: handler.on_message(0, Probed(NEED)))
    assert tried(executor) == Probed(NEED)
    assert executor.assigned == [(0, REQUEST)], "it is asked once"
    assert executor.closed


def test_a_worker_that_is_lost_is_an_answer_too() -> None:
    executor = Scripted(offers, lambda handler: handler.on_lost(0, Loss("it was killed by SIGKILL")))
    assert tried(executor) == Probed(problem="its worker was lost: it was killed by SIGKILL")
    assert executor.closed


def test_it_is_not_waited_for_without_end() -> None:
    clock = iter(range(0, 10_000, 100))
    executor = Scripted(offers)
    assert tried(executor, clock=lambda: float(next(clock))) == Probed(problem="it took longer than 300 s")
    assert executor.closed


def test_the_edges_of_the_search_space_are_tried_and_the_recipes_own_config() -> None:
    found = candidates(recipe(search_space=SPACE))
    sizes = [(tuple(one["model"]["units"]), one["batch_size"]) for one in found]
    assert sizes[0] == ((100, 30), 32), "the recipe's own"
    assert {((16,), 256), ((512, 256), 256), ((64,), 256)} <= set(sizes)
    assert all(one["callbacks"] == {} and one["epochs"] > 1000 for one in found), "it is stopped from outside"


def test_a_search_space_of_branches_has_edges_in_each_branch() -> None:
    space = {"optimizer": {"adam": {"learning_rate": {"type": "float", "low": 1e-4, "high": 1e-2}}, "sgd": {}}}
    found = candidates(recipe(search_space=space))
    assert {one["optimizer"]["name"] for one in found} == {"adam", "sgd"}


def test_what_was_found_is_remembered_for_such_a_training_on_such_a_device(tmp_path: Path) -> None:
    needs, config = Needs(tmp_path / "lanes"), recipe(search_space=SPACE)
    assert needs.recall(config, H100) is None
    needs.keep(config, H100, NEED)

    again = Needs(tmp_path / "lanes")
    assert again.recall(config, H100) == NEED
    assert again.recall(recipe(99, search_space=SPACE, epochs=7, seed=3), H100) == NEED, "the same kind of training"
    assert again.recall(recipe(search_space=SPACE, batch_size=64), H100) is None
    assert again.recall(recipe(search_space=SPACE, precision="mixed_bfloat16"), H100) is None
    assert again.recall(config, Device(0, "GPU-b", "NVIDIA L4", 23034)) is None
    assert again.recall(config, Device(3, "GPU-c", "NVIDIA H100", 81559, 5)) == NEED, "whichever of its kind it is"


@pytest.mark.parametrize("spoilt", ["", "[]", "{not json", '{"x": 1}'])
def test_a_spoilt_memory_is_only_tried_again(tmp_path: Path, spoilt: str) -> None:
    (tmp_path / "gpu-needs.json").write_text(spoilt)
    needs = Needs(tmp_path)
    assert needs.recall(recipe(), H100) is None
    needs.keep(recipe(), H100, NEED)
    assert needs.recall(recipe(), H100) == NEED


def test_the_largest_of_all_is_trained(keras: Any, digits: PreparedData) -> None:
    configs = candidates(recipe(search_space=SPACE))
    config, parameters = largest(ProbeRequest(configs, str(digits.folder), ("val_loss", "minimize")))
    assert config["model"]["units"] == [512, 256]
    assert config["batch_size"] == 256
    assert parameters == 65 * 512 + 513 * 256 + 257 * 10
    wrong = ProbeRequest(
        ({"model": {"name": "cnn", "filters": [4] * 9}},), str(digits.folder), ("val_loss", "minimize")
    )
    with pytest.raises(ValueError, match="none of the models"):
        largest(wrong)


def test_a_probe_trial_is_stopped_when_it_was_watched_long_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    from pipelines import probe as probing

    now = [0.0]
    monkeypatch.setattr("pipelines.probe.time.monotonic", lambda: now[0])
    watched = probing._Watched(None)
    epoch = EpochEnded(0, 1, 0, {}, 0)
    now[0] = 59.0
    assert watched(Stepped(0, 1)) is Verdict.GO_ON, "a long first epoch is waited for"
    assert watched(epoch) is Verdict.GO_ON
    now[0] = 64.0
    assert watched(epoch) is Verdict.GO_ON
    now[0] = 66.0
    assert watched(epoch) is Verdict.STOP
    with pytest.raises(probing._Enough):
        watched(Stepped(0, 1))  # in the middle of an epoch that takes long
    watched(Ended(0, 1, 0, error="ValueError: no"))
    assert watched.error == "ValueError: no"
    assert watched.busy() is None


def test_an_epoch_without_end_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    from pipelines import probe as probing

    now = [0.0]
    monkeypatch.setattr("pipelines.probe.time.monotonic", lambda: now[0])
    watched = probing._Watched(None)
    now[0] = 61.0
    with pytest.raises(probing._Enough):
        watched(Stepped(0, 1))


def test_a_probe_trial_is_a_real_training_that_ends_in_time(
    keras: Any, digits: PreparedData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipelines import probe as probing
    from pipelines.records import TrialSpec
    from pipelines.training.fit import FitTrainer

    monkeypatch.setattr(probing, "_TRAINS_S", 0.0)
    config = candidates(recipe(search_space={"model.units": [[4]]}))[1]
    watched = probing._Watched(None)
    FitTrainer(1 << 30).train(
        TrialSpec(0, 1, config, str(digits.folder), str(tmp_path), "val_loss", "minimize"), watched
    )
    assert watched.error == ""
    assert watched._since is not None, "it has trained at least an epoch, of ten thousand"
