"""SIGKILL for parts of a running sweep."""

from __future__ import annotations

from enum import Enum
from random import Random

import psutil

from tests.faults.places import Place
from tests.faults.servers import kill_all
from tests.faults.watching import SweepAt

GONE_S = 30.0


class Victim(Enum):
    """Who is killed."""

    WORKER = "a worker"
    CONTROLLER = "the controller"
    BOTH = "the controller and all its workers"
    SERVER = "the tracking server"
    TREE = "everything: the controller, its workers, the tracking server"


class Moment(Enum):
    """When."""

    START = "while it starts"
    FIRST_EPOCH = "in the first epoch of a trial"
    MID_TRIAL = "in the middle of a trial"
    CLOSING = "while it promotes and closes"


def wait_for(moment: Moment, at: SweepAt, chance: Random, trials: int) -> str:
    """Lets a sweep run up to a moment, with some chance in it; says what came of that, for a log."""
    match moment:
        case Moment.START:
            delay = chance.uniform(0.2, 5.0)
        case Moment.FIRST_EPOCH:
            at.until(at.trial_begun)
            delay = chance.uniform(0.0, 1.5)
        case Moment.MID_TRIAL:
            at.until_epochs(at.epochs() + chance.randint(1, 4))
            delay = chance.uniform(0.0, 0.3)
        case Moment.CLOSING:
            at.until(lambda: at.trials_over() >= trials)
            delay = chance.uniform(0.0, 4.0)
    at.let_run(delay)
    return f"{moment.value}, and {delay:.1f} s"


def strike(victim: Victim, at: SweepAt, place: Place, chance: Random) -> int:
    """Kills, and returns how many processes: none where they ended by themselves a moment before."""
    found = _found(victim, at, place, chance)
    family = at.watched.children()
    kill_all(found)
    if at.watched.process.pid in {process.pid for process in found}:
        at.watched.process.wait(10)
        _, alive = psutil.wait_procs(family, GONE_S)
        left = [process for process in alive if process.is_running() and "services" not in str(process.cmdline())]
        assert not left, f"workers outlived their controller: {left}"
    return len(found)


def _found(victim: Victim, at: SweepAt, place: Place, chance: Random) -> list[psutil.Process]:
    try:
        controller = [psutil.Process(at.watched.process.pid)] if at.watched.process.poll() is None else []
    except psutil.NoSuchProcess:
        controller = []
    server = place.tracking.family() if place.tracking is not None else []
    match victim:
        case Victim.WORKER:
            workers = at.watched.workers()
            return [chance.choice(workers)] if workers else []
        case Victim.CONTROLLER:
            return controller
        case Victim.BOTH:
            return [*controller, *at.watched.children()]
        case Victim.SERVER:
            return server
        case Victim.TREE:
            return [*controller, *at.watched.children(), *server]
