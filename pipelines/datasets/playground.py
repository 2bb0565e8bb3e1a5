"""The data of the TensorFlow Playground: points in the plane, and what colour they have.

The formulas are those of its `src/dataset.ts` (D. Smilkov, S. Carter, https://github.com/tensorflow/playground); the
random numbers are NumPy's, so a seed gives other points here than there.
"""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from pydantic import Field

from pipelines.datasets.base import DatasetSpec, Samples, Source
from pipelines.inputs import Column, InputFacts, Kind
from pipelines.tasks import Task

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Points = NDArray[np.float64]
    """(n, 2) places in the plane."""
    Truth = NDArray[np.float64] | NDArray[np.bool_]
    """(n,) whether a point is positive, or its number."""

EDGE = 6.0
"""The plane that the playground shows goes from -6 to 6 both ways."""
LABELS = ("negative", "positive")
COLUMNS = (Column("x1"), Column("x2"))


class PlaygroundSpec(DatasetSpec):
    """Settings that all of the playground's data have."""

    kind: ClassVar[Kind | None] = "points"

    samples: int = Field(500, ge=20, le=1_000_000)
    """Points, the test part included."""
    noise: float = Field(0.0, ge=0, le=0.5)
    """The playground's noise: its slider goes from 0 to 50 percent."""
    seed: int = Field(0, ge=0, lt=2**32)
    """The same seed gives the same points."""
    train_share: float = Field(0.5, ge=0.1, le=0.9)
    """The playground's ratio of training to test data; the validation part is cut from the training data."""

    @property
    def held_out_share(self) -> float | None:
        """What `train_share` leaves."""
        return round(1 - self.train_share, 9)  # 1 - 0.7 is a little more than 0.3, and would seal one sample more

    def load(self, folder: Path | None, task: Task | None = None) -> Source:
        """points: float32 (samples, 2)."""
        points, truth = self.draw(np.random.default_rng(self.seed))
        classes = self.tasks[0] is not Task.REGRESSION
        labels, y = (LABELS, truth.astype(np.int64)) if classes else ((), truth.astype(np.float32))
        facts = InputFacts((2,), -EDGE, EDGE, labels, kind="points", columns=COLUMNS, target="colour")
        return Source(Samples(points.astype(np.float32), y), None, facts)

    @abstractmethod
    def draw(self, random: np.random.Generator) -> tuple[Points, Truth]:
        """`samples` points and their truth."""

    def _shaken(self, random: np.random.Generator, points: Points, reach: float) -> Points:
        """Where the points seem to be to whoever labels them; the points themselves stay."""
        return points + random.uniform(-reach, reach, points.shape) * self.noise

    @property
    def _halves(self) -> tuple[int, int]:
        """How many points are of the first and of the second kind."""
        return self.samples - self.samples // 2, self.samples // 2


class _Classes(PlaygroundSpec):
    """Two classes of points."""

    tasks: ClassVar[tuple[Task, ...]] = (Task.BINARY, Task.MULTICLASS)


class _Numbers(PlaygroundSpec):
    """A number at every point."""

    tasks: ClassVar[tuple[Task, ...]] = (Task.REGRESSION,)

    samples: int = Field(1200, ge=20, le=1_000_000)
    """Points, the test part included."""

    def draw(self, random: np.random.Generator) -> tuple[Points, Truth]:
        """Points all over the plane; noise moves the places whose numbers they get."""
        points = random.uniform(-EDGE, EDGE, (self.samples, 2))
        return points, self.number(self._shaken(random, points, EDGE))

    @abstractmethod
    def number(self, points: Points) -> NDArray[np.float64]:
        """The number at every place, -1 to 1."""


class Circle(_Classes):
    """The playground's circle: a disc of positive points in a ring of negative ones."""

    name: Literal["circle"] = "circle"

    def draw(self, random: np.random.Generator) -> tuple[Points, Truth]:
        """A disc of radius 2.5 and a ring from 3.5 to 5; noise labels points near the gap wrongly."""
        inside, outside = self._halves
        radius = np.concatenate([random.uniform(0, 2.5, inside), random.uniform(3.5, 5, outside)])
        angle = random.uniform(0, 2 * np.pi, self.samples)
        points = np.stack([radius * np.sin(angle), radius * np.cos(angle)], axis=1)
        return points, np.hypot(*self._shaken(random, points, 5.0).T) < 2.5


class Xor(_Classes):
    """The playground's exclusive or: four squares, positive where both coordinates have one sign."""

    name: Literal["xor"] = "xor"

    def draw(self, random: np.random.Generator) -> tuple[Points, Truth]:
        """Points 0.3 away from both axes, as far as 5.3; noise labels points near the axes wrongly."""
        points = random.uniform(-5, 5, (self.samples, 2))
        points += np.where(points > 0, 0.3, -0.3)
        return points, self._shaken(random, points, 5.0).prod(axis=1) >= 0


class Gauss(_Classes):
    """The playground's Gaussians: a cloud of positive points at (2, 2), one of negative points at (-2, -2)."""

    name: Literal["gauss"] = "gauss"

    def draw(self, random: np.random.Generator) -> tuple[Points, Truth]:
        """Clouds of a variance that noise raises from 0.5 to 4."""
        positive = np.arange(self.samples) < self._halves[0]
        centre = np.where(positive, 2.0, -2.0)[:, None]
        return centre + random.normal(0.0, np.sqrt(0.5 + 7 * self.noise), (self.samples, 2)), positive


class Spiral(_Classes):
    """The playground's spiral: two arms that wind around each other, the hardest of its data."""

    name: Literal["spiral"] = "spiral"

    def draw(self, random: np.random.Generator) -> tuple[Points, Truth]:
        """Arms of 1.75 turns that reach as far as 5; noise moves the points themselves."""
        positive = np.arange(self.samples) < self._halves[0]
        way = np.concatenate([np.arange(count) / count for count in self._halves])
        angle = 1.75 * way * 2 * np.pi + np.where(positive, 0.0, np.pi)
        points = np.stack([5 * way * np.sin(angle), 5 * way * np.cos(angle)], axis=1)
        return self._shaken(random, points, 1.0), positive


class Plane(_Numbers):
    """The playground's plane: a number that grows evenly from one corner to the other, for regression."""

    name: Literal["plane"] = "plane"

    def number(self, points: Points) -> NDArray[np.float64]:
        """A tenth of the sum of both coordinates."""
        return np.asarray(points.sum(axis=1) / 10, np.float64)


class MultiGauss(_Numbers):
    """The playground's six hills: three of 1 and three of -1 in a plain of 0, for regression."""

    name: Literal["multi_gauss"] = "multi_gauss"

    def number(self, points: Points) -> NDArray[np.float64]:
        """The highest or lowest of the hills there; each falls evenly to 0 at a distance of 2."""
        centres = np.array([[-4, 2.5], [0, 2.5], [4, 2.5], [-4, -2.5], [0, -2.5], [4, -2.5]])
        signs = np.array([1, -1, 1, -1, 1, -1])
        distance = np.linalg.norm(points[:, None] - centres, axis=2)
        heights = signs * np.clip(1 - distance / 2, 0, 1)
        return np.asarray(heights[np.arange(len(points)), np.abs(heights).argmax(axis=1)], np.float64)
