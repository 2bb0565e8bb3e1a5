"""Hundreds of kills at random, over sweep after sweep: nothing is lost. Not part of `make test`; see `make soak`."""

from __future__ import annotations

import os
import random
import time
from dataclasses import replace

import pytest

from tests.faults.killing import Victim, strike
from tests.faults.places import Place
from tests.faults.scenarios import paced
from tests.faults.watching import SweepAt
from tests.faults.whole import assert_whole

KILLS = int(os.environ.get("SOAK_KILLS", "200"))
SEED = int(os.environ.get("SOAK_SEED", "0"))
TRIALS, EPOCHS = 6, 25
FLAGS = (
    "--trials", str(TRIALS),
    "--set", f"epochs={EPOCHS}",
    *paced(0.05),
    "--set", "execution.retries=50",  # it is not their fault
    "--set", "budget.failed_trials=50",
)  # fmt: skip
VICTIMS = (Victim.WORKER, Victim.WORKER, Victim.CONTROLLER, Victim.BOTH, Victim.TREE, Victim.SERVER)


@pytest.mark.soak
@pytest.mark.timeout(0)
def test_nothing_is_lost_however_often_something_is_killed(stored_place: Place) -> None:
    chance, began = random.Random(SEED), time.monotonic()
    killed = sweeps = 0
    wanted = (KILLS + 1) // 2  # of each storage
    print(f"\n{wanted} kills, seed {SEED}", flush=True)

    while killed < wanted:
        sweeps += 1
        place = replace(stored_place, study=f"soak-{sweeps}", begun=[])
        assert place.tracking is not None
        starts, at = 0, None
        while True:
            if at is None or at.watched.process.poll() not in {None, 0}:
                place.tracking.revive()
                at, starts = place.begin(*FLAGS), starts + 1
            _until_a_moment(at, chance)
            code = at.watched.process.poll()
            if code == 0 or killed == wanted:
                break
            if code is not None:  # it has a limit of its own for workers that never get ready
                assert "times before it was ready" in at.watched.said, at.watched.said
                continue
            victim = chance.choice(VICTIMS)
            moment = _moment(at)
            if strike(victim, at, place, chance):
                killed += 1
                told = f"{time.monotonic() - began:7.1f} s  kill {killed:3}  {place.study} start {starts}"
                print(f"{told}  {victim.name.lower():10}  {moment}", flush=True)
            if victim is Victim.SERVER:
                at.let_run(chance.uniform(0.0, 3.0))
                place.tracking.up()
        if at.watched.ended() != 0:
            assert "times before it was ready" in at.watched.said, at.watched.said
            at = place.begin(*FLAGS)
        summary = at.watched.summary()
        if summary["journal"]["delivered"] < summary["journal"]["written"]:  # the server was away when it ended
            place.tracking.revive()
            assert place.run("sync").returncode == 0
            summary = place.sweep(*FLAGS)
        assert_whole(place.server, summary, TRIALS, EPOCHS)
        print(f"{time.monotonic() - began:7.1f} s  {place.study} is whole after {starts} starts", flush=True)
        for watched in place.begun:
            watched.close()


def _until_a_moment(at: SweepAt, chance: random.Random) -> None:
    """Half of the moments are anywhere in time, also while it starts; the other half are where it gets on."""
    if chance.random() < 0.5:
        at.let_run(chance.uniform(0.2, 12.0))
        return
    goal = at.epochs() + chance.randint(1, 40)
    at.let_run_until(lambda: at.epochs() >= goal or at.trials_over() == TRIALS, most_s=60)
    at.let_run(chance.uniform(0.0, 1.0))


def _moment(at: SweepAt) -> str:
    return f"{at.trials_over()} trials over, {at.epochs()} epochs" if at.entries() else "nothing written yet"
