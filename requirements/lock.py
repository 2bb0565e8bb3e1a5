"""Writes the lock files: exact versions with hashes, for every platform, from the ranges in pyproject.toml.

`make lock` runs it. A lock names no package index: uv is told not to write one, and whoever installs uses their own.
Every lock after the first is bound to the versions of `cpu.txt`, so that a model that was trained with one version of a
library is not served with another.
"""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
ROOT = FOLDER.parent
PROJECT = "pyproject.toml"
# What each lock holds. `None` as the source: the extra alone, without the dependencies of the training side.
LOCKS: dict[str, tuple[str | None, tuple[str, ...]]] = {
    "cpu": (PROJECT, ("cpu", "model-server")),
    "gpu": (PROJECT, ("gpu", "model-server")),
    "dev": (None, ("dev",)),
    "ray": (None, ("ray",)),
    "model-server": (None, ("model-server",)),
    "model-server-keras": (None, ("model-server", "model-server-keras")),
    "tracking-server": (None, ("tracking-server",)),
    "optuna-dashboard": (None, ("optuna-dashboard",)),
}


def main(arguments: list[str]) -> int:
    """Compiles every lock, or those that `arguments` name. `--upgrade` takes the newest versions the ranges allow."""
    upgrade = ["--upgrade"] if "--upgrade" in arguments else []
    names = [argument for argument in arguments if not argument.startswith("-")] or ["uv", *LOCKS]
    unknown = [name for name in names if name not in {"uv", *LOCKS}]
    if unknown:
        print(f"There is no lock named {', '.join(unknown)}. The locks are uv, {', '.join(LOCKS)}.", file=sys.stderr)
        return 2
    with (ROOT / PROJECT).open("rb") as file:
        extras = tomllib.load(file)["project"]["optional-dependencies"]
    for name in names:
        print(f"requirements/{name}.txt", file=sys.stderr)
        if name == "uv":
            compile_lock(name, ["requirements/uv.in"], None, upgrade)
            continue
        source, chosen = LOCKS[name]
        bounds = ["--constraint", "requirements/constraints.in"]
        if name != "cpu":
            bounds += ["--constraint", "requirements/cpu.txt"]
        if source is None:
            lines = "\n".join(line for extra in chosen for line in extras[extra])
            compile_lock(name, ["-"], lines, bounds + upgrade)
        else:
            compile_lock(name, [source, *(f"--extra={extra}" for extra in chosen)], None, bounds + upgrade)
    return 0


def compile_lock(name: str, source: list[str], stdin: str | None, options: list[str]) -> None:
    """Runs uv's resolver for one lock.

    Args:
        name: The lock's name, as in `requirements/NAME.txt`.
        source: Where the ranges are, as arguments of `uv pip compile`.
        stdin: The ranges themselves, where `source` is `-`.
        options: Further arguments.

    Raises:
        subprocess.CalledProcessError: uv found no set of versions; it has said why.
    """
    command = [str(Path(sys.executable).with_name("uv")), "pip", "compile", *source, *options]
    command += ["--output-file", f"requirements/{name}.txt", "--python-version", "3.11", "--universal", "--quiet"]
    command += ["--fork-strategy", "fewest", "--generate-hashes", "--no-emit-index-url", "--no-emit-find-links"]
    command += ["--custom-compile-command", "make lock"]
    subprocess.run(command, input=stdin, text=True, cwd=ROOT, check=True)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except subprocess.CalledProcessError as failure:
        sys.exit(failure.returncode)
