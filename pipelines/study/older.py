"""Warm start: an older study's trials, as far as they fit the new one."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial
from optuna.trial import TrialState as OptunaState
from pydantic import TypeAdapter

from pipelines.errors import ConfigError, Mistake
from pipelines.front import Directed
from pipelines.home import Home, StudyFolder
from pipelines.recipe.config import SweepConfig
from pipelines.recipe.draws import fitting
from pipelines.recipe.objectives import MEMORY, Bound, Objective, Objectives
from pipelines.samplers import Varying
from pipelines.samplers.base import BORROWED
from pipelines.samplers.whole_space import distribution
from pipelines.study.storage import open_storage

OBJECTIVES, BOUNDS = "regatta.objectives", "regatta.constraints"
"""What a study was made for, in its user attributes."""
_OBJECTIVES: TypeAdapter[Objective] = TypeAdapter(Objectives)


@dataclass(frozen=True)
class Older:
    """A study whose trials may be used.

    Attributes:
        name: As people know it, with its place where it was set aside.
        objectives: What it looked for.
        bounds: What its trials had to keep.
        trials: All that ended.
        data: Digest of what they trained on, where it is known.
    """

    name: str
    objectives: Directed
    bounds: Mapping[str, Bound]
    trials: Sequence[FrozenTrial]
    data: str | None


def find(config: SweepConfig, storage: Path | str, backend: RDBStorage, home: Home | None, own: str) -> Older:
    """The study that a recipe's `warm_start` names.

    Args:
        config: The recipe.
        storage: Where the new study is kept.
        backend: The same, opened.
        home: Where studies have their folders; told from the storage where it is a file.
        own: The new study's name in the storage.

    Raises:
        ConfigError: There is no such study, or it looked for something else.
    """
    assert config.warm_start is not None
    name = config.warm_start.study
    if home is None and isinstance(storage, Path):
        home = Home(storage.parent.parent.parent)
    folder = _folder(home, name, own=name == config.study) if home is not None else None
    facts = _facts(folder) if folder is not None else {}
    shown = name if folder is None or name != config.study else f"{name}, set aside {folder.root.name}"
    older = None
    if folder is not None and folder.storage.is_file():
        kept = open_storage(folder.storage)
        assert kept is not None
        with closing(_Disposing(kept)):
            older = _read(kept, optuna.get_all_study_names(kept)[0], shown, facts)
    elif not isinstance(storage, Path):
        found = _name_in_database(backend, name, facts.get("uid"), own)
        older = _read(backend, found, shown, facts) if found else None
    if older is None:
        raise ConfigError(config.study, [Mistake("warm_start.study", _missing(config, home))])
    lacking = [each for each in directed(config) if each not in older.objectives]
    if lacking:
        wanted = " and ".join(f"{direction} {metric}" for metric, direction in lacking)
        had = " and ".join(f"{direction} {metric}" for metric, direction in older.objectives) or "nothing that is known"
        message = f"the trials of study '{shown}' have no values for this one's objective ({wanted}); it has {had}"
        raise ConfigError(config.study, [Mistake("warm_start.study", message)])
    return older


def fitted(config: SweepConfig, older: Older, what_varies: Sequence[Varying]) -> list[FrozenTrial]:
    """The trials of an older study as the new one would have them, the best of the first objective first.

    Left out are those that drew something that the new search space does not have, or lack a value that it draws; and
    those of which nobody knows whether they keep the new study's constraints.
    """
    found = [trial for trial in (_fitted(config, older, each, what_varies) for each in older.trials) if trial]
    sign = 1 if config.objective.sense == "minimize" else -1
    found.sort(key=lambda trial: (trial.state != OptunaState.COMPLETE, sign * (trial.values or [0.0])[0]))
    assert config.warm_start is not None
    return found if config.warm_start.trials == "all" else found[: config.warm_start.trials]


def directed(config: SweepConfig) -> list[tuple[str, str]]:
    """A recipe's objectives with their directions."""
    return [(objective.metric, objective.sense) for objective in config.objectives]


def data_of(home: Home | None, storage: Path | str | None, study: str) -> str | None:
    """The digest of the data that a study trains on, as its folder has it; None where it says nothing."""
    if isinstance(storage, Path):
        return _digest(_facts(StudyFolder(storage.parent)))
    return None if home is None else _digest(_facts(home.study(study)))


def _fitted(config: SweepConfig, older: Older, trial: FrozenTrial, varies: Sequence[Varying]) -> FrozenTrial | None:
    params = fitting(trial.params, varies)
    constraints = _constraints(config.constraints, older.bounds, trial)
    if params is None:
        return None
    complete, several = trial.state == OptunaState.COMPLETE, len(config.objectives) > 1
    columns = [list(older.objectives).index(each) for each in directed(config)]
    # a pruner, and TPE, look at the epochs of a trial only where there is one objective, and of the same metric
    same = not several and len(older.objectives) == 1
    return optuna.create_trial(
        state=trial.state,
        values=[trial.values[column] for column in columns] if complete else None,
        params=params,
        distributions={found.name: distribution(found) for found in varies if found.name in params},
        intermediate_values=dict(trial.intermediate_values) if same else {},
        user_attrs={**trial.user_attrs, BORROWED: f"{older.name}/{trial.number}"},
        constraints=constraints,
    )


def _constraints(wanted: Mapping[str, Bound], had: Mapping[str, Bound], trial: FrozenTrial) -> dict[str, float]:
    """By how much a trial breaks the new constraints; one that nobody measured then counts as kept."""
    known = trial.constraints
    if MEMORY in known:  # it never came to a value, and breaks this whatever else it might have broken
        return {MEMORY: known[MEMORY]}
    if trial.state != OptunaState.COMPLETE:
        return {}
    broken: dict[str, float] = {}
    for name, bound in wanted.items():
        before = had.get(name)
        if before is None or name not in known:
            continue
        value = None if before == bound else before.value(known[name])
        if before == bound:
            broken[name] = known[name]
        elif value is not None:
            broken[name] = bound.violation(value)
    return broken


def _folder(home: Home, name: str, *, own: bool) -> StudyFolder | None:
    """The folder of the older study; of those that were set aside, the newest."""
    if not own:
        folder = home.study(name)
        return folder if folder.exists() else None
    aside = [StudyFolder(path) for path in (home.study(name).root / "earlier").glob("*") if path.is_dir()]
    return max((folder for folder in aside if folder.exists()), key=_stamp, default=None)


def _stamp(folder: StudyFolder) -> tuple[str, int]:
    """When a study was set aside: date and time, and the how-manieth of that second."""
    date, clock, *more = folder.root.name.split("-")
    return f"{date}-{clock}", int(more[0]) if more else 1


def _facts(folder: StudyFolder) -> dict[str, Any]:
    """What the folder says of its study; nothing where it cannot be read."""
    try:
        facts: dict[str, Any] = json.loads(folder.facts.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return facts


def _digest(facts: Mapping[str, Any]) -> str | None:
    digest: str | None = facts.get("data", {}).get("sha256")
    return digest


def _name_in_database(backend: RDBStorage, name: str, uid: str | None, own: str) -> str | None:
    """The older study's name in the database: by its uid where that is known, otherwise the newest of its name."""
    names = [study.study_name for study in backend.get_all_studies() if study.study_name != own]
    if uid is not None:
        return f"{name}-{uid}" if f"{name}-{uid}" in names else None
    of_name = [found for found in names if re.fullmatch(rf"{re.escape(name)}(-[0-9a-f]{{12}})?", found)]
    return of_name[-1] if of_name else None


def _read(backend: RDBStorage, found: str, shown: str, facts: Mapping[str, Any]) -> Older:
    study = optuna.load_study(study_name=found, storage=backend)
    about = study.user_attrs
    objectives = [(metric, direction) for metric, direction in about.get(OBJECTIVES, ())]
    if not objectives and "objective" in facts.get("config", {}):  # made by a version that did not say
        before = _OBJECTIVES.validate_python(facts["config"]["objective"])
        objectives = [(objective.metric, objective.sense) for objective in before.all]
    ended = (OptunaState.COMPLETE, OptunaState.PRUNED)
    return Older(
        shown,
        objectives,
        {name: Bound.model_validate(bound) for name, bound in about.get(BOUNDS, {}).items()},
        study.get_trials(deepcopy=False, states=ended),
        _digest(facts),
    )


def _missing(config: SweepConfig, home: Home | None) -> str:
    assert config.warm_start is not None
    name = config.warm_start.study
    if name == config.study:
        return f"no earlier study '{name}' was set aside; name another study, or leave warm_start out the first time"
    known = ", ".join(each for each in home.studies() if each != config.study) if home is not None else ""
    return f"there is no study '{name}'; there are {known or 'none'}"


class _Disposing:
    """Closes a storage's connections."""

    def __init__(self, storage: RDBStorage) -> None:
        self._storage = storage

    def close(self) -> None:
        self._storage.engine.dispose()
