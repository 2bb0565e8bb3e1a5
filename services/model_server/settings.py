"""The settings of the model server: MODEL_SERVER_* variables, read once, in `read_settings`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, NamedTuple

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, ValidationError

from services.model_server.errors import SettingsError

ANY_MODEL = "*"
DEFAULT_ALIAS = "champion"
_REF = re.compile(r"(?P<name>[^@/:,\s]+)(?:@(?P<alias>[^@/:,\s]+)|/(?P<version>[1-9][0-9]*))?")


class Ref(NamedTuple):
    """What somebody asked to be served: a registered model under an alias, or one fixed version of it.

    Exactly one of `alias` and `version` is set. The name `*` means every model that has the alias.
    """

    name: str
    alias: str | None = None
    version: str | None = None

    def __str__(self) -> str:
        return f"{self.name}@{self.alias}" if self.alias else f"{self.name}/{self.version}"


def parse_refs(text: object) -> object:
    """Turns `digits, fashion@staging, other/3` into refs; a name alone means the alias `champion`.

    Raises:
        ValueError: an entry is none of NAME, NAME@alias and NAME/version.
    """
    if not isinstance(text, str):
        return text
    refs: dict[Ref, None] = {}  # a set that keeps the order: the first model is the default of /invocations
    for entry in filter(None, (part.strip() for part in text.split(","))):
        match = _REF.fullmatch(entry)
        if match is None or (match["name"] == ANY_MODEL and match["version"]):
            raise ValueError(f"{entry!r} is none of these")
        alias = match["alias"] or (None if match["version"] else DEFAULT_ALIAS)
        refs[Ref(match["name"], alias, match["version"])] = None
    if not refs:
        raise ValueError("it names no model")
    return tuple(refs)


class Settings(BaseModel):
    """Everything that can be set from outside. Times are seconds, sizes bytes, batches and queues rows."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = Field("127.0.0.1", min_length=1)
    port: int = Field(8080, ge=0, le=65535)
    models: Annotated[tuple[Ref, ...], BeforeValidator(parse_refs)] = (Ref(ANY_MODEL, DEFAULT_ALIAS),)
    cache: Path = Path(".regatta/models")
    api_key: SecretStr | None = Field(None, min_length=1)
    poll_s: float = Field(2.0, gt=0, le=3600)
    queue: int = Field(4096, ge=1)
    deadline_s: float = Field(10.0, gt=0, le=3600)
    max_body_bytes: int = Field(16 * 2**20, ge=1)
    max_batch: int = Field(256, ge=1, le=65536)
    drain_s: float = Field(10.0, ge=0, le=3600)
    linger_s: float = Field(0.5, ge=0, le=3600)
    threads: int | None = Field(None, ge=1)
    workers: int = Field(1, ge=1, le=1)
    access_log: bool = True
    tracking_uri: str = Field("http://127.0.0.1:5000", min_length=1)


_RIGHT = {
    "host": "the address to listen on, such as 127.0.0.1 or 0.0.0.0",
    "port": "a whole number from 0 to 65535 (0 picks a free port)",
    "models": "a comma-separated list of NAME, NAME@alias or NAME/version, or * for every model with a champion",
    "cache": "a folder that can be written",
    "api_key": "a text of one character or more",
    "poll_s": "a number of seconds above 0 and up to 3600",
    "queue": "a whole number of rows, 1 or more",
    "deadline_s": "a number of seconds above 0 and up to 3600",
    "max_body_bytes": "a whole number of bytes, 1 or more",
    "max_batch": "a whole number of rows from 1 to 65536",
    "drain_s": "a number of seconds from 0 to 3600",
    "linger_s": "a number of seconds from 0 to 3600",
    "threads": "a whole number of threads, 1 or more",
    "workers": "1: several processes are not supported yet; start more servers behind a proxy",
    "access_log": "on or off",
    "tracking_uri": "the address of the MLflow server, such as http://127.0.0.1:5000",
}


def variable_of(field: str) -> str:
    """Returns the environment variable of a field of `Settings`."""
    return "MLFLOW_TRACKING_URI" if field == "tracking_uri" else f"MODEL_SERVER_{field.upper()}"


def read_settings(environ: Mapping[str, str]) -> Settings:
    """Reads the settings from an environment; an empty variable counts as not set.

    Args:
        environ: Usually `os.environ`. Variables that are not settings are left alone: Docker and Kubernetes add
            MODEL_SERVER_* variables of their own for a service of that name.

    Raises:
        SettingsError: one sentence for every variable that is wrong.
    """
    values: dict[str, object] = {"cache": Path(environ.get("REGATTA_HOME") or ".regatta") / "models"}
    for field in Settings.model_fields:
        text = environ.get(variable_of(field), "").strip()
        if text:
            values[field] = text
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        mistakes = []
        for problem in error.errors(include_url=False):
            field = str(problem["loc"][0])
            shown = "set to something else" if field == "api_key" else repr(values.get(field))
            mistakes.append(f"{variable_of(field)} is {shown}; it must be {_RIGHT[field]}.")
        raise SettingsError(mistakes) from None
