from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from services.awaited_models import await_models

ADDRESS = "http://127.0.0.1:8080"
REGISTRY = "http://127.0.0.1:5000"


class Server:
    """A model server that gives its answers in turn, the last one for ever, and a clock that goes while one waits."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.headers: list[Mapping[str, str]] = []
        self.time = 0.0

    def read(self, address: str, path: str, headers: Mapping[str, str]) -> Any:
        assert (address, path) == (ADDRESS, "/models")
        self.headers.append(headers)
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]

    def pause(self, seconds: float) -> None:
        self.time += seconds

    def told(self, key: str | None = None, new_registry: bool = False) -> list[str]:
        said: list[str] = []
        await_models(
            ADDRESS,
            key,
            said.append,
            read=self.read,
            now=lambda: self.time,
            pause=self.pause,
            new_registry=new_registry,
        )
        return said


def answer(*models: Mapping[str, Any], reachable: bool | None = True) -> dict[str, Any]:
    return {"models": list(models), "registry": {"reachable": reachable, "uri": REGISTRY}}


def model(name: str, version: str | None = None, loading: str | None = None, rejected: Any = None) -> dict[str, Any]:
    return {
        "name": name,
        "wanted": f"{name}@champion",
        "version": version,
        "loading": loading,
        "rejected": rejected,
    }


def test_what_the_registry_has_not_said_yet_is_waited_for() -> None:
    server = Server(
        answer(reachable=None),
        answer(model("rents", loading="1"), model("digits", "4")),
        answer(model("rents", "1"), model("digits", "4")),
    )
    assert server.told() == ["model_server serves rents version 1, digits version 4."]


@pytest.mark.parametrize(
    ("status", "told"),
    [
        (answer(), ["model_server serves no model yet: make sweep"]),
        (answer(model("digits")), ["model_server serves no model yet: make sweep"]),
        (answer(reachable=False), [f"model_server gets no answer from the registry at {REGISTRY}; it goes on asking."]),
        (
            answer(model("digits", "2"), reachable=False),
            [
                f"model_server gets no answer from the registry at {REGISTRY}; it goes on asking.",
                "model_server serves digits version 2.",
            ],
        ),
        (
            answer(model("digits", "2", rejected={"version": "3", "reason": "REJECTED: model.onnx is damaged"})),
            [
                "model_server does not serve digits@champion version 3: REJECTED: model.onnx is damaged.",
                "model_server serves digits version 2.",
            ],
        ),
    ],
)
def test_it_says_what_is_served_and_why_something_is_not(status: Any, told: list[str]) -> None:
    assert Server(status).told() == told


def test_who_waits_for_long_is_told_for_what_and_at_last_that_it_is_not_done() -> None:
    early = [answer(reachable=None)] * 100  # five seconds
    server = Server(*early, answer(model("rents", loading="1"), model("spectra", loading="2")))
    loading = "rents@champion version 1, spectra@champion version 2"
    assert server.told() == [
        f"model_server waits for the registry at {REGISTRY}.",
        f"model_server waits for {loading}.",
        f"model_server still waits for {loading}, after 180 s; it goes on by itself.",
    ]


def test_a_server_that_misses_a_question_is_asked_again_and_one_that_is_silent_is_left() -> None:
    assert Server(None, None, answer(model("digits", "1"))).told() == ["model_server serves digits version 1."]
    silent = Server(None)
    assert silent.told() == []
    assert len(silent.headers) == 3


def test_a_server_that_wants_a_key_gets_it() -> None:
    server = Server(answer())
    server.told("s3cret")
    assert server.headers == [{"x-api-key": "s3cret"}]


def test_what_a_server_says_of_a_registry_that_has_just_come_back_is_waited_for() -> None:
    stale = [answer(model("digits", "2"), reachable=False)] * 30
    assert Server(*stale, answer(model("digits", "3"))).told(new_registry=True) == [
        "model_server serves digits version 3."
    ]
    assert Server(*stale).told(new_registry=True) == [
        f"model_server waits for the registry at {REGISTRY}.",
        f"model_server gets no answer from the registry at {REGISTRY}; it goes on asking.",
        "model_server serves digits version 2.",
    ]
