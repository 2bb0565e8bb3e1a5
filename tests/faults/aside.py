"""Scenarios in a process of their own, one after another, while tests that need one core go on.

It is no thread of the tests' process, in which a test may be replacing what the scenarios use at that very moment.
`python -m tests.faults.aside ADDRESS FOLDER NAME…` leaves what each has found in a file of the folder.
"""

from __future__ import annotations

import json
import subprocess
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_type_hints

import psutil
from pydantic import TypeAdapter

from tests.faults.scenarios import SCENARIOS
from tests.sites import INHERITED, ROOT

LONGEST_S = 280.0
"""For one of them; pytest gives up a little later."""


class Aside:
    """The scenarios that the selected tests look at."""

    def __init__(self, folder: Path, address: str, names: Sequence[str]) -> None:
        self._folder = folder
        self._address = address
        self._waiting = list(names)
        self._begun: dict[str, subprocess.Popen[bytes]] = {}

    def begin(self, *names: str) -> None:
        """Begins those of these that have not begun."""
        chosen = [name for name in self._waiting if name in names]
        if not chosen:
            return
        self._waiting = [name for name in self._waiting if name not in chosen]
        with self._log(chosen[0]).open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.faults.aside", self._address, str(self._folder), *chosen],
                cwd=ROOT, env=INHERITED, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        self._begun |= dict.fromkeys(chosen, process)

    def begin_all(self) -> None:
        """Begins all that have not begun."""
        self.begin(*self._waiting)

    def found(self, name: str) -> Any:
        """What a scenario has found, as soon as it has."""
        if name not in self._begun:
            self.begin_all()
        process, file = self._begun[name], found_by(name, self._folder)
        for _ in range(int(LONGEST_S / 0.1)):
            ended = process.poll() is not None
            if file.exists():
                break
            assert not ended, f"it ended without '{name}':\n{self._said()}"
            try:
                process.wait(0.1)
            except subprocess.TimeoutExpired:
                continue
        else:
            raise AssertionError(f"'{name}' takes longer than {LONGEST_S:g} s:\n{self._said()}")
        told = json.loads(file.read_text())
        assert told["problem"] is None, f"'{name}' came to no end:\n{told['problem']}"
        return form_of(name).validate_python(told["found"])

    def close(self) -> None:
        """Ends what is still under way."""
        for process in set(self._begun.values()):
            if process.poll() is None:
                family = psutil.Process(process.pid).children(recursive=True)
                process.kill()
                for child in family:
                    if child.is_running():
                        child.kill()
            process.wait()

    def _log(self, first: str) -> Path:
        return self._folder / f"{first}.log"

    def _said(self) -> str:
        return "\n".join(path.read_text(errors="replace")[-3000:] for path in sorted(self._folder.glob("*.log")))


def found_by(name: str, folder: Path) -> Path:
    """The file with what a scenario has found, or what went wrong in it."""
    return folder / f"{name}.json"


def form_of(name: str) -> TypeAdapter[Any]:
    """What a scenario's function returns, as JSON of Python's, in which a NaN is itself."""
    return TypeAdapter(get_type_hints(SCENARIOS[name])["return"])


def main(address: str, folder: Path, names: Sequence[str]) -> None:
    for name in names:
        (folder / name).mkdir()
        found, problem = None, None
        try:
            found = form_of(name).dump_python(SCENARIOS[name](address, folder / name), mode="json")
        except Exception:
            problem = traceback.format_exc()
        file = found_by(name, folder)
        file.with_suffix(".part").write_text(json.dumps({"found": found, "problem": problem}))
        file.with_suffix(".part").replace(file)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3:])
