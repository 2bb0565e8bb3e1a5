"""The decision surfaces of all trials side by side, as small pictures inside the page."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from html import escape
from pathlib import Path

from pipelines.pictures.surface import DECISION_SURFACE
from pipelines.records import TrialHistory, TrialPicture, TrialState
from pipelines.report.summary import Summary, number_text, params_lines

MOST_BYTES = 2_600_000
"""Of all pictures together, as they stand in the page."""
WIDTHS = ((60, 320), (160, 256), (1_000_000, 192))
"""How wide a picture is kept, by how many there are at most."""
PARAMS_TOLD, LONGEST_PARAM = 3, 56
QUALITY = 62
ORDER = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING, TrialState.FAILED)


@dataclass(frozen=True)
class Surfaces:
    """What the section shows: a figure for each trial, best first, and how many of how many trials have one."""

    figures: tuple[str, ...]
    of: int
    unreadable: int


def surfaces_of(summary: Summary, most_bytes: int) -> Surfaces | None:
    """The pictures of as many trials as `most_bytes` of page hold; None where no trial has one."""
    having = [trial for trial in summary.history.trials if DECISION_SURFACE in trial.pictures]
    having.sort(key=lambda trial: (ORDER.index(trial.state), summary.merit(trial), trial.number))
    if not having:
        return None
    width = next(width for most, width in WIDTHS if len(having) <= most)
    figures: list[str] = []
    unreadable, left = 0, min(MOST_BYTES, most_bytes)
    for trial in having:
        picture = trial.pictures[DECISION_SURFACE]
        content = _small_form(Path(picture.path), width)
        if content is None:
            unreadable += 1
            continue
        figure = _figure(summary, trial, picture, content)
        left -= len(figure.encode("utf-8", errors="xmlcharrefreplace"))
        if left < 0:
            break
        figures.append(figure)
    return Surfaces(tuple(figures), len(having), unreadable)


def _small_form(path: Path, width: int) -> bytes | None:
    """The picture as a WebP at most `width` pixels wide; None where the file is gone or no picture."""
    from PIL import Image, UnidentifiedImageError

    small = io.BytesIO()
    try:
        with Image.open(path) as image:
            picture = image.convert("RGB")
        picture.thumbnail((width, width * 2), Image.Resampling.LANCZOS)
        picture.save(small, "WEBP", quality=QUALITY, method=3)
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return None
    return small.getvalue()


def _figure(summary: Summary, trial: TrialHistory, picture: TrialPicture, content: bytes) -> str:
    value = summary.value(trial)
    state = "" if trial.state is TrialState.COMPLETE else trial.state.value.lower()
    best = trial is summary.best
    name = f"trial {trial.number}"
    marks = "".join(f' <i class="{kind}">{kind}</i>' for kind in ("best" if best else "", state) if kind)
    told = "" if value is None else f" {number_text(value, 4)}"
    params = [_shortened(line) for line in params_lines(trial.params, summary.params, PARAMS_TOLD)[:PARAMS_TOLD]]
    lines = "".join(f"<small>{escape(line)}</small>" for line in [f"epoch {picture.epoch}", *params])
    source = f"data:image/webp;base64,{base64.b64encode(content).decode('ascii')}"
    described = f"Decision surface of {name} at epoch {picture.epoch}"
    return (
        f'<figure class="{state or "complete"}">'
        f'<button type=button aria-label="Enlarge: {described}"><img src="{source}" alt="{described}"></button>'
        f"<figcaption><b>{name}</b>{told}{marks}{lines}</figcaption></figure>"
    )


def _shortened(line: str) -> str:
    """A parameter for a narrow caption; a list's quotation marks say nothing there."""
    line = line.replace('"', "").replace("'", "")
    return line if len(line) <= LONGEST_PARAM else line[: LONGEST_PARAM - 1] + "…"
