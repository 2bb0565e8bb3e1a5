"""A sweep's report: one HTML file that opens without a network, on a phone and on paper.

`summary` says it in numbers, `overview`, `curves` and `slices` draw it, `tables` list it, `page` puts it together.
"""

from __future__ import annotations

import os
from pathlib import Path

from pipelines.records import StudyHistory
from pipelines.report.page import Draft, to_html

__all__ = ["Draft", "to_html", "write_report"]


def write_report(history: StudyHistory, path: Path, draft: Draft | None = None) -> Path:
    """Writes the report to `path`, making its folder; a reader sees the old file or the new one, never a part.

    Args:
        history: The sweep.
        path: Of the file.
        draft: What was written of it before.

    Returns:
        `path`.

    Raises:
        OSError: The file cannot be written; an older one is still as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    page = to_html(history, draft).encode("utf-8", errors="xmlcharrefreplace")
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        unfinished.write_bytes(page)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
    return path
