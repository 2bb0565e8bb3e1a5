"""MLflow's login around its application, and around the bulk door.

MLflow knows for each of its own calls who may make it. Of the door's it knows nothing: administrators alone pass there.
Others' sweeps find MLflow's calls, which are slower, and are held to what these users may do.
"""

# mypy: allow-untyped-calls
from __future__ import annotations

from typing import Any

from flask import Flask, Response, request
from mlflow.server.auth import create_app, sender_is_admin

from services.tracking_server.bulk import BELOW


def application_with_login(application: Flask) -> Any:
    """Has MLflow ask for users and passwords; returns its whole application, for ASGI."""
    whole = create_app(application)
    application.before_request(_only_administrators)  # after MLflow's own question, who it is
    return whole


def _only_administrators() -> Response | None:
    if request.path.startswith(f"{BELOW}/") and not sender_is_admin():
        return Response("Only administrators send many records at once.", status=403, mimetype="text/plain")
    return None
