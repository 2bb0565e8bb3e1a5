"""How long a client is ready to wait, in the words that HTTP and its proxies have for it."""

from __future__ import annotations

import re

# RFC 7240: whole seconds, among other preferences. And what Envoy, and with it Istio and Knative, tells its upstreams.
PREFER, ENVOY = b"prefer", b"x-envoy-expected-rq-timeout-ms"
_WAIT = re.compile(r"""(?:^|[,;])\s*wait\s*=\s*"?([0-9]{1,9})"?\s*(?=$|[,;])""", re.IGNORECASE)


def patience_s(prefer: str | None, envoy_ms: str | None) -> float | None:
    """Returns the seconds from the arrival of a request after which its answer is of no use to the client.

    What cannot be read counts as not sent, as RFC 7240 wants it.
    """
    found = []
    if prefer is not None and (match := _WAIT.search(prefer)) is not None:
        found.append(float(match[1]))
    if envoy_ms is not None and envoy_ms.isascii() and envoy_ms.isdigit() and len(envoy_ms) <= 12:
        found.append(int(envoy_ms) / 1e3)
    return min(found, default=None)
