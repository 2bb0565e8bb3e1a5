"""A whole tracked sweep, from the command to the champion, against two sweeps written without Regatta.

All three train the same model on the same data, with the same search space, number of epochs, early stopping and
sampler (TPE), and each records to an MLflow server of its own, fresh, on SQLite, over HTTP, that answers already.
Regatta's sweep is run whole and measured as a process. The peers (`peers/`) run a few trials, and the rest is
extrapolated: what comes before their first trial is counted once, and their first trial for itself. Python has all of
this repository compiled before, as it has from the second command on.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from compileall import compile_dir
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tests.benchmarks.lanes_parts import (
    PROBLEMS,
    ROOT,
    Problem,
    module,
    recipe_path,
    run,
    settings_of,
    tracking_server,
)
from tests.benchmarks.parts import arguments, scratch, table, where

PEERS = {
    "optuna_mlflow": "Optuna + MlflowClient + Model.fit, by hand",
    "optuna_autolog": "Optuna + mlflow.tensorflow.autolog()",
}
_PAGE = 50


@dataclass(frozen=True)
class Swept:
    """Regatta's own sweep.

    Attributes:
        seconds: Of the whole process, from its start to its end.
        summary: What `--json` printed.
        phases: Wall seconds by what they went to, as the sweep's own run tells them.
        runs: Runs of trials that the server has, and with them their curves.
        checkpoints: Checkpoints that it has.
    """

    seconds: float
    summary: Mapping[str, Any]
    phases: Mapping[str, float]
    runs: int
    checkpoints: int


@dataclass(frozen=True)
class PeerTimes:
    """What some trials of a peer took, in seconds: all before the first, each trial, and all after the last."""

    before: float
    trials: tuple[float, ...]
    after: float
    best: float

    @property
    def a_trial(self) -> float:
        """Of a trial that is not the first, which also pays for what is imported late."""
        later = self.trials[1:] or self.trials
        return sum(later) / len(later)

    def whole(self, trials: int) -> float:
        """Seconds of a sweep of so many trials."""
        return self.before + self.trials[0] + (trials - 1) * self.a_trial + self.after


def regatta(name: str, root: Path, flags: Sequence[str]) -> Swept:
    """Runs the sweep of a recipe as a user would."""
    with tracking_server(root) as local:
        environ = _without_server() | local
        command = module("pipelines", "sweep", str(recipe_path(name)), "--json", *flags)
        printed, _, seconds = run(command, environ, root / "sweep.log")
        summary = json.loads(printed)
        phases, runs, checkpoints = _record(f"http://127.0.0.1:{local['MLFLOW_PORT']}", summary)
    return Swept(seconds, summary, phases, runs, checkpoints)


def _without_server() -> dict[str, str]:
    """This process's environment, in which no tracking server is named."""
    return {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}


def _record(server: str, summary: Mapping[str, Any]) -> tuple[dict[str, float], int, int]:
    """What the server says of the sweep."""
    from mlflow import MlflowClient

    client, experiment = MlflowClient(server), summary["experiment_id"]
    metrics = client.get_run(summary["parent_run_id"]).data.metrics
    prefix = "system/seconds_"
    phases = {name.removeprefix(prefix): value for name, value in metrics.items() if name.startswith(prefix)}
    child = f"tags.mlflow.parentRunId = '{summary['parent_run_id']}' and attributes.status = 'FINISHED'"
    runs = client.search_runs([experiment], child, max_results=50_000)
    return phases, len(runs), _checkpoints(client, experiment)


def _checkpoints(client: Any, experiment: str) -> int:
    """Models that are a trial's best epoch; the champion's package is one more, under another name."""
    found, token, more = 0, None, True
    while more:
        page = client.search_logged_models([experiment], max_results=_PAGE, page_token=token)
        found += sum(model.name == "checkpoint" for model in page)
        token = page.token
        more = bool(token)
    return found


def peer(name: str, problem: Problem, trials: int, root: Path) -> PeerTimes:
    """Runs some trials of a peer against a server of its own."""
    folder = root / "files"
    folder.mkdir(parents=True)
    problem.write_for_peers(folder / "problem.json")
    with tracking_server(root / "home") as local:
        environ = _without_server() | {"CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "2"}
        command = module(
            f"tests.benchmarks.peers.{name}", "--problem", str(folder / "problem.json"), "--folder", str(folder),
            "--server", f"http://127.0.0.1:{local['MLFLOW_PORT']}", "--trials", str(trials),
        )  # fmt: skip
        _, begun, seconds = run(command, environ, root / "log")
    return peer_times(json.loads((folder / "times.json").read_text(encoding="utf-8")), begun, seconds)


def peer_times(clock: Mapping[str, Any], begun: float, seconds: float) -> PeerTimes:
    """Puts together what the peer's own clock says and what its process took; `begun` is in seconds since 1970."""
    before, trials = clock["first_trial"] - begun, clock["trials"]
    return PeerTimes(before, tuple(trials), max(0.0, seconds - before - sum(trials)), clock["best"])


def told(swept: Swept, peers: Mapping[str, PeerTimes], trials: int) -> str:
    """The table of ratios, what Regatta's seconds went to, and what the server has of them."""
    rows: list[list[Any]] = [
        ["Regatta", trials, swept.seconds, swept.seconds / trials, 1.0, swept.summary["best"]["value"]]
    ]
    rows += [
        [
            f"{PEERS[name]} ({len(times.trials)} trials run)",
            trials,
            times.whole(trials),
            times.a_trial,
            times.whole(trials) / swept.seconds,
            "-",
        ]
        for name, times in peers.items()
    ]
    summary, counted = swept.summary, sum(swept.phases.values())
    spent = [[name, seconds, seconds / swept.seconds] for name, seconds in swept.phases.items()]
    spent.append(["starting, reporting, ending", swept.seconds - counted, 1 - counted / swept.seconds])
    journal, registered = summary["journal"], summary["registered"]
    champion = f"version {registered['version']} of {registered['name']}" if registered else "none"
    has = f"{swept.runs} runs of trials and {swept.checkpoints} checkpoints"
    sent = f"{journal['delivered']} of {journal['written']} entries were delivered"
    lines = [
        table(["sweep", "trials", "s", "s a trial", "times Regatta", "best"], rows),
        "",
        table(["Regatta's seconds", "s", "share"], spent),
        f"Trials: {summary['trials']}. The server has {has}; {sent}. Champion: {champion}.",
    ]
    for name, times in peers.items():
        later = times.trials[1:] or times.trials
        lines.append(
            f"{PEERS[name]}: {times.before:.1f} s before its first trial, which took {times.trials[0]:.2f} s; the "
            f"others {min(later):.2f} to {max(later):.2f} s"
        )
    return "\n".join(lines)


def main(given: Sequence[str] | None = None) -> None:
    parser = arguments(str(__doc__).split("\n", 1)[0])
    parser.add_argument("--problem", choices=PROBLEMS, default="digits")
    parser.add_argument("--trials", type=int, default=256)
    parser.add_argument("--peer-trials", type=int, default=8, help="that each peer runs")
    parser.add_argument("--peers", default=",".join(PEERS), help="separated by commas; none if empty")
    parser.add_argument("--lanes", default="auto", help="a number, auto, or off")
    parser.add_argument("--workers", default="auto", help="of Regatta's sweep")
    parser.add_argument("--set", action="append", default=[], metavar="PATH=VALUE", help="set one value of the recipe")
    parser.add_argument("--keep", type=Path, help="keep Regatta's home there, to look at afterwards")
    chosen = parser.parse_args(given)
    names = [name for name in chosen.peers.split(",") if name]
    if "optuna_autolog" in names and find_spec("tensorboard") is None:
        raise SystemExit("mlflow.tensorflow.autolog() needs TensorBoard, which is not installed; `make setup` does it.")
    print(f"A whole sweep of {chosen.trials} trials on {chosen.problem}; {where()}", flush=True)
    flags = [
        "--trials",
        str(chosen.trials),
        "--lanes",
        chosen.lanes,
        "--workers",
        chosen.workers,
        *settings_of(chosen.set),
    ]
    for folder in ("pipelines", "services", "tests/benchmarks"):
        compile_dir(ROOT / folder, quiet=1)
    with scratch() as root:
        problem = Problem.prepared(chosen.problem, root / "data", chosen.set)
        swept = regatta(chosen.problem, chosen.keep or root / "regatta", flags)
        peers = {name: peer(name, problem, chosen.peer_trials, root / name) for name in names}
    print(told(swept, peers, chosen.trials))


if __name__ == "__main__":
    main()
