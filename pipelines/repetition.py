"""Whether a training that was done again came to what was recorded of it, and what is known to be different."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pipelines.own.digest import CODE_TAG, code_in, named_modules, other_code
from pipelines.records import Failure, TrialState
from pipelines.training.base import Best

_ROUNDING = 1e-4
"""What lanes and `fit` may differ by, as a share of the value; over a few epochs it is about 1e-7."""
_INFINITE = 1e308
"""MLflow keeps an infinity as the largest number there is."""
_NAMED = {
    "regatta.dataset_sha256": "the data is other data",
    "regatta.split_sha256": "the data is split otherwise",
    "regatta.tensorflow": "TensorFlow is {now} and was {then}",
    "regatta.keras": "Keras is {now} and was {then}",
    "regatta.threads": "it had {now} threads and not {then}",
    "regatta.device": "it ran on {now} and not on {then}",
}
"""Tags that tell of two runs why their numbers differ, in words."""


@dataclass(frozen=True)
class Recorded:
    """What a run came to, as its record tells it.

    Attributes:
        run_id: The tracking server's id of it.
        metric: What decided which epoch is the best; `direction` is `minimize` or `maximize`.
        value: Of the best epoch, or None where it has none.
        curve: The metric by epoch.
        tags: Of the run.
    """

    run_id: str
    metric: str
    direction: str
    value: float | None
    epoch: int | None
    curve: Mapping[int, float]
    tags: Mapping[str, str]

    @property
    def cut_off(self) -> str | None:
        """Why it had no more epochs, in a word, where a training by itself may have more; None where it may not."""
        state = self.tags.get("regatta.state", TrialState.RUNNING.value)
        by_itself = self.tags.get("regatta.failure") == Failure.NOT_FINITE.value
        if state == TrialState.COMPLETE.value or by_itself:
            return None
        return {"PRUNED": "pruned", "FAILED": "failed"}.get(state, "interrupted")


class Repetition:
    """A recorded training beside the same training, done again by `fit`."""

    def __init__(self, recorded: Recorded, curve: Mapping[int, float], tags: Mapping[str, str]) -> None:
        """Compares them.

        Args:
            recorded: What was recorded.
            curve: The objective by epoch, as it came out now.
            tags: Of the run of now.
        """
        self.recorded = recorded
        self._curve, self._tags = dict(curve), tags
        shared = {epoch: value for epoch, value in curve.items() if epoch in recorded.curve}
        self._epochs = len(shared)
        # one that was cut off is held against what came out by then
        self.value, self.epoch = _best(shared if recorded.cut_off else self._curve, recorded.direction)
        self.difference = None if None in (recorded.value, self.value) else _apart(recorded.value, self.value)
        self._widest = max((_share(recorded.curve[epoch], value) for epoch, value in shared.items()), default=0.0)
        self._as_long = len(recorded.curve) == (self._epochs if recorded.cut_off else len(curve))

    @property
    def same(self) -> bool:
        """Whether the value, the best epoch and the objective of every epoch are the same, to the last digit."""
        return (
            bool(self._epochs) and self._as_long and self._at_the_same_epoch and not (self.difference or self._widest)
        )

    def lines(self) -> Iterator[str]:
        """What a person reads: what was recorded, what came out now, and whether it is the same."""
        then, cut = self.recorded, self.recorded.cut_off
        if not then.curve:
            yield f"recorded  nothing that this could be compared with: no {then.metric} of any epoch"
            return
        yield f"recorded  {self._told(then.value, then.epoch, len(then.curve))}{f', then {cut}' if cut else ''}"
        of_all = _best(self._curve, then.direction)
        told = self._told(self.value, self.epoch, self._epochs if cut else len(self._curve))
        more = cut and len(self._curve) > self._epochs
        yield f"now       {told}{f'; {self._told(*of_all, len(self._curve))}' if more else ''}"
        yield self.sentence()

    def sentence(self) -> str:
        """Whether it is the same, by how much it differs, and why, as far as that is known."""
        if not self.recorded.curve:
            return f"It cannot be compared: the record has no {self.recorded.metric} of any epoch."
        metric, in_a_lane = self.recorded.metric, self._in_a_lane
        if self.same:
            epochs = "the one epoch" if self._epochs == 1 else f"all {self._epochs} epochs"
            return f"Reproduced: {metric} is the same to the last digit in {epochs}."
        apart = self._differences()
        if in_a_lane and self._as_long and self._at_the_same_epoch and self._widest <= _ROUNDING:
            return (
                f"Reproduced but for rounding: {apart}. The run was trained in a lane, which adds up in another order."
            )
        changed = list(self._changed())
        if changed:
            why = f"What is not as it was: {'; '.join(changed)}."
        elif in_a_lane:
            why = (
                "The run was trained in a lane, whose rounding is another: over many epochs that can grow to this, and "
                "so can code or packages that are not those of then."
            )
        elif "GPU" in self._tags.get("regatta.device", ""):
            why = "A GPU may add up in another order each time, and that can grow to this over many epochs."
        else:
            known = "your code, " if self.recorded.tags.get(CODE_TAG) else ""
            why = f"Data, {known}TensorFlow, threads and device are those of then: look at other code and packages."
        return f"Not the same: {apart}. {why}"

    def to_json(self) -> dict[str, Any]:
        """The comparison in the summary of `train --json`."""
        return {
            "run_id": self.recorded.run_id,
            "value": self.recorded.value,
            "epoch": self.recorded.epoch,
            "epochs": len(self.recorded.curve),
            "same": self.same,
            "difference": self.difference if self.difference is not None and math.isfinite(self.difference) else None,
            "sentence": self.sentence(),
        }

    @property
    def _in_a_lane(self) -> bool:
        return self.recorded.tags.get("regatta.trainer", "").startswith("lanes")

    @property
    def _at_the_same_epoch(self) -> bool:
        return self.recorded.epoch == self.epoch

    def _told(self, value: float | None, epoch: int | None, epochs: int) -> str:
        of = f"of {epochs} epoch{'' if epochs == 1 else 's'}"
        if value is None:
            return f"{self.recorded.metric} was no finite number in any {of}"
        return f"{self.recorded.metric} {value:.9g} at epoch {epoch} {of}"

    def _differences(self) -> str:
        then, cut = self.recorded, self.recorded.cut_off
        found = []
        if self.difference:
            found.append(f"{then.metric} differs by {self.difference:.2g}")
        if not self._at_the_same_epoch:
            found.append(f"the best epoch is {_or_none(self.epoch)} and was {_or_none(then.epoch)}")
        if self._widest:
            found.append(f"in its epochs {then.metric} differs by up to {self._widest:.2g} of it")
        if not self._as_long:
            found.append(f"it has {self._epochs if cut else len(self._curve)} epochs and had {len(then.curve)}")
        return ", ".join(found)

    def _changed(self) -> Iterator[str]:
        for tag, text in _NAMED.items():
            then, now = self.recorded.tags.get(tag), self._tags.get(tag)
            if then is not None and now is not None and then != now:
                yield text.format(now=now, then=then)
        before, after = (code_in(tags) for tags in (self.recorded.tags, self._tags))
        # a sweep's trials are tagged with all code that its recipe names
        other = other_code({name: digest for name, digest in before.items() if name in after}, after) if before else []
        if other:
            yield f"code of yours is another ({named_modules(other)})"


def _best(curve: Mapping[int, float], direction: str) -> tuple[float | None, int | None]:
    best = Best(direction)
    for epoch, value in sorted(curve.items()):
        best.improved_by(value, epoch)
    return best.value, best.epoch


def _apart(one: float | None, other: float | None) -> float:
    """How far two values are apart; two that are both no number, or both infinite in the same way, are the same."""
    first, second = _comparable(one or 0.0), _comparable(other or 0.0)
    if first == second or (math.isnan(first) and math.isnan(second)):
        return 0.0
    return math.inf if math.isnan(first) or math.isnan(second) else abs(first - second)


def _share(one: float, other: float) -> float:
    """The same as a share of the larger value."""
    apart = _apart(one, other)
    return apart / max(abs(one), abs(other)) if apart and math.isfinite(apart) else apart


def _comparable(value: float) -> float:
    return math.copysign(math.inf, value) if abs(value) >= _INFINITE else value


def _or_none(epoch: int | None) -> str:
    return "none" if epoch is None else str(epoch)
