"""Callbacks over lanes against callbacks over `fit`: what they see, what they do, and what is told of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
import pytest

from pipelines.records import CallbackActed, CheckpointWritten, EpochEnded, Failure, Verdict
from tests.pipelines.training.lanes.parity import DOUBLE, LaneWorker, Parity, Table, Told, precision
from tests.pipelines.training.lanes.parity_cases import OWN, Cases

STOPPING = {"patience": 1, "min_delta": 0.02, "restore_best_weights": True}
PLATEAU = {"patience": 1, "min_delta": 0.1, "factor": 0.5}
RUNAWAY = {"name": "sgd", "learning_rate": 1e150, "momentum": 0.5}


def own(name: str, **arguments: Any) -> dict[str, Any]:
    return {"name": "class", "path": f"{OWN}:{name}", "arguments": arguments}


def scheduled(name: str, **schedule: Any) -> dict[str, Any]:
    return {"callbacks": {"learning_rate_scheduler": {"schedule": {"name": name, **schedule}}}}


BY_EPOCH: Cases = {
    "none": {},
    "stopping at once": {"callbacks": {"early_stopping": {"patience": 0, "min_delta": 0.5}}},
    "stopping, the best restored": {"callbacks": {"early_stopping": STOPPING}},
    "stopping upwards": {
        "callbacks": {"early_stopping": {**STOPPING, "monitor": "val_accuracy", "mode": "max", "patience": 2}},
        "objective": "val_accuracy",
        "direction": "maximize",
    },
    "stopping, with a baseline": {"callbacks": {"early_stopping": {"baseline": 0.1, "patience": 2}}},
    "stopping, from an epoch on": {"callbacks": {"early_stopping": {**STOPPING, "start_from_epoch": 3}}},
    "stopping, never": {"callbacks": {"early_stopping": {"patience": 50, "restore_best_weights": True}}},
    "plateaus": {"callbacks": {"reduce_lr_on_plateau": PLATEAU}},
    "plateaus, rests and a floor": {
        "callbacks": {"reduce_lr_on_plateau": {**PLATEAU, "cooldown": 1, "min_lr": 0.04, "patience": 0}}
    },
    "plateaus and stopping": {
        "callbacks": {"reduce_lr_on_plateau": PLATEAU, "early_stopping": {**STOPPING, "patience": 3, "min_delta": 0.2}}
    },
    "rate by step": scheduled("step"),
    "rate, exponential": scheduled("exponential", start_from_epoch=2),
    "rate, polynomial": scheduled("polynomial", power=2.0),
    "rate, cosine": scheduled("cosine", alpha=0.1),
    "rate, restarts": scheduled("cosine_restarts", first_decay_epochs=2),
    "rate, warm-up": scheduled("warmup", warmup_epochs=3),
    "rate, one cycle": scheduled("one_cycle"),
    "rate, a function": scheduled("function", function=f"{OWN}:rate_of_epoch", arguments={"factor": 0.25}),
    "files at every epoch": {"callbacks": {"model_checkpoint": {"filepath": "{epoch:02d}-{val_loss:.3f}.keras"}}},
    "the best file only": {
        "callbacks": {
            "model_checkpoint": {"filepath": "best.keras", "save_best_only": True, "monitor": "val_accuracy"},
            "other": {
                "name": "model_checkpoint",
                "filepath": "in/{epoch}.weights.h5",
                "save_weights_only": True,
                "save_best_only": True,
                "initial_value_threshold": 1.5,
            },
        }
    },
    "mean of weights": {"callbacks": {"swa": {"start_from_epoch": 2, "every": 2}}},
    "mean of weights and the best": {
        "callbacks": {
            "swa": {"start_from_epoch": 1},
            "early_stopping": STOPPING,
            "model_checkpoint": {"filepath": "{epoch}.keras"},
        }
    },
    "diagnostics": {"callbacks": {"diagnostics": {"every": 2, "samples": 40}}},
    "a rate that runs away": {"optimizer": RUNAWAY},
    "a rate that runs away, ended": {"optimizer": RUNAWAY, "callbacks": {"terminate_on_nan": None}},
    "a rate that runs away, refused": {"optimizer": RUNAWAY, "callbacks": {"terminate_on_nan": {"raise_error": True}}},
    "nothing runs away": {"callbacks": {"terminate_on_nan": None, "early_stopping": STOPPING}},
    "pruned": {"verdicts": {1: Verdict.STOP}, "callbacks": {"early_stopping": {**STOPPING, "patience": 9}}},
    "pruned at its end": {"verdicts": {5: Verdict.STOP}},
    "paused": {"verdicts": {2: Verdict.PAUSE}},
    "own notes": {"callbacks": {"own": own("Noting")}},
    "own weights": {"callbacks": {"own": own("Shrinking")}},
    "own draws": {"callbacks": {"own": own("Drawing")}},
    "own questions": {"callbacks": {"own": own("Asking"), "early_stopping": STOPPING}},
    "own metric": {
        "callbacks": {
            "early_stopping": {"monitor": "val_right", "mode": "max", "patience": 1},
            "own": {**own("Scoring"), "adds": ["val_right"]},
        }
    },
    **{
        f"an error in {hook}": {"callbacks": {"early_stopping": STOPPING, "own": own("Raising", hook=hook)}}
        for hook in ("on_train_begin", "on_epoch_begin", "on_test_begin", "on_epoch_end", "on_train_end")
    },
}
BY_STEP: Cases = {
    "none": {},
    "stopping, the best restored": {"callbacks": {"early_stopping": STOPPING}},
    "files by the batch": {
        "callbacks": {
            "model_checkpoint": {"filepath": "{epoch}-{batch}.weights.h5", "save_freq": 5, "save_weights_only": True},
            "whole": {"name": "model_checkpoint", "filepath": "{epoch}-{loss:.3f}.keras", "save_freq": 16},
        }
    },
    "a rate that runs away, ended": {"optimizer": RUNAWAY, "callbacks": {"terminate_on_nan": None}},
    "a rate that runs away, noted and ended": {
        "optimizer": RUNAWAY,
        "metrics": ["crossentropy"],
        "callbacks": {"own": own("NotingBatches"), "terminate_on_nan": None},
    },
    "own notes of batches": {"callbacks": {"own": own("NotingBatches")}},
    "own weights in batches": {"callbacks": {"own": own("ShrinkingInBatches")}},
    "own rate in batches": {"callbacks": {"own": own("Pacing")}},
    "own end in an epoch": {"callbacks": {"own": own("Stopping", epoch=1, batch=3)}},
    "own end in the last batch": {"callbacks": {"own": own("Stopping", epoch=2, batch=6), "early_stopping": STOPPING}},
    "own end in the first batch": {
        "callbacks": {"own": own("Stopping", epoch=0, batch=0), "notes": own("NotingBatches")}
    },
    "own draws": {"callbacks": {"own": own("Drawing"), "pace": own("NotingBatches")}},
    "an error before a batch": {"callbacks": {"own": own("RaisingInBatches", hook="on_train_batch_begin")}},
    "an error after a batch": {"callbacks": {"own": own("RaisingInBatches", hook="on_train_batch_end")}},
}

MEANS: Cases = {
    "the mean validated": {"callbacks": {"swap_ema_weights": None}},
    "the mean validated, and the best restored": {
        "callbacks": {
            "swap_ema_weights": None,
            "early_stopping": STOPPING,
            "model_checkpoint": {"filepath": "{epoch}.keras"},
        }
    },
    "the best restored, and the mean put in at the end": {"callbacks": {"early_stopping": STOPPING}},
    "another mean": {"callbacks": {"swa": {"start_from_epoch": 1}, "own": own("Noting")}},
}
DOES = {
    "stopping at once": "stopped at epoch 1: val_loss had not improved for 1 epoch",
    "stopping, the best restored": "restored the weights of epoch",
    "stopping, with a baseline": "past the baseline 0.1",
    "plateaus": "multiplied the learning rate by 0.5",
    "rate, warm-up": "set the learning rate to",
    "files at every epoch": "saved 06-",
    "mean of weights": "took epoch 4 into the mean, which is now over the weights of 2 epochs",
    "a rate that runs away, ended": "stopped at epoch 0: the loss was nan in batch",
    "own notes": "end of validation: accuracy",
}
"""Parts of what some cases tell, so that nothing is compared that does not happen."""


def of_six_epochs(cases: Cases) -> Cases:
    learns = {"epochs": 6, "model": {"units": [6], "activation": "leaky_relu"}}
    return {name: {**learns, "seed": place, **case} for place, (name, case) in enumerate(cases.items())}


@pytest.fixture(scope="module")
def parity(keras: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Parity]:
    with precision("float64"):
        yield Parity(tmp_path_factory.mktemp("parity"))


@pytest.fixture(scope="module")
def worker(parity: Parity) -> LaneWorker:
    """One for all, as all of them can share a program; fewer lanes than there are trials."""
    return parity.worker(lanes=12, trials=len(BY_EPOCH))


@pytest.fixture(scope="module")
def by_epoch(parity: Parity, worker: LaneWorker) -> Table:
    return Table(parity, of_six_epochs(BY_EPOCH), worker=worker)


@pytest.mark.parametrize("case", BY_EPOCH)
def test_a_callback_does_the_same_over_a_lane(by_epoch: Table, case: str) -> None:
    lane = by_epoch.agrees(case, DOUBLE)
    assert DOES.get(case, "") in "; ".join([act.text for act in lane.of(CallbackActed)] or [""])


@pytest.fixture(scope="module")
def by_step(parity: Parity, worker: LaneWorker) -> Table:
    return Table(parity, of_six_epochs(BY_STEP), worker=worker)


@pytest.mark.parametrize("case", BY_STEP)
def test_a_callback_that_acts_in_batches_does_the_same_over_a_lane(by_step: Table, case: str) -> None:
    by_step.agrees(case, DOUBLE)


@pytest.fixture(scope="module")
def means(parity: Parity) -> Table:
    optimizer = {"name": "sgd", "learning_rate": 0.2, "momentum": 0.5, "use_ema": True, "ema_momentum": 0.75}
    return Table(parity, {name: {"optimizer": optimizer, **case} for name, case in of_six_epochs(MEANS).items()})


@pytest.mark.parametrize("case", MEANS)
def test_means_of_weights_are_swapped_in_and_out_in_the_same_way(means: Table, case: str) -> None:
    means.agrees(case, DOUBLE)


def test_a_lane_that_breaks_down_does_not_touch_its_neighbours_to_the_last_bit(
    parity: Parity, worker: LaneWorker
) -> None:
    def told(middle: dict[str, Any]) -> list[Told]:
        cases = of_six_epochs({"before": {}, "middle": middle, "behind": {"callbacks": {"early_stopping": STOPPING}}})
        return list(parity.lanes(cases, worker).values())

    tame = told({})
    for wild in ({"optimizer": RUNAWAY}, {"optimizer": RUNAWAY, "callbacks": {"terminate_on_nan": None}}):
        broken = told(wild)
        assert broken[1].ended.failure is Failure.NOT_FINITE
        assert "nan" in broken[1].curve
        for place in (0, 2):
            assert broken[place].curve == tame[place].curve
            assert weights(broken[place].best) == weights(tame[place].best)


def weights(path: Path) -> bytes:
    with ZipFile(path) as archive:
        return archive.read("model.weights.h5")


def test_a_metric_that_is_no_number_is_none_in_both(parity: Parity, by_epoch: Table) -> None:
    lane = by_epoch.agrees("a rate that runs away", DOUBLE)
    assert [np.isnan(event.metrics["loss"]) for event in lane.of(EpochEnded)] == [True]
    assert lane.of(CheckpointWritten) == []
