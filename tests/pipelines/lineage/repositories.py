"""Real git repositories for tests."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path


def git(folder: Path, *arguments: str, stdin: bytes = b"") -> str:
    """Runs git on nobody's account."""
    who = ["-c", "user.name=Somebody", "-c", "user.email=somebody@example.org", "-c", "commit.gpgsign=false"]
    environment = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    done = subprocess.run(
        ["git", "-C", str(folder), *who, *arguments], input=stdin, capture_output=True, env=environment, check=True
    )
    return done.stdout.decode(errors="replace").strip()


def made(folder: Path, **files: str) -> Path:
    """A repository with one commit of these files, `model=…` being model.py."""
    folder.mkdir(parents=True)
    git(folder, "init", "--initial-branch", "main")
    for name, content in files.items():
        (folder / f"{name}.py").write_text(content, encoding="utf-8")
    git(folder, "add", "--all")
    git(folder, "commit", "--allow-empty", "--message", "first")
    return folder
