"""The stack in containers: its two databases, its volumes of artifacts and of studies, and the studies of this machine.

Everything goes through Docker Compose: a dump comes from PostgreSQL's container, files from a container beside the one
that uses them, with the same volume.
"""

from __future__ import annotations

import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO

from services import compose, env_file
from services.backup.archive import Archive, BackupError, Manifest, extract
from services.backup.copying import HomeCopy
from services.backup.databases import BOTH, Database
from services.backup.local import HOME, nothing_runs, occupied, put_in_place

KIND = "composed"
ARTIFACTS, STATE = "volumes/artifacts", "volumes/state"
"""Folders in an archive."""
_TAR = ["-C", "/mlflow", "-cf", "-", "artifacts"]
_AS_ADMINISTRATOR = ("--username=postgres", "--host=/var/run/postgresql")
_CHANGED = 1
"""What tar ends with where a file changed while it was read."""


class Containers:
    """Docker Compose, for this repository's stack."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        """Finds Docker Compose.

        Raises:
            BackupError: There is none, or no engine.
        """
        try:
            self._command = compose.compose_command()
        except compose.ComposeError as error:
            raise BackupError(str(error)) from None
        self.settings = {**env_file.read(compose.ENV_FILE), **environ}
        told = {"COMPOSE_PROFILES": compose.PROFILES}
        self._environ = {**compose.build_arguments(compose.ROOT), **environ, **told}

    def runs(self) -> bool:
        """Whether the stack's PostgreSQL runs."""
        asked = subprocess.run(
            [*self._command, "ps", "-q", "postgres"],
            cwd=compose.ROOT, env=self._environ, capture_output=True, text=True, check=False,
        )  # fmt: skip
        return bool(asked.stdout.strip()) and self._ask("SELECT 1", "postgres") == "1"

    def has_image(self, service: str) -> bool:
        """Whether a service's image is there, so that using it builds nothing."""
        image = f"{self.settings.get('REGATTA_IMAGES') or 'regatta'}/{service}"
        return subprocess.run(["docker", "image", "inspect", image], capture_output=True, check=False).returncode == 0

    def read(self, arguments: Sequence[str], use: Callable[[IO[bytes]], object], fine: Sequence[int] = (0,)) -> None:
        """Runs Docker Compose and hands over what it writes to standard output.

        Raises:
            BackupError: It failed; the message has its last words.
        """
        with tempfile.TemporaryFile() as errors:
            process = subprocess.Popen(
                [*self._command, *arguments], cwd=compose.ROOT, env=self._environ,
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors,
            )  # fmt: skip
            assert process.stdout is not None
            try:
                use(process.stdout)
                while process.stdout.read(1 << 16):
                    pass  # what fills a tar up to its end: who writes it is not to be cut off
            except tarfile.TarError:
                process.kill()  # it wrote no tar: it says why
            finally:
                process.stdout.close()
                code = process.wait()
            if code not in fine:
                raise BackupError(f"docker compose {' '.join(arguments)} failed: {_last_words(errors)}")

    def write(self, arguments: Sequence[str], fill: Callable[[IO[bytes]], object]) -> None:
        """Runs Docker Compose and writes to its standard input.

        Raises:
            BackupError: It failed; the message has its last words.
        """
        with tempfile.TemporaryFile() as errors:
            process = subprocess.Popen(
                [*self._command, *arguments], cwd=compose.ROOT, env=self._environ,
                stdin=subprocess.PIPE, stdout=errors, stderr=errors,
            )  # fmt: skip
            assert process.stdin is not None
            try:
                fill(process.stdin)
                process.stdin.close()
            except BrokenPipeError:  # it has ended: it says why
                pass
            code = process.wait()
            if code != 0:
                raise BackupError(f"docker compose {' '.join(arguments)} failed: {_last_words(errors)}")

    def call(self, *arguments: str) -> None:
        """Runs Docker Compose, which has nothing to say.

        Raises:
            BackupError: It failed.
        """
        self.write(arguments, lambda _: None)

    def sweeps(self) -> list[str]:
        """Names of the containers that were started once, as a sweep is, and run."""
        labels = f"label=com.docker.compose.project={compose._project()}", "label=com.docker.compose.oneoff=True"
        filters = [word for label in labels for word in ("--filter", label)]
        listed = subprocess.run(
            ["docker", "ps", *filters, "--format", "{{.Names}}"], capture_output=True, text=True, check=False
        )
        return listed.stdout.split()

    def rows(self, database: Database) -> int:
        """How many rows there are in the table that tells whether a database was used."""
        schema = "regatta" if database.name == "optuna" else "public"
        table = f"{schema}.{database.rows}"
        if self._ask(f"SELECT to_regclass('{table}') IS NOT NULL", database.name) != "t":
            return 0
        return int(self._ask(f"SELECT count(*) FROM {table}", database.name) or 0)

    def _ask(self, query: str, database: str) -> str:
        arguments = ["--no-psqlrc", "--tuples-only", "--no-align", *_AS_ADMINISTRATOR, f"--dbname={database}"]
        done = subprocess.run(
            [*self._command, "exec", "-T", "postgres", "psql", *arguments, "--command", query],
            cwd=compose.ROOT, env=self._environ, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
        )  # fmt: skip
        return done.stdout.strip()


def back_up(home: Path, folder: Path, environ: Mapping[str, str], say: Callable[[str], None]) -> Path:
    """Copies the stack, and the studies of this machine, into an archive; sweeps may be running.

    Raises:
        BackupError: The stack does not run, or Docker failed.
    """
    containers = Containers(environ)
    if not containers.runs():
        raise BackupError("The stack's PostgreSQL does not run, so it cannot be copied. Start it: make up")
    with Archive(folder, KIND) as archive:
        copy, has_studies = HomeCopy(home, archive, HOME), containers.has_image("sweep")
        copy.copy_deliveries()
        if has_studies:
            containers.read(_copying("deliveries"), lambda stream: archive.take_tar(stream, STATE))
        else:
            archive.notes.append("There is no image of sweeps, so studies that ran in containers are not in this file.")
        for database in BOTH:
            with tempfile.TemporaryDirectory(prefix="regatta-backup-", dir=folder) as scratch:
                dumped = Path(scratch, "dump")
                with dumped.open("wb") as out:
                    containers.read(_dumping(database), lambda stream, out=out: _pump(stream, out))  # type: ignore[misc]
                archive.add_file(database.file, dumped)
        destination = containers.settings.get("MLFLOW_ARTIFACTS_DESTINATION") or ""
        if "://" in destination:
            archive.notes.append(f"Artifacts are in {destination}, and not in this file; keep that, too.")
        else:
            tar = _beside("tracking_server", "tar", *_TAR)
            containers.read(tar, lambda stream: archive.take_tar(stream, "volumes"), (0, _CHANGED))
        if containers.settings.get("MLFLOW_BACKEND_STORE_URI"):
            archive.notes.append("MLFLOW_BACKEND_STORE_URI names another database for MLflow; keep that, too.")
        if has_studies:
            containers.read(_copying("rest"), lambda stream: archive.take_tar(stream, STATE))
        archive.notes += [f"{name} was gone before it could be copied." for name in copy.copy_rest()]
        for note in archive.notes:
            say(note)
    return archive.path


def restore(
    source: Path,
    manifest: Manifest,
    home: Path,
    environ: Mapping[str, str],
    *,
    force: bool,
    say: Callable[[str], None],
) -> None:
    """Brings the stack back from an archive that was verified: stops it, replaces its data, and starts it.

    Raises:
        BackupError: Something is there and `force` is not given, or Docker failed.
    """
    containers = Containers(environ)
    nothing_runs(home, environ)
    sweeps = containers.sweeps()
    if sweeps:
        raise BackupError(f"{' and '.join(sweeps)} run in the stack. Stop them first: docker stop {' '.join(sweeps)}")
    if compose.main(["up", "postgres"]) != 0:
        raise BackupError("The stack's PostgreSQL could not be started.")
    full = [str(part) for part in occupied(home) if manifest.below(f"{HOME}/{part.name}")]
    full += [f"the database {database.name} of the stack" for database in BOTH if containers.rows(database)]
    if full and not force:
        raise BackupError(
            f"There is something already: {', '.join(full)}. Nothing was changed. FORCE=1 takes the copy instead."
        )
    containers.call("stop")
    if compose.main(["up", "postgres"]) != 0:
        raise BackupError("The stack's PostgreSQL could not be started.")
    home.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".restoring-", dir=home) as scratch:
        extract(source, lambda name: Path(scratch, name))
        for database in BOTH:
            containers.write(_restoring(), lambda stdin, name=database.file: _send(Path(scratch, name), stdin))  # type: ignore[misc]
        for folder, service, place in ((ARTIFACTS, "tracking_server", "/mlflow/artifacts"), (STATE, "sweep", "/state")):
            if manifest.below(folder):
                clear = f"find {place} -mindepth 1 -delete && exec tar -C {place} -xf -"
                unpack = _beside(service, "sh", "-c", clear)
                containers.write(unpack, lambda stdin, of=folder: _send_tar(Path(scratch, of), stdin))  # type: ignore[misc]
        put_in_place(Path(scratch, HOME), home, say)
    if compose.main(["up"]) != 0:
        raise BackupError("All of it is back, but the stack did not start; see above.")


def _copying(step: str) -> list[str]:
    return _beside("sweep", "python", "-m", "services.backup.copying", step, "/state")


def _beside(service: str, program: str, *arguments: str) -> list[str]:
    """A container of a service that does something else once, with the service's volumes."""
    return ["run", "--rm", "-T", "--no-deps", "--entrypoint", program, service, *arguments]


def _dumping(database: Database) -> list[str]:
    return ["exec", "-T", "postgres", "pg_dump", *_AS_ADMINISTRATOR, "--format=custom", database.name]


def _restoring() -> list[str]:
    """Makes the database anew, of the same owner; the user of each was made with the server's data."""
    options = [*_AS_ADMINISTRATOR, "--dbname=postgres", "--clean", "--if-exists", "--create", "--exit-on-error"]
    return ["exec", "-T", "postgres", "pg_restore", *options]


def _pump(stream: IO[bytes], out: IO[bytes]) -> None:
    while chunk := stream.read(1 << 20):
        out.write(chunk)


def _send(path: Path, stdin: IO[bytes]) -> None:
    with path.open("rb") as content:
        _pump(content, stdin)


def _send_tar(folder: Path, stdin: IO[bytes]) -> None:
    with tarfile.open(fileobj=stdin, mode="w|", format=tarfile.PAX_FORMAT) as tar:
        for path in sorted(folder.iterdir()):
            tar.add(path, path.name, filter=_nobodys)


def _nobodys(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """A file belongs to whoever unpacks it."""
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    return member


def _last_words(errors: IO[bytes]) -> str:
    errors.seek(0)
    lines = errors.read().decode(errors="replace").strip().splitlines()
    return " ".join(lines[-5:]) or "it did not say why"
