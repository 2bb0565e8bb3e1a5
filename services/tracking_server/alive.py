"""`python -m services.tracking_server.alive`: whether the server answers, and its database, too; for a health check.

It shows a name that no user has: with a login the answer is then a 401, for which the users were looked up.
"""

from __future__ import annotations

import base64
import http.client
import sys

from services.tracking_server.settings import PORT

_MOST_S = 8.0
_CALL = "/api/2.0/mlflow/experiments/search?max_results=1"
_NOBODY = {"Authorization": f"Basic {base64.b64encode(b'-health-check-:-').decode()}"}
_GOOD = {200, 401}


def ask(port: int = PORT) -> str:
    """Asks the server on this machine; returns nothing if it is well, else what is wrong."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_MOST_S)
    try:
        connection.request("GET", _CALL, headers=_NOBODY)
        answer = connection.getresponse()
        told = answer.read().decode("utf-8", "replace")
        return "" if answer.status in _GOOD else f"The tracking server says {answer.status}: {told[:300]}"
    except (OSError, http.client.HTTPException) as error:
        return f"The tracking server does not answer: {str(error) or type(error).__name__}."
    finally:
        connection.close()


if __name__ == "__main__":
    problem = ask()
    if problem:
        print(problem, file=sys.stderr)
    sys.exit(1 if problem else 0)
