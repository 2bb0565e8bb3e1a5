"""Who answers for a name, and what is kept loaded for it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from services.model_server.errors import NotReady, RequestError, UnknownLabel, UnknownModel, UnknownVersion
from services.model_server.metrics.counters import ServerStats
from services.model_server.model_store import Stored
from services.model_server.onnx_engine import OnnxEngine
from services.model_server.package import open_package
from services.model_server.predictor import Cost
from services.model_server.queueing.batching import Batcher
from services.model_server.roster import Roster
from services.model_server.served import ServedModel, Slot
from services.model_server.settings import Ref
from tests.services.model_server.parts import write_package

CHAMPION, PREVIOUS, PINNED = Ref("tiny", "champion"), Ref("tiny", "previous"), Ref("tiny", None, "7")
Make = Callable[[str], ServedModel]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Makes a version of `tiny` that nobody serves yet."""

    def made(version: str) -> ServedModel:
        folder = write_package(tmp_path / version)
        package = open_package(folder)
        stored = Stored("tiny", version, f"run-{version}", str(folder), 1, package.digest, folder)
        predictor = OnnxEngine(package)
        batcher = Batcher(predictor.run, max_batch=8, queue_rows=8)
        return ServedModel(CHAMPION, stored, package, predictor, batcher, Cost(0.0, 0.0))

    return made


def roster(*slots: Slot) -> Roster:
    made = Roster(ServerStats())
    made.slots = {slot.ref: slot for slot in slots}
    return made


def test_a_name_alone_gets_the_first_that_does_not_only_go_with_a_champion(make: Make) -> None:
    previous, champion, pinned = Slot(PREVIOUS, beside=True), Slot(CHAMPION), Slot(PINNED)
    served = roster(previous, champion, pinned)
    served.install(previous, make("1"))
    with pytest.raises(NotReady):
        served.find("tiny")
    served.install(pinned, make("7"))
    assert served.ready
    assert served.find("tiny").version == "7"
    served.install(champion, make("2"))
    assert served.find("tiny").version == "2"
    assert served.find("tiny", version="7").version == "7"
    assert served.find("tiny", label="previous").version == "1"


@pytest.mark.parametrize(
    ("asked", "error", "text"),
    [
        ({"name": "other"}, UnknownModel, "no model 'other' here. Models: tiny."),
        ({"name": "x" * 9999}, UnknownModel, f"'{'x' * 64}'"),
        ({"name": "tiny", "version": "3"}, UnknownVersion, "Version 3 of model tiny is not loaded; loaded: 2."),
        ({"name": "tiny", "label": "best"}, UnknownLabel, "labels here: champion, previous."),
        ({"name": "tiny", "label": "previous"}, NotReady, "tiny@previous: not looked up yet."),
    ],
)
def test_a_name_that_nothing_answers_for_says_what_would_have_been_right(
    make: Make, asked: dict[str, str], error: type[RequestError], text: str
) -> None:
    champion = Slot(CHAMPION)
    served = roster(champion, Slot(PREVIOUS, beside=True))
    served.install(champion, make("2"))
    with pytest.raises(error) as caught:
        served.find(**asked)
    assert text in str(caught.value)


def test_a_model_that_is_wanted_and_not_loaded_is_not_unknown() -> None:
    served = roster(Slot(CHAMPION))
    with pytest.raises(NotReady, match="tiny@champion: not looked up yet"):
        served.find("tiny", version="3")
    assert served.unready_reasons() == ["tiny@champion: not looked up yet."]
    assert roster().unready_reasons() == [
        "No registered model has the wanted alias yet, or the registry has not answered."
    ]


def test_what_no_slot_has_any_more_is_ended_and_what_changes_places_is_not(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended: list[str] = []
    champion, previous = Slot(CHAMPION), Slot(PREVIOUS, beside=True)
    served = roster(champion, previous)
    first, second, third = (make(version) for version in "123")
    for model in (first, second, third):
        monkeypatch.setattr(model.predictor, "close", lambda version=model.version: ended.append(version))
    served.install(previous, first)
    served.install(champion, second)
    with served.moving():
        served.install(champion, first)
        served.install(previous, second)
    assert ended == []
    assert [model.version for model in served.open()] == ["1", "2"]
    served.install(champion, third)
    assert ended == ["1"]
    assert [model.version for model in served.open()] == ["2", "3"]


def test_a_server_that_goes_down_is_not_ready_whatever_it_has(make: Make) -> None:
    champion = Slot(CHAMPION)
    served = roster(champion)
    served.install(champion, make("1"))
    assert served.unready_reasons() == []
    served.draining = True
    assert not served.ready
    assert served.unready_reasons() == ["The server is shutting down."]
