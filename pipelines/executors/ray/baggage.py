"""The code and the lock that nodes run by: this very package, the user's own code, and exact versions of the rest."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from pipelines.errors import ExecutorError
from pipelines.own.digest import named_in

_PACKAGE = Path(__file__).parents[2]
_PIN = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)==([^\s;\\]+)\s*(;[^\\]*)?")
_MOST_BYTES = 64 << 20


def pack(target: Path, config: Any, here: Path) -> Path:
    """Packs what nodes need into a zip archive; the same code makes the same archive.

    Args:
        target: The archive.
        config: The recipe, as plain types: it names the user's own code.
        here: The current folder, in which that is looked for.

    Raises:
        ExecutorError: It is too much to be sent.
    """
    files = dict(_files_of(_PACKAGE, _PACKAGE.parent))
    for part in own_parts(named_in(config), here):
        files |= dict(_files_of(part, here))
    size = sum(path.stat().st_size for path in files.values())
    if size > _MOST_BYTES:
        raise ExecutorError(
            f"The code in {here} that the recipe names takes {size >> 20} MiB with what lies beside it; at most "
            f"{_MOST_BYTES >> 20} go to the nodes of a cluster. Keep data elsewhere than between the modules."
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(files):
            archive.writestr(zipfile.ZipInfo(name), files[name].read_bytes(), zipfile.ZIP_DEFLATED)
    return target


def _files_of(path: Path, base: Path) -> Iterator[tuple[str, Path]]:
    """The files of a module or package, by their names in the archive; without what was compiled, and hidden ones."""
    for file in [path] if path.is_file() else sorted(path.rglob("*")):
        inside = file.relative_to(base)
        hidden = any(part.startswith(".") or part == "__pycache__" for part in inside.parts)
        if file.is_file() and not hidden:
            yield inside.as_posix(), file


def own_parts(modules: Iterable[str], here: Path) -> list[Path]:
    """The files and folders of the current folder that own code may need: its own, and modules that lie beside it."""
    tops = {module.partition(".")[0] for module in modules}
    own = [path for top in sorted(tops) for path in (here / f"{top}.py", here / top) if path.exists()]
    if not own:
        return []
    beside = [path for path in sorted(here.glob("*.py")) if path.is_file()]
    packages = [path.parent for path in sorted(here.glob("*/__init__.py"))]
    return [path for path in dict.fromkeys([*own, *beside, *packages]) if path.name != _PACKAGE.name]


def pins(lock: Path | None = None) -> tuple[str, ...]:
    """The packages of the lock, `name==version` each, of those that this platform has; none where there is no lock."""
    lock = lock or _PACKAGE.parent / "requirements" / "cpu.txt"
    if not lock.is_file():
        return ()
    return tuple(_pins(lock.read_text(encoding="utf-8").splitlines()))


def _pins(lines: Iterable[str]) -> Iterator[str]:
    from packaging.markers import Marker

    for line in lines:
        found = _PIN.match(line)
        if found and (not found[3] or Marker(found[3].lstrip("; ").strip()).evaluate()):
            yield f"{found[1]}=={found[2]}"
