"""What the parts of `make bench-lanes` share: the problems, trials drawn from their recipes, processes and servers."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import optuna

from pipelines import devices
from pipelines.datasets.prepared import PreparedData, prepare
from pipelines.home import user_data_folder
from pipelines.models.dense import DenseModel
from pipelines.recipe.config import SweepConfig
from pipelines.recipe.reading import read_recipe
from pipelines.recipe.trial_configs import TrialConfigs
from pipelines.records import TrialSpec
from pipelines.worker import WorkerSettings, environment
from tests.benchmarks.peers.plain_keras import Choice
from tests.benchmarks.peers.plain_keras import Problem as PeersProblem

ROOT = Path(__file__).resolve().parents[2]
RECIPES = Path(__file__).resolve().parent / "recipes"
PROBLEMS = ("digits", "images")
CORES = 2
"""What everything is measured on, where the machine has more."""


@dataclass(frozen=True)
class Problem:
    """One of the benchmark's recipes with its data prepared."""

    name: str
    config: SweepConfig
    data: PreparedData

    @classmethod
    def prepared(cls, name: str, cache: Path, settings: Sequence[str] = ()) -> Problem:
        """Reads the recipe of `name`, and prepares its data below `cache` unless that was done before."""
        config = read_recipe(recipe_path(name), list(settings))
        return cls(name, config, prepare(config.dataset, user_data_folder(), cache, config.task))

    def specs(
        self, count: int, folder: Path, *, first: int = 0, changes: Mapping[str, Any] | None = None
    ) -> list[TrialSpec]:
        """Trials `first` and on, drawn at random from the search space; their states are not kept.

        Args:
            count: How many.
            folder: Where they write their files.
            first: Number of the first; it decides about their seeds, too.
            changes: Parts of a training config that all of them have, whatever was drawn.
        """
        configs, objective = TrialConfigs(self.config), self.config.objective
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=self.config.seed + first))
        return [
            TrialSpec(
                number,
                1,
                {**configs.make(number, study.ask()).config, **(changes or {})},
                str(self.data.folder),
                str(folder / f"{number:05d}"),
                objective.metric,
                objective.sense,
            )
            for number in range(first, first + count)
        ]

    @cached_property
    def for_peers(self) -> PeersProblem:
        """The same, as the peers take it."""
        facts, model = self.data.facts, self.config.model
        assert isinstance(model, DenseModel), f"the peers train dense models, and {self.name} has {model.name}"
        assert facts.low is not None
        assert facts.high is not None
        return PeersProblem(
            str(self.data.folder),
            facts.low,
            facts.high,
            len(facts.labels),
            tuple(model.units),
            self.config.batch_size,
            self.config.epochs,
        )

    def write_for_peers(self, path: Path) -> None:
        """What `peers.plain_keras.Problem.read` reads."""
        path.write_text(json.dumps(asdict(self.for_peers)), encoding="utf-8")


def settings_of(settings: Sequence[str]) -> list[str]:
    """The settings as flags, to be handed on."""
    return [word for setting in settings for word in ("--set", setting)]


def recipe_path(name: str) -> Path:
    """The recipe of one of the `PROBLEMS`."""
    return RECIPES / f"lanes_{name}.yaml"


def as_choice(config: Mapping[str, Any]) -> Choice:
    """The same trial for a peer: `config` is a resolved training config."""
    optimizer = config["optimizer"]
    used = {"adam": (), "rmsprop": (), "sgd": ("momentum", "nesterov")}[optimizer["name"]]
    settings = {key: optimizer[key] for key in ("name", "learning_rate", *used)}
    return Choice(settings, config["callbacks"]["early_stopping"]["patience"])


def surroundings(gpu: str | None = None, **more: str) -> dict[str, str]:
    """Environment of a process that trains on `CORES` cores, or on a GPU with all cores that there are."""
    cores = devices.cores()
    threads = min(CORES, cores) if gpu is None else cores
    return {**os.environ, **environment(threads, gpu), **more}


def gpu_or_none() -> str | None:
    """The first GPU of this machine."""
    return next(iter(devices.gpus()), None)


def memory_mb() -> int:
    """Memory that a worker may fill here, in MiB: beside a GPU, its driver's libraries take gigabytes of the host's."""
    return 32 << 10 if devices.gpus() else WorkerSettings.memory_mb


def run(command: Sequence[str], environ: Mapping[str, str], log: Path) -> tuple[str, float, float]:
    """Runs a command to its end.

    Args:
        command: What is run, from the root of the repository.
        environ: Its whole environment.
        log: Where its standard error goes; its end is shown where the command fails.

    Returns:
        What it printed, when it was started (seconds since 1970), and the seconds that it took.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    begun, clock = time.time(), time.perf_counter()
    with log.open("w", encoding="utf-8") as words:
        done = subprocess.run(
            command, cwd=ROOT, env=environ, stdout=subprocess.PIPE, stderr=words, text=True, check=False
        )
    took = time.perf_counter() - clock
    if done.returncode != 0:
        tail = "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-15:])
        raise SystemExit(f"{' '.join(command)} ended with exit code {done.returncode}, and said last:\n{tail}")
    return done.stdout, begun, took


def module(name: str, *arguments: str) -> list[str]:
    """The command that runs a module of this repository."""
    return [sys.executable, "-m", name, *arguments]


@contextmanager
def tracking_server(home: Path) -> Iterator[dict[str, str]]:
    """A fresh MLflow server on SQLite that answers; yields the environment in which it is the local one."""
    environ = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
    environ |= {"REGATTA_HOME": str(home), "MLFLOW_PORT": str(free_port())}
    local = ("services.local", "up", "tracking_server", "--json")
    run(module(*local), environ, home / "server-up.log")
    try:
        yield {name: environ[name] for name in ("REGATTA_HOME", "MLFLOW_PORT")}
    finally:
        run(module("services.local", "down", "tracking_server"), environ, home / "server-down.log")


def free_port() -> int:
    """A port that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
