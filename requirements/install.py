"""Makes `.venv` and installs a lock into it: `python3 requirements/install.py runtime|dev|ray cpu|gpu`.

`make` calls it, with any Python that Regatta supports, when a lock is newer than the stamp of its last installation.
Only the standard library is there yet. What is in uv's cache is taken from it without asking the network. Packages
whose modules a sweep imports are compiled here, on all cores: TensorFlow's import takes three times as long without.
Everything it says goes to standard error, because standard output belongs to the command that waits for it.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
LOCKS = Path("requirements")
# Big, and a sweep imports nothing of them, or a file or two.
LEFT_UNCOMPILED = {
    "__pycache__", "_tests", "databricks", "fontTools", "gunicorn", "hypothesis", "mpl_toolkits", "mypy", "mypyc",
    "pip", "playwright", "pyasn1_modules", "setuptools", "test", "tests", "transformers", "wcwidth",
}  # fmt: skip
COMPILE = "import py_compile, sys\nfor path in sys.stdin.read().splitlines(): py_compile.compile(path, quiet=2)"


class InstallError(Exception):
    """The environment cannot be made; the message says what to do."""


def main(arguments: list[str]) -> int:
    """Installs what `arguments` name and writes its stamp, `.venv/.runtime-cpu` for one. Returns the exit code."""
    if len(arguments) != 2 or arguments[0] not in {"runtime", "dev", "ray"} or arguments[1] not in {"cpu", "gpu"}:
        say("Usage: python3 requirements/install.py runtime|dev|ray cpu|gpu")
        return 2
    purpose, device = arguments
    if purpose == "ray":
        return add_ray(device)
    locks = [LOCKS / f"{device}.txt"] + ([LOCKS / "dev.txt"] if purpose == "dev" else [])
    began = time.monotonic()
    with Path(__file__).open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two `make` at once: the second finds the work done
        stamp = VENV / f".{purpose}-{device}"
        wanted = [ROOT / name for name in (*locks, LOCKS / "uv.txt")] + [Path(__file__)]
        if stamp.exists() and stamp.stat().st_mtime >= max(path.stat().st_mtime for path in wanted):
            return 0
        try:
            make_venv()
            for old in (*VENV.glob(".runtime-*"), *VENV.glob(".dev-*"), *VENV.glob(".ray-*")):
                old.unlink()  # from here to the end, nothing is certain
            install_uv()
            install_locks(locks)
            install_regatta()
            compile_bytecode()
        except InstallError as error:
            say(f"\n{error}")
            return 2
        (VENV / f".runtime-{device}").touch()  # a dev installation brings the runtime up to date too,
        stamp.touch()  # and is not older than it
    say(f"The environment is ready: {', '.join(str(name) for name in locks)} in {time.monotonic() - began:.0f} s.")
    return 0


def add_ray(device: str) -> int:
    """Adds Ray to an environment that is there. It is 100 MB that only sweeps on a cluster need."""
    with Path(__file__).open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        stamp, wanted = VENV / f".ray-{device}", LOCKS / "ray.txt"
        if stamp.exists() and stamp.stat().st_mtime >= (ROOT / wanted).stat().st_mtime:
            return 0
        say(f"Installing {wanted}")
        command = [str(VENV / "bin" / "uv"), "pip", "install", "--python", str(PYTHON), "--quiet", "--require-hashes"]
        try:
            run([*command, "-r", str(wanted)], "uv could not install Ray; its words are above")
            compile_bytecode()
        except InstallError as error:
            say(f"\n{error}")
            return 2
        stamp.touch()
    return 0


def make_venv() -> None:
    """Makes `.venv`, or makes it anew where its Python is gone or is one that Regatta does not support."""
    check = "import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))"
    if PYTHON.exists() and subprocess.run([PYTHON, "-c", check], capture_output=True, check=False).returncode == 0:
        return
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    try:
        import ensurepip  # noqa: F401  (Debian ships it apart from Python)
        import venv  # noqa: F401
    except ImportError as error:
        raise InstallError(
            f"{sys.executable} (Python {version}) cannot make a virtual environment: its module '{error.name}' is "
            f"missing. On Debian and Ubuntu: apt-get install python{version}-venv. Or name a complete Python: "
            "make PYTHON=/path/to/python3."
        ) from None
    say(f"Making .venv with Python {version} ({sys.executable})")
    run([sys.executable, "-m", "venv", "--clear", str(VENV)], "Python could not make .venv")


def install_uv() -> None:
    """Installs the pinned uv, unless it is there; from the cache of an earlier clone where the network is not."""
    lock = ROOT / LOCKS / "uv.txt"
    pinned = next(line.split()[0] for line in lock.read_text().splitlines() if line.startswith("uv=="))
    uv = VENV / "bin" / "uv"
    if uv.exists():
        found = subprocess.run([uv, "--version"], capture_output=True, text=True, check=False).stdout.split()
        if found[1:2] == [pinned.removeprefix("uv==")]:
            return
    pip = [str(PYTHON), "-m", "pip", "-qq", "--disable-pip-version-check"]
    kept = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "regatta" / pinned
    if not any(kept.glob("uv-*.whl")):
        download = [*pip, "download", "--require-hashes", "--no-deps", "--dest", str(kept), "-r", str(lock)]
        run(download, f"pip could not fetch {pinned}. Is the package index within reach?")
    install = [*pip, "install", "--require-hashes", "--no-index", "--find-links", str(kept), "-r", str(lock)]
    run(install, f"pip could not install {pinned} from {kept}; remove that folder and try again")


def install_locks(locks: list[Path]) -> None:
    """Brings `.venv` to exactly what the locks list."""
    names = [str(name) for name in locks]
    say(f"Installing {' and '.join(names)}")
    command = [str(VENV / "bin" / "uv"), "pip", "sync", "--python", str(PYTHON), "--require-hashes", *names]
    offline = subprocess.run([*command, "--offline", "--quiet"], cwd=ROOT, capture_output=True, check=False)
    if offline.returncode == 0:
        return
    say("Not all of it is in uv's cache: downloading (TensorFlow alone is some 250 MB; its GPU build some 3 GB)")
    quiet = [] if sys.stderr.isatty() else ["--quiet"]
    run([*command, *quiet], "uv could not install the locked packages; its words are above")


def install_regatta() -> None:
    """Installs the project itself, editable, with the locked setuptools: nothing is downloaded."""
    command = [str(VENV / "bin" / "uv"), "pip", "install", "--python", str(PYTHON), "--quiet", "--offline", "--no-deps"]
    command += ["--no-build-isolation", "--config-settings", "editable_mode=compat", "--editable", str(ROOT)]
    run(command, "uv could not install Regatta itself; its words are above")


def compile_bytecode() -> None:
    """Compiles the modules that have no bytecode yet, on all cores. A module that does not compile is left alone."""
    todo = list(uncompiled())
    if not todo:
        return
    say(f"Compiling {len(todo)} modules")
    count = min(os.cpu_count() or 1, 16)
    workers = [
        subprocess.Popen([PYTHON, "-c", COMPILE], stdin=subprocess.PIPE, text=True, stderr=subprocess.DEVNULL)
        for _ in range(count)
    ]
    for number, worker in enumerate(workers):
        assert worker.stdin is not None
        worker.stdin.write("\n".join(todo[number::count]))
        worker.stdin.close()
    for worker in workers:
        worker.wait()


def uncompiled() -> Iterator[str]:
    """Yields the path of every module that should have bytecode and has none; uv removes it with its module."""
    for site in VENV.glob("lib/python3.*/site-packages"):
        suffix = f".cpython-{site.parent.name.removeprefix('python').replace('.', '')}.pyc"
        for folder, subfolders, files in os.walk(site):
            subfolders[:] = [name for name in subfolders if name not in LEFT_UNCOMPILED]
            compiled = Path(folder) / "__pycache__"
            have = {entry.name for entry in os.scandir(compiled)} if compiled.is_dir() else set()
            yield from (f"{folder}/{name}" for name in files if name.endswith(".py") and name[:-3] + suffix not in have)


def run(command: list[str], failure: str) -> None:
    """Runs a command with its output on standard error. Raises InstallError with `failure` where it fails."""
    if subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=sys.stderr, check=False).returncode:
        raise InstallError(f"{failure}.")


def say(text: str) -> None:
    """Prints a line of progress on standard error."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
