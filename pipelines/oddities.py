"""What a recipe may say and seldom means: no mistakes, and worth a sentence before anything trains."""

from __future__ import annotations

from pipelines.config import SweepConfig
from pipelines.metrics import direction_of
from pipelines.objectives import COSTS


def oddities(config: SweepConfig) -> list[str]:
    """Sentences about a recipe's settings that are allowed and look like slips."""
    said = []
    if not config.search_space and config.budget.trials > 1:
        said.append(
            f"Nothing varies but the seed: the recipe has no search_space, so its {config.budget.trials} trials are "
            "one training with other seeds."
        )
    for objective in config.objectives:
        better = "minimize" if objective.metric in COSTS else direction_of(objective.metric)
        if objective.sense != better:
            said.append(
                f"The sweep looks for the worst: it will {objective.sense} {objective.metric}, of which "
                f"{'less' if better == 'minimize' else 'more'} is better; direction: {better} would look for the best."
            )
    return said
