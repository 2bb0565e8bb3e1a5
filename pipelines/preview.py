"""What `--dry-run` shows: the space, a few sampled trials, the budget. No TensorFlow, no server, no files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.table import Table

from pipelines.config import SweepConfig, TrainingConfig
from pipelines.search_space import SearchSpace, overlay
from pipelines.study import Study
from pipelines.trial import flat_params

if TYPE_CHECKING:
    from rich.console import Console

SAMPLES = 3


def preview_json(config: SweepConfig) -> dict[str, Any]:
    """The preview as plain types."""
    space = SearchSpace(config.search_space)
    return {
        "study": config.study,
        "space": {parameter.name: parameter.describe() for parameter in space.parameters()},
        "trials": [trial.model_dump(mode="json") for trial, _ in sampled(config)],
        "budget": {**config.budget.model_dump(mode="json"), "epochs": config.epochs},
    }


def preview(config: SweepConfig, console: Console) -> None:
    """Prints the preview for a person."""
    objective, budget = config.objective, config.budget
    console.print(f"[bold]{config.study}[/]: {objective.sense} {objective.metric}, nothing is run")
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
    console.print(table)
    console.print()
    base = flat_params(config.training())
    for number, (trial, params) in enumerate(sampled(config)):
        console.print(f"trial {number} would be drawn as")
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
    console.print("The data was not opened: whether it is there, and goes with the rest, shows when the sweep begins.")


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
