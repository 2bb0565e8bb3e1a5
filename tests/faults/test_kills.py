"""SIGKILL, for any part of a sweep, at any moment: the next sweep ends whole."""

from __future__ import annotations

import os
import random
from typing import Any

from tests.faults.killing import Moment, Victim, strike, wait_for
from tests.faults.places import Place
from tests.faults.scenarios import paced
from tests.faults.whole import assert_whole

SEED = int(os.environ.get("FAULTS_SEED", "20"))
EPOCHS = 10
FLAGS = ("--trials", "6", "--set", f"epochs={EPOCHS}", *paced(0.1))
# For each start of the sweep, who is killed and when; the last kill ends it.
# What one storage leaves out, the other has.
SCRIPTS = {
    "sqlite": (
        ((Victim.CONTROLLER, Moment.START),),
        ((Victim.WORKER, Moment.FIRST_EPOCH), (Victim.BOTH, Moment.MID_TRIAL)),
        ((Victim.TREE, Moment.MID_TRIAL),),
        ((Victim.CONTROLLER, Moment.CLOSING),),
    ),
    "postgresql": (
        ((Victim.TREE, Moment.FIRST_EPOCH),),
        ((Victim.WORKER, Moment.MID_TRIAL), (Victim.CONTROLLER, Moment.MID_TRIAL)),
        ((Victim.TREE, Moment.CLOSING),),
    ),
}


def test_whatever_is_killed_and_whenever_the_next_sweep_ends_whole(stored_place: Place, request: Any) -> None:
    storage = request.node.callspec.params["stored_place"]
    place, chance = stored_place, random.Random(SEED)
    assert place.tracking is not None

    for kills in SCRIPTS[storage]:
        place.tracking.revive()
        at = place.begin(*FLAGS)
        for victim, moment in kills:
            when = wait_for(moment, at, chance, 6)
            killed = strike(victim, at, place, chance)
            print(f"killed {victim.value} ({killed} processes) {when}")
            assert killed or moment is Moment.CLOSING
    place.tracking.revive()
    summary = place.sweep(*FLAGS)

    children = assert_whole(place.server, summary, 6, EPOCHS)
    assert all("loss_curve.svg" in place.server.artifacts(run.run_id) for run in children)
    registered = summary["registered"]
    assert registered["alias"] == "champion"
    (champion,) = [each for each in place.server.versions(place.study) if each["version"] == registered["version"]]
    assert champion["run_id"] == summary["best"]["run_id"]
    assert {"model.onnx", "manifest.json"} <= set(place.server.model_files(champion["source"].removeprefix("models:/")))
