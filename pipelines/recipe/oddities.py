"""What a recipe may say and seldom means: no mistakes, and worth a sentence before anything trains."""

from __future__ import annotations

import numpy as np

from pipelines.datasets.base import chunks
from pipelines.datasets.prepared import PreparedData
from pipelines.metrics import direction_of
from pipelines.models.function import FunctionModel
from pipelines.recipe.config import SweepConfig
from pipelines.recipe.goals import added_metrics
from pipelines.recipe.objectives import COSTS

_MOST_NAMES = 5  # of columns, in a sentence


def oddities(config: SweepConfig) -> list[str]:
    """Sentences about a recipe's settings that are allowed and look like slips."""
    said = []
    if not config.search_space and config.budget.trials > 1:
        said.append(
            f"Nothing varies but the seed: the recipe has no search_space, so its {config.budget.trials} trials are "
            "one training with other seeds."
        )
    idle = None if "epochs" in config.search_space else config.pruner.idles(config.epochs, config.budget.trials)
    if idle is not None:
        said.append(f"No trial will be pruned: the pruner '{config.pruner.name}' {idle}.")
    for objective in config.objectives:
        if objective.metric in added_metrics(dict(config)):
            continue  # only its author knows which way it is better
        better = "minimize" if objective.metric in COSTS else direction_of(objective.metric)
        if objective.sense != better:
            said.append(
                f"The sweep looks for the worst: it will {objective.sense} {objective.metric}, of which "
                f"{'less' if better == 'minimize' else 'more'} is better; direction: {better} would look for the best."
            )
    return said


def gaps(config: SweepConfig, data: PreparedData) -> list[str]:
    """A sentence where numbers are missing and the model is the user's own: their losses are no numbers, then.

    Regatta's own models fill in the mean; what a function makes of a raw NaN is its own business, and mostly a NaN.
    """
    numbers = [at for at, column in enumerate(data.facts.columns) if column.words is None]
    if not isinstance(config.model, FunctionModel) or not numbers:
        return []
    rows, columns = 0, np.zeros(len(numbers), np.bool_)
    for samples in data.read():
        for chunk in chunks(samples.x):
            missing = np.isnan(np.asarray(chunk)[:, numbers])
            rows += int(missing.any(axis=1).sum())
            columns |= missing.any(axis=0)
    if not rows:
        return []
    names = [data.facts.columns[numbers[at]].name for at in np.flatnonzero(columns)[:_MOST_NAMES]]
    more = int(columns.sum()) - len(names)
    where = ", ".join(names) + (f" and {more} more" if more else "")
    sentence = (
        f"Numbers are missing (NaN) in {rows} of the samples that trials see, in {where}: your own model gets them as "
        f"they are. Unless it fills them in, as with inputs.mean, its loss will be no number."
    )
    return [sentence]
