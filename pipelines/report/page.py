"""The report's page: its sections in order, each a function from the summary to HTML."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from html import escape

from pipelines.records import StudyHistory
from pipelines.report.failures import failures_section
from pipelines.report.front import front_section
from pipelines.report.headline import best_section, headline
from pipelines.report.labels import hover_lines
from pipelines.report.parts import data
from pipelines.report.phases import phases_section
from pipelines.report.scripts import JS
from pipelines.report.sections import (
    acts_section,
    curves_section,
    history_section,
    importance_section,
    parallel_section,
    savings_section,
    slices_section,
    surfaces_section,
    trials_section,
)
from pipelines.report.style import CSS
from pipelines.report.summary import Summary

MOST_BYTES = 9_700_000
"""Of a page that opens on a phone; pictures are left out where they would not fit any more."""
_BELOW: tuple[Callable[[Summary], str], ...] = (
    history_section,
    importance_section,
    parallel_section,
    curves_section,
    slices_section,
    trials_section,
    savings_section,
    phases_section,
    acts_section,
    failures_section,
)
_OF_THE_END = (phases_section,)
"""Those of them that say something of the sweep's end; all others are about its trials."""
# The browser itself keeps the page from loading anything, whatever a trial's parameters contain.
POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data: blob:; font-src data:"
)


class Draft:
    """What a page says of a sweep's trials, written before the sweep has quite come to its end."""

    def __init__(self, history: StudyHistory) -> None:
        """Writes it."""
        self._about = _trials_of(history)
        summary = Summary(history)
        self._sections = {tell: tell(summary) for tell in _BELOW if tell not in _OF_THE_END}

    def sections_for(self, history: StudyHistory) -> Mapping[Callable[[Summary], str], str]:
        """The sections that a page of this history has, too: none where anything about its trials is not the same."""
        return self._sections if _trials_of(history) == self._about else {}


def to_html(history: StudyHistory, draft: Draft | None = None) -> str:
    """The whole page as text: the style, plotly.js, the data and the script are inside."""
    from plotly.offline import get_plotlyjs

    summary = Summary(history)
    above = [headline(summary), best_section(summary), front_section(summary)]
    written = draft.sections_for(history) if draft is not None else {}
    below = [written[tell] if tell in written else tell(summary) for tell in _BELOW]
    labels = data("labels", {trial.number: "<br>".join(hover_lines(summary, trial)) for trial in history.trials})
    plotly = get_plotlyjs()
    room = MOST_BYTES - sum(len(part.encode("utf-8", "xmlcharrefreplace")) for part in (*above, *below, labels, plotly))
    sections = [*above, surfaces_section(summary, room), *below]
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{escape(history.study)}: sweep report</title>
<style>{CSS}</style>
</head>
<body>
<main>
{"".join(sections)}
<footer>Epochs count from 0, as they do in MLflow. A pruned trial was stopped by the study and never wins.
Everything on this page is in this file.</footer>
</main>
{labels}
<script>{plotly}</script>
<script>{JS}</script>
</body>
</html>
"""


def _trials_of(history: StudyHistory) -> StudyHistory:
    """A history without what is known only when a sweep is over."""
    return replace(history, champion=None, seconds=None, ended=None, phases={})
