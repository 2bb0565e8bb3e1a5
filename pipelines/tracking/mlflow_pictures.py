"""Pictures of steps as MLflow's own `log_image` keeps them, but under names that follow from the entry."""

from __future__ import annotations

import io
import re
import uuid
from pathlib import Path

from pipelines.tracking.base import Refused
from pipelines.tracking.entries import PictureKept

PICTURES_TAG = "mlflow.loggedImages"
"""MLflow's page looks for pictures only where a run has this."""
PICTURES_FOLDER = "images"
_SMALL_PX = 256
"""The longer side of a picture's small form, as MLflow makes it; its page shows that one until somebody clicks."""


def picture_files(path: Path, entry: PictureKept) -> dict[str, bytes]:
    """The files that a picture is in MLflow, by name: as it was drawn, and small.

    Raises:
        Refused: It is gone, is no picture, or its series has a name that MLflow cannot take.
    """
    name = _picture_name(entry)
    try:
        content = path.read_bytes()
    except OSError:
        raise Refused(f"{path} is gone") from None
    return {f"{name}.png": content, f"{name}+compressed.webp": _small_form(content, path)}


def _picture_name(entry: PictureKept) -> str:
    """The name by which MLflow's page knows a picture's series, step and time; the same for the same entry."""
    if not re.fullmatch(r"[\w\-./ ]+", entry.key, re.ASCII):
        raise Refused(
            f"'{entry.key}' cannot name a series of pictures in MLflow; letters, digits, spaces and '_-./' can"
        )
    unique = uuid.uuid5(uuid.NAMESPACE_OID, f"{entry.uid} {entry.key} {entry.step}")
    return f"{entry.key.replace('/', '~')}+step+{entry.step}+timestamp+{entry.time_ms}+{unique}"


def _small_form(content: bytes, path: Path) -> bytes:
    """The picture as a WebP of some kilobytes."""
    from PIL import Image, UnidentifiedImageError

    small = io.BytesIO()
    try:
        with Image.open(io.BytesIO(content)) as image:
            picture = image.convert("RGBA" if image.has_transparency_data else "RGB")
            picture.thumbnail((_SMALL_PX, _SMALL_PX))
            picture.save(small, "WEBP", quality=80, method=2)
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as problem:
        raise Refused(f"{path} is no picture: {problem}") from None
    return small.getvalue()
