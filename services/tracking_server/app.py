"""MLflow's application, with a shorter way to its REST calls.

MLflow answers those from a Flask application, which stands behind a FastAPI one for the sake of everything else. On the
way there each request and each answer is handed from task to task through queues: a fifth of what the record of a sweep
costs the server. Here the calls go to Flask directly, which makes MLflow's checks of hosts and origins itself. Files,
the page and all else go MLflow's own way. Beside MLflow's calls there is a door for many records at once (`bulk.py`).
With `MLFLOW_LOGIN` all of it asks who is there (`login.py`).
"""

from __future__ import annotations

import asyncio
import gc
import os
from collections.abc import Awaitable, Callable, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from mlflow.server import app as flask_application
from starlette.middleware.wsgi import build_environ
from werkzeug.test import run_wsgi_app

from services.tracking_server.buckets import tell_of_buckets
from services.tracking_server.bulk import open_door
from services.tracking_server.disk import tell_of_full_disks
from services.tracking_server.settings import login_wanted
from services.tracking_server.tables import file_of, make_tables

if login_wanted(os.environ):
    from services.tracking_server.login import application_with_login

    whole_application = application_with_login(flask_application)
else:
    from mlflow.server.fastapi_app import app as whole_application

_CALLS = "/api/2.0/mlflow/"
_METHODS = {"GET", "POST", "PATCH", "DELETE"}
_THREADS = 8
_Scope = MutableMapping[str, Any]
_Message = MutableMapping[str, Any]
_threads = ThreadPoolExecutor(_THREADS, "mlflow-call")
_store = os.environ.get("_MLFLOW_SERVER_FILE_STORE")
_database = file_of(_store) if _store else None
if _database is not None:
    make_tables(_database)
open_door(flask_application)
tell_of_buckets(flask_application, whole_application, os.environ)
tell_of_full_disks(flask_application, whole_application)
# all that MLflow has imported: to look through it for garbage would hold up a request by 0.2 s every now and then
gc.freeze()


async def app(
    scope: _Scope, receive: Callable[[], Awaitable[_Message]], send: Callable[[_Message], Awaitable[None]]
) -> None:
    """The application, for uvicorn."""
    if scope["type"] != "http" or scope["method"] not in _METHODS or not scope["path"].startswith(_CALLS):
        await whole_application(scope, receive, send)
        return
    parts: list[bytes] = []
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        parts.append(message.get("body", b""))
        more = message.get("more_body", False)
    loop = asyncio.get_running_loop()
    status, headers, content = await loop.run_in_executor(_threads, _answer, scope, b"".join(parts))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": content})


def _answer(scope: _Scope, body: bytes) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    """What Flask answers: status, headers, content. It is JSON, so it need not be streamed."""
    content, status, headers = run_wsgi_app(flask_application, build_environ(scope, body), buffered=True)
    named = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers]
    return int(status.split(maxsplit=1)[0]), named, b"".join(content)
