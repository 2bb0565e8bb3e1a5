"""What a sweep's record says of where the sweep came from: as tags to search by, and as files to do it again with."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from pipelines.checkpoints import write_whole
from pipelines.home import Home
from pipelines.lineage.machine import Machine, this_machine
from pipelines.lineage.packages import Packages, installed
from pipelines.lineage.repository import Repository, look_at, top_of, tracks
from pipelines.own.digest import CODE_SHA256_TAG, CODE_TAG, code_tags, own_code

RECIPE = "recipe.yaml"
RECORD = "lineage.json"
DIFF = "uncommitted.diff"
OWN_DIFF = "uncommitted-regatta.diff"
_ROOT = Path(__file__).resolve().parents[2]
_MOST_TAG = 5000
"""Characters of a tag; MLflow's limit for some databases."""
_FRAMEWORKS = ("keras", "mlflow", "optuna", "numpy", "regatta")
_ON_EVERY_RUN = {
    "mlflow.source.name", "mlflow.source.type", "mlflow.source.git.commit", "mlflow.source.git.branch",
    "regatta.dataset_sha256", "regatta.split_sha256", "regatta.git.dirty", "regatta.python",
    CODE_TAG, CODE_SHA256_TAG,
}  # fmt: skip
_NUMBERS_DEPEND_ON = (
    "CUDA_VISIBLE_DEVICES", "KERAS_BACKEND", "OMP_NUM_THREADS", "PYTHONHASHSEED", "TF_CUDNN_DETERMINISTIC",
    "TF_DETERMINISTIC_OPS", "TF_ENABLE_ONEDNN_OPTS", "TF_XLA_FLAGS", "XLA_FLAGS",
)  # fmt: skip
"""Variables that change what a training computes; no other one is read, as others hold secrets."""


@dataclass(frozen=True)
class Lineage:
    """Where a sweep came from.

    Attributes:
        command: The command line that began it.
        data_sha256: Digest of the data.
        split_sha256: Digest of how it was split.
        recipe: The resolved recipe, as plain JSON types.
        repository: Of the folder that the user stands in.
        own: Regatta's own, where it is another one; None where it is the same, or where git does not track Regatta.
        packages: What is installed.
        machine: Where it ran.
        environment: Variables that change what a training computes, as far as they are set.
        own_code: Digests of the user's own code that the recipe names, by module; see `pipelines.own.digest`.
    """

    command: str
    data_sha256: str
    split_sha256: str
    recipe: Mapping[str, Any]
    repository: Repository
    own: Repository | None
    packages: Packages
    machine: Machine
    environment: Mapping[str, str]
    own_code: Mapping[str, str]

    def tags(self) -> dict[str, str]:
        """What the sweep's run is tagged with, by MLflow's own names where it has one."""
        code = self.repository if self.repository.name or self.own is None else self.own
        machine, packages = self.machine, self.packages
        told: dict[str, str | None] = {
            "mlflow.source.name": source_name(self.command),
            "mlflow.source.type": "LOCAL",
            "mlflow.source.git.commit": code.commit,
            "mlflow.source.git.branch": code.branch,
            "regatta.command": self.command,
            "regatta.dataset_sha256": self.data_sha256,
            "regatta.split_sha256": self.split_sha256,
            "regatta.git.dirty": str(code.dirty).lower() if code.name else None,
            "regatta.git.problem": code.problem,
            "regatta.own.commit": self.own.commit if self.own else None,
            "regatta.own.dirty": str(self.own.dirty).lower() if self.own else None,
            "regatta.lock": packages.lock,
            "regatta.lock_sha256": packages.lock_sha256,
            "regatta.host": machine.host,
            "regatta.system": machine.system,
            "regatta.cpu": f"{machine.cpu}, {machine.cores} of {machine.cores_in_all} cores",
            "regatta.memory_mb": str(machine.memory_mb),
            "regatta.gpus": self._gpus(),
            "regatta.python": machine.python.split()[-1],
            **{f"regatta.versions.{name}": version for name, version in self.versions().items()},
            **code_tags(self.own_code),
        }
        return {key: value[:_MOST_TAG] for key, value in told.items() if value}

    def trial_tags(self) -> dict[str, str]:
        """What each trial's run is tagged with: what people search by. The rest is said once, on the sweep's run."""
        return {key: value for key, value in self.tags().items() if key in _ON_EVERY_RUN}

    def versions(self) -> dict[str, str]:
        """Versions of what a training's numbers depend on, by name."""
        found = {"tensorflow": self.packages.tensorflow}
        found |= {name: self.packages.versions.get(name) for name in _FRAMEWORKS}
        return {name: version for name, version in found.items() if version}

    def files(self, folder: Path) -> list[Path]:
        """Writes `recipe.yaml`, `lineage.json` and, where something was not committed, a diff; returns their paths.

        Each is whole or absent. A diff that an earlier start left in the folder goes where there is none any more.
        """
        recipe = yaml.safe_dump(dict(self.recipe), sort_keys=False, allow_unicode=True, width=120)
        command = self.command.replace("\n", " ")
        wanted: dict[str, bytes | None] = {
            RECIPE: f"# The resolved recipe of: {command}\n{recipe}".encode(),
            RECORD: (json.dumps(self._record(), indent=2, ensure_ascii=False) + "\n").encode(),
            DIFF: self.repository.patch() if self.repository.dirty else None,
            OWN_DIFF: self.own.patch() if self.own and self.own.dirty else None,
        }
        for name, content in wanted.items():
            if content is None:
                (folder / name).unlink(missing_ok=True)
            else:
                write_whole(folder / name, partial(_write, content=content))
        return [folder / name for name, content in wanted.items() if content is not None]

    def _gpus(self) -> str | None:
        if not self.machine.devices:
            return None
        models = ", ".join(sorted(set(self.machine.gpus))) or "NVIDIA"
        return f"{models}: {', '.join(self.machine.devices)}"

    def _record(self) -> dict[str, Any]:
        return {
            "command": self.command,
            "seed": self.recipe.get("seed"),
            "seed_of_a_trial": "this seed and the trial's number, added up",
            "data_sha256": self.data_sha256,
            "split_sha256": self.split_sha256,
            "repository": _told(self.repository),
            "regatta": _told(self.own) if self.own else None,
            "lock": self.packages.lock,
            "lock_sha256": self.packages.lock_sha256,
            "versions": self.versions(),
            "packages": dict(self.packages.versions),
            "machine": asdict(self.machine),
            "environment": dict(self.environment),
            "user_code": dict(self.own_code),
        }


def lineage(command: str, data_sha256: str, split_sha256: str, recipe: Mapping[str, Any]) -> Lineage:
    """Looks where this process stands. Takes a fraction of a second, and never fails.

    Args:
        command: What was typed.
        data_sha256: Digest of the data.
        split_sha256: Digest of its split.
        recipe: The resolved recipe, as plain JSON types.
    """
    with ThreadPoolExecutor(2, "lineage") as pool:  # git and the driver take their time
        here = pool.submit(_here, Path.cwd())
        machine = pool.submit(this_machine)
        packages = installed(_ROOT)
        repository, own = here.result()
        environment = {name: os.environ[name] for name in _NUMBERS_DEPEND_ON if name in os.environ}
        return Lineage(
            _for_the_record(command),
            data_sha256,
            split_sha256,
            recipe,
            repository,
            own,
            packages,
            machine.result(),
            environment,
            own_code(recipe),
        )


def source_name(command: str) -> str:
    """What MLflow shows as the source, such as `regatta sweep`: it shows only what follows the last slash."""
    words = command.split()
    rest = words[3:] if words[1:3] == ["-m", "pipelines"] else words[1:]
    verb = rest[:1] if rest and re.fullmatch(r"[a-z]+", rest[0]) else []
    return " ".join(["regatta", *verb])


def _here(folder: Path) -> tuple[Repository, Repository | None]:
    """The repository of the folder, and Regatta's own where that is another one."""
    home = Home.from_environment().root  # what a sweep itself writes is no change of the code
    repository = look_at(folder, apart_from=home)
    top, own_top = top_of(folder), top_of(_ROOT)
    # installed into an environment that lies in somebody's repository, Regatta is not of that repository
    if isinstance(own_top, str) or own_top == top or not tracks(own_top, _ROOT / "pipelines" / "__init__.py"):
        return repository, None
    return repository, look_at(_ROOT, apart_from=home)


def _write(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def _told(repository: Repository) -> dict[str, Any]:
    told = asdict(repository)
    del told["diff"]  # a file of its own
    return {**told, "dirty": repository.dirty}


def _for_the_record(command: str) -> str:
    """The command without what is nobody's business: passwords in addresses, and who the user's home belongs to."""
    home = re.escape(str(Path.home()))
    return re.sub(rf"(^|[\s=:]){home}/", r"\1~/", re.sub(r"(\w+://)[^/\s@]+@", r"\1", command))
