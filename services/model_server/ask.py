"""`python -m services.model_server.ask`: sends a sample or a picture to the served champion and prints the answer.

Only the standard library, so that the answer comes at once. Exit code 0 when the answer came, 2 otherwise.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

EXIT_NO_ANSWER = 2
SHADES = " ░▒▓█"
_WIDEST = 64
_MOST_COLUMNS = 40
_LONGEST_CELL = 60
_TIMEOUT_S = 30.0
_LONGEST_BODY = 1500
_LOADING_S = 60.0
_QUIET_S = 3.0


class NoAnswer(Exception):
    """There is no answer to show; the message says why and what to type next."""


def fetch(url: str, path: str, body: bytes | None = None) -> tuple[Any, float, dict[str, str]]:
    """Calls the server.

    Returns:
        The JSON answer, the seconds it took, and the headers by lower-case name.

    Raises:
        NoAnswer: nobody listens there, it is not a model server, or it answers with an error.
    """
    headers = {"content-type": "application/json"}
    key = os.environ.get("MODEL_SERVER_API_KEY")
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
        raise NoAnswer(f"The model server answers {error.code} to {path}: {_reason(error)}") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        raise NoAnswer(f"No model server answers at {url} ({reason}). Start one with `make up-local`.") from None


def _reason(error: urllib.error.HTTPError) -> str:
    text = error.read().decode("utf-8", "replace")
    try:
        return str(json.loads(text)["error"])
    except (ValueError, KeyError, TypeError):
        return text[:300] or str(error.reason)


def choose(status: dict[str, Any], name: str | None) -> dict[str, Any]:
    """Picks the model to ask out of the answer of GET /models: the named one, else the first that answers.

    Raises:
        NoAnswer: there is none; the message says what to do.
    """
    models: list[dict[str, Any]] = status["models"]
    if name is not None and name not in {model["name"] for model in models}:
        known = ", ".join(sorted({model["name"] for model in models})) or "none"
        raise NoAnswer(f"The model server has no model '{name}'; it has: {known}.")
    wanted = [model for model in models if name is None or model["name"] == name]
    ready = [model for model in wanted if model["version"] is not None]
    if ready:
        return ready[0]
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


def _choose_when_loaded(url: str, name: str | None) -> tuple[dict[str, Any], dict[str, Any]]:
    """The server's status and the model that `choose` picks; a server that has just started gets a moment to load."""
    began, told = time.monotonic(), False
    while True:
        status, _, _ = fetch(url, "/models")
        loading = status["registry"]["reachable"] is None or any(model["loading"] for model in status["models"])
        try:
            return status, choose(status, name)
        except NoAnswer:
            waited = time.monotonic() - began
            if not loading or waited > _LOADING_S:
                raise
            if waited > _QUIET_S and not told:
                print("The model server is loading; this waits for it.", file=sys.stderr)
                told = True
            time.sleep(0.1)


def picture(values: Any, span: Sequence[float] | None, colours: bool = False) -> str:
    """Draws an image in shades, two characters to a pixel; "" if the sample is none.

    Args:
        values: Rows of grey pixels, or of pixels with one channel (grey), three or four (red, green, blue, and more).
        span: The darkest and the brightest value; those of the image if not given.
        colours: Whether to paint colour images in colours, by escape sequences that terminals know.
    """
    pixels = _pixels(values)
    if not pixels:
        return ""
    step = -(-len(pixels[0]) // _WIDEST)  # every second pixel of an image that is too wide, or every third
    pixels = [row[::step] for row in pixels[::step]]
    flat = [part for row in pixels for pixel in row for part in pixel]
    low, high = span or (min(flat), max(flat))
    bright = [
        [[max(0.0, min(1.0, (c - low) / ((high - low) or 1.0))) for c in pixel] for pixel in row] for row in pixels
    ]
    if colours and len(pixels[0][0]) == 3:
        return "\n".join("".join(_painted(pixel) for pixel in row) + "\x1b[0m" for row in bright)
    return "\n".join("".join(2 * _shade(pixel) for pixel in row).rstrip() for row in bright)


def _pixels(values: Any) -> list[list[tuple[float, ...]]] | None:
    """Returns an image as rows of pixels of one or three numbers; None if the sample is no image."""
    if not (isinstance(values, list) and values and all(isinstance(row, list) and row for row in values)):
        return None
    rows = [[tuple(cell) if isinstance(cell, list) else (cell,) for cell in row] for row in values]
    kinds = {(len(row), len(pixel)) for row in rows for pixel in row}
    numbers = all(isinstance(part, (int, float)) for row in rows for pixel in row for part in pixel)
    if len(kinds) != 1 or not numbers or next(iter(kinds))[1] not in (1, 3, 4):
        return None
    return [[pixel[:3] for pixel in row] for row in rows]


def _shade(pixel: Sequence[float]) -> str:
    # The eye takes green for brighter than red, and red for brighter than blue (Rec. 601).
    brightness = pixel[0] if len(pixel) == 1 else 0.299 * pixel[0] + 0.587 * pixel[1] + 0.114 * pixel[2]
    return SHADES[round(brightness * (len(SHADES) - 1))]


def _painted(pixel: Sequence[float]) -> str:
    red, green, blue = (round(255 * part) for part in pixel)
    return f"\x1b[48;2;{red};{green};{blue}m  "


def table(row: Any, columns: Sequence[dict[str, Any]]) -> list[str]:
    """Returns a line for each cell of a table's row: the column's name and the value."""
    width = max(11, min(30, max(len(column["name"]) for column in columns)))
    lines = [f"{column['name'][:width]:<{width}} {_cell(cell)}" for column, cell in zip(columns, row, strict=True)]
    more = len(lines) - _MOST_COLUMNS
    return lines if more <= 0 else [*lines[:_MOST_COLUMNS], f"… and {more} more columns"]


def _cell(cell: Any) -> str:
    text = "missing" if cell is None else str(cell)[:_LONGEST_CELL]
    return text if text.isprintable() else repr(text)


def top(scores: Sequence[float], labels: Sequence[str], count: int = 3) -> list[tuple[str, float]]:
    """Returns the best (label, score) pairs, best first; one score with two labels is that of the second."""
    if len(scores) == 1 and len(labels) == 2:
        pairs = [(labels[1], scores[0]), (labels[0], 1.0 - scores[0])]  # at one half the answer is the second
    else:
        names = list(labels) if len(labels) == len(scores) else [f"output {index}" for index in range(len(scores))]
        pairs = list(zip(names, scores, strict=True))
    return sorted(pairs, key=lambda pair: -pair[1])[:count]


def verdict(scores: Sequence[float], golden: dict[str, Any], form: dict[str, Any]) -> list[str]:
    """Returns the lines with the truth and the answer: labels, right or wrong; or a value and how far off it is."""
    if form["task"] == "regression":
        target = f" ({form['target']})" if form["target"] else ""
        off = abs(scores[0] - golden["value"])
        return [f"true value  {golden['value']:.6g}{target}", f"{'answer':<11} {scores[0]:.6g}   off by {off:.3g}"]
    best = top(scores, form["labels"])
    lines = [f"true label  {golden['label']}"]
    for rank, (label, score) in enumerate(best):
        mark = ("   right" if label == golden["label"] else "   wrong") if rank == 0 else ""
        lines.append(f"{'answer' if rank == 0 else '':<11} {label:<12} {score:7.2%}{mark}")
    return lines


def ask(url: str, name: str | None, sample: int) -> str:
    """Asks the server about one golden sample and returns what to print.

    Raises:
        NoAnswer: there is no answer.
    """
    status, model = _choose_when_loaded(url, name)
    name, total = str(model["name"]), int(model["samples"])
    if not 0 <= sample < total:
        raise NoAnswer(f"{name} carries {total} samples: --sample must be 0 to {total - 1}, it is {sample}.")
    samples, _, _ = fetch(url, f"/models/{name}/samples?start={sample}&count=1")
    golden = samples["samples"][0]
    columns = samples["columns"]
    row = {column["name"]: cell for column, cell in zip(columns, golden["input"], strict=True)} if columns else None
    body = json.dumps({"instances": [row or golden["input"]]}, ensure_ascii=False)
    path = f"/v1/models/{name}:predict"
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
    lines.append(f"time        {seconds * 1e3:.1f} ms (server: {headers.get('server-timing', 'not said')})")
    if model["rejected"]:
        lines.append(f"note        version {model['rejected']['version']} is {model['rejected']['reason']}")
    if not status["registry"]["reachable"] and model["staleness_s"] is not None:
        state = "is away" if status["registry"]["reachable"] is False else "has not answered yet"
        lines.append(f"note        the registry {state}; it confirmed this model {model['staleness_s']:.0f} s ago")
    shown = body if len(body) <= _LONGEST_BODY else '{"instances": [ONE SAMPLE]}'
    key = ' -H "x-api-key: $MODEL_SERVER_API_KEY"' if os.environ.get("MODEL_SERVER_API_KEY") else ""
    lines += ["", "by hand:", f"curl -s {url}{path}{key} -d {shlex.quote(shown)}"]
    return "\n".join(lines)


def ask_about_picture(url: str, name: str | None, file: Path, centre: bool) -> str:
    """Asks the server about a PNG or JPEG and returns what to print.

    Raises:
        NoAnswer: there is no answer, or no such file.
    """
    try:
        body = file.read_bytes()
    except OSError as error:
        raise NoAnswer(f"{file} cannot be read: {error.strerror}.") from None
    _, model = _choose_when_loaded(url, name)
    path = f"/predict/{model['name']}{'?centre=yes' if centre else ''}"
    answer, seconds, headers = fetch(url, path, body)
    done, found = answer["image"], answer["prediction"]
    what = [f"{done['size'][0]} x {done['size'][1]} to {done['resized'][0]} x {done['resized'][1]} pixels"]
    what += [word for word in ("inverted", "centred") if done[word]]
    best = [(one["label"], one["probability"]) for one in found.get("top", ())]
    told = [f"{label:<12} {score:7.2%}" for label, score in best] or [f"{found['value']:.6g}"]
    lines = [f"{file}, sent to {url}{path}", "", f"picture     {', '.join(what)}"]
    lines += [f"{'answer' if rank == 0 else '':<11} {line}" for rank, line in enumerate(told)]
    lines.append(f"model       {model['name']} version {headers.get('x-model-version', model['version'])}")
    lines.append(f"time        {seconds * 1e3:.1f} ms (server: {headers.get('server-timing', 'not said')})")
    key = ' -H "x-api-key: $MODEL_SERVER_API_KEY"' if os.environ.get("MODEL_SERVER_API_KEY") else ""
    lines += ["", "by hand:", f"curl -s {shlex.quote(url + path)}{key} --data-binary @{shlex.quote(str(file))}"]
    return "\n".join(lines)


def _shows_colours() -> bool:
    return sys.stdout.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM", "dumb") != "dumb"


def main(arguments: Sequence[str] | None = None) -> int:
    """Parses the command line, prints the answer or the reason why there is none, and returns the exit code."""
    port = os.environ.get("MODEL_SERVER_PORT") or "8080"
    parser = argparse.ArgumentParser(
        prog="python -m services.model_server.ask", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--url", default=f"http://127.0.0.1:{port}", help="the model server (default: %(default)s)")
    parser.add_argument("--model", help="a served model (default: the first that answers)")
    parser.add_argument("--sample", type=int, default=0, help="which golden sample to send, from 0 (default: 0)")
    parser.add_argument("--picture", type=Path, help="a PNG or JPEG to send instead")
    parser.add_argument("--centre", action="store_true", help="place what is drawn there as the training data is")
    options = parser.parse_args(arguments)
    url = options.url.rstrip("/")
    try:
        if options.picture is not None:
            print(ask_about_picture(url, options.model, options.picture, options.centre))
        else:
            print(ask(url, options.model, options.sample))
    except NoAnswer as reason:
        print(reason, file=sys.stderr)
        return EXIT_NO_ANSWER
    return 0


if __name__ == "__main__":
    sys.exit(main())
