"""What every sampler spec promises, and what it may know of the study it is built for."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, ClassVar

from pipelines.errors import ConfigError, Mistake
from pipelines.samplers.combinations import Combinations
from pipelines.samplers.varying import Varying
from pipelines.spec import Spec

if TYPE_CHECKING:
    import optuna

BORROWED = "regatta.borrowed"
"""The user attribute of an older study's trial in a new one; it says which trial it was."""
ITSELF = "sampler"
"""Stands for the sampler, rather than for something that varies, among misfits."""


@dataclass(frozen=True)
class Surroundings:
    """What a sampler may know of its study.

    Attributes:
        seed: Of the study.
        asked: Trials that earlier controllers asked for already.
        varying: Everything that is drawn.
    """

    seed: int
    asked: int = 0
    varying: tuple[Varying, ...] = ()

    @property
    def fresh_seed(self) -> int:
        """A seed that no earlier controller used: one that starts over would draw the same first trials again."""
        return self.seed + self.asked


class SamplerSpec(Spec):
    """Settings of one way to choose what to try next."""

    package: ClassVar[str | None] = None
    """A package that it needs, and that Regatta does without."""
    takes_several: ClassVar[bool] = True
    """Whether it can look for several objectives at once."""
    learns: ClassVar[bool] = True
    """Whether what it draws next depends on what came of the trials before."""

    def misfits(self, what_varies: Sequence[Varying]) -> dict[str, str]:
        """Why it does not go with a search space: what is wrong, by name of what varies, or `sampler` for itself."""
        missing = self.missing_package()
        return {ITSELF: missing} if missing else {}

    def misfits_with(self, objectives: int) -> dict[str, str]:
        """Why its settings do not go with so many objectives: what is wrong, by name of the field."""
        return {}

    def combinations(self, what_varies: Sequence[Varying]) -> Combinations | None:
        """Everything there is to try, of a sampler that tries it all and is done then; None of any other."""
        return None

    def build(self, around: Surroundings) -> optuna.samplers.BaseSampler:
        """The Optuna sampler, built without Optuna's warnings of what is new or old in it.

        Raises:
            ConfigError: It does not go with what varies; a recipe that was checked has no such sampler.
        """
        self.check(around.varying)
        with _quiet():
            return self.make(around)

    @abstractmethod
    def make(self, around: Surroundings) -> optuna.samplers.BaseSampler:
        """The same, with whatever Optuna warns of."""

    def check(self, what_varies: Sequence[Varying]) -> None:
        """Refuses a search space that it does not go with, and tells every reason.

        Raises:
            ConfigError: It does not.
        """
        wrong = self.misfits(what_varies)
        if wrong:
            raise ConfigError(
                ITSELF,
                [
                    Mistake(name if name.partition(".")[0] == ITSELF else f"search_space.{name}", message)
                    for name, message in wrong.items()
                ],
            )

    def missing_package(self) -> str | None:
        """What to do about a package that is not installed; None where nothing is missing."""
        if self.package is None or find_spec(self.package) is not None:
            return None
        kind: str = self.name  # type: ignore[attr-defined]
        return f"'{kind}' needs the package {self.package}, which is not installed here: pip install {self.package}"

    def settings(self, *without: str) -> dict[str, Any]:
        """Optuna's keyword arguments, by their names, but for those that a kind makes itself."""
        return {
            name: getattr(self, name) for name in self.__class__.model_fields if name != "name" and name not in without
        }


@contextmanager
def _quiet() -> Iterator[None]:
    import warnings

    from optuna.exceptions import ExperimentalWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        warnings.simplefilter("ignore", FutureWarning)  # of what Optuna 6 will not have; pyproject.toml asks for 5
        yield
