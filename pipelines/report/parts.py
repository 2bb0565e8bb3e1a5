"""Pieces of the page that every section is made of."""

from __future__ import annotations

import json
from html import escape
from typing import Any


def section(name: str, title: str, body: str) -> str:
    """A section with its heading; `body` is HTML."""
    return f'<section id="{name}"><h2>{escape(title)}</h2>{body}</section>\n'


def figure_html(name: str, figure: Any, caption: str) -> str:
    """A Plotly figure with a caption below it."""
    return f"<figure>{plot(name, figure, caption)}<figcaption>{caption}</figcaption></figure>"


def plot(name: str, figure: Any, told: str) -> str:
    """A place for the page's script to draw a Plotly figure in, and the figure."""
    place = f'class="plot" data-figure="figure-{name}" style="height:{figure.layout.height}px"'
    return f'<div {place} role="img" aria-label="{escape(told)}"></div>{data(f"figure-{name}", figure)}'


def data(name: str, content: Any) -> str:
    """JSON inside the page; no `<` of it can end the script element."""
    text = json.dumps(content) if isinstance(content, dict) else content.to_json(engine="json")
    text = text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")
    return f'<script type="application/json" id="{name}">{text}</script>\n'


def plural(count: int, one: str, many: str | None = None) -> str:
    """`1 trial`, `12 trials`."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def copyable(command: str) -> str:
    """A command that a click copies."""
    return f'<code class="command">{escape(command)}</code><button type=button class="copy">copy</button>'
