from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from pipelines.checkpoints import sha256_of, write_whole


def test_a_file_is_written_whole_in_a_folder_made_for_it_and_known_by_its_digest(tmp_path: Path) -> None:
    path = tmp_path / "trials" / "00000-1" / "best.keras"

    digest = write_whole(path, lambda beside: beside.write_bytes(b"weights"))

    assert path.read_bytes() == b"weights"
    assert digest == sha256_of(path) == hashlib.sha256(b"weights").hexdigest()
    assert [entry.name for entry in path.parent.iterdir()] == ["best.keras"]


def test_the_writer_is_given_a_path_with_the_same_ending(tmp_path: Path) -> None:
    seen: list[Path] = []

    def write(beside: Path) -> None:
        seen.append(beside)
        beside.write_bytes(b"x")

    write_whole(tmp_path / "a.weights.h5", write)

    assert seen[0].name.endswith(".weights.h5")
    assert seen[0].parent == tmp_path


def test_a_writer_that_fails_half_way_leaves_the_file_before_it_and_no_rest(tmp_path: Path) -> None:
    path = tmp_path / "best.keras"
    write_whole(path, lambda beside: beside.write_bytes(b"first"))

    def fails(beside: Path) -> None:
        beside.write_bytes(b"sec")
        assert path.read_bytes() == b"first"  # nobody sees a file that is being written
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_whole(path, fails)

    assert path.read_bytes() == b"first"
    assert [entry.name for entry in tmp_path.iterdir()] == ["best.keras"]
