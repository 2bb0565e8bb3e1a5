"""A made-up sweep in which everything happened that a report can show."""

from __future__ import annotations

import math
import random
from typing import Any

from pipelines.records import StudyHistory, TrialHistory, TrialState

REASONS = {
    "error": "ValueError: negative dimension",
    "out_of_memory": "ResourceExhaustedError: OOM when allocating tensor",
    "lost_worker": "worker lost: killed by signal 9 (SIGKILL)",
    "hung": "no step for 900 s, twice",
}


def whole_sweep(trials: int, epochs: int, *, seed: int = 3) -> StudyHistory:
    """Two objectives, a constraint, three branches, failures of every kind, 6 metrics and 12 parameters a trial."""
    chance = random.Random(seed)
    made = tuple(_trial(number, epochs, chance) for number in range(trials))
    kept = [trial for trial in made if trial.state is TrialState.COMPLETE and trial.feasible]
    front = [trial for trial in kept if not any(_beats(other, trial) for other in kept)]
    front.sort(key=lambda trial: trial.values["val_loss"])
    return StudyHistory(
        study="whole",
        metric="val_loss",
        direction="minimize",
        trials=made,
        importances={"optimizer": 0.6, "model.dropout": 0.4},
        champion={"name": "whole", "version": 4, "alias": "champion", "test_accuracy": 0.91},
        links={"MLflow": "http://127.0.0.1:5000/#/experiments/12/runs?orderByAsc=true"},
        seconds=5125.0,
        objectives=(("val_loss", "minimize"), ("parameters", "minimize")),
        front=tuple(trial.number for trial in front),
        picked=front[len(front) // 2].number if front else None,
        pick="knee",
        ended="all trials of the budget are complete or pruned",
        phases={"workers": 14.0, "trials": 5010.0, "promotion": 41.0},
    )


def _beats(one: TrialHistory, other: TrialHistory) -> bool:
    mine, theirs = list(one.values.values()), list(other.values.values())
    return mine != theirs and all(a <= b for a, b in zip(mine, theirs, strict=True))


def _trial(number: int, epochs: int, chance: random.Random) -> TrialHistory:
    kind = chance.choice(["adam", "sgd", "rmsprop"])
    rate = 10 ** chance.uniform(-5, -1)
    params: dict[str, Any] = {"optimizer": kind, f"optimizer.{kind}.learning_rate": rate}
    params |= {f"model.layer_{layer}.units": chance.randrange(8, 257) for layer in range(6)}
    params |= {"model.dropout": chance.uniform(0, 0.5), "batch_size": chance.choice([16, 32, 64, 128])}
    params |= {
        "model.activation": chance.choice(["relu", "tanh"]),
        "dataset.features": chance.choice([["a"], ["a", "b"]]),
    }
    state = chance.choices([TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAILED], (62, 33, 5))[0]
    length = epochs if state is TrialState.COMPLETE else chance.randrange(1, epochs)
    least = 0.05 + 0.3 * abs(math.log10(rate) + 3) + params["model.dropout"] * 0.2
    losses = [least + 2 * math.exp(-epoch / 8) + chance.gauss(0, 0.01) for epoch in range(length)]
    shares = {
        "val_loss": 1.0,
        "loss": 0.9,
        "val_mae": 2.0,
        "accuracy": 0.3,
        "val_accuracy": 0.35,
        "learning_rate": rate,
    }
    curves = {name: tuple((e, loss * share) for e, loss in enumerate(losses)) for name, share in shares.items()}
    failure = chance.choice([*REASONS]) if state is TrialState.FAILED else None
    if state is TrialState.PRUNED and chance.random() < 0.05:
        failure = "not_finite"
    complete = state is TrialState.COMPLETE
    return TrialHistory(
        number=number,
        attempt=1,
        state=state,
        params=params,
        value=None if state is TrialState.FAILED else min(losses),
        best_epoch=losses.index(min(losses)),
        curves=curves,
        seconds=0.2 * length,
        run_id=f"{chance.getrandbits(128):032x}",
        reason=REASONS.get(failure, "the loss was NaN") if failure else None,
        failure=failure,
        values={"val_loss": min(losses), "parameters": 70.0 * sum(params[f"model.layer_{n}.units"] for n in range(6))}
        if complete
        else {},
        violations={"val_accuracy": least - 0.6} if complete else {},
        phases={"build": 0.2, "fit": 0.15 * length, "states": 0.02 * length, "tracking": 0.0004 * length},
        dropped="not among the 100 best" if complete and least > 0.4 else None,
    )
