"""A disk that fills up in the middle of a sweep."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.places import Place
from tests.faults.whole import assert_whole

FLAGS = ("--trials", "8", "--workers", "1", "--set", "epochs=6", "--no-promote", "--lanes", "off")
"""In lanes, all of it may be over before the disk is full."""


class Disk:
    """A tmpfs of its own size."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def resize(self, kib: int) -> None:
        done = self._mount("-o", f"remount,size={kib}k")
        assert done.returncode == 0, done.stderr

    def used_kib(self) -> int:
        return shutil.disk_usage(self.folder).used >> 10

    def _mount(self, *options: str) -> subprocess.CompletedProcess[str]:
        command = ["mount", "-t", "tmpfs", *options, "tmpfs", str(self.folder)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    def make(self) -> str | None:
        """Mounts it; why it cannot be mounted, or None."""
        self.folder.mkdir()
        done = self._mount("-o", "size=64m")
        return None if done.returncode == 0 else done.stderr.strip()


@pytest.fixture
def disk(place: Place) -> Iterator[Disk]:
    """The home's disk."""
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("a small disk is a mount, which takes root")
    made = Disk(place.site.home)
    problem = made.make()
    if problem:
        pytest.skip(f"this machine mounts no tmpfs: {problem}")
    yield made
    for watched in place.begun:
        watched.close()
    subprocess.run(["umount", "--lazy", str(place.site.home)], check=True)


def test_a_full_disk_is_one_sentence_and_with_room_the_same_command_ends_whole(place: Place, disk: Disk) -> None:
    at = place.begin(*FLAGS)
    at.until(lambda: at.trials_over() >= 2)
    disk.resize(disk.used_kib() + 40)  # room for some lines, and for no checkpoint

    assert at.watched.ended() == 2, at.watched.said
    assert "No space left" in at.watched.said
    assert "Traceback" not in at.watched.said

    disk.resize(64 << 10)
    summary = place.sweep(*FLAGS)
    assert_whole(place.server, summary, 8, 6)
