"""`python -m services.model_server.ask`: sends a sample or a picture to the served champion and prints the answer.

Only the standard library, so that the answer comes at once. Exit code 0 when the answer came, 2 otherwise.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import shlex
import ssl
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from services.model_server.sketch import picture, table, verdict

EXIT_NO_ANSWER = 2
_TIMEOUT_S = 30.0
_LONGEST_BODY = 1500
_LOADING_S = 60.0
_QUIET_S = 3.0
_KEY = "MODEL_SERVER_API_KEY"


class NoAnswer(Exception):
    """There is no answer to show; the message says why and what to type next."""


class Which(NamedTuple):
    """Which of the served models is meant: by name, and one of its versions by number or alias; None for any."""

    name: str | None = None
    version: str | None = None
    alias: str | None = None

    def fits(self, model: dict[str, Any]) -> bool:
        """Whether an entry of GET /models is one of these."""
        return (
            (self.name is None or model["name"] == self.name)
            and (self.version is None or model["version"] == self.version)
            and (self.alias is None or model["wanted"] == f"{model['name']}@{self.alias}")
        )

    def in_path(self) -> str:
        """Returns the part of a TF Serving address that picks the version."""
        if self.version is not None:
            return f"/versions/{self.version}"
        return "" if self.alias is None else f"/labels/{quote(self.alias, safe='')}"

    def in_query(self, *more: str) -> str:
        """Returns the query that picks the version in the own dialect, behind other parameters."""
        parameters = list(more)
        if self.version is not None:
            parameters.append(f"version={self.version}")
        if self.alias is not None:
            parameters.append(f"alias={quote(self.alias, safe='')}")
        return f"?{'&'.join(parameters)}" if parameters else ""


def fetch(url: str, path: str, body: bytes | None = None) -> tuple[Any, float, dict[str, str]]:
    """Calls the server.

    Returns:
        The JSON answer, the seconds it took, and the headers by lower-case name.

    Raises:
        NoAnswer: nobody listens there, it is not a model server, or it answers with an error.
    """
    headers = {"content-type": "application/json"}
    key = os.environ.get(_KEY)
    if key:
        headers["x-api-key"] = key
    try:
        request = urllib.request.Request(url + path, body, headers)
        start = time.perf_counter()
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as response:
            content = response.read()
            seconds = time.perf_counter() - start
            return json.loads(content), seconds, {name.lower(): value for name, value in response.headers.items()}
    except urllib.error.HTTPError as error:
        raise NoAnswer(_refused(error, path)) from None
    except (OSError, ValueError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        if isinstance(reason, ssl.SSLCertVerificationError):
            raise NoAnswer(
                f"The certificate of {url} is not one that this machine trusts ({reason.verify_message}): "
                "set SSL_CERT_FILE to that of who signed it, and give --url the host that it is for."
            ) from None
        if isinstance(reason, ssl.SSLError):
            raise NoAnswer(f"{url} is not answered in TLS ({reason}). Does it speak http?") from None
        raise NoAnswer(f"No model server answers at {url} ({reason}). Start one with `make up-local`.") from None


def _refused(error: urllib.error.HTTPError, path: str) -> str:
    text = error.read().decode("utf-8", "replace")
    try:
        reason = str(json.loads(text)["error"])
    except (ValueError, KeyError, TypeError):
        reason = text[:300] or str(error.reason)
    if error.code == 401:
        wrong = f"The one in {_KEY} is not right." if os.environ.get(_KEY) else f"Set {_KEY} to it."
        return f"The model server answers 401 to {path}: it wants an API key. {wrong}"
    return f"The model server answers {error.code} to {path}: {reason}"


def choose(status: dict[str, Any], which: Which, pictures: bool = False) -> dict[str, Any]:
    """Picks the model to ask out of the answer of GET /models: the first that is meant and answers.

    Args:
        status: The answer.
        which: What is meant.
        pictures: Whether it must take pictures; then it is the only one that does, unless it is named.

    Raises:
        NoAnswer: there is none; the message says what to do.
    """
    models: list[dict[str, Any]] = status["models"]
    if which.name is not None and which.name not in {model["name"] for model in models}:
        known = ", ".join(sorted({model["name"] for model in models})) or "none"
        raise NoAnswer(f"The model server has no model '{which.name}'; it has: {known}.")
    ready = [model for model in models if model["version"] is not None and which.fits(model)]
    if pictures and ready:
        return _taking_pictures(ready, models)
    if ready:
        return ready[0]
    wanted = [model for model in models if which.name in (None, model["name"])]
    loaded = [f"{model['wanted']} version {model['version']}" for model in wanted if model["version"] is not None]
    if loaded:
        asked = f"version {which.version}" if which.version is not None else f"alias '{which.alias}'"
        raise NoAnswer(f"There is no {asked} of {which.name or 'any model'} here; loaded: {', '.join(loaded)}.")
    if status["registry"]["reachable"] is False:
        where = status["registry"]["uri"]
        raise NoAnswer(f"No model is loaded, and the registry at {where} is away. Start it with `make up-local`.")
    for model in wanted:
        if model["rejected"]:
            raise NoAnswer(
                f"{model['wanted']} version {model['rejected']['version']} is {model['rejected']['reason']}."
            )
        if model["loading"]:
            raise NoAnswer(f"{model['wanted']} version {model['loading']} is loading; ask again in a moment.")
    if status["registry"]["reachable"] is None:
        raise NoAnswer(
            "The model server has just started and has not heard from the registry yet; ask again in a moment."
        )
    raise NoAnswer("The registry has no champion yet. Train one with `make sweep`.")


def _taking_pictures(meant: list[dict[str, Any]], models: list[dict[str, Any]]) -> dict[str, Any]:
    """Picks the only one of some models that takes pictures: the answer of a wrong one would look as good."""
    found = {model["name"]: model for model in reversed(meant) if model["picture"]}
    if len(found) == 1:
        return next(iter(found.values()))
    others = sorted({model["name"] for model in models if model["version"] is not None and model["picture"]})
    if found:
        raise NoAnswer(f"Several models take pictures ({', '.join(others)}): say which with --model {others[0]}.")
    names = {model["name"] for model in meant}
    none = f"{min(names)} takes no pictures" if len(names) == 1 else "No model here takes pictures"
    if others:
        raise NoAnswer(f"{none}. Those that do: {', '.join(others)}; say which with --model {others[0]}.")
    raise NoAnswer(f"{none}: leave --picture out to ask about a sample, or choose another model with --model.")


def _choose_when_loaded(url: str, which: Which, pictures: bool) -> tuple[dict[str, Any], dict[str, Any]]:
    """The server's status and the model that `choose` picks; a server that has just started gets a moment to load."""
    began, told = time.monotonic(), False
    while True:
        status, _, _ = fetch(url, "/models")
        loading = status["registry"]["reachable"] is None or any(model["loading"] for model in status["models"])
        try:
            return status, choose(status, which, pictures)
        except NoAnswer:
            waited = time.monotonic() - began
            if not loading or waited > _LOADING_S:
                raise
            if waited > _QUIET_S and not told:
                print("The model server is loading; this waits for it.", file=sys.stderr)
                told = True
            time.sleep(0.1)


def ask(url: str, which: Which, sample: int) -> str:
    """Asks the server about one golden sample and returns what to print.

    Raises:
        NoAnswer: there is no answer.
    """
    status, model = _choose_when_loaded(url, which, pictures=False)
    name, total = str(model["name"]), int(model["samples"])
    if not 0 <= sample < total:
        raise NoAnswer(f"{name} carries {total} samples: --sample must be 0 to {total - 1}, it is {sample}.")
    query = which.in_query(f"start={sample}", "count=1")
    samples, _, _ = fetch(url, f"/models/{quote(name, safe='')}/samples{query}")
    golden = samples["samples"][0]
    columns = samples["columns"]
    row = {column["name"]: cell for column, cell in zip(columns, golden["input"], strict=True)} if columns else None
    body = json.dumps({"instances": [row or golden["input"]]}, ensure_ascii=False)
    path = f"/v1/models/{quote(name, safe='')}{which.in_path()}:predict"
    answer, seconds, headers = fetch(url, path, body.encode())
    lines = [f"{name}, sample {sample} of {total}, sent raw to {url}{path}", ""]
    if columns:
        lines += [*table(golden["input"], columns), ""]
    elif drawing := picture(golden["input"], model["input"].get("range"), _shows_colours()):
        lines += [drawing, ""]
    lines += verdict(answer["predictions"][0], golden, samples)
    alias = f" ({model['alias']})" if model["alias"] else ""
    lines.append(f"model       {name} version {headers.get('x-model-version', model['version'])}{alias}")
    lines.append(f"run         {headers.get('x-mlflow-run-id') or 'unknown'}")
    lines.append(_time(seconds, headers))
    if model["rejected"]:
        lines.append(f"note        version {model['rejected']['version']} is {model['rejected']['reason']}")
    if model["note"]:
        lines.append(f"note        {model['note']}")
    if not status["registry"]["reachable"] and model["staleness_s"] is not None:
        state = "is away" if status["registry"]["reachable"] is False else "has not answered yet"
        lines.append(f"note        the registry {state}; it confirmed this model {model['staleness_s']:.0f} s ago")
    shown = body if len(body) <= _LONGEST_BODY else '{"instances": [ONE SAMPLE]}'
    return "\n".join([*lines, *_by_hand(url + path, f"-d {shlex.quote(shown)}")])


def ask_about_picture(url: str, which: Which, file: Path, centre: bool) -> str:
    """Asks the server about a PNG or JPEG and returns what to print.

    Raises:
        NoAnswer: there is no answer, or no such file.
    """
    try:
        body = file.read_bytes()
    except OSError as error:
        raise NoAnswer(f"{file} cannot be read: {error.strerror}.") from None
    _, model = _choose_when_loaded(url, which, pictures=True)
    path = f"/predict/{quote(model['name'], safe='')}{which.in_query(*['centre=yes'] * centre)}"
    answer, seconds, headers = fetch(url, path, body)
    done, found = answer["image"], answer["prediction"]
    what = [f"{done['size'][0]} x {done['size'][1]} to {done['resized'][0]} x {done['resized'][1]} pixels"]
    what += [word for word in ("inverted", "centred") if done[word]]
    best = [(one["label"], one["probability"]) for one in found.get("top", ())]
    told = [f"{label:<12} {score:7.2%}" for label, score in best] or [f"{found['value']:.6g}"]
    lines = [f"{file}, sent to {url}{path}", "", f"picture     {', '.join(what)}"]
    lines += [f"{'answer' if rank == 0 else '':<11} {line}" for rank, line in enumerate(told)]
    lines.append(f"model       {model['name']} version {headers.get('x-model-version', model['version'])}")
    lines.append(_time(seconds, headers))
    return "\n".join([*lines, *_by_hand(shlex.quote(url + path), f"--data-binary @{shlex.quote(str(file))}")])


def _time(seconds: float, headers: dict[str, str]) -> str:
    return f"time        {seconds * 1e3:.1f} ms (server: {headers.get('server-timing', 'not said')})"


def _by_hand(address: str, data: str) -> list[str]:
    key = f' -H "x-api-key: ${_KEY}"' if os.environ.get(_KEY) else ""
    return ["", "by hand:", f"curl -s {address}{key} {data}"]


def _shows_colours() -> bool:
    return sys.stdout.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM", "dumb") != "dumb"


def main(arguments: Sequence[str] | None = None) -> int:
    """Parses the command line, prints the answer or the reason why there is none, and returns the exit code."""
    port = os.environ.get("MODEL_SERVER_PORT") or "8080"
    scheme = "https" if os.environ.get("MODEL_SERVER_TLS_CERT") else "http"
    parser = argparse.ArgumentParser(
        prog="python -m services.model_server.ask", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--url", default=f"{scheme}://127.0.0.1:{port}", help="the model server (default: %(default)s)")
    parser.add_argument("--model", help="a served model (default: the first that answers, or that takes pictures)")
    one = parser.add_mutually_exclusive_group()
    one.add_argument("--version", help="a loaded version of it (default: what the server gives for the name)")
    one.add_argument("--alias", help="the version under this alias, such as previous")
    parser.add_argument("--sample", type=int, default=0, help="which golden sample to send, from 0 (default: 0)")
    parser.add_argument("--picture", type=Path, help="a PNG or JPEG to send instead")
    parser.add_argument("--centre", action="store_true", help="place what is drawn there as the training data is")
    options = parser.parse_args(arguments)
    url, which = options.url.rstrip("/"), Which(options.model, options.version, options.alias)
    try:
        if options.picture is not None:
            print(ask_about_picture(url, which, options.picture, options.centre))
        else:
            print(ask(url, which, options.sample))
    except NoAnswer as reason:
        print(reason, file=sys.stderr)
        return EXIT_NO_ANSWER
    return 0


if __name__ == "__main__":
    sys.exit(main())
