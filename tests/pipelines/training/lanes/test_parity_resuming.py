"""A trial goes on in a lane where `fit` left it, in `fit` where a lane left it, and in another lane."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from pipelines.records import Started, Verdict
from tests.pipelines.training.lanes.parity import DOUBLE, Cut, LaneWorker, Parity, Told, assert_same_story, precision
from tests.pipelines.training.lanes.parity_cases import OWN, Cases

MODEL = {"units": [8], "dropout": 0.25, "batch_norm": True, "use_bias": False}
STOPPING = {"patience": 2, "min_delta": 0.01, "restore_best_weights": True}
CASES: Cases = {
    "callbacks that remember": {
        "callbacks": {
            "early_stopping": STOPPING,
            "reduce_lr_on_plateau": {"patience": 0, "min_delta": 0.2, "factor": 0.5, "cooldown": 1},
            "model_checkpoint": {"filepath": "best.keras", "save_best_only": True},
        }
    },
    "means of weights": {"callbacks": {"swa": {"start_from_epoch": 1}}},
    "draws": {"callbacks": {"own": {"name": "class", "path": f"{OWN}:Drawing"}}},
}
EPOCHS = 6
WAYS = [("fit", "lanes"), ("lanes", "fit"), ("lanes", "lanes")]


@pytest.fixture(scope="module")
def parity(keras: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Parity]:
    with precision("float64"):
        yield Parity(tmp_path_factory.mktemp("parity"))


@pytest.fixture(autouse=True)
def every_epoch_is_kept(monkeypatch: pytest.MonkeyPatch, keras: Any) -> None:
    from pipelines.training.states import StateWriter

    monkeypatch.setattr(StateWriter, "due", lambda writer: True)


@pytest.fixture(scope="module")
def whole(parity: Parity) -> dict[str, Told]:
    return {name: parity.fit(config(name)) for name in CASES}


def config(name: str) -> dict[str, Any]:
    return {"model": MODEL, "epochs": EPOCHS, "seed": list(CASES).index(name), **CASES[name]}


@pytest.fixture(scope="module")
def worker(parity: Parity) -> LaneWorker:
    return parity.worker(lanes=len(CASES))


class Attempts:
    """Attempts at all cases, the later ones going on where the earlier ones were."""

    def __init__(self, parity: Parity, worker: LaneWorker, folder: str) -> None:
        self._parity = parity
        self._folder = folder
        self._count = 0
        self._worker = worker

    def make(
        self, by: str, *, verdicts: dict[int, Verdict] | None = None, cut_at: int | None = None
    ) -> dict[str, Told]:
        self._count += 1
        told = {
            name: self._parity.told(
                {**config(name), "verdicts": verdicts or {}},
                states=f"{self._folder}-{name}",
                attempt=self._count,
                number=number,
                cut_at=cut_at,
            )
            for number, name in enumerate(CASES)
        }
        if by == "fit":
            for one in told.values():
                self._ended(lambda one=one: self._parity.train(one), cut_at)
        elif cut_at is None:
            self._worker.work(list(told.values()))
        else:
            # the first lane that is cut short takes the process with it
            self._ended(lambda: self._parity.worker(lanes=3).work(list(told.values())), cut_at)
        return told

    @staticmethod
    def _ended(work: Any, cut_at: int | None) -> None:
        if cut_at is None:
            work()
        else:
            with pytest.raises(Cut):
                work()


@pytest.mark.parametrize("ways", WAYS, ids=" then ".join)
def test_a_trial_that_was_paused_goes_on_elsewhere_to_the_same_end(
    parity: Parity, worker: LaneWorker, whole: dict[str, Told], ways: tuple[str, str]
) -> None:
    before, after = ways
    attempts = Attempts(parity, worker, f"paused-{before}-{after}")
    for one in attempts.make(before, verdicts={1: Verdict.PAUSE}).values():
        assert one.ended.paused
        assert one.epochs == [0, 1]
    for name, last in attempts.make(after).items():
        assert last.in_a_lane == (after == "lanes")
        assert last.of(Started)[0].first_epoch == 2
        assert_same_story(last, whole[name], DOUBLE)


@pytest.mark.parametrize("ways", WAYS, ids=" then ".join)
def test_a_trial_whose_process_died_goes_on_elsewhere_to_the_same_end(
    parity: Parity, worker: LaneWorker, whole: dict[str, Told], ways: tuple[str, str]
) -> None:
    before, after = ways
    attempts = Attempts(parity, worker, f"killed-{before}-{after}")
    attempts.make(before, cut_at=2)
    for name, last in attempts.make(after).items():
        assert last.in_a_lane == (after == "lanes")
        assert last.of(Started)[0].first_epoch in (2, 3)  # others had told and kept the epoch at which the first died
        assert_same_story(last, whole[name], DOUBLE)


def test_a_trial_may_change_its_trainer_at_every_epoch(
    parity: Parity, worker: LaneWorker, whole: dict[str, Told]
) -> None:
    attempts = Attempts(parity, worker, "to-and-fro")
    for epoch, by in enumerate(("lanes", "fit", "lanes")):
        attempts.make(by, verdicts={epoch: Verdict.PAUSE})
    for name, last in attempts.make("fit").items():
        assert last.of(Started)[0].first_epoch == 3
        assert_same_story(last, whole[name], DOUBLE)
