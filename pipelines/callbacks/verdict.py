"""What the measures of layers say about a training, in a sentence or two.

The thresholds were set on small dense and convolutional networks that learn and that do not (8x8 digits, depths from 2
to 30, sigmoid, tanh, relu and elu, sgd and adam, initialisers from a fifth to ten times the usual size). Gradients are
compared by the norms that the metrics show, not per weight: in a network without bends, the product of a layer's
weights and their gradient is the same for every layer, so the number of weights favours none.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from statistics import median

from pipelines.pictures.layers import LayerState

WINDOW = 5
"""Measured epochs, the last ones, whose median is judged: how it began may be long mended, and one epoch is chance."""
STARVED = 0.03
"""A gradient below this share of one behind it. Networks that learn well had 0.28 and more, slow ones 0.07,
4 sigmoid layers, which learn nothing, 0.017."""
STEEPER = 100.0
"""A gradient above so many times all those behind it. Networks that learn well had at most 16."""
LARGE = 10.0
"""A gradient so many times as large as the layer's weights: networks that learn well had at most 1.5."""
STILL = 0.02
"""Weights that moved by less, as a share of their size, over the window hardly learn."""
DEAD = 1 / 3
"""Share of a layer's units: up to a quarter were dead in networks that learn well."""
SATURATED = 0.6
"""Share of a layer's activations: up to 0.57 were saturated in networks that learn well."""

Fault = tuple[str, str]
"""What is wrong, and what to try."""


@dataclass(frozen=True)
class Measurement:
    """All layers when one epoch ended.

    Attributes:
        epoch: From 0.
        states: The layers, in the order of the work.
        weights: Norm of each layer's kernel, by name.
    """

    epoch: int
    states: tuple[LayerState, ...]
    weights: Mapping[str, float] = field(default_factory=dict)


def concerns(states: Sequence[LayerState]) -> set[tuple[str, str]]:
    """Pairs of a layer and a measure of it that are out of bounds in this one epoch."""
    found = {(state.name, "dead") for state in states if _over(state.dead, DEAD)}
    # an output layer that is sure of itself is no fault
    found |= {(state.name, "saturated") for state in states[:-1] if _over(state.saturated, SATURATED)}
    for place, state in enumerate(states):
        behind = _steepest(states[place + 1 :])
        if state.gradient is None:
            continue
        if not math.isfinite(state.gradient) or (behind and state.gradient < STARVED * behind[1]):
            found.add((state.name, "gradient"))
    return found


def verdict(measured: Sequence[Measurement], moved: Mapping[str, float]) -> str:
    """Says what keeps the layers from learning, or that nothing does.

    Args:
        measured: At least one measurement, in order of epochs; the layers are the same in all.
        moved: By how much each layer's kernel changed over the last `WINDOW` measurements, as a share of its norm.

    Returns:
        At most two faults in a sentence each, causes before effects and the worst layer of each kind, and what to try
        against the first.
    """
    states = _typical([one.states for one in measured[-WINDOW:]])
    if not states:
        return "Nothing was measured: the model has no dense or convolutional layer."
    count = min(WINDOW, len(measured))
    span = f"over the last {count} measured epochs" if count > 1 else "in the one measured epoch"
    found = [
        _exploding(measured, states, span),
        _dead(states, span),
        _saturated(states, span),
        _vanishing(states, moved, span),
    ]
    said = [one for one in found if one is not None][:2]
    return " ".join([*(text for text, _ in said), said[0][1]]) if said else _healthy(states, span)


def telling(measured: Sequence[Measurement]) -> Sequence[Measurement]:
    """Those that another measurement leaves worth keeping: the last ones, and the first that found no finite number."""
    before, last = measured[: 1 - WINDOW], measured[1 - WINDOW :]
    endless = (one for one in before if not all(map(_finite, one.states)))
    return [*islice(endless, 1), *last]


def _finite(state: LayerState) -> bool:
    return state.gradient is None or math.isfinite(state.gradient)


def _exploding(measured: Sequence[Measurement], states: Sequence[LayerState], span: str) -> Fault | None:
    advice = "Try a lower learning rate, clipnorm, a smaller initialiser or batch_norm."
    for one in measured:
        for state in one.states:
            if not _finite(state):
                return f"Exploding: the gradient of {state.name} was no finite number in epoch {one.epoch}.", advice
    weights = measured[-1].weights
    large = [
        (state.gradient / weights[state.name], state.name)
        for state in states
        if state.gradient is not None and weights.get(state.name, 0) > 0
    ]
    if large and max(large)[0] > LARGE:
        times, name = max(large)
        return f"Exploding: the gradient of {name} is {_number(times)} times as large as its weights {span}.", advice
    for place, state in enumerate(states):
        behind = _steepest(states[place + 1 :])
        if behind and state.gradient is not None and state.gradient > STEEPER * behind[1] > 0:
            other, gradient = behind
            often = _number(state.gradient / gradient)
            return f"Exploding: the gradient of {state.name} is {often} times that of {other} {span}.", advice
    return None


def _dead(states: Sequence[LayerState], span: str) -> Fault | None:
    found = [(state.dead, state.name) for state in states if state.dead is not None and _over(state.dead, DEAD)]
    if not found:
        return None
    share, name = max(found, key=lambda pair: pair[0])
    effect = "so no gradient passes it" if share == 1 else "and learn nothing"
    text = f"Dead: {share:.0%} of the units of {name} are dead {span}, {effect}{_others(len(found))}."
    return text, "Try a lower learning rate, leaky_relu or he_normal."


def _saturated(states: Sequence[LayerState], span: str) -> Fault | None:
    found = [
        (state.saturated, state.name)
        for state in states[:-1]
        if state.saturated is not None and _over(state.saturated, SATURATED)
    ]
    if not found:
        return None
    share, name = max(found, key=lambda pair: pair[0])
    text = (
        f"Saturated: {share:.0%} of the activations of {name} are near an end of their range {span}, where next to no "
        f"gradient passes{_others(len(found))}."
    )
    return text, "Try a smaller initialiser, a lower learning rate, batch_norm or relu."


def _vanishing(states: Sequence[LayerState], moved: Mapping[str, float], span: str) -> Fault | None:
    starved = [one for one in _beside_those_behind(states) if one[0] < STARVED]
    if not starved:
        return None
    # where it is the first layer, it says more than one in the middle that has a little less
    share, name, behind = starved[0] if starved[0][1] == states[0].name else min(starved)
    bounded = any(state.saturated is not None for state in states)
    advice = f"Try {'relu with ' if bounded else ''}he_normal, batch_norm or fewer layers."
    text = f"Vanishing: the gradient of {name} is {share:.2g} of that of {behind} {span}"
    way = moved.get(name)
    if way is None:
        return f"{text}.", advice
    moved_by = f"its weights moved by {100 * way:.2g} % in them"
    if way > STILL:
        return f"{text}; yet {moved_by}, as the optimizer evens it out.", advice
    who = "the first layers hardly learn" if name == states[0].name else f"{name} hardly learns"
    return f"{text}: {who} ({moved_by}).", advice


def _healthy(states: Sequence[LayerState], span: str) -> str:
    text = f"No layer is starved, saturated or dead {span}"
    weak = [one for one in _beside_those_behind(states) if one[0] < 0.5]
    if not weak:
        return f"{text}."
    share, name, behind = min(weak)
    return f"{text}; the weakest gradient is that of {name}, {share:.2g} of that of {behind}."


def _typical(measured: Sequence[Sequence[LayerState]]) -> list[LayerState]:
    """Each layer's medians."""

    def middle(values: Sequence[float | None]) -> float | None:
        known = [value for value in values if value is not None and math.isfinite(value)]
        return median(known) if known else None

    return [
        LayerState(
            layer[0].name,
            gradient=middle([state.gradient for state in layer]),
            saturated=middle([state.saturated for state in layer]),
            dead=middle([state.dead for state in layer]),
        )
        for layer in zip(*measured, strict=True)
    ]


def _steepest(states: Sequence[LayerState]) -> tuple[str, float] | None:
    """The layer with the largest gradient."""
    known = [(state.gradient, state.name) for state in states if state.gradient and math.isfinite(state.gradient)]
    return max(known)[::-1] if known else None


def _beside_those_behind(states: Sequence[LayerState]) -> list[tuple[float, str, str]]:
    """Of each layer, its gradient as a share of the largest behind it, its name, and the name of that other."""
    found = []
    for place, state in enumerate(states):
        behind = _steepest(states[place + 1 :])
        if behind and state.gradient is not None:
            found.append((state.gradient / behind[1], state.name, behind[0]))
    return found


def _over(value: float | None, bound: float) -> bool:
    return value is not None and value > bound - 1e-6  # a third of three units, too


def _others(count: int) -> str:
    return f" ({count - 1} more layer{'s' if count > 2 else ''} likewise)" if count > 1 else ""


def _number(times: float) -> str:
    return f"{times:.0f}" if 10 <= times < 1e5 else f"{times:.2g}"
