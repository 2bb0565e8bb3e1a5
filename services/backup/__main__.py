"""`make backup [TO=folder]` and `make restore FROM=file [FORCE=1]`: `python -m services.backup backup|restore`."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from services import started_stack
from services.backup import containers, local
from services.backup.archive import BackupError, verify
from services.processes import LocalError

FOLDER = "backups"


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one verb and returns its exit code: 0 done, 1 it failed, 2 the call is wrong or something is in the way."""
    options = _parser().parse_args(arguments)
    environ = dict(os.environ)
    home = Path(environ.get("REGATTA_HOME") or ".regatta").absolute()
    try:
        if options.verb == "backup":
            print(_back_up(home, Path(options.to).absolute(), environ, options.stack))
        else:
            _restore(home, Path(options.source), environ, force=options.force)
    except (BackupError, LocalError) as error:
        _say(str(error))
        return 2
    except OSError as error:
        _say(f"{error.filename or 'The copy'}: {error.strerror or error}. Nothing that was there before has changed.")
        return 1
    except KeyboardInterrupt:
        _say("Interrupted.")
        return 130
    return 0


def _back_up(home: Path, folder: Path, environ: Mapping[str, str], stack: str) -> Path:
    if stack == "auto":
        stack = containers.KIND if _is_composed(home, environ) else local.KIND
    make = containers.back_up if stack == containers.KIND else local.back_up
    path = make(home, folder, environ, _say)
    manifest = verify(path)  # what cannot be read back is no backup
    _say(f"{len(manifest.files)} files, {path.stat().st_size / 1e6:.1f} MB, every digest read back.")
    return path


def _restore(home: Path, source: Path, environ: Mapping[str, str], *, force: bool) -> None:
    manifest = verify(source)
    for note in manifest.notes:
        _say(note)
    bring_back = containers.restore if manifest.kind == containers.KIND else local.restore
    bring_back(source, manifest, home, environ, force=force, say=_say)
    _say(f"{len(manifest.files)} files of {manifest.made} are back. What MLflow lacks of them: make reconcile")


def _is_composed(home: Path, environ: Mapping[str, str]) -> bool:
    """Whether the stack of this repository runs in containers."""
    if started_stack.noted(home) is None and shutil.which("docker") is None:
        return False
    try:
        return containers.Containers(environ).runs()
    except BackupError:
        return False


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m services.backup",
        description="Copies studies, records, artifacts and models into one file, and brings them back.",
    )
    verbs = parser.add_subparsers(dest="verb", required=True)
    backup = verbs.add_parser("backup", help="copy everything, also while a sweep runs")
    backup.add_argument("--to", default=FOLDER, metavar="FOLDER", help=f"where the file goes; {FOLDER} by default")
    backup.add_argument(
        "--stack",
        choices=["auto", local.KIND, containers.KIND],
        default="auto",
        help="of this machine or in containers; by default the second where its containers run",
    )
    restore = verbs.add_parser("restore", help="verify a copy and bring it back")
    restore.add_argument("source", metavar="FILE", help="what backup made")
    restore.add_argument("--force", action="store_true", help="also where something is already")
    return parser


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
