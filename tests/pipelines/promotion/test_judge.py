"""The judge's process, as the promoter sees it: asked once it is warm, asked again where it dies, but not for ever."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines.errors import HomeError, NothingToPromote, PromotionRefused
from pipelines.executors.base import Executor, Handler, Loss
from pipelines.packaging.scoring import Scores
from pipelines.promotion.judge import Answers, Judge, Judged
from pipelines.promotion.policy import Measured


def scores(loss: float, accuracy: float) -> Scores:
    return Scores({"test_accuracy": accuracy, "test_loss": loss})


class Scripted(Executor):
    """One worker, whose news are written down beforehand: each `wait` delivers the next."""

    def __init__(self, *news: Any) -> None:
        self.news = list(news)
        self.assigned: list[Any] = []
        self.starts = 0
        self.handler: Handler

    def start(self, handler: Handler) -> None:
        self.starts += 1
        self.handler = handler

    def hand_over(self, handler: Handler) -> None:
        self.start(handler)

    def assign(self, worker: int, task: Any) -> None:
        self.assigned.append(task)

    def wait(self, timeout_s: float) -> None:
        assert self.news, "the judge waits for something that will not come"
        match self.news.pop(0):
            case "idle":
                self.handler.on_room(0, 1)
            case int(places):
                self.handler.on_room(0, places)
            case str(reason):
                self.handler.on_lost(0, Loss(reason))
            case message:
                assert self.assigned, "nothing was asked yet"
                self.handler.on_message(0, message)

    def tell(self, worker: int, answer: Any) -> None:
        raise AssertionError("a judge is told nothing while it judges")

    def end(self, worker: int, reason: str) -> None:
        raise AssertionError("nobody ends a judge")

    def log_tail(self, worker: int) -> str:
        return ""

    def close(self) -> None:
        pass


GOOD = Judged(Measured(scores(0.1, 0.9)))
REQUEST: Any = "a request"


def test_the_judge_is_asked_once_it_is_warm_and_answers() -> None:
    executor = Scripted("idle", GOOD)
    judge = Judge(executor)
    judge.warm_up()
    judge.warm_up()

    assert judge.ask(REQUEST) == GOOD
    assert executor.assigned == [REQUEST]
    assert executor.starts == 1


def test_what_there_is_to_do_meanwhile_is_done_when_the_judge_is_at_it() -> None:
    executor = Scripted("idle", GOOD)
    at_it: list[int] = []
    judge = Judge(executor, lambda: at_it.append(len(executor.assigned)))

    judge.warm_up()
    assert at_it == []
    assert judge.ask(REQUEST) == GOOD

    assert at_it == [1]


def test_the_judge_can_be_asked_again() -> None:
    executor = Scripted("idle", GOOD, "idle", GOOD)
    judge = Judge(executor)

    assert judge.ask(REQUEST) == judge.ask(REQUEST)
    assert len(executor.assigned) == 2


def test_a_judge_with_room_for_several_is_asked_again_before_it_offers_more() -> None:
    executor = Scripted(2, GOOD, GOOD)
    judge = Judge(executor)

    assert judge.ask(REQUEST) == judge.ask(REQUEST)
    assert len(executor.assigned) == 2


def test_a_judge_without_room_is_not_asked_before_it_has_some() -> None:
    executor = Scripted(1, GOOD, 1, GOOD)
    judge = Judge(executor)
    judge.ask(REQUEST)

    judge.ask(REQUEST)

    assert executor.news == []


def test_what_is_wrong_with_a_candidate_is_told_as_it_is() -> None:
    with pytest.raises(NothingToPromote, match=r"^the two forms disagree$"):
        Judge(Scripted("idle", Judged(error="the two forms disagree"))).ask(REQUEST)


def test_a_full_disk_is_not_told_as_a_fault_of_the_candidate() -> None:
    with pytest.raises(HomeError, match=r"^no room$"):
        Judge(Scripted("idle", Judged(error="no room", full=True))).ask(REQUEST)


def test_a_judge_that_dies_over_a_candidate_is_asked_once_more() -> None:
    executor = Scripted("idle", "SIGKILL", "idle", GOOD)

    assert Judge(executor).ask(REQUEST) == GOOD
    assert executor.assigned == [REQUEST, REQUEST]


def test_a_judge_that_dies_twice_over_a_candidate_is_told() -> None:
    with pytest.raises(NothingToPromote, match="judges the candidate was lost: SIGKILL"):
        Judge(Scripted("idle", "SIGSEGV", "idle", "SIGKILL")).ask(REQUEST)


def test_a_judge_that_dies_while_it_waits_is_replaced_before_it_is_asked() -> None:
    executor = Scripted("SIGKILL", "idle", GOOD)

    assert Judge(executor).ask(REQUEST) == GOOD
    assert executor.assigned == [REQUEST]


def test_a_candidate_that_breaks_a_rule_without_which_it_cannot_be_registered_is_refused() -> None:
    with pytest.raises(PromotionRefused, match="differs from its Keras model"):
        Judge(Scripted("idle", Judged(error="it differs from its Keras model", refused=True))).ask(REQUEST)


@pytest.mark.parametrize("theirs", [None, np.ones((4, 2), np.float32)])
def test_what_the_models_say_comes_back_as_it_was_kept(theirs: Any, tmp_path: Path) -> None:
    answers = Answers(np.arange(4), np.zeros((4, 2), np.float32), theirs, np.array([1, 3]), np.ones((2, 8, 8)))

    answers.write(str(tmp_path / "outputs.npz"))
    found = Answers.read(str(tmp_path / "outputs.npz"))

    for name, value in vars(answers).items():
        np.testing.assert_equal(getattr(found, name), value)
