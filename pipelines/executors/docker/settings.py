"""What a recipe says about the containers that its trials train in."""

from __future__ import annotations

import os
from pathlib import PurePosixPath
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from pipelines.spec import Spec


def parts_of(volume: str) -> tuple[str, str, str]:
    """Of a volume: the folder, the folder in the container, and `ro`, `rw` or nothing."""
    source, _, rest = volume.partition(":")
    if rest in ("ro", "rw"):
        return source, source, rest
    target, _, mode = rest.partition(":")
    return source, target or source, mode


def _volume(text: str) -> str:
    source, target, mode = parts_of(text)
    if not (PurePosixPath(source).is_absolute() and PurePosixPath(target).is_absolute() and mode in ("", "ro", "rw")):
        raise ValueError(
            f"must be a folder, or folder:folder in the container, and perhaps :ro, both from the root on, such as "
            f"/data/images:/data/images:ro, got '{text}'"
        )
    return text


class Docker(Spec):
    """The containers of the executor `docker`, one a worker.

    Each sees the study's folder, the prepared data and, where the recipe names code of one's own, the current folder,
    at the same places as outside, and runs as the same user.
    """

    image: str | None = Field(None, min_length=1)
    """The training image; left out, the one that `make image` makes: `regatta/sweep`, `regatta/sweep:gpu` on a GPU."""
    pull: Literal["never", "missing", "always"] = "never"
    """Whether the image is fetched from its registry."""
    cpus: float | None = Field(None, gt=0)
    """Cores that a worker may use; left out, its share of them."""
    memory_mb: int | None = Field(None, ge=256)
    """Memory that a worker may use, in MiB; left out, its share of nine tenths of the machine's."""
    shm_mb: int = Field(64, ge=1)
    """Shared memory of a worker, in MiB."""
    network: str | None = Field(None, min_length=1)
    """The network that a worker is in; Docker's own where left out. It needs none: `none` keeps it off any."""
    volumes: tuple[Annotated[str, AfterValidator(_volume)], ...] = ()
    """What else a worker sees: `folder`, `folder:folder in the container`, each perhaps with `:ro`."""
    environment: dict[str, str] = Field(default_factory=dict)
    """Further variables of a worker."""

    def image_for(self, *, gpu: bool) -> str:
        """The image to start."""
        if self.image is not None:
            return self.image
        return f"{os.environ.get('REGATTA_IMAGES') or 'regatta'}/sweep{':gpu' if gpu else ''}"
