"""What git says, on real repositories."""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path

import pytest

from pipelines.lineage.repository import MOST_DIFF_BYTES, look_at, top_of, tracks
from tests.pipelines.lineage.repositories import git, made


def test_a_clean_repository_is_told_by_commit_and_branch(tmp_path: Path) -> None:
    code = made(tmp_path / "code", model="units = 32\n")
    (code / "deep" / "down").mkdir(parents=True)

    found = look_at(code / "deep" / "down")

    assert (found.name, found.commit, found.branch) == ("code", git(code, "rev-parse", "HEAD"), "main")
    assert not found.dirty
    assert (found.diff, found.problem) == (b"", None)


def test_what_was_changed_is_a_diff_that_git_applies_again(tmp_path: Path) -> None:
    code = made(tmp_path / "code", model="units = 32\n", old="1\n")
    (code / "model.py").write_text("units = 64\nname = 'größer'\n", encoding="utf-8")
    (code / "old.py").unlink()
    (code / "new.py").write_text("added = True\n", encoding="utf-8")
    git(code, "add", "new.py")

    found = look_at(code)

    assert found.dirty
    assert set(found.changed) == {"model.py", "old.py", "new.py"}
    clean = tmp_path / "clean"
    git(tmp_path, "clone", str(code), str(clean))
    git(clean, "apply", "-", stdin=found.patch())
    assert (clean / "model.py").read_text(encoding="utf-8") == "units = 64\nname = 'größer'\n"
    assert (clean / "new.py").read_text(encoding="utf-8") == "added = True\n"
    assert not (clean / "old.py").exists()


def test_files_that_git_does_not_track_are_named_and_never_read(tmp_path: Path) -> None:
    code = made(tmp_path / "code", model="units = 32\n")
    (code / ".env").write_text("PASSWORD=hunter2\n", encoding="utf-8")
    (code / "umläut name.py").write_text("secret = 'hunter2'\n", encoding="utf-8")
    (code / ".gitignore").write_text("ignored.txt\n", encoding="utf-8")
    (code / "ignored.txt").write_text("hunter2\n", encoding="utf-8")

    found = look_at(code)

    assert found.dirty
    assert set(found.untracked) == {".env", ".gitignore", "umläut name.py"}
    assert b"not tracked, so its content is not kept: .env" in found.patch()
    assert b"hunter2" not in found.patch()


def test_of_a_binary_file_only_the_difference_is_noted(tmp_path: Path) -> None:
    code = made(tmp_path / "code")
    (code / "weights.npz").write_bytes(bytes(range(256)) * 10)
    git(code, "add", "weights.npz")

    found = look_at(code)

    assert b"Binary files /dev/null and b/weights.npz differ" in found.diff
    assert len(found.diff) < 300


def test_a_long_diff_is_cut_where_a_line_ends_and_says_so(tmp_path: Path) -> None:
    code = made(tmp_path / "code", numbers="0\n")
    (code / "numbers.py").write_text("".join(f"value = {number}\n" for number in range(200_000)), encoding="utf-8")

    found = look_at(code)

    assert found.cut
    assert MOST_DIFF_BYTES - 100 < len(found.diff) <= MOST_DIFF_BYTES
    assert found.diff.endswith(b"\n")
    assert f"# cut at {MOST_DIFF_BYTES} bytes".encode() in found.patch()


def test_the_users_own_taste_in_diffs_does_not_reach_the_record(tmp_path: Path) -> None:
    code = made(tmp_path / "code", model="units = 32\n")
    shouting = tmp_path / "shout"
    shouting.write_text("#!/bin/sh\necho SHOUT\n", encoding="utf-8")
    shouting.chmod(0o755)
    for key, value in {
        "diff.external": str(shouting), "diff.noprefix": "true", "color.ui": "always", "diff.relative": "true",
        "core.fsmonitor": str(shouting),
    }.items():  # fmt: skip
        git(code, "config", key, value)
    (code / "below").mkdir()
    (code / "model.py").write_text("units = 64\n", encoding="utf-8")

    found = look_at(code / "below")

    assert b"\ndiff --git a/model.py b/model.py\n" in found.patch()
    assert b"SHOUT" not in found.diff
    assert b"\x1b" not in found.diff


def test_a_commit_without_a_branch_is_told_without_one(tmp_path: Path) -> None:
    code = made(tmp_path / "code", model="units = 32\n")
    git(code, "checkout", "--detach")

    found = look_at(code)

    assert found.commit == git(code, "rev-parse", "HEAD")
    assert found.branch is None


def test_before_the_first_commit_there_is_only_what_was_staged(tmp_path: Path) -> None:
    code = tmp_path / "code"
    code.mkdir()
    git(code, "init", "--initial-branch", "main")
    (code / "model.py").write_text("units = 32\n", encoding="utf-8")
    git(code, "add", "model.py")

    found = look_at(code)

    assert (found.commit, found.branch, found.changed) == (None, "main", ("model.py",))
    assert b"+units = 32" in found.diff


def test_a_merge_that_waits_to_be_settled_counts_as_changed(tmp_path: Path) -> None:
    code = made(tmp_path / "code", model="units = 32\n")
    git(code, "checkout", "-b", "other")
    (code / "model.py").write_text("units = 1\n", encoding="utf-8")
    git(code, "commit", "--all", "--message", "one")
    git(code, "checkout", "main")
    (code / "model.py").write_text("units = 2\n", encoding="utf-8")
    git(code, "commit", "--all", "--message", "two")
    with pytest.raises(Exception, match="merge"):
        git(code, "merge", "other")

    assert look_at(code).changed == ("model.py",)


def test_one_folder_can_be_left_out(tmp_path: Path) -> None:
    code = made(tmp_path / "code", model="units = 32\n")
    (code / ".regatta" / "studies").mkdir(parents=True)
    (code / ".regatta" / "studies" / "journal.jsonl").write_text("{}\n", encoding="utf-8")

    assert look_at(code).untracked == (".regatta/",)
    assert not look_at(code, apart_from=code / ".regatta").dirty


def test_a_folder_outside_of_any_repository_says_so(tmp_path: Path) -> None:
    found = look_at(tmp_path)

    assert found.problem == "not in a git repository"
    assert (found.name, found.commit, found.dirty) == ("", None, False)


def test_a_machine_without_git_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert look_at(tmp_path).problem == "git is not installed"


def test_a_bare_repository_says_what_it_lacks(tmp_path: Path) -> None:
    git(tmp_path, "init", "--bare", "bare.git")
    problem = look_at(tmp_path / "bare.git").problem
    assert problem is not None
    assert "work tree" in problem


def test_a_damaged_repository_is_told_and_not_raised(tmp_path: Path) -> None:
    code = made(tmp_path / "code", model="units = 32\n")
    shutil.rmtree(code / ".git" / "objects")
    problem = look_at(code).problem
    assert problem is not None
    assert "git" in problem
    assert str(tmp_path) not in problem


def test_a_hook_that_names_another_repository_does_not_mislead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code, other = made(tmp_path / "code", model="1\n"), made(tmp_path / "other", model="2\n")
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    assert look_at(code).name == "code"


def test_looking_changes_nothing(tmp_path: Path) -> None:
    code = made(tmp_path / "code", model="units = 32\n")
    os.utime(code / "model.py", (1, 1))  # git would like to note in its index that only the time differs
    before = (code / ".git" / "index").read_bytes()
    for folder in (code / ".git", code):
        folder.chmod(stat.S_IRUSR | stat.S_IXUSR)
    try:
        assert not look_at(code).dirty
    finally:
        for folder in (code, code / ".git"):
            folder.chmod(stat.S_IRWXU)
    assert (code / ".git" / "index").read_bytes() == before


def test_a_remote_is_not_looked_at(tmp_path: Path) -> None:
    code = made(tmp_path / "code", model="units = 32\n")
    git(code, "remote", "add", "origin", "https://me:hunter2@example.org/code.git")
    (code / "model.py").write_text("units = 64\n", encoding="utf-8")

    found = look_at(code)

    assert "hunter2" not in repr(found)
    assert b"hunter2" not in found.patch()


def test_which_files_are_tracked_is_known(tmp_path: Path) -> None:
    code = made(tmp_path / "code", model="units = 32\n")
    (code / "other.py").write_text("", encoding="utf-8")

    assert top_of(code) == code.resolve()
    assert tracks(code, code / "model.py")
    assert not tracks(code, code / "other.py")
