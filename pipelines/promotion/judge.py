"""The judge's process, as the promoter sees it: one question, one answer. What is asked, and what comes back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pipelines.errors import HomeError, NothingToPromote, PromotionRefused
from pipelines.executors.base import Executor, Loss
from pipelines.packaging.forms import PARITY
from pipelines.packaging.scoring import Scores
from pipelines.promotion.policy import Measured

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class JudgeRequest:
    """What to judge.

    Attributes:
        name: The registered model's name.
        config: The training config of the candidate.
        checkpoint: Its `.keras` file.
        data: Folder of the prepared data that it trained on.
        user_folder: Where the user keeps data files, or None.
        champion: Folder of the champion's verified package, or None where there is no champion.
        source: Where the candidate comes from, for the contract.
        package: Where its package goes; what a judge left there that died over it is replaced.
        outputs: File of what each model says of each sample, an npz; see `Answers`.
        parity: How far the outputs of the served form may be from the Keras model's.
        code: Beginnings of the digests of the user's own code that it was trained with, by module.
        any_code: Whether it may be loaded with other code.
    """

    name: str
    config: Mapping[str, Any]
    checkpoint: str
    data: str
    user_folder: str | None
    champion: str | None
    source: Mapping[str, Any]
    package: str
    outputs: str | None = None
    parity: float = PARITY
    code: Mapping[str, str] = field(default_factory=dict)
    any_code: bool = False


@dataclass(frozen=True)
class Judged:
    """What came of a request. Either `measured` is there, or `error` says what is wrong, for a person to read.

    Attributes:
        measured: The candidate, on the sealed test part and in the form in which it is served.
        champion_scores: Of the champion, on the same samples.
        error: What is wrong.
        traceback: Of the error, where it is one that nobody foresaw.
        refused: Whether the error is a rule of the recipe that the candidate breaks.
        full: Whether the error is a full disk, which is nothing about the candidate.
        changed: Modules of the candidate's own layers that are others than it trained with.
    """

    measured: Measured | None = None
    champion_scores: Scores | None = None
    error: str | None = None
    traceback: str | None = None
    refused: bool = False
    full: bool = False
    changed: tuple[str, ...] = ()


@dataclass(frozen=True)
class Answers:
    """What two models say of each sealed sample.

    Attributes:
        truth: int64 (n,) classes or float32 (n,) numbers.
        mine: The candidate's outputs, float32 (n, units).
        theirs: The champion's, or None where there is no champion.
        mistakes: Places of the candidate's worst mistakes.
        samples: The samples at those places, coded as the models have learned it.
    """

    truth: NDArray[Any]
    mine: NDArray[Any]
    theirs: NDArray[Any] | None
    mistakes: NDArray[Any]
    samples: NDArray[Any]

    def write(self, path: str) -> None:
        """Keeps it as an npz."""
        import numpy as np

        arrays: dict[str, Any] = {key: value for key, value in vars(self).items() if value is not None}
        np.savez(path, **arrays)

    @classmethod
    def read(cls, path: str) -> Answers:
        """What `write` has kept."""
        import numpy as np

        with np.load(path, allow_pickle=False) as arrays:
            theirs = arrays.get("theirs")
            return cls(arrays["truth"], arrays["mine"], theirs, arrays["mistakes"], arrays["samples"])


class Judge:
    """Asks a process that has TensorFlow; it opens the sealed test part, and nobody else does."""

    def __init__(self, executor: Executor, meanwhile: Callable[[], None] = lambda: None) -> None:
        """Takes an executor whose workers take a `JudgeRequest`: of its own, or one that others are done with.

        What there is to do `meanwhile` is called when the judge has been asked, and is at it.
        """
        self._executor = executor
        self._meanwhile = meanwhile
        self._room: dict[int, int] = {}
        self._begun = False
        self._asked = False
        self._losses = 0
        self._answers: list[Judged] = []

    def warm_up(self) -> None:
        """Starts the process, so that it is ready when it is asked. Calling it again is fine."""
        if not self._begun:
            self._begun = True
            self._executor.hand_over(self)

    def ask(self, request: JudgeRequest) -> Judged:
        """Has one candidate judged.

        Raises:
            NothingToPromote: The candidate cannot be judged; the message says why.
            PromotionRefused: It breaks a rule without which it cannot even be registered.
            HomeError: There is no room for its package.
        """
        self.warm_up()
        self._asked, self._losses = False, 0
        self._answers.clear()
        while not self._answers:
            self._executor.wait(0.2)
            worker = next((each for each, places in self._room.items() if places > 0), None)
            if worker is not None and not self._asked:
                self._executor.assign(worker, request)
                self._room[worker] -= 1
                self._asked = True
                self._meanwhile()
        answer = self._answers[0]
        if answer.error is not None:
            if answer.full:
                raise HomeError(answer.error)
            raise PromotionRefused(answer.error) if answer.refused else NothingToPromote(answer.error)
        return answer

    def on_room(self, worker: int, places: int) -> None:
        """The judge is warm."""
        self._room[worker] = self._room.get(worker, 0) + places

    def on_rest(self, worker: int, tasks: int) -> None:
        """The judge has answered."""

    def on_message(self, worker: int, message: Judged) -> None:
        """The judge's answer."""
        self._answers.append(message)

    def on_lost(self, worker: int, loss: Loss) -> None:
        """The judge died, and another is on its way: it is asked again, but not a third time over one candidate."""
        self._room.pop(worker, None)
        self._losses += self._asked
        self._asked = False
        if self._losses > 1:
            self._answers.append(Judged(error=f"The process that judges the candidate was lost: {loss.reason}."))
