"""What the controller itself costs a trial, from the first of a sweep to its two thousandth.

The trials answer at once, so all the time there is goes to the controller: asking the sampler, the pruner, telling
the study, writing the journal, keeping the best checkpoints.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna

from pipelines.recipe.config import SweepConfig
from pipelines.study import AskedTrial, Study
from pipelines.training.timing import Stopwatch
from tests.benchmarks.parts import (
    Follower,
    arguments,
    draw_nothing,
    scratch,
    sweep_at_once,
    table,
    trivial_recipe,
    where,
)

PARTS = ("ask", "sample", "prune", "tell")
SUGGEST = ("suggest_float", "suggest_int", "suggest_categorical")


@dataclass
class Costs:
    """Milliseconds of each trial, in the order in which they ended.

    Attributes:
        wall: As the clock on the wall has it: other programs on this machine count, too.
        cpu: That the controller's own thread computed.
        parts: The same, spent in Optuna, by what for.
    """

    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    parts: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))


class TimedStudy(Study):
    """A study that adds up the seconds which are spent in it."""

    def __init__(self, config: SweepConfig, storage: Path) -> None:
        self.watch = Stopwatch(time.thread_time)
        super().__init__(config, storage)

    def ask(self) -> AskedTrial:
        with self.watch.during("ask"):
            return super().ask()

    def should_stop(self, number: int, epoch: int, value: float) -> bool:
        with self.watch.during("prune"):
            return super().should_stop(number, epoch, value)

    def tell(self, *told: Any, **more: Any) -> None:
        with self.watch.during("tell"):
            super().tell(*told, **more)


@contextmanager
def sampling_timed(watch: Callable[[], Stopwatch]) -> Iterator[None]:
    """Counts what a trial's parameters cost: samplers work when they are asked for one, and not before."""
    before = {name: getattr(optuna.Trial, name) for name in SUGGEST}

    def timed(suggest: Callable[..., Any]) -> Callable[..., Any]:
        def suggests(*given: Any, **more: Any) -> Any:
            with watch().during("sample"):
                return suggest(*given, **more)

        return suggests

    for name, suggest in before.items():
        setattr(optuna.Trial, name, timed(suggest))
    try:
        yield
    finally:
        for name, suggest in before.items():
            setattr(optuna.Trial, name, suggest)


def measure(config: SweepConfig, root: Path) -> Costs:
    """Runs the sweep and returns what each trial cost."""
    costs = Costs()
    studies: list[TimedStudy] = []

    def opened(config: SweepConfig, storage: Path) -> Study:
        studies.append(TimedStudy(config, storage))
        return studies[0]

    wall, cpu = time.perf_counter(), time.thread_time()

    def ended(_result: Any) -> None:
        nonlocal wall, cpu
        now, computed = time.perf_counter(), time.thread_time()
        costs.wall.append(1000 * (now - wall))
        costs.cpu.append(1000 * (computed - cpu))
        spent = studies[0].watch.seconds
        for part in PARTS:
            costs.parts[part].append(1000 * spent.pop(part, 0.0))
        wall, cpu = now, computed

    with sampling_timed(lambda: studies[0].watch):
        _, outcome = sweep_at_once(config, root, study=opened, follower=Follower(ended))
    counts = outcome.counts
    assert counts.complete + counts.pruned == config.budget.trials, f"the sweep ended early: {outcome.ending.text}"
    return costs


def mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def told(costs: Costs, step: int) -> str:
    """A row for every `step` trials."""
    rows = []
    for first in range(0, len(costs.cpu), step):
        some = slice(first, first + step)
        parts = [mean(costs.parts[part][some]) for part in PARTS]
        cpu = mean(costs.cpu[some])
        rows.append(
            [f"{first}…{first + len(costs.cpu[some]) - 1}", mean(costs.wall[some]), cpu, *parts, cpu - sum(parts)]
        )
    return table(["trials", "wall ms", "cpu ms", *PARTS, "the rest"], rows)


def ratio(values: Sequence[float]) -> float:
    """The last tenth of the trials compared with the first."""
    some = max(1, len(values) // 10)
    return mean(values[-some:]) / mean(values[:some])


def draw(found: Mapping[str, Costs], path: Path) -> None:
    """The curves: cost of a trial against its number, in all and without Optuna."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, (whole, own) = plt.subplots(1, 2, figsize=(12, 4.5), sharex=True, layout="constrained")
    for name, costs in found.items():
        step = max(1, len(costs.cpu) // 40)
        firsts = range(0, len(costs.cpu) - step + 1, step)
        rest = [cpu - sum(costs.parts[part][place] for part in PARTS) for place, cpu in enumerate(costs.cpu)]
        for axes, values in ((whole, costs.cpu), (own, rest)):
            axes.plot([first + step / 2 for first in firsts], [mean(values[f : f + step]) for f in firsts], label=name)
    whole.set_title("Controller, a trial")
    own.set_title("Without Optuna: ask, sample, prune, tell")
    for axes in (whole, own):
        axes.set_xlabel("trials before")
        axes.set_ylabel("CPU milliseconds")
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)
        axes.legend()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main(given: Sequence[str] | None = None) -> None:
    parser = arguments(str(__doc__).split("\n", 1)[0])
    parser.add_argument("--trials", type=int, default=2000)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--samplers", default="random,tpe", help="separated by commas")
    parser.add_argument("--pruner", default="median")
    parser.add_argument("--pictures", action="store_true", help="draw every trial's curves beside it, as a sweep does")
    chosen = parser.parse_args(given)
    if not chosen.pictures:
        draw_nothing()
    print(f"{chosen.trials} trials of {chosen.epochs} epochs, pruner {chosen.pruner}; {where()}")
    found: dict[str, Costs] = {}
    with scratch() as root:
        measure(
            trivial_recipe(5, sampler="tpe"), root
        )  # what is imported late, and files that are read for the first time
    for sampler in chosen.samplers.split(","):
        config = trivial_recipe(chosen.trials, sampler=sampler, pruner=chosen.pruner, epochs=chosen.epochs)
        with scratch() as root:
            costs = found[sampler] = measure(config, root)
        rest = [cpu - sum(costs.parts[part][place] for part in PARTS) for place, cpu in enumerate(costs.cpu)]
        print(f"\n{sampler}: milliseconds a trial, CPU of the controller's thread but for the wall clock")
        print(told(costs, max(1, chosen.trials // 20)))
        print(
            f"last tenth / first tenth: {ratio(costs.cpu):.2f} in all, {ratio(rest):.2f} without Optuna; "
            f"wall clock {ratio(costs.wall):.2f}"
        )
    picture = chosen.out / "many_trials.png"
    draw(found, picture)
    print(f"\nThe curves: {picture}")


if __name__ == "__main__":
    main()
