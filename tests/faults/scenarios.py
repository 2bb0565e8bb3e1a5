"""Sweeps that need no test's attention: they run aside, one after another, while tests go on.

A scenario is a function of the shared server's address and of a folder of its own; what it returns is what tests look
at. It runs once, if any of the selected tests asks for the fixture of its name.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from tests.faults.places import TRACKING, Place, made_place
from tests.faults.proxy import Proxy
from tests.faults.servers import RunSeen, Server
from tests.faults.whole import assert_whole

Scenario = Callable[[str, Path], Any]
OWN, MODELS = "tests.faults.own_callbacks", "tests.faults.own_models"
SMALL_EPOCHS, LONG_EPOCHS = 8, 40
UNREACHED = ("--trials", "4", "--workers", "1", "--set", f"epochs={SMALL_EPOCHS}", "--no-promote")
CAP_MB = 2500
KEYS = ("loss", "accuracy", "val_loss", "val_accuracy", "learning_rate")
Curves = dict[int | None, dict[str, list[tuple[int, float]]]]


class Seen(NamedTuple):
    """A whole sweep: its trials by number, and what it printed."""

    server: Server
    runs: dict[int | None, RunSeen]
    said: str


def own(name: str, **arguments: Any) -> str:
    """A recipe's entry for one of our callbacks."""
    return f"{{name: class, path: '{OWN}:{name}', arguments: {arguments}}}"


def paced(seconds: float) -> tuple[str, str]:
    """Flags of a sweep in which an epoch of a trial takes so long at least."""
    return ("--set", f"callbacks.paces={own('Paces', seconds=seconds)}")


LONG = ("--trials", "2", "--set", f"epochs={LONG_EPOCHS}", *paced(0.05), "--no-promote")


def curves_of(server: Server, runs: list[RunSeen]) -> Curves:
    """All curves, as they are compared: to the last digit."""
    return {
        run.trial: {key: [(point.step, point.value) for point in server.history(run.run_id, key)] for key in KEYS}
        for run in runs
    }


def undisturbed(shared_server: str, folder: Path) -> Curves:
    """The curves of a sweep that nobody disturbs, by `fit`."""
    with made_place(folder / "home", "undisturbed", {TRACKING: shared_server}) as place:
        summary = place.sweep(*LONG, "--lanes", "off", "--workers", "1")
        return curves_of(place.server, assert_whole(place.server, summary, 2, LONG_EPOCHS))


def hung(shared_server: str, folder: Path) -> Seen:
    """Both workers are stopped in trials 0 and 1, trial 1 blocks for ever, trial 2 dies and comes back as a zombie."""
    with made_place(folder / "home", "hung", {TRACKING: shared_server}) as place:
        at = place.begin(
            "--trials", "3", "--no-promote", "--lanes", "off",
            "--set", "epochs=20",
            "--set", "execution.hung_after_s=8",
            "--set", f"callbacks.blocks={own('Blocks', trials=[1], epoch=5)}",
            "--set", f"callbacks.zombie={own('Zombie', trials=[2])}",
        )  # fmt: skip
        at.until_epochs(2, trial=0)
        for worker in at.watched.workers():
            worker.send_signal(signal.SIGSTOP)
        return _seen(place, at.watched.summary(), 3, 20, at.watched.said)


def starved(shared_server: str, folder: Path) -> Seen:
    """Trial 0 fills more memory than it may, and trial 1 asks for more than there is."""
    with made_place(folder / "home", "starved", {TRACKING: shared_server}) as place:
        at = place.begin(
            "--trials", "3", "--no-promote",
            "--set", f"execution.memory_cap_mb={CAP_MB}",
            "--set", f"callbacks.fills={own('Fills', trials=[0], mb=CAP_MB)}",
            "--set", f"callbacks.asks={own('AsksForTooMuch', trials=[1])}",
        )  # fmt: skip
        return _seen(place, at.watched.summary(), 3, 4, at.watched.said)


class Unreached(NamedTuple):
    """A sweep whose server was never there: the port at which it would have been, and the home that is left."""

    port: int
    home: Path
    summary: dict[str, Any]
    said: str


def unreached(shared_server: str, folder: Path) -> Unreached:
    """A sweep that reaches nobody from its beginning to its end."""
    proxy = Proxy(int(shared_server.rpartition(":")[2]))
    proxy.down()
    with made_place(folder / "home", "unreached", {TRACKING: proxy.address}) as place:
        at = place.begin(*UNREACHED)
        return Unreached(proxy.port, place.site.home, at.watched.summary(), at.watched.said)


class Budgets(NamedTuple):
    """One study that met with one budget after another: the summaries, by budget, and the trials after each."""

    server: Server
    summaries: dict[str, dict[str, Any]]
    runs: dict[str, list[RunSeen]]


def budgets(shared_server: str, folder: Path) -> Budgets:
    """A study that goes on as its budgets are raised, one after another; one trial at a time, so that each counts."""
    found = Budgets(Server(shared_server), {}, {})
    base = ("--executor", "inline", "--lanes", "off", "--no-promote", "--set", f"epochs={SMALL_EPOCHS}", "--trials")
    with made_place(folder / "home", "budgets", {TRACKING: shared_server}) as place:

        def start(name: str, value: float, trials: int = 40) -> list[RunSeen]:
            more = () if name == "trials" else ("--set", f"budget.{name}={value}")
            summary = place.sweep(*base, str(trials), *more)
            found.summaries[name] = summary
            found.runs[name] = place.server.children(summary["experiment_id"], summary["parent_run_id"])
            return found.runs[name]

        start("target", 1000)
        runs = start("no_improvement_trials", 1)
        # what was used so far, and a hair more: the next trial ends it
        runs = start(
            "checkpoint_mb", sum(run.metrics.get("system/checkpoint_bytes", 0.0) for run in runs) / (1 << 20) + 1e-6
        )
        start("device_s", sum(run.metrics["seconds"] for run in runs) + 0.2)
        start("wall_s", sum(summary["seconds"] for summary in found.summaries.values()) + 1)
        start("trials", 0, found.summaries["wall_s"]["trials"]["complete"] + 1)
    return found


def crowded(shared_server: str, folder: Path) -> Seen:
    """One worker has six trials at once: trial 1 has a NaN, 2 raises, 3 blocks for ever, and 4 kills its process."""
    with made_place(folder / "home", "crowded", {TRACKING: shared_server}) as place:
        at = place.begin(
            "--trials", "6", "--workers", "1", "--lanes", "8", "--no-promote",
            "--set", f"epochs={SMALL_EPOCHS}",
            "--set", "execution.hung_after_s=12",  # making a program takes some seconds, too
            "--set", "execution.retries=0",
            "--set", f"callbacks.poisons={own('Poisons', trials=[1], epoch=2)}",
            "--set", f"callbacks.raises={own('Raises', trials=[2], epoch=3)}",
            "--set", f"callbacks.blocks={own('Blocks', trials=[3], epoch=4)}",
            "--set", f"callbacks.kills={own('Kills', trials=[4], epoch=5)}",
            FAULTS_RAISE="same",
        )  # fmt: skip
        assert at.watched.ended(280) == 0, at.watched.said
        return _seen(place, at.watched.summary(), 6, SMALL_EPOCHS, at.watched.said)


class Mixed(NamedTuple):
    """Two sweeps in one home over models of which only some can be trained in lanes."""

    first: Seen
    after_a_spoilt_cache: Seen


def mixed(shared_server: str, folder: Path) -> Mixed:
    """A model of which one kind cannot be trained in lanes, with two optimizers; then with one and a torn XLA cache.

    With two, who comes first decides which program is made, and it may be none of those that were kept.
    """
    flags = (
        "--workers", "1", "--lanes", "4", "--no-promote",
        "--set", f"model={{name: function, function: '{MODELS}:digits', arguments: {{embeds: false}}}}",
        "--set", "sampler={name: grid}",
    )  # fmt: skip
    space = "search_space={{model.arguments.embeds: [false, true], optimizer: {{{optimizers}}}}}"
    two, one = (("--set", space.format(optimizers=each)) for each in ("adam: {}, sgd: {}", "adam: {}"))
    with made_place(folder / "home", "mixed", {TRACKING: shared_server}) as place:

        def swept(study: str, optimizers: tuple[str, str], trials: int) -> Seen:
            at = place.begin(*flags, *optimizers, "--set", f"study={study}")
            return _seen(place, at.watched.summary(), trials, 4, at.watched.said)

        first = swept("mixed", two, 4)
        swept("adam", one, 2)
        kept = list((place.site.home / "lanes").glob("xla-*/*.pb"))
        assert kept, "nothing to be spoilt"
        for path in kept:
            path.write_bytes(path.read_bytes()[:1000])
        return Mixed(first, swept("adam-again", one, 2))


class Spent(NamedTuple):
    """A study in lanes that met with two budgets: the summaries, by budget, and the trials after each."""

    server: Server
    summaries: dict[str, dict[str, Any]]
    runs: dict[str, list[RunSeen]]


def spent(shared_server: str, folder: Path) -> Spent:
    """Eight of twelve trials reach a target at once; four are cut short by the seconds of training; then all end."""
    found = Spent(Server(shared_server), {}, {})
    base = ("--trials", "12", "--workers", "1", "--lanes", "8", "--no-promote", "--set", f"epochs={SMALL_EPOCHS}")
    with made_place(folder / "home", "spent", {TRACKING: shared_server}) as place:

        def start(name: str, *more: str) -> list[RunSeen]:
            summary = found.summaries[name] = place.sweep(*base, *paced(0.05), *more)
            found.runs[name] = place.server.children(summary["experiment_id"], summary["parent_run_id"])
            return found.runs[name]

        runs = start("target", "--set", "budget.target=1000")
        used = sum(run.metrics["seconds"] for run in runs)
        start("device_s", "--set", f"budget.device_s={used + 0.1}")
        start("trials")
    return found


def _seen(place: Place, summary: dict[str, Any], trials: int, epochs: int, said: str) -> Seen:
    runs = assert_whole(place.server, summary, trials, epochs)
    return Seen(place.server, {run.trial: run for run in runs}, said)


SCENARIOS: dict[str, Scenario] = {
    each.__name__: each for each in (undisturbed, hung, starved, unreached, budgets, crowded, mixed, spent)
}
