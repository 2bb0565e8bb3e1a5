"""One file that holds a backup: a compressed tar, whose last member lists every other one with its digest.

A file that changes while it is copied is copied again: of several members of one name, the last counts.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
import time
import zlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import IO, Any, Self

FORMAT = 1
MANIFEST = "MANIFEST.json"
SUFFIX = ".tar.gz"
_TRIES = 3
_CHUNK = 1 << 20


class BackupError(Exception):
    """Nothing can be copied, or nothing be brought back; the message says why."""


@dataclass(frozen=True)
class Kept:
    """One file of an archive. `bytes` is its size, `sha256` its digest in hexadecimal."""

    bytes: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """What an archive holds.

    Attributes:
        kind: `local` or `composed`: which stack it is of.
        made: When, as people read it.
        files: By name.
        notes: What is not in it, in sentences.
        format: Of the archive.
    """

    kind: str
    made: str
    files: Mapping[str, Kept] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    format: int = FORMAT

    def below(self, folder: str) -> list[str]:
        """Names of the files below a folder."""
        return [name for name in self.files if name.startswith(f"{folder}/")]


class Members:
    """Writes files into a tar that is open, and keeps their digests."""

    def __init__(self, tar: tarfile.TarFile) -> None:
        """Takes the tar."""
        self._tar = tar
        self.files: dict[str, Kept] = {}

    def add_file(self, name: str, path: Path, size: int | None = None) -> bool:
        """Adds a file, or only its first `size` bytes; False where it is gone.

        Whole, it is added as often as it changed while it was read; a log that never rests is cut off in the end.
        """
        for _ in range(_TRIES):
            try:
                source = path.open("rb")
            except FileNotFoundError:
                return False
            with source:
                before = os.fstat(source.fileno())
                self.add_stream(name, source, before.st_size if size is None else size, before.st_mtime, before.st_mode)
                after = os.fstat(source.fileno())
            if size is not None or (before.st_size, before.st_mtime_ns) == (after.st_size, after.st_mtime_ns):
                break
        return True

    def add_stream(self, name: str, source: IO[bytes], size: int, changed: float, mode: int = 0o644) -> None:
        """Adds the next `size` bytes of a stream; where it ends before, zeros take their place."""
        member = tarfile.TarInfo(name)
        member.size, member.mtime, member.mode = size, int(changed), mode & 0o777
        reader = _Reader(source, size)
        self._tar.addfile(member, reader)
        self.files[name] = Kept(size, reader.digest.hexdigest())

    def add_bytes(self, name: str, content: bytes) -> None:
        """Adds a file that is in memory."""
        self.add_stream(name, io.BytesIO(content), len(content), time.time())


class Archive(Members):
    """An archive that is being written; it has its name only when it is whole."""

    def __init__(self, folder: Path, kind: str) -> None:
        """Begins one in a folder, named after the time."""
        self.kind = kind
        self.notes: list[str] = []
        self._begun = time.time()
        stamp = time.strftime("%Y%m%d-%H%M%S", time.localtime(self._begun))
        folder.mkdir(parents=True, exist_ok=True)
        copy, self.path = 1, folder / f"regatta-{stamp}{SUFFIX}"
        while self.path.exists():
            copy += 1
            self.path = folder / f"regatta-{stamp}-{copy}{SUFFIX}"
        self._writing = self.path.with_name(f".{self.path.name}.writing")
        tar = tarfile.open(self._writing, "w:gz", compresslevel=1, format=tarfile.PAX_FORMAT)  # noqa: SIM115
        super().__init__(tar)  # `__exit__` closes it

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Ends it; what broke off leaves nothing."""
        try:
            if error is None:
                self._write_manifest()
            self._tar.close()
            if error is None:
                self._writing.chmod(0o600)  # it holds what only its owner may read
                self._writing.replace(self.path)
        finally:
            self._writing.unlink(missing_ok=True)

    def take_tar(self, stream: IO[bytes], folder: str) -> int:
        """Adds the files of a tar that comes in a stream; returns how many they were."""
        count = 0
        with tarfile.open(fileobj=stream, mode="r|") as tar:
            for member in tar:
                content = tar.extractfile(member) if member.isfile() else None
                if content is not None:
                    name = str(PurePosixPath(folder, member.name))
                    self.add_stream(name, content, member.size, member.mtime, member.mode)
                    count += 1
        return count

    def _write_manifest(self) -> None:
        made = time.strftime("%Y-%m-%d %H:%M:%S %z", time.localtime(self._begun))
        manifest = Manifest(self.kind, made, self.files, tuple(self.notes))
        self.add_bytes(MANIFEST, json.dumps(asdict(manifest), indent=1).encode())


def verify(path: Path) -> Manifest:
    """Reads all of an archive, and returns its manifest where everything is as it was written.

    Raises:
        BackupError: It is no archive of ours, or not whole.
    """
    found: dict[str, Kept] = {}
    told = b""

    def look(name: str, content: IO[bytes], member: tarfile.TarInfo) -> None:
        nonlocal told
        reader = _Reader(content, member.size)
        if name == MANIFEST:
            told = reader.read()
        else:
            while reader.read(_CHUNK):
                pass
            found[name] = Kept(member.size, reader.digest.hexdigest())

    each_member(path, look)
    try:
        data: dict[str, Any] = json.loads(told)
        files = {name: Kept(**kept) for name, kept in data.pop("files").items()}
        manifest = Manifest(files=files, notes=tuple(data.pop("notes")), **data)
    except (ValueError, TypeError, KeyError):
        raise BackupError(
            f"{path} is damaged, or no backup of Regatta's: it has no list of its files ({MANIFEST})."
        ) from None
    if manifest.format != FORMAT:
        raise BackupError(f"{path} has the format {manifest.format}; this version of Regatta reads {FORMAT}.")
    wrong = sorted(name for name in {*found, *manifest.files} if found.get(name) != manifest.files.get(name))
    if wrong:
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise BackupError(f"{path} is damaged: {', '.join(wrong[:3])}{more} are not as they were written.")
    return manifest


def extract(path: Path, target: Callable[[str], Path | None]) -> None:
    """Writes the files of an archive that was verified.

    Args:
        path: The archive.
        target: Where a file goes, by its name; None for one that goes nowhere.
    """

    def write(name: str, content: IO[bytes], member: tarfile.TarInfo) -> None:
        place = target(name) if name != MANIFEST else None
        if place is None:
            return
        place.parent.mkdir(parents=True, exist_ok=True)
        with place.open("wb") as out:
            while chunk := content.read(_CHUNK):
                out.write(chunk)
        place.chmod(member.mode & 0o777)
        os.utime(place, (member.mtime, member.mtime))

    each_member(path, write)


def each_member(path: Path, do: Callable[[str, IO[bytes], tarfile.TarInfo], None]) -> None:
    """Hands over every file of an archive, with its name, in order.

    Raises:
        BackupError: It cannot be read, or a name leads out of it.
    """
    try:
        with tarfile.open(path, "r|gz") as tar:
            for member in tar:
                name = PurePosixPath(member.name)
                content = tar.extractfile(member) if member.isfile() else None
                if content is None or name.is_absolute() or ".." in name.parts:
                    raise BackupError(f"{path} is no backup of Regatta's: it holds {member.name!r}.")
                do(str(name), content, member)
    except FileNotFoundError:
        raise BackupError(f"There is no file {path}.") from None
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise BackupError(f"{path} is damaged, or no backup of Regatta's: {error}") from None
    except OSError as error:
        raise BackupError(f"{path} cannot be read: {error.strerror or error}") from None


class _Reader:
    """Reads so many bytes, no more and no less, and digests them."""

    def __init__(self, source: IO[bytes], size: int) -> None:
        self._source = source
        self._left = size
        self.digest = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        wanted = self._left if size < 0 else min(size, self._left)
        content = self._source.read(wanted)
        content += bytes(wanted - len(content))  # a file that became shorter: it is copied again
        self._left -= wanted
        self.digest.update(content)
        return content
