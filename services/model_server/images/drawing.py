"""A picture to one sample of a model: its size, its colours, its ground, its range."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from services.model_server.images.decoding import Edges, decode
from services.model_server.images.form import Form, Ground, border, centre_of_mass, ink_box
from services.model_server.images.headers import Head

Pixels = NDArray[np.float32]
Invert = Literal["auto", "yes", "no"]
Fit = Literal["contain", "stretch"]
Centre = Literal["yes", "no"]
INVERT: tuple[Invert, ...] = ("auto", "yes", "no")
FIT: tuple[Fit, ...] = ("contain", "stretch")
CENTRE: tuple[Centre, ...] = ("yes", "no")

# A picture is on a ground if so much of its border is on one side of the middle.
_BORDER_SHARE = 0.6
# A picture counts as clear in places if so much of it is.
_CLEAR_SHARE = 0.02
# Pixels of a picture's longer side that are kept: sixteen for one of the sample's, but not more than this, unless that
# were less than two. In between, whole blocks of pixels become one, which costs little.
_FINENESS, _COARSENESS = 16, 2
_SIDE = 512


@dataclass(frozen=True)
class Wishes:
    """How a picture is to be brought into the form of a sample.

    Attributes:
        invert: Whether dark becomes light: yes, no, or if the training data has the other ground.
        fit: Keeps the proportions and fills what is left with the picture's ground, or stretches.
        centre: Cuts the picture to what is drawn and places it as the training data has it.
    """

    invert: Invert = "auto"
    fit: Fit = "contain"
    centre: Centre = "no"


@dataclass(frozen=True)
class Done:
    """What was done to a picture; sizes are width and height.

    `astray` says that what is drawn is not where golden samples have it; what was done does not include it.
    """

    kind: str
    size: tuple[int, int]
    resized: tuple[int, int]
    inverted: bool
    centred: bool
    astray: bool = False

    def told(self) -> dict[str, Any]:
        """Says it to the client."""
        return {
            "format": self.kind,
            "size": self.size,
            "resized": self.resized,
            "inverted": self.inverted,
            "centred": self.centred,
        }


def draw(head: Head, form: Form, wishes: Wishes) -> tuple[NDArray[Any], Done]:
    """Decodes a picture into one sample.

    Args:
        head: What `read_head` returned.
        form: Of the sample.
        wishes: How.

    Returns:
        The sample, of the form's shape and dtype, and what was done.

    Raises:
        BadRequest: the picture is damaged.
    """
    side = max(form.height, form.width)
    least = max(_COARSENESS * side, _SIDE if wishes.centre == "yes" else min(_FINENESS * side, _SIDE))
    raster = decode(head, form.channels == 3, least, apart=wishes.fit == "stretch" and wishes.centre == "no")
    pixels = _flat(raster.image, _paper(raster.image, form, wishes))
    if wishes.centre == "yes" and form.channels == 1:
        inverted = _inverts(pixels, form, wishes)
        astray = False
        pixels, centred = _centred(255 - pixels if inverted else pixels, raster.columns, raster.rows, form)
    else:
        pixels = _resized(pixels, raster.columns, raster.rows, *_fitting(head.size, form, wishes))
        inverted, centred = _inverts(pixels, form, wishes), False
        pixels = _filled(255 - pixels if inverted else pixels, form)
        astray = form.ground is not None and form.is_astray(_ink(pixels, form))
    # Rounding must not carry white above the range: that would count as a value that training never saw.
    values = (form.low + pixels * np.float32((form.high - form.low) / 255)).clip(form.low, form.high)
    if form.dtype.kind in "iu":
        values = np.rint(values)
    done = Done(head.kind, head.size, (form.width, form.height), inverted, centred, astray)
    return values.astype(form.dtype).reshape(form.shape), done


# --------------------------------------------------------------------------------------------------------------- ground


def _paper(image: Image.Image, form: Form, wishes: Wishes) -> int:
    """What is behind a picture that is clear in places: black, unless what is drawn is dark and shall be light."""
    if image.mode not in ("LA", "RGBA") or wishes.invert == "no":
        return 0
    if wishes.invert == "yes":
        return 255
    seen = np.asarray(image.getchannel("A"), np.float32) / 255
    if form.ground is None or seen.mean() > 1 - _CLEAR_SHARE:
        return 0
    grey = np.asarray(image.convert("LA").getchannel("L"), np.float32)
    ink = float((grey * seen).sum() / max(seen.sum(), 1e-6))
    return 255 if ink < 128 else 0


def _flat(image: Image.Image, paper: int) -> Pixels:
    """Puts a picture on paper: float32 (height, width) or (height, width, 3), 0 to 255."""
    if image.mode in ("L", "RGB"):
        return np.asarray(image, np.float32)
    drawn = np.asarray(image, np.float32)
    seen = drawn[..., -1:] / np.float32(255)
    pixels: Pixels = drawn[..., :-1] * seen + paper * (1 - seen)
    return pixels[..., 0] if image.mode == "LA" else pixels


def _ground(pixels: Pixels) -> Ground | None:
    edge = border(pixels)
    if (edge > 127.5).mean() >= _BORDER_SHARE:
        return "light"
    return "dark" if (edge < 127.5).mean() >= _BORDER_SHARE else None


def _inverts(pixels: Pixels, form: Form, wishes: Wishes) -> bool:
    if wishes.invert != "auto":
        return wishes.invert == "yes"
    if form.ground is None or pixels.ndim == 3:
        return False
    return _ground(pixels) == ("light" if form.ground == "dark" else "dark")


# ----------------------------------------------------------------------------------------------------------------- size


def _fitting(size: tuple[int, int], form: Form, wishes: Wishes) -> tuple[int, int]:
    """The width and height that a picture of `size` gets within a sample."""
    width, height = size
    if wishes.fit == "stretch":
        return form.width, form.height
    share = min(form.width / width, form.height / height)
    return max(1, round(width * share)), max(1, round(height * share))


def _resized(pixels: Pixels, columns: Edges, rows: Edges, width: int, height: int) -> Pixels:
    """Takes the means of areas where a picture becomes smaller, and interpolates where it becomes larger."""
    if pixels.shape[:2] == (height, width):
        return pixels
    if width <= pixels.shape[1] and height <= pixels.shape[0]:
        narrow = np.tensordot(_shares(columns, width), pixels, axes=(1, 1))
        smaller: Pixels = np.tensordot(_shares(rows, height), narrow, axes=(1, 1))
        return smaller
    layers = pixels[..., np.newaxis] if pixels.ndim == 2 else pixels
    larger = [
        np.asarray(Image.fromarray(layers[..., place]).resize((width, height), Image.Resampling.BICUBIC))
        for place in range(layers.shape[2])
    ]
    whole: Pixels = np.stack(larger, axis=-1).reshape(height, width, *pixels.shape[2:])
    return whole.clip(0, 255)


def _shares(edges: Edges, count: int) -> Pixels:
    """How much of each of `count` equal parts lies in each column or row: (count, columns), each row with the sum 1."""
    parts = np.linspace(edges[0], edges[-1], count + 1)[:, np.newaxis]
    overlap = np.minimum(edges[1:], parts[1:]) - np.maximum(edges[:-1], parts[:-1])
    shares: Pixels = (overlap.clip(0, None) / (parts[1:] - parts[:-1])).astype(np.float32)
    return shares


def _filled(pixels: Pixels, form: Form) -> Pixels:
    """Lays a picture in the middle of a sample, on the ground that its own border has."""
    height, width = pixels.shape[:2]
    if (height, width) == (form.height, form.width):
        return pixels
    edge = border(np.moveaxis(pixels, 2, 0) if pixels.ndim == 3 else pixels)
    whole = np.empty((form.height, form.width, *pixels.shape[2:]), np.float32)
    whole[:] = np.median(edge, axis=-1)
    top, left = (form.height - height) // 2, (form.width - width) // 2
    whole[top : top + height, left : left + width] = pixels
    return whole


def _ink(pixels: Pixels, form: Form) -> Pixels:
    """What is drawn on the ground of a grey picture, light on dark."""
    edge = float(np.median(border(pixels)))
    ink: Pixels = np.clip(edge - pixels if form.ground == "light" else pixels - edge, 0, None)
    return ink


def _centred(pixels: Pixels, columns: Edges, rows: Edges, form: Form) -> tuple[Pixels, bool]:
    """Cuts a picture to what is drawn on its ground, and places that as the training data has it."""
    dark = form.ground != "light"
    edge = float(np.median(border(pixels)))
    ink = _ink(pixels, form)
    box = ink_box(ink)
    if box is None:
        return np.full((form.height, form.width), edge, np.float32), False
    left, top, right, bottom = box
    extent = form.extent or 1.0
    columns, rows = columns[left : right + 1], rows[top : bottom + 1]
    wide, tall = float(columns[-1] - columns[0]), float(rows[-1] - rows[0])
    share = min(extent * form.width / wide, extent * form.height / tall)
    width = min(form.width, max(1, round(wide * share)))
    height = min(form.height, max(1, round(tall * share)))
    drawn = _resized(ink[top:bottom, left:right], columns, rows, width, height)
    down, across = centre_of_mass(drawn)
    at_y = min(max(0, round(form.middle[0] * form.height - down)), form.height - height)
    at_x = min(max(0, round(form.middle[1] * form.width - across)), form.width - width)
    whole = np.full((form.height, form.width), edge, np.float32)
    place = whole[at_y : at_y + height, at_x : at_x + width]
    whole[at_y : at_y + height, at_x : at_x + width] = place + drawn if dark else place - drawn
    return whole, True
