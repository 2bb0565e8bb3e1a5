"""What varies: samples a trial's changes, lays them over the base config, and checks both before anything trains."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations, product
from typing import Any

from pydantic import ValidationError

from pipelines.inputs import InputFacts
from pipelines.mistakes import did_you_mean, dotted, explain
from pipelines.recipe.config import TrainingConfig, sound_parts
from pipelines.recipe.distributions import (
    Branches,
    Choices,
    Distribution,
    Entry,
    FloatRange,
    IntRange,
    Node,
    Suggests,
    label,
)

ABSENT = "none"
"""The kind that takes an optional part (a callback) out of the config."""
NOT_VARIED = {
    "dataset": "trials on different samples could not be compared",
    "task": "trials that learn different things could not be compared",
    "metrics": "every trial must have the same metrics; list all of them",
}


@dataclass(frozen=True)
class Parameter:
    """One thing that is drawn.

    Attributes:
        name: Its name in the study: the path in the config, with the chosen kind where it belongs to one.
        distribution: What it is drawn from; the kinds to choose from, for a choice of branch.
        given: The branch choices, by parameter name, under which it exists.
        entry: The key of the search space that it belongs to.
        place: The path in the training config that it sets.
    """

    name: str
    distribution: Distribution | tuple[str, ...]
    given: Mapping[str, str]
    entry: str
    place: str

    def probes(self) -> list[Any]:
        """Values that show whether all of it is allowed."""
        return list(self.distribution) if isinstance(self.distribution, tuple) else self.distribution.probes()

    def describe(self) -> str:
        """The distribution, for a person."""
        if isinstance(self.distribution, tuple):
            return "one of " + ", ".join(self.distribution)
        return str(self.distribution)


class SearchSpace:
    """The map of what varies, by path in the training config."""

    def __init__(self, entries: Mapping[str, Entry], facts: InputFacts | None = None) -> None:
        """Takes the parsed entries of a recipe and, for a check once the data is there, what is known of it."""
        self._entries = entries
        self._facts = facts

    def parameters(self) -> list[Parameter]:
        """Everything that can be drawn, branches first."""
        return [
            parameter for path, entry in self._entries.items() for parameter in _parameters(path, entry, path, path, {})
        ]

    def sample(self, trial: Suggests) -> dict[str, Any]:
        """Draws one trial: a value by path; a whole node for a branch, None where the node goes away."""
        return {path: _draw(trial, path, entry) for path, entry in self._entries.items()}

    def corners(self, most: int = 16) -> list[dict[str, Any]]:
        """Draws at the edges of the space, as `sample` gives them: all at its greatest, and with that each choice once.

        Args:
            most: How many at most.
        """
        parameters = self.parameters()
        greatest = {found.name: found.probes()[-1] for found in parameters}
        draws = [greatest] if parameters else []
        for found in parameters:
            if not isinstance(found.distribution, FloatRange | IntRange):
                draws += [{**greatest, **found.given, found.name: value} for value in found.probes()]
        return [self.sample(_Probe(values)) for values in draws[:most]]

    def check(self, base: Mapping[str, Any]) -> dict[str, str]:
        """Tries both ends of every range and every choice against the config's own limits, then choices in pairs.

        Args:
            base: The training config as it stands in the recipe.

        Returns:
            What is wrong, by name of the parameter; empty where every trial will be a valid config.
        """
        wrong = self._misplaced() | self._beyond_lists(base)
        sound = SearchSpace({path: entry for path, entry in self._entries.items() if path not in wrong}, self._facts)
        return wrong | (sound._wrong_alone(base) or sound._wrong_together(base))

    def _wrong_alone(self, base: Mapping[str, Any]) -> dict[str, str]:
        """Values that no trial may have, tried one by one while everything else is at its first value."""
        parameters = self.parameters()
        places = {parameter.place for parameter in parameters}
        # mistakes of the base config itself are reported as such, not again for each probe
        known = _mistakes_of(base, self._facts)
        wrong: dict[str, str] = {}
        for place, message in self._reached(base, {}).items():
            if place not in known and not any(_within(place, other) for other in places):
                inside = [parameter for parameter in parameters if _within(parameter.place, place)] or parameters
                wrong[inside[-1].name] = f"does not go with the rest of the space: {place} {message}"
                known[place] = message
        for parameter in parameters:
            reached: dict[str, tuple[str, list[str]]] = {}  # by what is wrong: told of the first value, and all of them
            for value in parameter.probes():
                found = {
                    place: f"{place} {message}".strip()
                    for place, message in self._reached(base, {**parameter.given, parameter.name: value}).items()
                    if (place not in known or _within(place, parameter.place))
                    and _concerns(place, parameter.place, places)
                }
                if found:
                    hint = _for_a_list(parameter) if any(map(_wants_list, found.values())) else ""
                    told = f"{'; '.join(found.values())}{hint}"
                    reached.setdefault(told.partition(", got ")[0], (told, []))[1].append(repr(value))
            if reached and parameter.name not in wrong:
                # where all of them are wrong in the same way, it is not about the values
                most = 1 if [len(values) for _, values in reached.values()] == [len(parameter.probes())] else None
                said = [f"would reach {' and '.join(values[:most])}: {told}" for told, values in reached.values()]
                wrong[parameter.name] = "; and ".join(said)
        return wrong

    def _wrong_together(self, base: Mapping[str, Any]) -> dict[str, str]:
        """Choices that are fine one by one and wrong together, such as two callbacks that both move the rate."""
        wrong: dict[str, str] = {}
        known = _mistakes_of(base, self._facts)
        chosen = [found for found in self.parameters() if not isinstance(found.distribution, FloatRange | IntRange)]
        for one, other in combinations(chosen, 2):
            for first, second in product(one.probes(), other.probes()):
                values = {**one.given, **other.given, one.name: first, other.name: second}
                possible = all(values[name] == kind for name, kind in (*one.given.items(), *other.given.items()))
                found = self._reached(base, values) if possible and other.name not in wrong else {}
                new = [f"{place} {message}".strip() for place, message in found.items() if place not in known]
                if new:
                    wrong[other.name] = f"would reach {second!r} while {one.name} is {first!r}: {'; '.join(new)}"
        return wrong

    def _reached(self, base: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, str]:
        """What is wrong with the trial that draws `values`, and the first value of everything else."""
        return _mistakes_of(overlay(base, self.sample(_Probe(values))), self._facts)

    def _misplaced(self) -> dict[str, str]:
        """Paths that cannot vary, and paths inside one another."""
        wrong: dict[str, str] = {}
        top_level = list(TrainingConfig.model_fields)
        for path, entry in self._entries.items():
            first = path.split(".")[0]
            kinds = getattr(entry, "root", {})
            inside = next((other for other in self._entries if path.startswith(f"{other}.")), None)
            if first in NOT_VARIED:
                wrong[path] = f"cannot vary: {NOT_VARIED[first]}"
            elif first not in top_level:
                known = ", ".join(name for name in top_level if name not in NOT_VARIED)
                wrong[path] = f"is no path in the training config{did_you_mean(first, top_level)}; it has {known}"
            elif inside:
                wrong[path] = f"varies inside '{inside}', which varies as a whole; move it into that branch"
            elif ABSENT in kinds and not _may_go(path):
                wrong[path] = f"cannot be '{ABSENT}', as only a callback can be left out; take '{ABSENT}' away"
        return wrong

    def _beyond_lists(self, base: Mapping[str, Any]) -> dict[str, str]:
        """Paths to an item that a list of the base config does not have: the recipe says how long the list is."""
        wrong: dict[str, str] = {}
        for path in self._entries:
            here: Any = base
            parts = path.split(".")
            for length, part in enumerate(parts):
                if isinstance(here, list | tuple) and not _is_item(here, part):
                    whole = ".".join(parts[:length])
                    wrong[path] = (
                        f"is no item of {whole}, which the recipe says is {json.dumps(list(here))}: its items are "
                        f"numbered from 0, and how many there are varies by choices of whole lists only"
                    )
                    break
                here = here[int(part)] if isinstance(here, list | tuple) else _inside(here, part)
        return wrong


def overlay(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of `base` with each path of `changes` set; a node is replaced whole, None takes it out.

    A number in a path is the item of a list, from 0, where the base has a list of that length there.
    """
    result = copy.deepcopy(dict(base))
    for path, value in changes.items():
        _set(result, path.split("."), copy.deepcopy(value))
    return result


class _Probe:
    """Stands in for a trial: draws what it is told, and the first possible value of everything else."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = values

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        return self._values.get(name, low)  # type: ignore[no-any-return]

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int:
        return self._values.get(name, low)  # type: ignore[no-any-return]

    def suggest_categorical(self, name: str, choices: Any) -> Any:
        value = label(self._values.get(name, choices[0]))
        return value if value in choices else choices[0]


def _parameters(name: str, node: Any, entry: str, place: str, given: Mapping[str, str]) -> Iterator[Parameter]:
    if isinstance(node, Node):
        for inner, inner_node in node.root.items():
            if _varies(inner_node):
                yield from _parameters(f"{name}.{inner}", inner_node, entry, f"{place}.{inner}", given)
        return
    if not isinstance(node, Branches):
        yield Parameter(name, node, given, entry, place)
        return
    yield Parameter(name, tuple(node.root), given, entry, place)
    for kind, contents in node.root.items():
        for inner, inner_node in contents.items():
            if _varies(inner_node):
                inside = {**given, name: kind}
                yield from _parameters(f"{name}.{kind}.{inner}", inner_node, entry, f"{place}.{inner}", inside)


def _wants_list(mistake: str) -> bool:
    return " must be a valid list, got " in mistake and ", or must" not in mistake


def _for_a_list(parameter: Parameter) -> str:
    """The way out for whoever wrote one list, of which each item became a choice, or a range for all of a list."""
    drawn = parameter.distribution
    if isinstance(drawn, FloatRange | IntRange):
        return f"; a range is for one item of a list, by its number: {parameter.entry}.0"
    if not isinstance(drawn, Choices):
        return ""
    return f"; a list here is one of choices, so write a list as a choice: {json.dumps([list(drawn.choices)])}"


def _concerns(mistake: str, place: str, places: set[str]) -> bool:
    """Whether a mistake at one path is the business of the parameter at `place`, and of none that is nearer to it."""
    if not mistake or _within(place, mistake):
        return True  # a whole part is wrong, as its values do not go together
    owners = [other for other in places if _within(mistake, other)]
    return not owners or max(owners, key=len) == place


def _within(path: str, other: str) -> bool:
    return path == other or path.startswith(f"{other}.")


def _may_go(path: str) -> bool:
    """Whether the config does without the part at this path."""
    return path.startswith("callbacks.") and path.count(".") == 1


def _draw(trial: Suggests, name: str, entry: Any) -> Any:
    if isinstance(entry, Node):
        drawn: dict[str, Any] = {}
        for inner, inner_entry in entry.root.items():
            _set(drawn, inner.split("."), _draw(trial, f"{name}.{inner}", inner_entry))
        return drawn
    if not isinstance(entry, Branches):
        return entry.suggest(trial, name) if _varies(entry) else entry
    kind = trial.suggest_categorical(name, list(entry.root))
    if kind == ABSENT:
        return None
    node: dict[str, Any] = {"name": kind}
    for inner, inner_entry in entry.root[kind].items():
        _set(node, inner.split("."), _draw(trial, f"{name}.{kind}.{inner}", inner_entry))
    return node


def _varies(entry: Any) -> bool:
    """Whether anything in an entry is drawn."""
    if isinstance(entry, Node):
        return any(_varies(inner) for inner in entry.root.values())
    return isinstance(entry, Branches) or hasattr(entry, "suggest")


def _is_item(items: Any, part: str) -> bool:
    return part.isdecimal() and int(part) < len(items)


def _inside(node: Any, part: str) -> Any:
    return node.get(part) if isinstance(node, Mapping) else None


def _set(target: dict[str, Any], parts: list[str], value: Any) -> None:
    for number, part in enumerate(parts[:-1], 1):
        inner = target.get(part)
        if isinstance(inner, list) and number + 1 == len(parts) and _is_item(inner, parts[number]):
            inner[int(parts[number])] = value
            return
        # `callbacks.early_stopping.patience` over a base without that callback adds it, with its defaults
        target[part] = inner if isinstance(inner, dict) else {"name": inner} if isinstance(inner, str) else {}
        target = target[part]
    if value is None:
        target.pop(parts[-1], None)
    else:
        target[parts[-1]] = value


def _mistakes_of(config: Mapping[str, Any], facts: InputFacts | None) -> dict[str, str]:
    """What is wrong with a training config, by path."""
    try:
        read = TrainingConfig.model_validate(config)
    except ValidationError as error:
        found = {dotted(path): message for path, message in explain(error, TrainingConfig, config).items()}
    else:
        return {} if facts is None else {dotted(place): message for place, message in read.check_with(facts)}
    # what one part asks of another is a mistake also where a third part is wrong
    for place, message in TrainingConfig.check_parts(sound_parts(TrainingConfig, config)):
        path = dotted(place)
        if not any(_within(path, known) or _within(known, path) for known in found):
            found[path] = message
    return found
