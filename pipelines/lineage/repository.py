"""What git says about the code in a folder: the commit, and what was not committed.

Only looks: nothing in the repository changes, not even git's own index. Remotes are left out, as an address may hold a
password, and so is the content of files that git does not track, as `.env` is such a file.
"""

from __future__ import annotations

import os
import re
import subprocess
import threading
from dataclasses import dataclass
from pathlib import Path

MOST_DIFF_BYTES = 1 << 20
_MOST_STATUS_BYTES = 8 << 20
_MOST_NAMES = 1000
_PATIENCE_S = 5.0
"""How long git may take for one answer; a repository of millions of files, on a network disk, may need more."""
_FIELDS = {"1": 7, "u": 9}
"""Fields before the path in a line of `git status`: of a plain change, of a conflict; an untracked file has none."""
_ELSEWHERE = {
    "GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_COMMON_DIR", "GIT_PREFIX", "GIT_OBJECT_DIRECTORY",
    "GIT_NAMESPACE",
}  # fmt: skip
"""Variables that are set inside a git hook, and would let git look at another repository than the one asked for."""


@dataclass(frozen=True)
class Repository:
    """A working tree as git sees it.

    Attributes:
        name: Of its folder; empty where there is no repository.
        commit: What is checked out, in hexadecimal; None before the first commit.
        branch: None where a commit is checked out rather than a branch.
        changed: Tracked files that differ from the commit, at most 1000.
        untracked: Files and folders that git neither tracks nor ignores, at most 1000.
        diff: Of the tracked files against the commit, as `git apply` takes it; of binary files only that they differ.
        cut: Whether the diff was longer than 1 MiB; then it ends where a line does.
        problem: Why little or nothing is known, for a person; None where all is well.
    """

    name: str = ""
    commit: str | None = None
    branch: str | None = None
    changed: tuple[str, ...] = ()
    untracked: tuple[str, ...] = ()
    diff: bytes = b""
    cut: bool = False
    problem: str | None = None

    @property
    def dirty(self) -> bool:
        """Whether the commit alone does not give this code."""
        return bool(self.changed or self.untracked)

    def patch(self) -> bytes:
        """The diff, with a head that names what it lacks; git passes over the head."""
        head = [f"# what differs from commit {self.commit or '(there is none yet)'} of {self.name}"]
        head += [f"# not tracked, so its content is not kept: {' '.join(name.splitlines())}" for name in self.untracked]
        head += [f"# cut at {MOST_DIFF_BYTES} bytes"] if self.cut else []
        return "\n".join([*head, ""]).encode() + self.diff


def look_at(folder: Path, *, apart_from: Path | None = None) -> Repository:
    """The repository that `folder` lies in. Never fails: what cannot be known is told in `problem`.

    Args:
        folder: Any folder of the working tree.
        apart_from: A folder whose files count neither as changed nor as untracked.
    """
    found = top_of(folder)
    if isinstance(found, str):
        return Repository(problem=found)
    status, cut = _git(
        found, "status", "--porcelain=v2", "--branch", "-z", "--no-renames", "--untracked-files=normal",
        most=_MOST_STATUS_BYTES,
    )  # fmt: skip
    if status is None:
        return Repository(found.name, problem="git did not say what is checked out")
    told = _read_status(status, found, apart_from)
    problem = "more files changed than can be listed" if cut else None
    diff, cut = b"", False
    if told.changed:
        since = "HEAD" if told.commit else "--cached"  # before the first commit there is only what was staged
        answer, cut = _git(
            found, "diff", since, "--no-color", "--no-ext-diff", "--no-textconv", "--no-relative", "--no-renames",
            "--submodule=short", "--src-prefix=a/", "--dst-prefix=b/", most=MOST_DIFF_BYTES,
        )  # fmt: skip
        if answer is None:
            problem = "git did not say what differs"
        else:
            diff = answer[: answer.rfind(b"\n") + 1] if cut else answer
    return Repository(found.name, told.commit, told.branch, told.changed, told.untracked, diff, cut, problem)


def top_of(folder: Path) -> Path | str:
    """The uppermost folder of the working tree that `folder` lies in, or why there is none."""
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), "rev-parse", "--show-toplevel"],
            capture_output=True,
            env=_environment(),
            stdin=subprocess.DEVNULL,
            timeout=_PATIENCE_S,
            check=False,
        )
    except FileNotFoundError:
        return "git is not installed"
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"git does not answer: {type(error).__name__}"
    if done.returncode == 0:
        return Path(os.fsdecode(done.stdout.removesuffix(b"\n")))
    words = done.stderr.decode(errors="replace").strip().splitlines() or ["it gave no reason"]
    if "not a git repository" in words[0]:
        return "not in a git repository"
    said = re.sub(r" (at |in |to )?'.*", "", words[0].removeprefix("fatal: "))  # the folder's name says who works here
    return f"git does not answer: {said}"


def tracks(top: Path, file: Path) -> bool:
    """Whether git tracks the file."""
    answer, _ = _git(top, "ls-files", "--error-unmatch", "--", str(file), most=_MOST_STATUS_BYTES)
    return bool(answer)


@dataclass(frozen=True)
class _Status:
    commit: str | None
    branch: str | None
    changed: tuple[str, ...]
    untracked: tuple[str, ...]


def _read_status(answer: bytes, top: Path, apart_from: Path | None) -> _Status:
    """Reads `git status --porcelain=v2 --branch -z`."""
    head: dict[str, str] = {}
    changed: list[str] = []
    untracked: list[str] = []
    aside = None if apart_from is None else apart_from.resolve()
    for line in answer.decode(errors="replace").split("\0")[:-1]:
        kind, _, rest = line.partition(" ")
        if kind == "#":
            key, _, value = rest.partition(" ")
            head[key] = value
            continue
        path = rest.split(" ", _FIELDS.get(kind, 0))[-1]
        if aside is not None and (top.resolve() / path).is_relative_to(aside):
            continue
        names = untracked if kind == "?" else changed
        if len(names) < _MOST_NAMES:
            names.append(path)
    commit, branch = head.get("branch.oid", "(initial)"), head.get("branch.head", "(detached)")
    return _Status(
        None if commit == "(initial)" else commit,
        None if branch == "(detached)" else branch,
        tuple(changed),
        tuple(untracked),
    )


def _git(top: Path, *arguments: str, most: int) -> tuple[bytes | None, bool]:
    """What git prints, at most so many bytes of it, and whether there was more; None where it fails or dawdles."""
    # a file system monitor would be started, and paths with umlauts be quoted
    command = ["git", "-C", str(top), "-c", "core.fsmonitor=false", "-c", "core.quotepath=false", *arguments]
    try:
        process = subprocess.Popen(
            command,
            env=_environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
    except OSError:
        return None, False
    ends_it = threading.Timer(_PATIENCE_S, process.kill)
    ends_it.start()
    with process:
        assert process.stdout is not None
        answer = process.stdout.read(most + 1)
        if len(answer) > most:
            process.kill()
    ends_it.cancel()
    if len(answer) > most:
        return answer[:most], True
    return (answer if process.returncode == 0 else None), False


def _environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name not in _ELSEWHERE}
    return kept | {"GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
