"""Waits until a model server that was just started has loaded what the registry has for it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from services.asking import read_json

# A model with an engine of its own imports TensorFlow first, and several do so at once: half a minute is common.
_WITHIN_S = 180.0
_QUIET_S = 3.0  # who waits for longer is told what for
_BETWEEN_S = 0.05
# A server that has heard nothing of its registry asks it again within seconds, unless MODEL_SERVER_POLL_S is longer.
_HEARD_WITHIN_S = 15.0
_SILENCES = 3  # a busy server may miss one question, or two


def await_models(
    address: str,
    key: str | None,
    say: Callable[[str], None],
    *,
    new_registry: bool = False,
    read: Callable[..., Any] = read_json,
    now: Callable[[], float] = time.monotonic,
    pause: Callable[[float], None] = time.sleep,
) -> None:
    """Returns when the first request will be answered, or when it is plain that none will be; says which of both.

    Args:
        address: Of the model server.
        key: What it wants from who asks it; None where everybody may ask.
        say: Called with each sentence.
        new_registry: Whether the registry has just been started, so that what the server says of it may be stale.
        read: Reads the JSON behind an address and a path with the given headers; None for no answer.
        now: A clock, in seconds.
        pause: Waits for some seconds.
    """
    headers = {"x-api-key": key} if key else {}
    began, told, silences = now(), "", 0
    while silences < _SILENCES:
        status = read(address, "/models", headers)
        silences = silences + 1 if status is None else 0
        if status is not None:
            patient = new_registry and now() - began <= _HEARD_WITHIN_S
            waits_for = _waits_for(status, patient)
            if not waits_for:
                for sentence in _outcome(status):
                    say(sentence)
                return
            waited = now() - began
            if waited > _WITHIN_S:
                say(f"model_server still waits for {waits_for}, after {waited:.0f} s; it goes on by itself.")
                return
            if waited > _QUIET_S and waits_for != told:
                say(f"model_server waits for {waits_for}.")
                told = waits_for
        pause(_BETWEEN_S)


def _waits_for(status: Mapping[str, Any], patient: bool) -> str:
    """What there is to wait for, as a part of a sentence; "" if nothing. Patience is for a registry that is away."""
    reachable = status["registry"]["reachable"]
    if reachable is None or (patient and reachable is False):
        return f"the registry at {status['registry']['uri']}"
    return ", ".join(f"{model['wanted']} version {model['loading']}" for model in status["models"] if model["loading"])


def _outcome(status: Mapping[str, Any]) -> Sequence[str]:
    """What is served, and why something is not."""
    models, registry = status["models"], status["registry"]
    said = [
        f"model_server does not serve {model['wanted']} version {model['rejected']['version']}:"
        f" {model['rejected']['reason']}."
        for model in models
        if model["rejected"]
    ]
    served = [f"{model['name']} version {model['version']}" for model in models if model["version"] is not None]
    if registry["reachable"] is False:
        said.append(f"model_server gets no answer from the registry at {registry['uri']}; it goes on asking.")
    if served:
        said.append(f"model_server serves {', '.join(served)}.")
    elif not said:
        said.append("model_server serves no model yet: make sweep")
    return said
