from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.afar.parts import PART_BYTES, Arrivals, cut
from pipelines.afar.places import NodePlace, Workplace
from pipelines.afar.words import FilePart
from pipelines.home import node_home
from pipelines.records import TrialSpec

HOLDER = """
import sys
from pathlib import Path
from pipelines.afar.places import Workplace

workplace = Workplace(Path(sys.argv[1]))
(workplace.place.root / "file").write_text("mine")
print(workplace.place.root, flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("size", [0, 1, 100_000, PART_BYTES, PART_BYTES + 1, 3 * PART_BYTES + 17])
@pytest.mark.parametrize("pattern", [b"\0", b"the quick brown fox "])
def test_a_file_in_parts_arrives_as_it_was(tmp_path: Path, size: int, pattern: bytes) -> None:
    content = (pattern * (size // len(pattern) + 1))[:size]
    (tmp_path / "sent").write_bytes(content)
    arrivals = Arrivals(tmp_path / "there")

    parts = list(cut(tmp_path / "sent", "trials/00000-1/file", 0, 1))
    arrived = [arrivals.take(part) for part in parts]

    assert arrived[:-1] == [None] * (len(parts) - 1)
    assert arrived[-1] is not None
    assert arrived[-1].read_bytes() == content
    assert len(parts) == max(1, -(-size // PART_BYTES))


@pytest.mark.parametrize(("content", "packed"), [(os.urandom(200_000), False), (bytes(200_000), True)])
def test_what_gains_nothing_is_not_compressed(tmp_path: Path, content: bytes, packed: bool) -> None:
    (tmp_path / "file").write_bytes(content)

    (part,) = cut(tmp_path / "file", "file", 0, 1)

    assert part.packed is packed
    assert (len(part.data) < 10_000) is packed


def test_a_part_out_of_order_is_no_part_of_anything(tmp_path: Path) -> None:
    arrivals = Arrivals(tmp_path)

    assert arrivals.take(FilePart(0, 1, "a/file", 5, b"later", False, True)) is None
    assert arrivals.take(FilePart(0, 1, "a/file", 0, b"first", False, False)) is None
    assert arrivals.take(FilePart(0, 1, "a/file", 7, b"later", False, True)) is None
    assert not (tmp_path / "a" / "file").exists()
    assert arrivals.take(FilePart(0, 1, "a/file", 5, b"later", False, True)) == tmp_path / "a" / "file"
    assert (tmp_path / "a" / "file").read_bytes() == b"firstlater"


def test_a_file_that_begins_anew_takes_the_place_of_what_came_of_it_before(tmp_path: Path) -> None:
    arrivals = Arrivals(tmp_path)
    arrivals.take(FilePart(0, 1, "file", 0, b"the first half of an older one", False, False))

    arrivals.take(FilePart(0, 1, "file", 0, b"new", False, True))

    assert (tmp_path / "file").read_bytes() == b"new"


def test_a_node_has_its_own_paths_for_the_names_of_an_attempt(tmp_path: Path) -> None:
    place = NodePlace(tmp_path, tmp_path / "work" / "regatta-work-0f")
    spec = TrialSpec(3, 2, {}, "digits-1", "trials/00003-2", "val_loss", "minimize", "states/00003")

    here = place.here(spec)

    assert here.data == str(tmp_path / "data" / "digits-1")
    assert here.folder == str(place.root / "trials" / "00003-2")
    assert here.states == str(place.root / "states" / "00003")
    assert place.name(f"{here.folder}/best.keras") == "trials/00003-2/best.keras"


def test_a_file_of_another_worker_has_the_same_name_here(tmp_path: Path) -> None:
    place = NodePlace(tmp_path, tmp_path / "work" / "regatta-work-0f")

    assert place.name("/elsewhere/regatta-work-ab12/trials/00003-1/a/b.png") == "trials/00003-1/a/b.png"


def test_the_work_of_a_process_that_lives_is_left_alone_and_that_of_one_that_died_is_removed(
    tmp_path: Path, repository: Path
) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], cwd=repository, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        theirs = Path(holder.stdout.readline().decode().strip())

        first = Workplace(tmp_path)
        assert (theirs / "file").read_text() == "mine"
        holder.kill()
        holder.wait()
        second = Workplace(tmp_path)

    assert not theirs.exists()
    assert first.place.root.is_dir()
    first.close()
    second.close()
    assert list((tmp_path / "work").iterdir()) == []


def test_a_node_keeps_its_things_where_it_is_told_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGATTA_NODE_HOME", str(tmp_path / "mine"))
    assert node_home() == tmp_path / "mine"

    monkeypatch.delenv("REGATTA_NODE_HOME")
    assert node_home().name.startswith("regatta-node-")
