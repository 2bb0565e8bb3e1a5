"""A PostgreSQL cluster of the tests' own: made in a temporary folder, on a free port, gone afterwards."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import psutil

from tests.sites import free_port

_INSTALLED = Path("/usr/lib/postgresql")
_SETTINGS = (
    "fsync=off",
    "full_page_writes=off",
    "max_connections=200",
    "listen_addresses=127.0.0.1",
)
GUARDED, SECRET = "guarded", f"Pa5s%40w0rd-{secrets.token_hex(8)}"
"""A user without privileges whom the cluster asks for a password, and the password as it stands in a URL."""


def programs() -> Path | None:
    """The folder with `initdb` and `pg_ctl`, of the newest version; None where PostgreSQL is not installed."""
    found = sorted(_INSTALLED.glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]))
    if found:
        return found[-1].parent
    beside = shutil.which("initdb")
    return Path(beside).resolve().parent if beside else None


def missing() -> str | None:
    """Why no cluster can be made here, or None."""
    if programs() is None:
        return "PostgreSQL is not installed (apt-get install postgresql)"
    if os.geteuid() == 0 and shutil.which("runuser") is None:
        return "PostgreSQL does not run as root, and there is no `runuser` to be somebody else"
    return None


class Cluster:
    """A running cluster; every test asks for a database of its own."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self._folder = folder
        self._numbers = count()
        found = programs()
        assert found is not None
        self._programs = found

    @property
    def _data(self) -> Path:
        return self._folder / "data"

    def make(self) -> None:
        self._run("initdb", "--auth=trust", "--username=regatta", "--encoding=UTF8", "--no-sync", "-D", str(self._data))
        rules = self._data / "pg_hba.conf"
        rules.write_text(f"host all {GUARDED} 127.0.0.1/32 scram-sha-256\n{rules.read_text()}")
        self.start()
        self.execute(f"CREATE ROLE {GUARDED} LOGIN PASSWORD '{SECRET.replace('%40', '@')}'")

    def start(self) -> None:
        options = [f"-c {setting}" for setting in _SETTINGS]
        options += [f"-p {self.port}", f"-k {self._folder}"]
        self._control("start", "-o", " ".join(options))

    def restart(self) -> None:
        """As an administrator does it: connections are cut, whoever waits for an answer gets none."""
        self._control("restart", "-m", "immediate")

    def stop(self) -> None:
        self._control("stop", "-m", "immediate")

    def kill(self) -> None:
        """SIGKILL for all of its processes: it can save nothing, and will have to mend what is on its disk."""
        family = self._family()
        for process in family:
            process.kill()
        psutil.wait_procs(family, 10)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """It stands still for the length of the block: connections stay, and nobody is answered."""
        family = self._family()
        for process in family:
            process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            for process in family:
                process.send_signal(signal.SIGCONT)

    def database(self, *, guarded: bool = False) -> str:
        """The address of a new, empty database, as SQLAlchemy takes it; `guarded`: of the user with a password."""
        name = f"faults_{next(self._numbers)}"
        owner = GUARDED if guarded else "regatta"
        self._run("createdb", "-h", "127.0.0.1", "-p", str(self.port), "-U", "regatta", "-O", owner, name)
        user = f"{GUARDED}:{SECRET}" if guarded else owner
        return f"postgresql+psycopg://{user}@127.0.0.1:{self.port}/{name}"

    def execute(self, statement: str, database: str = "postgres") -> None:
        """Runs SQL as the administrator."""
        where = ["-h", "127.0.0.1", "-p", str(self.port), "-U", "regatta", "-d", database]
        self._run("psql", "--no-psqlrc", "--set=ON_ERROR_STOP=1", *where, "--command", statement)

    def hang_up(self, database: str) -> None:
        """Ends all connections to a database."""
        self.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{database}'")

    def _family(self) -> list[psutil.Process]:
        postmaster = psutil.Process(int((self._data / "postmaster.pid").read_text().split()[0]))
        return [postmaster, *postmaster.children(recursive=True)]

    def _control(self, verb: str, *more: str) -> None:
        log = self._folder / "log"
        self._run("pg_ctl", verb, "--wait", "-D", str(self._data), "-l", str(log), *more)

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self._programs / program), *arguments]
        if os.geteuid() == 0:
            command = ["runuser", "-u", "postgres", "--", *command]
        # no pipes: the server would inherit them, and they would never come to their end
        with (self._folder / f"{program}.out").open("wb") as out:
            done = subprocess.run(command, cwd=self._folder, stdout=out, stderr=out, check=False, timeout=90)
        said = (self._folder / f"{program}.out").read_text(errors="replace")
        assert done.returncode == 0, f"{' '.join(command)} failed:\n{said}"


@contextmanager
def running_cluster() -> Iterator[Cluster]:
    """A cluster for the length of the block, in a folder that the user who runs it may enter."""
    folder = Path(tempfile.mkdtemp(prefix="regatta-pg-"))
    cluster = Cluster(folder)
    try:
        if os.geteuid() == 0:
            shutil.chown(folder, "postgres")
        cluster.make()
        yield cluster
        cluster.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
