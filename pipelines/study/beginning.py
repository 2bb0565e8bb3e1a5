"""What a study has before it asks for its first trial: an older study's trials, and what is to be tried first."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipelines.errors import ConfigError, Mistake
from pipelines.home import Home
from pipelines.recipe.config import SweepConfig
from pipelines.recipe.draws import draws_all, misfit, told
from pipelines.study import older
from pipelines.study.book import Known
from pipelines.study.storage import no_experimental_warnings
from pipelines.study.trials import Trials

_WARM = "regatta.warm_start"


def warm_up(trials: Trials, config: SweepConfig, storage: Path | str | None, home: Home | None) -> list[str]:
    """Makes an older study's trials the first of this one, before any of its own; once.

    A study in memory has none beside it. One that has trials of its own is left alone, as they have the numbers.

    Returns:
        What there is to say about it.

    Raises:
        ConfigError: The older study is not there, or looked for something else.
    """
    book, study = trials.book, trials.study
    if config.warm_start is None or storage is None or trials.backend is None or study.user_attrs.get(_WARM):
        return []
    if any(True for _ in book.own()):
        return []
    found = older.find(config, storage, trials.backend, home, study.study_name)
    fitting = older.fitted(config, found, trials.varies)
    for trial in fitting[len(book) :]:  # a controller that was killed here has taken some of them
        trials.add(trial)
    note_purpose(trials, config)
    study.set_user_attr(_WARM, {"study": found.name, "trials": len(fitting)})
    of_them = f"of the {len(found.trials)} trials of study '{found.name}'"
    if not fitting:
        why = (
            f": trial {found.trials[0].number} {misfit(found.trials[0].params, trials.varies)}" if found.trials else ""
        )
        return [f"None {of_them} fits this one's search space{why}. It begins without."]
    said = f"{len(fitting)} {of_them} fit, and are known from the beginning."
    unknown = [name for name in config.constraints if name not in found.bounds]
    if unknown:
        said += f" Whether they keep {', '.join(unknown)} nobody asked then; they count as keeping it."
    mine = older.data_of(home, storage, config.study)
    if mine and found.data and mine != found.data:
        said += " They trained on other data, so their results are a hint rather than a comparison."
    return [said]


def note_purpose(trials: Trials, config: SweepConfig) -> None:
    """Keeps what the study is for, for one that begins with its trials and for Optuna's own pictures and tables."""
    study = trials.study
    if older.OBJECTIVES not in study.user_attrs:
        bounds = {name: bound.model_dump(mode="json") for name, bound in config.constraints.items()}
        study.set_user_attr(older.BOUNDS, bounds)
        study.set_user_attr(older.OBJECTIVES, list(trials.objectives))
    if len(trials.objectives) > 1 and study.metric_names is None:  # with one, notebooks look for the column `value`
        with no_experimental_warnings():
            study.set_metric_names([metric for metric, _ in trials.objectives])


def enqueue(trials: Trials, config: SweepConfig) -> None:
    """Lets what is to be tried first wait, unless it does already or was tried.

    What waits and is in the recipe no more becomes a trial like any other.

    Raises:
        ConfigError: It is not in the search space; a recipe that was checked has nothing like that.
    """
    asked = [known for known in trials.book.own() if known.told or known.state is not None]
    for number, mapping in enumerate(config.enqueue):
        values, wrong = told(mapping, trials.varies)
        if wrong:
            places = [Mistake(f"enqueue.{number}.{name}", message) for name, message in wrong.items()]
            raise ConfigError(config.study, places)
        done = next((known for known in asked if _is_this(trials, known, values)), None)
        if done is not None:
            asked.remove(done)
        else:
            trials.study.enqueue_trial(values)
            trials.enter_last()
    for known in asked:
        if known.state is None:
            trials.storage.set_trial_system_attr(known.trial_id, "fixed_params", {})
            known.told = None


def _is_this(trials: Trials, known: Known, values: Mapping[str, Any]) -> bool:
    """Whether a trial is the one that was told to draw these values, or need not be tried again for them."""
    if known.told:
        return dict(known.told) == values
    drawn = known.params_now()
    has_them = all(name in drawn and drawn[name] == value for name, value in values.items())
    return has_them and (known.restored or draws_all(values, trials.varies))
