"""`python -m services.model_server.alive`: whether the server of this environment answers, for a health check.

Reads the same settings as the server, so that it finds the port, and speaks TLS where the server does.
"""

from __future__ import annotations

import http.client
import os
import ssl
import sys
from collections.abc import Mapping

from services.model_server.errors import SettingsError
from services.model_server.settings import Settings, read_settings

_MOST_S = 3.0
# A server that listens on all addresses is asked on its own.
_OWN = {"0.0.0.0": "127.0.0.1", "::": "::1"}


def ask(settings: Settings, path: str = "/livez") -> str:
    """Asks the server.

    Returns:
        "" if it says 200, else what it says, or why it does not.
    """
    host = _OWN.get(settings.host, settings.host)
    if settings.tls_cert is None:
        connection = http.client.HTTPConnection(host, settings.port, timeout=_MOST_S)
    else:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        # Its certificate has a name, and not this address; who answers on the own machine's port is known anyway.
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        connection = http.client.HTTPSConnection(host, settings.port, timeout=_MOST_S, context=context)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return "" if response.status == 200 else f"{path} says {response.status}."
    except (OSError, http.client.HTTPException) as error:
        return f"{host} port {settings.port} does not answer: {str(error) or type(error).__name__}."
    finally:
        connection.close()


def main(environ: Mapping[str, str]) -> int:
    """Returns the exit code: 0 if it lives, else 1; 2 if the settings are wrong."""
    try:
        settings = read_settings(environ)
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 2
    told = ask(settings)
    if told:
        print(told, file=sys.stderr)
    return 1 if told else 0


if __name__ == "__main__":
    sys.exit(main(os.environ))
