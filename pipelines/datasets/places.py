"""Where a data file that a recipe names is: absolute, in the user's data folder, or in the current folder."""

from __future__ import annotations

from pathlib import Path

from pipelines.errors import DataError
from pipelines.mistakes import did_you_mean


def find(path: str, folder: Path | None) -> Path:
    """The file or folder that a recipe means by `path`.

    Args:
        path: As it stands in the recipe; `~` is the user's home.
        folder: Where the user keeps data files (`REGATTA_DATA`), or None.

    Raises:
        DataError: There is none; the message says where it was looked for.
    """
    given = Path(path).expanduser()
    candidates = [given] if given.is_absolute() else [place / given for place in (folder, Path.cwd()) if place]
    for candidate in candidates:
        if candidate.exists():
            return candidate
    near = [entry.name for place in candidates if place.parent.is_dir() for entry in sorted(place.parent.iterdir())]
    unset = "" if folder or given.is_absolute() else " (REGATTA_DATA is not set)"
    raise DataError(
        f"The data '{path}' was not found: looked for {' and '.join(map(str, candidates))}{unset}"
        f"{did_you_mean(given.name, near) or '.'} Give a whole path, or one from the folder that REGATTA_DATA names."
    )
