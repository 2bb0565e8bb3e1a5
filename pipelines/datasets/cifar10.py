"""CIFAR-10: 60 000 small colour images of animals and vehicles, in its makers' binary format."""

from __future__ import annotations

import tarfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from pipelines.datasets.base import DatasetSpec, Source
from pipelines.datasets.published import Arrays, Form, Published, npz_form
from pipelines.errors import DataError
from pipelines.inputs import Kind
from pipelines.tasks import Task

if TYPE_CHECKING:
    from numpy.typing import NDArray

ARCHIVE = "cifar-10-binary.tar.gz"
ADDRESS = f"https://www.cs.toronto.edu/~kriz/{ARCHIVE}"
SHA256 = "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"
FOLDER = "cifar-10-batches-bin"
BATCHES = (*(f"data_batch_{number}.bin" for number in range(1, 6)), "test_batch.bin")
_RECORD = 1 + 3 * 32 * 32
"""Bytes of an image: its label, then its red, green and blue values, each row by row."""


class Cifar10(DatasetSpec):
    """Colour images of animals and vehicles, 32x32x3, values 0 to 255, ten classes, with a test part of its own.

    Read from the binary version (`cifar-10-binary.tar.gz`, unpacked or not) or from `cifar10.npz` in `REGATTA_DATA` or
    its subfolder `cifar10`; without them, the binary version is downloaded: the Python version, which Keras's own
    loader reads, is a pickle. Source: A. Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009.
    """

    tasks: ClassVar[tuple[Task, ...]] = (Task.MULTICLASS,)
    kind: ClassVar[Kind | None] = "image"

    name: Literal["cifar10"] = "cifar10"

    def load(self, folder: Path | None, task: Task | None = None) -> Source:
        """images: uint8 (n, 32, 32, 3), 0-255."""
        return CIFAR10.load(folder)


def _read_folder(paths: Sequence[Path]) -> Arrays:
    return _arrays([(str(path), path.read_bytes()) for path in paths])


def _read_archive(paths: Sequence[Path]) -> Arrays:
    """The batches in the archive, without unpacking it anywhere.

    Raises:
        DataError: It is damaged or lacks one.
    """
    contents = []
    try:
        with tarfile.open(paths[0]) as archive:
            for batch in BATCHES:
                member = archive.extractfile(f"{FOLDER}/{batch}")
                contents.append((f"{batch} in {paths[0]}", member.read() if member else b""))
    except (KeyError, OSError, EOFError, tarfile.TarError, zlib.error) as error:
        raise DataError(f"{paths[0]} cannot be read ({error}). Put a whole copy of the file there.") from None
    return _arrays(contents)


def _arrays(contents: Sequence[tuple[str, bytes]]) -> Arrays:
    *train, test = [_read_batch(name, content) for name, content in contents]
    train_x, train_y = (np.concatenate(arrays) for arrays in zip(*train, strict=True))
    return train_x, train_y, *test


def _read_batch(name: str, content: bytes) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    if not content or len(content) % _RECORD:
        raise DataError(
            f"{name} holds {len(content)} bytes, which is no whole number of images of {_RECORD} bytes. Put a whole "
            f"copy of the file there."
        )
    records = np.frombuffer(content, np.uint8).reshape(-1, _RECORD)
    return np.ascontiguousarray(records[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)), records[:, 0]


def _download() -> Arrays:
    from keras.utils import get_file  # brings TensorFlow: some seconds

    return _read_archive([Path(get_file(ARCHIVE, ADDRESS, file_hash=SHA256, hash_algorithm="sha256"))])


CIFAR10 = Published(
    name="cifar10",
    title="CIFAR-10",
    shape=(32, 32, 3),
    labels=("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
    target="object",
    forms=(
        Form(tuple((f"{FOLDER}/{batch}", batch) for batch in BATCHES), _read_folder),
        Form(((ARCHIVE,),), _read_archive),
        npz_form("cifar10.npz"),
    ),
    download=lambda: _download(),
)
