"""What `--dry-run` shows: the space, a few sampled trials, the budget. No TensorFlow, no server, no files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.table import Table

from pipelines.datasets.places import find
from pipelines.home import user_data_folder
from pipelines.params import flat_params
from pipelines.recipe.config import SweepConfig, TrainingConfig
from pipelines.recipe.oddities import oddities
from pipelines.recipe.search_space import SearchSpace, overlay
from pipelines.study import Study
from pipelines.telling import show_table

if TYPE_CHECKING:
    from rich.console import Console

SAMPLES = 3


def preview_json(config: SweepConfig) -> dict[str, Any]:
    """The preview as plain types.

    Raises:
        DataError: A file of the user's own that the data set names is not there.
    """
    _look_for_data(config)
    space = SearchSpace(config.search_space)
    return {
        "study": config.study,
        "space": {parameter.name: parameter.describe() for parameter in space.parameters()},
        "objectives": [{"metric": each.metric, "direction": each.sense} for each in config.objectives],
        "constraints": {name: str(bound) for name, bound in config.constraints.items()},
        "enqueued": [dict(each) for each in config.enqueue],
        "trials": [trial.model_dump(mode="json") for trial, _ in sampled(config)],
        "budget": {**config.budget.model_dump(mode="json", exclude_none=True), "epochs": config.epochs},
    }


def preview(config: SweepConfig, console: Console) -> None:
    """Prints the preview for a person.

    Raises:
        DataError: A file of the user's own that the data set names is not there.
    """
    _look_for_data(config)
    budget = config.budget
    aims = ", ".join(f"{objective.sense} {objective.metric}" for objective in config.objectives)
    console.print(f"[bold]{config.study}[/]: {aims}, nothing is run")
    for line in (*oddities(config), *_aims(config)):
        console.print(line, highlight=False)
    console.print()
    parameters = SearchSpace(config.search_space).parameters()
    table = Table(
        title=f"search space: {len(parameters)} parameters", title_justify="left", box=None, padding=(0, 2, 0, 0)
    )
    for heading in ("parameter", "drawn from", "only when"):
        table.add_column(heading, overflow="fold")
    for parameter in parameters:
        given = ", ".join(f"{name} is {kind}" for name, kind in parameter.given.items())
        table.add_row(parameter.name, parameter.describe(), given)
    show_table(console, table)
    console.print()
    base = flat_params(config.training())
    for number, (trial, params) in enumerate(sampled(config)):
        word = "begins with what is enqueued" if number < len(config.enqueue) else "would be drawn as"
        console.print(f"trial {number} {word}")
        for name, value in params.items():
            console.print(f"  {name} = {value}")
        flat = flat_params(trial.model_dump(mode="json"))
        others = [f"{key}={value}" for key, value in flat.items() if base.get(key) != value and key not in params]
        if others:
            console.print(f"  [dim]which makes: {', '.join(others)}[/]")
    console.print()
    console.print(
        f"budget: {budget.trials} trials of at most {config.epochs} epochs, {budget.trials * config.epochs} epochs in "
        f"all; sampler {config.sampler.name}, pruner {config.pruner.name}"
    )
    sooner = budget.model_dump(exclude_none=True, exclude={"trials", "failed_trials", "same_failures"})
    if sooner:
        console.print(f"it ends sooner with {', '.join(f'{name} {value:g}' for name, value in sooner.items())}")
    console.print("The data was not opened: whether it goes with the rest shows when the sweep begins.")


def _look_for_data(config: SweepConfig) -> None:
    for path in (getattr(config.dataset, field, None) for field in ("path", "test_path")):
        if path:
            find(path, user_data_folder())


def _aims(config: SweepConfig) -> list[str]:
    """What there is to say of how the best trial is found, where it is more than one objective."""
    lines = []
    if len(config.objectives) > 1:
        first = config.objective.metric
        picked = {
            "first": f"the best {first} of all trials",
            "knee": "the trial nearest to the best of all objectives, each scaled over the front",
        }[config.promotion.pick]
        lines.append(
            f"{first} decides each trial's best epoch, where the others are measured. The best is a front of trials; "
            f"the candidate is {picked} (promotion.pick: {config.promotion.pick})."
        )
    if config.constraints:
        bounds = ", ".join(f"{name} {bound}" for name, bound in config.constraints.items())
        lines.append(f"The best keeps {bounds}; the sampler learns to keep away from what does not.")
    if config.warm_start is not None:
        which = "all trials" if config.warm_start.trials == "all" else f"the best {config.warm_start.trials} trials"
        lines.append(
            f"It begins with {which} of study '{config.warm_start.study}' that fit; the trials below do without, as "
            f"nothing is opened, and have numbers of their own."
        )
    return lines


def sampled(config: SweepConfig) -> list[tuple[TrainingConfig, dict[str, Any]]]:
    """The first trials that the study would ask for, as they depend on no result yet."""
    study, space = Study(config, None), SearchSpace(config.search_space)
    trials = []
    for _ in range(min(SAMPLES, config.budget.trials, study.combinations or SAMPLES)):
        asked = study.ask()
        changes = space.sample(asked.optuna_trial)
        raw = overlay({**config.training(), "seed": config.seed + asked.number}, changes)
        trials.append((TrainingConfig.model_validate(raw), asked.params))
    return trials
