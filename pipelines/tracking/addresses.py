"""Addresses in MLflow's web page that show something.

MLflow 3.17 opens a training experiment on an overview for chats, which is empty, and folds child runs away. The address
of a sweep therefore names the view, the filter and the order.
"""

from __future__ import annotations

import os
import re
from urllib.parse import quote

from pipelines.tracking.entries import RANKED

_SECRETS = re.compile(r"(?<=://)[^/\s@'\"]*:[^/\s'\"]*@|(?<=password=)[^&\s'\"]+")
"""In an address: a user with a password, or the password alone."""


def without_secrets(text: str) -> str:
    """A text without the passwords of the addresses in it; whoever has one knows also the user."""
    return _SECRETS.sub("", text)


def sweep_address(server: str, experiment_id: str, parent_run_id: str, direction: str) -> str | None:
    """All trials of a sweep, best first, with their curves overlaid; None where the server has no web page.

    Those without the metric that it sorts by come last: pruned, failed and running ones, which have no rank.
    `REGATTA_MLFLOW_PAGE` is where people see the server, where that is not where programs see it (in containers).
    """
    page = _page(server)
    if page is None:
        return None
    query = {
        "workflowType": "machine_learning",
        "compareRunsMode": "CHART",
        "searchFilter": f"tags.mlflow.parentRunId = '{parent_run_id}'",
        "orderByKey": f"metrics.`{RANKED}`",
        "orderByAsc": "true" if direction == "minimize" else "false",
    }
    encoded = "&".join(f"{key}={quote(value, safe='')}" for key, value in query.items())
    return f"{page}/#/experiments/{experiment_id}/runs?{encoded}"


def run_address(server: str, experiment_id: str, run_id: str) -> str | None:
    """One run; None where the server has no web page."""
    page = _page(server)
    return page and f"{page}/#/experiments/{experiment_id}/runs/{run_id}?workflowType=machine_learning"


def _page(server: str) -> str | None:
    page = without_secrets(os.environ.get("REGATTA_MLFLOW_PAGE") or server)
    return page.rstrip("/") if page.startswith(("http://", "https://")) else None
