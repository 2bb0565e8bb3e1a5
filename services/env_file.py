"""`.env`, from which Docker Compose reads the stack's settings and secrets. Any Python from 3.9 on runs this."""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path

SECRETS: Mapping[str, str] = {
    "POSTGRES_PASSWORD": "of PostgreSQL's administrator, postgres",
    "MLFLOW_DB_PASSWORD": "of the user mlflow in PostgreSQL",
    "OPTUNA_DB_PASSWORD": "of the user optuna in PostgreSQL",
    "MLFLOW_ADMIN_PASSWORD": "of the user admin in MLflow, where MLFLOW_LOGIN=on",
    "MLFLOW_FLASK_SERVER_SECRET_KEY": "signs what MLflow's login hands to browsers",
    "GRAFANA_ADMIN_PASSWORD": "of the user admin in Grafana",
}
"""The variables that must be there, and what each is good for."""
_LINE = re.compile(r"^\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=\s*(.*?)\s*$")
_HEAD = (
    "# Settings and secrets of the stack in containers; .env.example says what else can be set here.\n"
    "# PostgreSQL and MLflow take their passwords from here when their data are made, and keep them.\n"
)


def read(path: Path) -> dict[str, str]:
    """The variables in an env file; none where there is no such file. Quotes around a value are not part of it."""
    found = {}
    for line in _lines(path):
        match = _LINE.match(line)
        if match is not None:
            value = match[2]
            quoted = len(value) >= 2 and value[0] == value[-1] and value[0] in "'\""
            found[match[1]] = value[1:-1] if quoted else value
    return found


def complete(path: Path, make: Callable[[], str] = lambda: secrets.token_hex(24)) -> list[str]:
    """Gives the file a random value for every secret that it lacks; what is in it stays as it is.

    Whoever reads the file at that moment sees the old one or the new one. Only its owner may read it.

    Args:
        path: The file, which need not be there.
        make: Makes one random value.

    Returns:
        The names of the secrets that were made.
    """
    there = read(path)
    missing = [name for name in SECRETS if not there.get(name)]
    if not missing:
        path.chmod(0o600)
        return []
    # one that is there and empty would otherwise be there twice
    lines = [line for line in _lines(path) if _name(line) not in missing] or [_HEAD]
    for name in missing:
        lines += [f"# {SECRETS[name]}", f"{name}={make()}"]
    new = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n")
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
    return missing


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []


def _name(line: str) -> str | None:
    """The name of the variable that a line sets, if it sets one."""
    match = _LINE.match(line)
    return None if match is None else match[1]
