"""The settings of the model server: MODEL_SERVER_* variables, read once, in `read_settings`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, NamedTuple

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, ValidationError

from services.model_server.errors import SettingsError

ANY_MODEL = "*"
DEFAULT_ALIAS = "champion"
MOST_WORKERS = 64
PREVIOUS_ALIAS = "previous"
CHALLENGER_ALIAS = "challenger"
_BEGINNING = "MODEL_SERVER_"
# What Kubernetes and Docker set for services and links whose names begin so, and which image `make up` takes.
_OF_OTHERS = re.compile(
    r"MODEL_SERVER_(?:\w+_)?(?:SERVICE_HOST|SERVICE_PORT(?:_\w+)?|PORT(?:_\d+_\w+)?|NAME|ENV_\w+)|MODEL_SERVER_TARGET"
)
_REF = re.compile(r"(?P<name>[^@/:,\s]+)(?:@(?P<alias>[^@/:,\s]+)|/(?P<version>[1-9][0-9]*))?")
_ORIGIN = re.compile(r"https?://(?:[a-z0-9.-]+|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?")


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


def parse_origins(text: object) -> object:
    """Turns `https://a.example, http://localhost:3000` into origins as browsers send them.

    Raises:
        ValueError: an entry is neither an origin (scheme, host, port; no path) nor `*`.
    """
    if not isinstance(text, str):
        return text
    origins = dict.fromkeys(filter(None, (part.strip().lower() for part in text.split(","))))
    for origin in origins:
        if origin != "*" and _ORIGIN.fullmatch(origin) is None:
            raise ValueError(f"{origin!r} is no origin")
    return tuple(origins)


class Settings(BaseModel):
    """Everything that can be set from outside. Times are seconds, sizes bytes, batches and queues rows."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = Field("127.0.0.1", min_length=1)
    port: int = Field(8080, ge=0, le=65535)
    models: Annotated[tuple[Ref, ...], BeforeValidator(parse_refs)] = (Ref(ANY_MODEL, DEFAULT_ALIAS),)
    cache: Path = Path(".regatta/models")
    keep_previous: bool = True
    shadow: float = Field(0.0, ge=0, le=1)
    drift: float = Field(0.0, ge=0, le=1)
    feedback: bool = False
    feedback_keep: int = Field(20_000, ge=1, le=10_000_000)
    feedback_ttl_s: float = Field(86_400.0, gt=0, le=31 * 86_400)
    traffic_window_s: float = Field(3600.0, gt=0, le=7 * 86_400)
    traffic_log_s: float = Field(30.0, ge=0, le=3600)
    api_key: SecretStr | None = Field(None, min_length=1)
    api_key_file: Path | None = None
    poll_s: float = Field(2.0, gt=0, le=3600)
    queue: int = Field(4096, ge=1)
    crowd: int = Field(64, ge=0)
    deadline_s: float = Field(10.0, gt=0, le=3600)
    max_body_bytes: int = Field(16 * 2**20, ge=1)
    bodies_bytes: int = Field(256 * 2**20, ge=1)
    max_batch: int = Field(256, ge=1, le=65536)
    drain_s: float = Field(10.0, ge=0, le=3600)
    linger_s: float = Field(0.5, ge=0, le=3600)
    threads: int | None = Field(None, ge=1)
    keras_start_s: float = Field(120.0, gt=0, le=3600)
    keras_request_s: float = Field(10.0, gt=0, le=3600)
    workers: int = Field(1, ge=1, le=MOST_WORKERS)
    hang_s: float = Field(60.0, ge=1, le=3600)
    connections: int = Field(1024, ge=1, le=1_000_000)
    header_bytes: int = Field(32 * 2**10, ge=1024, le=2**20)
    header_s: float = Field(10.0, gt=0, le=3600)
    body_s: float = Field(60.0, gt=0, le=3600)
    body_rate: int = Field(1024, ge=0)
    write_s: float = Field(30.0, gt=0, le=3600)
    idle_s: float = Field(75.0, gt=0, le=3600)
    cors: Annotated[tuple[str, ...], BeforeValidator(parse_origins)] = ()
    tls_cert: Path | None = None
    tls_key: Path | None = None
    access_log: bool = True
    page: bool = True
    scale_check: bool = True
    max_pixels: int = Field(25_000_000, ge=1, le=89_000_000)
    tracking_uri: str = Field("http://127.0.0.1:5000", min_length=1)


MEANINGS = {
    "host": "the address to listen on",
    "port": "the port to listen on",
    "models": "what is served: NAME, NAME@alias or NAME/version, comma-separated; * is every model with a champion",
    "cache": "where verified packages are kept, under REGATTA_HOME unless it is set",
    "keep_previous": "whether the champion before this one is loaded beside it",
    "api_key": "a key that every request but the probes must carry",
    "api_key_file": "a file with such keys, one in each line; read again when it changes",
    "poll_s": "how often the registry is asked",
    "queue": "how many rows may wait for one model, and how many of large requests beside them",
    "crowd": "how many requests may wait at once for longer than a moment; of more only a few are let in",
    "deadline_s": "how long after its arrival a request is of use",
    "max_body_bytes": "the longest body of one request",
    "bodies_bytes": "the most memory that long bodies of all requests may take at once",
    "max_batch": "the most rows of one call of a model",
    "drain_s": "how long open requests may take to end after SIGTERM",
    "linger_s": "how long new connections are still taken after SIGTERM, with readiness off",
    "threads": "the cores that one call of a model may use; all that the machine or the container gives if not set",
    "keras_start_s": "how long the process of a Keras engine may take to load its model",
    "keras_request_s": "how long that process may compute one batch, before it counts as hanging and is replaced",
    "workers": "how many processes answer on the port; the threads are divided among them",
    "hang_s": "how long one of several processes may say nothing before it is replaced",
    "connections": "the most open connections of one process",
    "header_bytes": "the most bytes of the request line and the headers of one request",
    "header_s": "how long a client may take to send its headers",
    "body_s": "how long a client may take to send its body",
    "body_rate": "the bytes in a second that a client must send on average, after the first five seconds",
    "write_s": "how long a client may take nothing of its answer",
    "idle_s": "how long an idle connection stays open",
    "cors": "origins whose pages may ask from a browser, comma-separated; none if not set",
    "tls_cert": "the certificate with its chain; HTTPS is spoken when it is set",
    "tls_key": "the private key of the certificate",
    "access_log": "whether every request is a line in the log",
    "shadow": "the share of the champion's requests that `challenger` answers as well, to be compared",
    "drift": "the share of requests whose inputs and answers are held against the training data",
    "feedback": "whether POST /feedback takes what was right",
    "feedback_keep": "how many answered rows are remembered for feedback",
    "feedback_ttl_s": "how long an answer is remembered for feedback",
    "traffic_window_s": "over which time the numbers of the traffic are counted",
    "traffic_log_s": "how often these numbers go to MLflow; 0: never",
    "scale_check": "whether values on another scale than the training data's are refused",
    "page": "whether there is a page for people at the root",
    "max_pixels": "the most pixels that the pictures of one request may have",
    "tracking_uri": "where MLflow's registry is",
}
"""What each field of `Settings` is for, as `--help` and docs/serving.md say it."""

_RIGHT = {
    "host": "the address to listen on, such as 127.0.0.1 or 0.0.0.0",
    "port": "a whole number from 0 to 65535 (0 picks a free port)",
    "models": "a comma-separated list of NAME, NAME@alias or NAME/version, or * for every model with a champion",
    "cache": "a folder that can be written",
    "keep_previous": "on or off: whether the champion before this one is loaded beside it",
    "shadow": "a share from 0 to 1",
    "drift": "a share from 0 to 1",
    "feedback": "on or off",
    "feedback_keep": "a whole number of rows from 1 to 10000000",
    "feedback_ttl_s": "a number of seconds above 0 and up to 2678400",
    "traffic_window_s": "a number of seconds above 0 and up to 604800",
    "traffic_log_s": "a number of seconds from 0 to 3600 (0: never)",
    "api_key": "a text of one character or more",
    "poll_s": "a number of seconds above 0 and up to 3600",
    "queue": "a whole number of rows, 1 or more",
    "crowd": "a whole number of requests, 0 or more (0: any number)",
    "deadline_s": "a number of seconds above 0 and up to 3600",
    "max_body_bytes": "a whole number of bytes, 1 or more",
    "max_batch": "a whole number of rows from 1 to 65536",
    "drain_s": "a number of seconds from 0 to 3600",
    "linger_s": "a number of seconds from 0 to 3600",
    "threads": "a whole number of threads, 1 or more",
    "api_key_file": "a file with one key in each line",
    "bodies_bytes": "a whole number of bytes, 1 or more",
    "keras_start_s": "a number of seconds above 0 and up to 3600",
    "keras_request_s": "a number of seconds above 0 and up to 3600",
    "workers": f"a whole number of processes from 1 to {MOST_WORKERS}",
    "hang_s": "a number of seconds from 1 to 3600",
    "connections": "a whole number from 1 to 1000000",
    "header_bytes": "a whole number of bytes from 1024 to 1048576",
    "header_s": "a number of seconds above 0 and up to 3600",
    "body_s": "a number of seconds above 0 and up to 3600",
    "body_rate": "a whole number of bytes in a second, 0 or more (0: however slow)",
    "write_s": "a number of seconds above 0 and up to 3600",
    "idle_s": "a number of seconds above 0 and up to 3600",
    "cors": "a comma-separated list of origins such as https://pages.example.org, or * for all",
    "tls_cert": "a file with a certificate and its chain in PEM, set together with MODEL_SERVER_TLS_KEY",
    "tls_key": "a file with a private key in PEM, set together with MODEL_SERVER_TLS_CERT",
    "access_log": "on or off",
    "page": "on or off",
    "scale_check": "on or off: whether values on another scale than the training data's are refused",
    "max_pixels": "a whole number of pixels from 1 to 89000000, the most that the pictures of one request may have",
    "tracking_uri": "the address of the MLflow server, such as http://127.0.0.1:5000",
}


def variable_of(field: str) -> str:
    """Returns the environment variable of a field of `Settings`."""
    return "MLFLOW_TRACKING_URI" if field == "tracking_uri" else f"{_BEGINNING}{field.upper()}"


def flag_of(field: str) -> str:
    """Returns the command line flag of a field of `Settings`."""
    return f"--{field.replace('_', '-')}"


def unknown_variables(environ: Mapping[str, str]) -> list[str]:
    """Says of each MODEL_SERVER_* variable that is no setting so, and which one may be meant.

    Those that Docker, Kubernetes and the stack's own commands set are no mistakes.
    """
    known = [variable_of(field) for field in Settings.model_fields]
    told = []
    for name in sorted(environ):
        if not name.startswith(_BEGINNING) or name in known or _OF_OTHERS.fullmatch(name) or not environ[name].strip():
            continue
        near = get_close_matches(name, known, 1, cutoff=0.8)
        hint = f"did you mean {near[0]}?" if near else "python -m services.model_server --help lists all."
        told.append(f"{name} is set, and there is no such setting; {hint}")
    return told


def read_settings(environ: Mapping[str, str], flags: Mapping[str, str] | None = None) -> Settings:
    """Reads the settings from an environment; an empty variable counts as not set.

    Args:
        environ: Usually `os.environ`. Variables that are not settings are left alone, see `unknown_variables`: Docker
            and Kubernetes add MODEL_SERVER_* variables of their own for a service of that name.
        flags: Field to text, from the command line; they go before the environment.

    Raises:
        SettingsError: one sentence for every variable that is wrong.
    """
    values: dict[str, object] = {"cache": Path(environ.get("REGATTA_HOME") or ".regatta") / "models"}
    names = {}
    for field in Settings.model_fields:
        names[field] = variable_of(field)
        text = environ.get(names[field], "").strip()
        if flags and flags.get(field) is not None:
            text, names[field] = flags[field].strip(), flag_of(field)
        if text:
            values[field] = text
    mistakes = []
    try:
        settings = Settings.model_validate(values)
    except ValidationError as error:
        for problem in error.errors(include_url=False):
            field = str(problem["loc"][0])
            shown = "set to something else" if field == "api_key" else repr(values.get(field))
            mistakes.append(f"{names[field]} is {shown}; it must be {_RIGHT[field]}.")
    for field, other in (("tls_cert", "tls_key"), ("tls_key", "tls_cert")):
        if field in values and other not in values:
            mistakes.append(f"{names[other]} is not set, and {names[field]} is; set both, or none.")
    if mistakes:
        raise SettingsError(list(dict.fromkeys(mistakes)))
    return settings
