"""What the callbacks of an attempt did, in the forms in which a run keeps it: a list, metrics, and a sentence each."""

from __future__ import annotations

import math
from collections import deque
from typing import Any

from pipelines.records import CallbackActed

MOST_ACTS = 400
"""That many are listed: the first half and the last."""
LONGEST_TAG = 500


class Acts:
    """The acts of one attempt, fed one by one."""

    def __init__(self) -> None:
        self._first: list[CallbackActed] = []
        self._last: deque[CallbackActed] = deque(maxlen=MOST_ACTS // 2)
        self._count = 0
        self._metrics: dict[str, float] = {}
        self._sentences: dict[str, dict[str, str]] = {}  # by label and action, the last one

    def __bool__(self) -> bool:
        """Whether any callback did anything."""
        return self._count > 0

    def add(self, act: CallbackActed) -> None:
        """Takes down one more."""
        self._count += 1
        (self._first if len(self._first) < MOST_ACTS // 2 else self._last).append(act)
        sentences = self._sentences.setdefault(act.callback, {})
        sentences.pop(act.action, None)  # so that the last one stands last
        sentences[act.action] = act.text
        for name, value in self._numbers(act).items():
            self._metrics[f"{act.callback}.{name}"] = value

    def metrics(self) -> dict[str, float]:
        """`<label>.stopped_epoch`, `.restored_epoch`, `.saved`, `.reductions`, `.increases`, `.learning_rate`."""
        return dict(self._metrics)

    def tags(self) -> dict[str, str]:
        """By `regatta.callback.<label>`, what a callback did: that it ended the training, or the last thing it did."""
        return {
            f"regatta.callback.{label}": _shortened(
                "; ".join(said[action] for action in ("stopped", "restored") if action in said)
                or next(reversed(said.values()))
            )
            for label, said in self._sentences.items()
        }

    def listed(self) -> list[dict[str, Any]]:
        """All of it in order, as plain types; where it is too much, with an entry that says how much is left out."""
        missing = self._count - len(self._first) - len(self._last)
        text = f"{missing} more acts are left out here"
        gap = [{"epoch": None, "callback": None, "action": "left_out", "text": text, "value": float(missing)}]
        return [*map(_as_json, self._first), *(gap if missing else []), *map(_as_json, self._last)]

    def _numbers(self, act: CallbackActed) -> dict[str, float]:
        def count(name: str, more: float = 1.0) -> dict[str, float]:
            return {name: self._metrics.get(f"{act.callback}.{name}", 0.0) + more}

        rate = {} if act.value is None else {"learning_rate": act.value}
        match act.action:
            case "stopped":
                return {"stopped_epoch": float(act.epoch)}
            case "restored" if act.value is not None:
                return {"restored_epoch": act.value}
            case "saved":
                return count("saved", act.value or 1.0)
            case "reduced":
                return count("reductions") | rate
            case "raised":
                return count("increases") | rate
            case "moved":
                return rate
        return {}


def _as_json(act: CallbackActed) -> dict[str, Any]:
    value = act.value if act.value is not None and math.isfinite(act.value) else None
    return {"epoch": act.epoch, "callback": act.callback, "action": act.action, "text": act.text, "value": value}


def _shortened(text: str) -> str:
    return text if len(text) <= LONGEST_TAG else text[: LONGEST_TAG - 1] + "…"
