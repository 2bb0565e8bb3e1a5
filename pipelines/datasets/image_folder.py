"""Images in folders of the user's own, one folder a class."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from pydantic import Field, field_validator

from pipelines.datasets.base import HeldOutSpec, Samples, Source
from pipelines.datasets.places import find
from pipelines.datasets.rows import LazyRows
from pipelines.datasets.words import listed
from pipelines.errors import DataError
from pipelines.inputs import InputFacts, Kind
from pipelines.mistakes import did_you_mean
from pipelines.tasks import Task

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL.Image import Image

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif")
PARTS = ("train", "test")
_NOT_MEANT = ("Thumbs.db", "desktop.ini")
"""What Windows leaves in folders of images, beside the hidden files of other systems."""


class ImageFolder(HeldOutSpec):
    """Images of your own, one folder a class: PNG, JPEG, BMP and GIF files, decoded as they are needed.

    A folder with the two folders `train` and `test` in it has a test part of its own; otherwise `test_share` of the
    images is sealed. Images are turned as their camera says, laid on white where they are transparent, and stretched to
    `image_size`; of a moving GIF the first picture counts.
    """

    tasks: ClassVar[tuple[Task, ...]] = ()
    kind: ClassVar[Kind | None] = "image"

    name: Literal["image_folder"] = "image_folder"
    path: str = Field(min_length=1)
    """The folder: a whole path, or one from `REGATTA_DATA` or from here."""
    image_size: tuple[int, ...] = Field(min_length=2, max_length=2)
    """Height and width that every image is brought to."""
    color: Literal["grey", "rgb"] = "rgb"
    """`grey` for one value a pixel, `rgb` for three."""

    @field_validator("image_size")
    @classmethod
    def _is_a_size(cls, size: tuple[int, ...]) -> tuple[int, ...]:
        if not all(1 <= side <= 4096 for side in size):
            raise ValueError(f"must be [height, width], each from 1 to 4096, got {list(size)}")
        return size

    def load(self, folder: Path | None, task: Task | None = None) -> Source:
        """images: uint8 (n, h, w) or (n, h, w, 3), 0-255."""
        root = find(self.path, folder)
        if not root.is_dir():
            raise DataError(f"{root} is a file; image_folder reads a folder with one folder a class.")
        train, test = _parts(root)
        labels, train_files, train_y = _classes(train)
        held = None
        if test is not None:
            found, test_files, test_y = _classes(test)
            unknown = [label for label in found if label not in labels]
            if unknown:
                raise DataError(
                    f"{test} has the class '{unknown[0]}', which {train} lacks"
                    f"{did_you_mean(unknown[0], labels) or '.'} The test part holds classes of the training part alone."
                )
            codes = np.array([labels.index(label) for label in found], np.int64)
            held = Samples(self._images(test_files), codes[test_y])
        if len(labels) < 2:
            raise DataError(f"{train} has one class alone, '{labels[0]}': there is nothing to tell apart.")
        if task is Task.BINARY and len(labels) != 2:
            raise DataError(f"`task: binary` needs two classes; {train} has {len(labels)}: {listed(labels)}.")
        if task is Task.REGRESSION:
            raise DataError("`task: regression` predicts a number, and the folders of image_folder are classes.")
        images = self._images(train_files)
        return Source(Samples(images, train_y), held, InputFacts(images.shape[1:], 0.0, 255.0, labels, target="class"))

    def _images(self, files: Sequence[Path]) -> ImageFiles:
        height, width = self.image_size
        return ImageFiles(files, height, width, grey=self.color == "grey")


class ImageFiles(LazyRows):
    """Images in files, decoded when they are asked for."""

    def __init__(self, files: Sequence[Path], height: int, width: int, *, grey: bool) -> None:
        """Takes the files and the form that their images are brought to."""
        super().__init__((len(files), height, width) if grey else (len(files), height, width, 3), np.uint8)
        self._files = files
        self._mode = "L" if grey else "RGB"

    def read(self, indices: NDArray[np.int64]) -> NDArray[np.uint8]:
        """The images, decoded side by side: Pillow lets other threads work meanwhile.

        Raises:
            DataError: A file holds no image that can be read; the message names it.
        """
        images = np.empty((len(indices), *self.shape[1:]), np.uint8)

        def decode(place: int) -> None:
            images[place] = _decode(self._files[indices[place]], self.shape[1], self.shape[2], self._mode)

        with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
            list(pool.map(decode, range(len(indices))))  # a list, so that what one of them raises is raised here
        return images


def _decode(path: Path, height: int, width: int, mode: str) -> NDArray[np.uint8]:
    import PIL.Image
    import PIL.ImageOps

    try:
        with PIL.Image.open(path) as image:
            # a JPEG may come at a half, a quarter or an eighth of its size, which is many times faster for photographs
            image.draft(mode, (2 * max(height, width), 2 * max(height, width)))
            upright = PIL.ImageOps.exif_transpose(image)
            flat = _flat(upright, mode)
            return np.asarray(flat.resize((width, height), PIL.Image.Resampling.BILINEAR), np.uint8)
    except Exception as error:  # what Pillow raises for a broken file depends on its format
        text = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{path} holds no image that can be read ({text}). Mend it or take it out.") from None


def _flat(image: Image, mode: str) -> Image:
    """The image without transparency, in 8 bits a value."""
    import PIL.Image

    if image.mode.startswith(("I", "F")):  # 16 bits a value, which Pillow would cut off at 255
        values = np.asarray(image, np.float64) / 257
        image = PIL.Image.fromarray(np.clip(np.round(values), 0, 255).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = PIL.Image.new("RGBA", image.size, "white")
        image = PIL.Image.alpha_composite(white, image)
    return image.convert(mode)


def _parts(root: Path) -> tuple[Path, Path | None]:
    """The folders of the training and the test part; the whole folder and None where there is no test part."""
    folders = _folders(root)
    names = [folder.name for folder in folders]
    if not set(PARTS) <= set(names):
        if len(names) == 1 and names[0] in PARTS:
            raise DataError(f"{root} has a folder `{names[0]}` alone; it needs one a class, or `train` and `test`.")
        return root, None
    others = [name for name in names if name not in PARTS]
    if others:
        raise DataError(
            f"{root} has `train` and `test`, and also {listed(others)}. Take {'it' if len(others) == 1 else 'them'} "
            f"out: the validation part is cut from `train`, as validation_share says."
        )
    return root / "train", root / "test"


def _classes(root: Path) -> tuple[tuple[str, ...], list[Path], NDArray[np.int64]]:
    """The classes in order, the files of all of them, and the class of each file.

    Raises:
        DataError: There are none, a class has no images, or a file is no image.
    """
    folders = _folders(root)
    if not folders:
        loose = any(path.suffix.lower() in SUFFIXES for path in root.iterdir())
        raise DataError(
            f"{root} has no folders{', but images of its own' if loose else ''}. Make one a class, named as the class, "
            f"and put the images there."
        )
    files: list[Path] = []
    numbers: list[int] = []
    for number, folder in enumerate(folders):
        found = _images_within(folder)
        if not found:
            raise DataError(f"{folder} has no images. Every folder in {root} is a class and needs some.")
        files += found
        numbers += [number] * len(found)
    return tuple(folder.name for folder in folders), files, np.array(numbers, np.int64)


def _folders(root: Path) -> list[Path]:
    found = [path for path in root.iterdir() if path.is_dir() and not path.name.startswith((".", "__MACOSX"))]
    return sorted(found, key=lambda path: path.name)


def _images_within(folder: Path) -> list[Path]:
    """All images at any depth, in the order of their paths, which is the same on every machine."""
    found = []
    for place, inner, names in os.walk(folder):
        inner[:] = [name for name in inner if not name.startswith(".")]
        for name in names:
            path = Path(place, name)
            if name.startswith(".") or name in _NOT_MEANT:
                continue
            if path.suffix.lower() not in SUFFIXES:
                raise DataError(f"{path} is none of {', '.join(SUFFIXES)}. Convert it or take it out.")
            found.append(path)
    return sorted(found, key=lambda path: path.relative_to(folder).as_posix())
