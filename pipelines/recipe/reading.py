"""Reads a recipe: YAML, then `--set` over it, then every check there is, then all mistakes at once or none."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import TypeAdapter, ValidationError

from pipelines import yaml_file
from pipelines.computing import LATER
from pipelines.errors import ConfigError, Mistake
from pipelines.inputs import InputFacts
from pipelines.mistakes import did_you_mean, dotted, explain, stands_below
from pipelines.own.code import named_in
from pipelines.params import flat_params
from pipelines.recipe.config import SweepConfig, TrainingConfig, sound_parts
from pipelines.recipe.distributions import Entry
from pipelines.recipe.draws import told
from pipelines.recipe.search_space import SearchSpace
from pipelines.samplers import ITSELF, Sampler, highest, varying
from pipelines.spec import kinds_of

SPACE = "search_space"
_ENTRIES: TypeAdapter[dict[str, Entry]] = TypeAdapter(dict[str, Entry])
_SAME_STUDY = ("budget", "checkpoints", "execution", "promotion", "enqueue")
"""Parts that may change between two starts of one study: they do not change what a trial is."""
_NEVER = object()
_LATECOMERS = ("constraints", "warm_start")
"""Parts that recipes did not have from the beginning: without them a study is what it was before there were any."""


def read_recipe(path: Path, settings: Iterable[str] = (), *, to_sweep: bool = True) -> SweepConfig:
    """The recipe in `path` with `settings` (each `path=value`, the value in YAML) laid over it.

    Args:
        path: Of the file.
        settings: What is set on the command line.
        to_sweep: Whether its search space will be used, so that a setting of what varies would do nothing.

    Raises:
        ConfigError: Every mistake of the file and the settings, each with its path and line.
    """
    document = yaml_file.read(path)
    with named_in(path.parent):
        return check_recipe(document, str(path), settings, to_sweep=to_sweep)


def check_recipe(
    document: yaml_file.Document, source: str, settings: Iterable[str] = (), *, to_sweep: bool = True
) -> SweepConfig:
    """The recipe in a document that was read already; see `read_recipe`."""
    raw = document.data
    mistakes: list[Mistake] = []
    chosen: list[str] = []
    for setting in settings:
        wrong = _apply(raw, setting)
        mistakes += wrong
        chosen += [setting.partition("=")[0]] if not wrong else []
    config: SweepConfig | None = None
    found: dict[tuple[str | int, ...], str] = {}
    try:
        config = SweepConfig.model_validate(raw)
    except ValidationError as error:
        found = explain(error, SweepConfig, raw)
        if isinstance(raw, dict):  # what one part asks of another is known before every part is right
            parts = {**sound_parts(SweepConfig, raw), SPACE: _sound_entries(raw)}
            for place, message in SweepConfig.check_parts(parts):
                if not any(_overlap(place, known) for known in found):
                    found[place] = message
    for name, message in _check_space(raw, config).items():
        place = (SPACE, *_place_in_space(raw[SPACE], name))
        if not any(_overlap(place, known) for known in found):
            found[place] = message
    if config is not None and to_sweep and not found:
        found |= _search_problems(raw, config)
    mistakes += [_mistake(document, chosen, place, message) for place, message in found.items()]
    if to_sweep and isinstance(raw.get(SPACE), dict):
        sound = [
            setting for setting in chosen if not any(f"{m.path}.".startswith(f"--set {setting}.") for m in mistakes)
        ]
        mistakes += [
            _without_effect(setting, path) for setting in sound for path in raw[SPACE] if _varies(setting, path)
        ]
    if mistakes or config is None:
        raise ConfigError(source, mistakes)
    return config


def _search_problems(raw: Mapping[str, Any], config: SweepConfig) -> dict[tuple[str | int, ...], str]:
    """What does not go together of sampler, pruner, objectives, search space and what is to be tried first."""
    what_varies = varying(SearchSpace(config.search_space).parameters())
    found: dict[tuple[str | int, ...], str] = {}
    if len(config.objectives) > 1:
        found |= _several_problems(config)
    for field, message in config.sampler.misfits_with(len(config.objectives)).items():
        found["sampler", field] = message
    for number, mapping in enumerate(config.enqueue):
        for name, message in told(mapping, what_varies)[1].items():
            found["enqueue", number, name] = message
    for name, message in config.sampler.misfits(what_varies).items():
        inside = name.partition(".")[0] == ITSELF
        found[tuple(name.split(".", 2)) if inside else (SPACE, *_place_in_space(raw[SPACE], name))] = message
    for field, message in config.pruner.misfits(highest(what_varies, "epochs", config.epochs)).items():
        found["pruner", *field.split(".")] = message
    return found


def _several_problems(config: SweepConfig) -> dict[tuple[str | int, ...], str]:
    """What cannot look for several objectives at once."""
    found: dict[tuple[str | int, ...], str] = {}
    many = f"there are {len(config.objectives)}"
    if not config.sampler.takes_several:
        able = " or ".join(name for name, kind in kinds_of(Sampler).items() if kind.takes_several)  # type: ignore[attr-defined]
        found[("sampler",)] = f"'{config.sampler.name}' looks for one objective, and {many}; use {able}"
    if config.pruner.name != "none":
        found[("pruner",)] = (
            f"'{config.pruner.name}' weighs trials by one objective, and {many}; leave the pruner out, or keep one "
            f"objective and bound the others in constraints"
        )
    return found


def check_with_data(config: SweepConfig | TrainingConfig, facts: InputFacts, source: str) -> None:
    """What only the data could tell: whether the recipe's parts, and all that its trials may draw, go with it.

    Raises:
        ConfigError: They do not; nothing was started.
    """
    found = {dotted(place): message for place, message in config.check_with(facts)}
    if isinstance(config, SweepConfig):
        wrong = SearchSpace(config.search_space, facts).check(config.training())
        found |= {f"{SPACE}.{name}": message for name, message in wrong.items()}
    if found:
        raise ConfigError(source, [Mistake(place, message) for place, message in found.items()])


def _varies(setting: str, path: str) -> bool:
    """Whether every trial draws what was set on the command line anew."""
    return f"{setting}.".startswith(f"{path}.")


def _without_effect(setting: str, path: str) -> Mistake:
    return Mistake(
        f"--set {setting}",
        f"has no effect, as the search space varies '{path}' and each trial draws it anew; narrow the space instead: "
        f"--set {SPACE}.{path}=[…]",
    )


def _overlap(place: tuple[str | int, ...], known: tuple[str | int, ...]) -> bool:
    """Whether one place lies within the other, or is it: one mistake is told there already."""
    return place[: len(known)] == known or known[: len(place)] == place


def _mistake(
    document: yaml_file.Document, chosen: Iterable[str], place: tuple[str | int, ...], message: str
) -> Mistake:
    """A mistake with its line; what was set on the command line (`chosen`) stands on no line of the file."""
    path = dotted(place)
    if any(f"{path}.".startswith(f"{setting}.") for setting in chosen):
        return Mistake(f"--set {path}", message)
    return Mistake(path, message, document.line(place))


def identity(config: SweepConfig) -> str:
    """Digest of everything that makes a study what it is: two starts with the same one go on with the same study."""
    parts = config.model_dump(mode="json", exclude=set(_SAME_STUDY))
    parts = {
        name: part
        for name, part in parts.items()
        if (part or name not in _LATECOMERS) and part != LATER.get(name, _NEVER)
    }
    # Keras calls them in this order; `adds` came later, and a study of before it goes on
    callbacks = parts["callbacks"].items()
    parts["callbacks"] = [
        (label, {name: value for name, value in callback.items() if value or name != "adds"})
        for label, callback in callbacks
    ]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def changed(before: Mapping[str, Any], config: SweepConfig) -> list[str]:
    """Paths of what makes a recipe another study than the one before it, as far as a value differs.

    Args:
        before: The older recipe, as plain JSON types.
        config: The recipe now.
    """
    older, now = (
        flat_params({name: part for name, part in recipe.items() if name not in _SAME_STUDY})
        for recipe in (before, config.model_dump(mode="json"))
    )
    later = {name for name in LATER if name not in before}  # what older recipes did not have yet
    paths = dict.fromkeys((*now, *older))
    return [path for path in paths if older.get(path) != now.get(path) and path.split(".")[0] not in later]


def _check_space(raw: Mapping[str, Any], config: SweepConfig | None) -> dict[str, str]:
    """Checks the space even where other parts of the recipe are wrong, so that nobody mends mistakes in two rounds."""
    if config is not None:
        return SearchSpace(config.search_space).check(config.training())
    base = {key: value for key, value in raw.items() if key in TrainingConfig.model_fields}
    # what varies may lie in a part that the recipe leaves at its default
    return SearchSpace(_sound_entries(raw)).check({**TrainingConfig().model_dump(mode="json"), **base})


def _sound_entries(raw: Mapping[str, Any]) -> dict[str, Entry]:
    """The entries of the search space that can be read."""
    entries = raw.get(SPACE)
    good: dict[str, Entry] = {}
    for path, entry in entries.items() if isinstance(entries, dict) else ():
        try:
            good |= _ENTRIES.validate_python({path: entry})
        except ValidationError:
            continue  # reported already, as a mistake of the file
    return good


def _place_in_space(entries: Mapping[str, Any], name: str) -> tuple[str, ...]:
    """Where the parameter called `name` stands below `search_space`, key by key as the file has them."""
    here: Any = entries
    parts = name.split(".")
    place: list[str] = []
    while parts and isinstance(here, dict):
        length = next((n for n in range(len(parts), 0, -1) if ".".join(parts[:n]) in here), None)
        if length is None:
            break
        key = ".".join(parts[:length])
        place.append(key)
        here, parts = here[key], parts[length:]
    return tuple(place)


def _apply(raw: dict[str, Any], setting: str) -> list[Mistake]:
    """Sets one `path=value`; a mistake where it is no such thing."""
    path, separator, text = setting.partition("=")
    if not separator or not path:
        return [Mistake("--set", f"must be path=value, such as epochs=5, got {setting!r}")]
    try:
        value = yaml_file.value(text) if text else ""
    except (yaml.YAMLError, TypeError, ValueError):
        return [Mistake("--set", f"the value of {path} is not YAML: {text!r}")]
    here: Any = raw
    parts = path.split(".")
    if parts[0] not in SweepConfig.model_fields:
        hint = stands_below(parts[0], SweepConfig) or did_you_mean(parts[0], SweepConfig.model_fields)
        return [Mistake("--set", f"a recipe has no '{parts[0]}'{hint}, got {setting!r}")]
    while len(parts) > 1:
        if ".".join(parts) in here:
            parts = [".".join(parts)]
            break
        # keys of the search space have dots of their own: the longest that is there counts
        length = next((n for n in range(len(parts) - 1, 0, -1) if ".".join(parts[:n]) in here), 1)
        key, parts = ".".join(parts[:length]), parts[length:]
        inner = here.get(key)
        # a copy: what YAML's anchors share stays as it is elsewhere
        here[key] = dict(inner) if isinstance(inner, dict) else {"name": inner} if isinstance(inner, str) else {}
        here = here[key]
        if (
            key == SPACE
            and ".".join(parts) not in here
            and not any(".".join(parts[:n]) in here for n in range(1, len(parts)))
        ):
            parts = [".".join(parts)]
    here[parts[0]] = value
    return []
