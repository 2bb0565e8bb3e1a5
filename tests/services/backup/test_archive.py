"""The file that holds a backup: what is in it comes back as it was, and what is not whole is refused."""

from __future__ import annotations

import gzip
import io
import json
import stat
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from services.backup.archive import MANIFEST, Archive, BackupError, Kept, extract, verify


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """An archive with three files."""
    source = tmp_path / "source"
    source.mkdir()
    (source / "one").write_bytes(b"1" * 1000)
    (source / "two").write_bytes(b"")
    (source / "one").chmod(0o600)
    with Archive(tmp_path / "to", "local") as archive:
        archive.add_file("a/one", source / "one")
        archive.add_file("a/two", source / "two")
        archive.add_bytes("b/three", b"3")
        archive.notes.append("Four is elsewhere.")
    return archive.path


def files_in(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_what_was_put_in_comes_back_with_its_mode_and_time(made: Path, tmp_path: Path) -> None:
    manifest = verify(made)
    back = tmp_path / "back"
    extract(made, lambda name: back / name)

    assert (manifest.kind, manifest.notes, len(manifest.files)) == ("local", ("Four is elsewhere.",), 3)
    assert files_in(back) == {"a/one": b"1" * 1000, "a/two": b"", "b/three": b"3"}
    assert stat.S_IMODE((back / "a/one").stat().st_mode) == 0o600
    assert int((back / "a/one").stat().st_mtime) == int((tmp_path / "source/one").stat().st_mtime)
    assert manifest.below("a") == ["a/one", "a/two"]


def test_an_archive_is_named_after_the_time_and_for_its_owner_alone(made: Path) -> None:
    assert made.name.startswith("regatta-2")
    assert made.name.endswith(".tar.gz")
    assert stat.S_IMODE(made.stat().st_mode) == 0o600
    assert [path.name for path in made.parent.iterdir()] == [made.name]


def test_two_of_one_second_have_two_names(tmp_path: Path) -> None:
    paths = []
    for _ in range(3):
        with Archive(tmp_path, "local") as archive:
            archive.add_bytes("file", b"content")
        paths.append(archive.path)

    assert len(set(paths)) == 3
    assert all(verify(path).files for path in paths)


def test_what_broke_off_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), Archive(tmp_path, "local") as archive:  # noqa: PT012
        archive.add_bytes("file", b"content")
        raise RuntimeError

    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_copied_twice_counts_as_it_was_last(tmp_path: Path) -> None:
    with Archive(tmp_path, "local") as archive:
        archive.add_bytes("file", b"before")
        archive.add_bytes("file", b"after that")

    assert verify(archive.path).files["file"].bytes == 10
    extract(archive.path, lambda name: tmp_path / "back" / name)
    assert (tmp_path / "back" / "file").read_bytes() == b"after that"


def test_a_file_that_changes_while_it_is_read_is_copied_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    growing, stream = tmp_path / "growing", Archive.add_stream
    growing.write_bytes(b"short")
    reads: list[int] = []

    def meanwhile(self: Archive, name: str, source: io.BytesIO, size: int, changed: float, mode: int = 0o644) -> None:
        if name == "growing":
            reads.append(size)
            if len(reads) == 1:
                growing.write_bytes(b"longer by far")
        stream(self, name, source, size, changed, mode)

    monkeypatch.setattr(Archive, "add_stream", meanwhile)
    with Archive(tmp_path / "to", "local") as archive:
        archive.add_file("growing", growing)

    assert reads == [5, 13]
    extract(archive.path, lambda name: tmp_path / "back" / name)
    assert (tmp_path / "back" / "growing").read_bytes() == b"longer by far"


def test_a_file_that_becomes_shorter_does_not_spoil_the_archive(tmp_path: Path) -> None:
    with Archive(tmp_path, "local") as archive:
        archive.add_stream("file", io.BytesIO(b"abc"), 5, 0.0)
        archive.add_bytes("next", b"whole")

    assert verify(archive.path).files["next"].bytes == 5


def test_a_file_that_is_gone_is_left_out(tmp_path: Path) -> None:
    with Archive(tmp_path, "local") as archive:
        assert not archive.add_file("file", tmp_path / "never")

    assert verify(archive.path).files == {}


def test_a_tar_that_comes_in_a_stream_is_taken_below_a_folder(tmp_path: Path) -> None:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w|") as tar:
        for name, content in (("./one", b"1"), ("folder/two", b"22")):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
        folder = tarfile.TarInfo("empty")
        folder.type = tarfile.DIRTYPE
        tar.addfile(folder)
    stream.seek(0)
    with Archive(tmp_path, "composed") as archive:
        assert archive.take_tar(stream, "volumes/state") == 2

    assert set(verify(archive.path).files) == {"volumes/state/one", "volumes/state/folder/two"}


def rewritten(path: Path, change: Callable[[bytearray], object]) -> None:
    """Changes the tar inside the archive."""
    content = bytearray(gzip.decompress(path.read_bytes()))
    change(content)
    path.write_bytes(gzip.compress(content))


def flip(content: bytearray) -> None:
    content[content.index(b"1" * 100)] ^= 1


def remove_manifest(content: bytearray) -> None:
    at = content.index(MANIFEST.encode())
    del content[at:]
    content.extend(bytes(1024))


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda path: rewritten(path, flip), "is damaged: a/one are not as they were written"),
        (lambda path: rewritten(path, remove_manifest), "has no list of its files"),
        (lambda path: path.write_bytes(path.read_bytes()[:-200]), "is damaged"),
        (lambda path: path.write_bytes(b"nothing of the kind"), "is damaged, or no backup of Regatta's"),
        (lambda path: path.unlink(), "There is no file"),
    ],
    ids=["a bit", "the list", "the end", "another file", "no file"],
)
def test_what_is_not_whole_is_refused(made: Path, spoil: Callable[[Path], object], words: str) -> None:
    spoil(made)

    with pytest.raises(BackupError, match=words):
        verify(made)


@pytest.mark.parametrize("name", ["../outside", "/etc/outside", "a/../../outside"])
def test_a_name_that_leads_out_is_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / "evil.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        member = tarfile.TarInfo(name)
        tar.addfile(member, io.BytesIO())

    with pytest.raises(BackupError, match="it holds"):
        verify(path)


def test_a_link_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "evil.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        member = tarfile.TarInfo("link")
        member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(member)

    with pytest.raises(BackupError, match="it holds 'link'"):
        verify(path)


def test_a_later_format_is_refused_with_a_word(tmp_path: Path) -> None:
    path = tmp_path / "later.tar.gz"
    told = {"kind": "local", "made": "some day", "files": {}, "notes": [], "format": 2}
    with tarfile.open(path, "w:gz") as tar:
        content = json.dumps(told).encode()
        member = tarfile.TarInfo(MANIFEST)
        member.size = len(content)
        tar.addfile(member, io.BytesIO(content))

    with pytest.raises(BackupError, match="has the format 2; this version of Regatta reads 1"):
        verify(path)


def test_the_digest_is_of_the_content(tmp_path: Path) -> None:
    with Archive(tmp_path, "local") as archive:
        archive.add_bytes("file", b"abc")

    digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert verify(archive.path).files == {"file": Kept(3, digest)}
