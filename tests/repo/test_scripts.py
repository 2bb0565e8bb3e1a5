"""Shell scripts are read by a shell, and those that find nothing to work with say so."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPTS = sorted([*(ROOT / "services").rglob("*.sh"), *(ROOT / "tests").rglob("*.sh"), ROOT / ".ci" / "run"])


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_script_is_one_that_its_shell_reads(script: Path) -> None:
    first = script.read_text(encoding="utf-8").splitlines()[0]
    shell = "bash" if "bash" in first else "sh"
    done = subprocess.run([shell, "-n", str(script)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_there_are_scripts_to_look_at() -> None:
    assert len(SCRIPTS) > 3


def test_a_machine_without_docker_is_told_how_to_get_it(tmp_path: Path) -> None:
    engine = ROOT / "tests" / "stack" / "engine.sh"
    done = subprocess.run(
        ["/bin/sh", str(engine), "start", str(tmp_path)],
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stdout == "Docker is not installed (apt-get install docker.io docker-compose)\n"
