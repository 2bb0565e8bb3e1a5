"""The stack in containers: `python3 -m services.compose up|down|build|secrets [SERVICE …] [-- OPTIONS OF COMPOSE]`.

`make up` and its kin call it with any Python from 3.9 on: nothing of Regatta need be installed. `up` makes `.env`,
builds, starts, and returns when all of it is healthy, also where Docker Compose is too old to wait.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from services import env_file, started_stack

ROOT = Path(__file__).resolve().parent.parent
ENV_FILE = ROOT / ".env"
PROFILES = "sweep,dashboard,monitoring"
HEALTHY_TIMEOUT_S = 300.0
_POLL_S = 0.5
_TAIL = "15"
_MOST_RESTARTS = 3


class ComposeError(Exception):
    """The stack cannot be started or stopped; the message says why and what to do."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one verb and returns its exit code: 0 done, 1 a container failed, 2 something that it needs is missing."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    more = words[words.index("--") + 1 :] if "--" in words else []
    words = words[: words.index("--")] if "--" in words else words
    options = _parser().parse_args(words)
    try:
        if options.verb == "secrets":
            _make_secrets()
            return 0
        command = compose_command()
        if options.verb == "down":
            # what `run` has started is no service's to newer versions of Compose
            whole = [] if options.services else ["--remove-orphans"]
            code = _call([*command, "down", *whole, *more, *options.services], PROFILES)
            started_stack.forget(_home())
            return code
        _make_secrets(command)
        if options.verb == "build":
            return _call([*command, "build", *more, *options.services], PROFILES)
        return _up(command, options.services, more)
    except ComposeError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("Interrupted. What was started goes on; `make down` stops it.", file=sys.stderr)
        return 130


def compose_command() -> list[str]:
    """Docker Compose, as Docker's own plugin or as a program.

    Raises:
        ComposeError: There is neither, or no Docker engine answers.
    """
    docker = shutil.which("docker")
    if docker is None:
        raise ComposeError("There is no `docker` here. Install Docker, or use `make up-local`, which needs none.")
    asked = subprocess.run(
        [docker, "info", "--format", "{{.ServerVersion}}"], capture_output=True, text=True, check=False
    )
    if asked.returncode != 0:
        reason = (asked.stderr.strip().splitlines() or ["it does not answer"])[-1]
        raise ComposeError(f"Docker's engine cannot be used: {reason}. `make up-local` needs none.")
    if subprocess.run([docker, "compose", "version"], capture_output=True, check=False).returncode == 0:
        return [docker, "compose"]
    program = shutil.which("docker-compose")
    if program is None:
        raise ComposeError(
            "There is no Docker Compose here: neither `docker compose` nor `docker-compose`. Install it."
        )
    return [program]


def build_arguments(root: Path) -> dict[str, str]:
    """What the images say about themselves: which version and commit of Regatta, which locks."""
    version = re.search(r'^version = "(.+)"$', (root / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)
    locks = {"REGATTA_LOCK_SHA256": "cpu", "REGATTA_GPU_LOCK_SHA256": "gpu"}
    told = {
        name: hashlib.sha256((root / "requirements" / f"{lock}.txt").read_bytes()).hexdigest()
        for name, lock in locks.items()
    }
    return {**told, "REGATTA_VERSION": version[1] if version else "unknown", "REGATTA_REVISION": _revision(root)}


def unhealthy(states: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The containers that are not up yet.

    Args:
        states: By a container's name, what `docker inspect` says of it.

    Raises:
        ComposeError: One of them has ended, or is started again and again.
    """
    waiting = []
    for name, told in states.items():
        state = told["State"]
        if state.get("Status") in ("exited", "dead"):
            raise ComposeError(f"{name} has ended with exit code {state.get('ExitCode')}.")
        if state.get("Status") == "restarting" and told.get("RestartCount", 0) >= _MOST_RESTARTS:
            raise ComposeError(f"{name} ends as often as it is started, with exit code {state.get('ExitCode')}.")
        health = (state.get("Health") or {}).get("Status")
        if state.get("Status") != "running" or health not in (None, "healthy"):
            waiting.append(name)
    return waiting


def _up(command: list[str], services: Sequence[str], more: Sequence[str]) -> int:
    build = [] if "--no-build" in more else ["--build"]
    code = _call([*command, "up", *build, "--detach", *more, *services])
    if code != 0:
        _show_logs(command, services)
        return 1
    deadline = time.monotonic() + HEALTHY_TIMEOUT_S
    waiting: list[str] = []
    while True:
        try:
            waiting = unhealthy(_states(command, services))
        except ComposeError as error:
            print(error, file=sys.stderr)
            _show_logs(command, services)
            return 1
        if not waiting:
            break
        if time.monotonic() > deadline:
            print(f"Not healthy after {HEALTHY_TIMEOUT_S:.0f} s: {', '.join(waiting)}.", file=sys.stderr)
            _show_logs(command, services)
            return 1
        time.sleep(_POLL_S)
    settings = {**env_file.read(ENV_FILE), **os.environ}
    stack = started_stack.StartedStack.of(settings, ENV_FILE)
    if not services or "tracking_server" in services:
        started_stack.note(_home(), stack)
    print(f"MLflow: {stack.tracking_server}" + (" (user admin, MLFLOW_ADMIN_PASSWORD of .env)" if stack.login else ""))
    print(f"model server: {stack.model_server}")
    return 0


def _make_secrets(command: Sequence[str] = ()) -> None:
    """Completes `.env`, unless that would lock the stack out of its own database."""
    missing = [name for name in env_file.SECRETS if not env_file.read(ENV_FILE).get(name)]
    if "POSTGRES_PASSWORD" in missing and command:
        volume = f"{_project()}_postgres"
        found = subprocess.run(["docker", "volume", "inspect", volume], capture_output=True, check=False)
        if found.returncode == 0:
            raise ComposeError(
                f"There is a volume {volume} with a database, and its passwords are not in {ENV_FILE.name}. Bring that "
                f"file back; or remove the database with all that it holds: docker volume rm {volume}"
            )
    made = env_file.complete(ENV_FILE)
    if made:
        print(f"{ENV_FILE.name}: made {', '.join(made)}", file=sys.stderr)


def _project() -> str:
    """The name before those of the volumes, as Docker Compose derives it."""
    named = os.environ.get("COMPOSE_PROJECT_NAME") or env_file.read(ENV_FILE).get("COMPOSE_PROJECT_NAME") or ROOT.name
    return re.sub(r"[^-_a-z0-9]", "", named.lower()).lstrip("_-")


def _states(command: Sequence[str], services: Sequence[str]) -> dict[str, Mapping[str, Any]]:
    listed = subprocess.run(
        [*command, "ps", "-q", *services], cwd=ROOT, env=_environment(), capture_output=True, text=True, check=False
    )
    ids = listed.stdout.split()
    if not ids:
        raise ComposeError(f"No container was started: {listed.stderr.strip() or 'Docker Compose lists none'}")
    told = subprocess.run(["docker", "inspect", *ids], capture_output=True, text=True, check=False)
    return {str(each["Name"]).lstrip("/"): each for each in json.loads(told.stdout or "[]")}


def _show_logs(command: Sequence[str], services: Sequence[str]) -> None:
    _call([*command, "logs", "--tail", _TAIL, *services])


def _call(command: Sequence[str], profiles: str | None = None) -> int:
    """Runs Docker Compose in the repository; what it says is progress, and goes to standard error."""
    environ = _environment()
    if profiles is not None:
        environ["COMPOSE_PROFILES"] = profiles
    return subprocess.run(command, cwd=ROOT, env=environ, stdout=sys.stderr, check=False).returncode


def _environment() -> dict[str, str]:
    return {**build_arguments(ROOT), **os.environ}


def _home() -> Path:
    return Path(os.environ.get("REGATTA_HOME") or ROOT / ".regatta").absolute()


def _revision(root: Path) -> str:
    try:
        found = subprocess.run(
            ["git", "-C", str(root), "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"],
            capture_output=True,
            text=True,
            check=False,
        )
    except OSError:
        return "unknown"
    return found.stdout.strip() or "unknown"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python3 -m services.compose",
        description="Runs Regatta's services in containers.",
        epilog="What follows -- goes to Docker Compose as it is.",
    )
    verbs = ["up", "down", "build", "secrets"]
    parser.add_argument(
        "verb", choices=verbs, help="start and wait, stop, make images, or only make the secrets in .env"
    )
    parser.add_argument("services", nargs="*", metavar="SERVICE", help="all but those of a profile by default")
    return parser


if __name__ == "__main__":
    sys.exit(main())
