"""The command line: arguments, output, exit codes. Everything it calls is imported when it is called."""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
import typer.core

from pipelines.collecting import leave
from pipelines.errors import (
    ConfigError,
    DataError,
    HomeError,
    Mistake,
    NothingToPromote,
    PromotionRefused,
    RegattaError,
    ServiceError,
    StudyError,
)
from pipelines.home import Home, disk_trouble

if TYPE_CHECKING:
    from rich.console import Console

DONE, FAILED, WRONG_CALL, NO_TRIAL, REFUSED, INTERRUPTED = 0, 1, 2, 3, 4, 130
_EXIT_CODES: dict[type[RegattaError], int] = {
    ConfigError: WRONG_CALL,
    DataError: WRONG_CALL,
    HomeError: WRONG_CALL,
    ServiceError: WRONG_CALL,
    StudyError: WRONG_CALL,
    NothingToPromote: NO_TRIAL,
    PromotionRefused: REFUSED,
}


class _Interruptible(typer.core.TyperGroup):
    """Lets `run` know of an interruption, which typer would make an exit code of, without a word."""

    def invoke(self, ctx: Any) -> Any:
        """See `click.Group.invoke`."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise typer.Abort from None


app = typer.Typer(
    name="regatta",
    cls=_Interruptible,
    help="Hyperparameter sweeps for tf.keras, a true record of them in MLflow, and the champion served.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


Recipe = Annotated[Path, typer.Argument(metavar="CONFIG", help="The recipe, a YAML file.")]
Settings = Annotated[
    list[str] | None, typer.Option("--set", metavar="PATH=VALUE", help="Set one value of the recipe; may be repeated.")
]
Json = Annotated[
    bool, typer.Option("--json", help="Print one JSON object to standard output, all else to standard error.")
]
ModelName = Annotated[str, typer.Argument(metavar="NAME", help="The name of a registered model, which is its study's.")]
StudyName = Annotated[str, typer.Argument(metavar="STUDY", help="The name of a study that was run here.")]


@app.command()
def sweep(
    config: Recipe,
    trials: Annotated[int | None, typer.Option(help="Trials that end complete or pruned.")] = None,
    settings: Settings = None,
    executor: Annotated[
        str | None, typer.Option(metavar="inline|processes|ray|docker", help="Where trials run.")
    ] = None,
    workers: Annotated[str | None, typer.Option(metavar="N|auto", help="Workers at once.")] = None,
    lanes: Annotated[str | None, typer.Option(metavar="N|auto|off", help="Trials at once in one program.")] = None,
    no_promote: Annotated[bool, typer.Option("--no-promote", help="Leave the champion alone.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the space, some trials, the budget; run nothing.")
    ] = False,
    as_json: Json = False,
    resume: Annotated[bool, typer.Option("--resume/--fresh", help="Go on with this study, or begin a new one.")] = True,
) -> None:
    """Run a sweep: train trials, record them, promote the best."""
    chosen = [*(settings or [])]
    chosen += [f"budget.trials={trials}"] if trials is not None else []
    chosen += [f"execution.executor={executor}"] if executor else []
    chosen += [f"execution.workers={workers}"] if workers else []
    chosen += [f"execution.lanes={lanes}"] if lanes else []
    if dry_run:
        from pipelines.recipe.reading import read_recipe
        from pipelines.terminal.preview import preview, preview_json

        recipe = read_recipe(config, chosen)
        if as_json:
            _print_json(preview_json(recipe))
        else:
            preview(recipe, _console(stderr=False))
        return
    from pipelines.early import early_workers

    with early_workers(executor, workers, lanes) as early:
        from pipelines.launch import run_sweep
        from pipelines.recipe.reading import read_recipe

        recipe, console = read_recipe(config, chosen), _console(stderr=as_json)
        summary = run_sweep(
            recipe,
            console=console,
            command=_own_command(),
            fresh=not resume,
            promote=not no_promote,
            early=early,
        )
    from pipelines.terminal.summary import show_summary

    show_summary(summary, console, command=_own_command())
    if as_json:
        _print_json(summary.to_json())
    if summary.interrupted:
        raise typer.Exit(INTERRUPTED)
    if summary.best is None:
        raise typer.Exit(NO_TRIAL)
    if summary.refused or (summary.promoted is not None and not summary.promoted.decision.promoted):
        raise typer.Exit(REFUSED)


@app.command()
def train(
    config: Annotated[
        Path | None, typer.Argument(metavar="CONFIG", help="A recipe; its search space is left aside.")
    ] = None,
    run_id: Annotated[
        str | None, typer.Option("--run", metavar="RUN_ID", help="Train again what this run trained.")
    ] = None,
    settings: Settings = None,
    as_json: Json = False,
) -> None:
    """Train one model, from a recipe or again from a run, tracked like a trial."""
    if (config is None) == (run_id is None):
        raise ConfigError("train", [Mistake("", "give either a recipe or --run RUN_ID")])
    if run_id is not None and settings:
        raise ConfigError("train", [Mistake("--set", "goes with a recipe; --run trains exactly what the run trained")])
    from pipelines.telling import say
    from pipelines.train import from_recipe, from_run, train

    if config is not None:
        from pipelines.recipe.reading import read_recipe

        what = from_recipe(read_recipe(config, settings or [], to_sweep=False))
    else:
        what = from_run(str(run_id))
    console = _console(stderr=as_json)
    trained = train(what, console)
    result = trained.result
    if as_json:
        _print_json(trained.to_json())
    elif result.reason:
        console.print(f"{result.state.value}: {result.reason}", style="red")
    else:
        console.print(
            f"best: {what.objective.metric} {result.value:.4f} at epoch {result.epoch}, in {result.checkpoint}"
        )
        console.print(f"run: {trained.address or trained.run_id or trained.folder}", soft_wrap=True)
    for line in trained.again.lines() if trained.again is not None else ():
        say(console, line)
    if result.value is None or result.reason:
        raise typer.Exit(NO_TRIAL)


@app.command()
def promote(
    study: StudyName,
    force: Annotated[
        bool, typer.Option("--force", help="Make it the champion whatever the policy says; the history tells so.")
    ] = False,
    alias: Annotated[
        str,
        typer.Option("--as", metavar="champion|challenger", help="A challenger shadows the champion, better or not."),
    ] = "champion",
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="promotion.KEY=VALUE", help="Another policy for this once; may be repeated."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Judge the best trials of a study on the sealed test part, and make one the champion where the policy holds."""
    from pipelines.verbs import promote_study

    promoted = promote_study(study, force=force, settings=settings or [], alias=alias)
    if as_json:
        _print_json(promoted.to_json())
    else:
        print(promoted.sentence())
        if promoted.evidence_address:
            print(f"evidence: {promoted.evidence_address}")
    if not promoted.decision.promoted:
        raise typer.Exit(REFUSED)


@app.command()
def history(name: ModelName, as_json: Json = False) -> None:
    """Tell which versions of a model there are, and who was the champion when, and why."""
    from pipelines.verbs import model_history

    told = model_history(name)
    if as_json:
        _print_json(told.to_json())
        return
    for line in told.lines():
        print(line)


@app.command()
def rollback(
    name: ModelName,
    to: Annotated[
        str | None, typer.Option(metavar="VERSION", help="A version; the one before the champion if left out.")
    ] = None,
    why: Annotated[str, typer.Option(metavar="TEXT", help="Why, for the history.")] = "",
    force: Annotated[
        bool, typer.Option("--force", help="Take a version, too, that does something else than the champion.")
    ] = False,
) -> None:
    """Give the champion's place back to an earlier version; that is part of the history, too."""
    from pipelines.verbs import roll_back

    print(roll_back(name, to, why, force=force))


@app.command()
def reconcile(
    check: Annotated[
        bool, typer.Option("--check", help="Only say what is off; exit code 1 where something is.")
    ] = False,
) -> None:
    """Compare Optuna, MLflow, journals, checkpoints and registry, mend what a crash left, deliver what is missing."""
    from pipelines.verbs import mend

    _say(*mend(check=check))


@app.command()
def sync(
    folder: Annotated[
        Path | None,
        typer.Argument(metavar="FOLDER", help="A REGATTA_HOME or study's folder, copied from another machine."),
    ] = None,
) -> None:
    """Deliver every journal to the tracking server."""
    from pipelines.verbs import deliver

    _say(*deliver(folder))


@app.command()
def report(study: StudyName) -> None:
    """Write the HTML report of a study and print where it is."""
    from pipelines.verbs import report_study

    print(report_study(study))


@app.command()
def trials(
    study: Annotated[
        str | None, typer.Argument(metavar="STUDY", help="A study that was run here; the newest if left out.")
    ] = None,
    top: Annotated[int | None, typer.Option(metavar="N", min=1, help="Only the N best.")] = None,
    to_csv: Annotated[
        str | None, typer.Option("--csv", metavar="FILE|-", help="Write them to a file, or to standard output.")
    ] = None,
    as_json: Json = False,
) -> None:
    """List the trials of a study, the best first. Needs no server, and may be asked while the sweep runs."""
    if to_csv is not None and as_json:
        raise ConfigError("trials", [Mistake("--csv", "goes without --json; leave one of them out")])
    from pipelines.trials_table import read_table

    table = read_table(study, top)
    if as_json:
        _print_json(table.to_json())
    elif to_csv is not None:
        print(table.write_csv(to_csv), end="")
    else:
        table.show(_console(stderr=False))


@app.command()
def ui() -> None:
    """Print the address in MLflow that shows the newest sweep: all its trials, best first, curves overlaid."""
    from pipelines.verbs import newest_address

    print(newest_address())


@app.command("list")
def list_kinds(
    kind: Annotated[
        str | None,
        typer.Argument(metavar="KIND", help="A room, such as optimizers; or studies. All rooms if left out."),
    ] = None,
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="One of the room, such as adam.")] = None,
) -> None:
    """List what a recipe can name, with every parameter, its default and its limits; and the studies there are."""
    from pipelines.listing import listed

    for line in listed(kind, name):
        print(line)


@app.command()
def schema(
    path: Annotated[
        Path | None, typer.Argument(metavar="FILE", help="Where to write it; standard output if left out.")
    ] = None,
) -> None:
    """Write the JSON schema of recipes, with which editors complete and check them."""
    from pipelines.recipe.schema import recipe_schema

    text = json.dumps(recipe_schema(), indent=1) + "\n"
    if path is None:
        print(text, end="")
    else:
        path.write_text(text, encoding="utf-8")


def _say(lines: list[str], whole: bool) -> None:
    for line in lines:
        print(line)
    if not whole:
        raise typer.Exit(FAILED)


def main() -> None:
    """Runs the command line; a problem that a person can do something about is one message, without a traceback."""
    code = run(app)
    leave()
    sys.exit(code)


def run(command: Callable[..., Any]) -> int:
    """Runs a typer application and returns its exit code."""
    try:
        code = command(standalone_mode=False)
        return code if isinstance(code, int) else DONE
    except typer.Exit as end:
        return int(end.exit_code)
    except (typer.Abort, KeyboardInterrupt):
        print("\nInterrupted. The same command goes on where this one stopped.", file=sys.stderr)
        return INTERRUPTED
    except RegattaError as error:
        print(error, file=sys.stderr)
        return next((code for kind, code in _EXIT_CODES.items() if isinstance(error, kind)), FAILED)
    except BrokenPipeError:  # whoever read our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    except Exception as error:
        if (trouble := disk_trouble(error, Home.from_environment())) is not None:
            print(trouble, file=sys.stderr)
            return WRONG_CALL
        if not hasattr(error, "show"):
            raise
        error.show()  # typer's word for a wrong call, which names the option and shows the usage
        return WRONG_CALL


def _own_command() -> str:
    """This very command, to be typed again."""
    program = Path(sys.argv[0])
    called = ["python", "-m", "pipelines"] if program.name == "__main__.py" else [sys.argv[0]]
    return shlex.join([*called, *(argument for argument in sys.argv[1:] if argument != "--fresh")])


def _console(*, stderr: bool) -> Console:
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    # a log has no edge to wrap at
    return Console(stderr=stderr, highlight=False, width=None if stream.isatty() else 200)


def _print_json(value: Any) -> None:
    print(json.dumps(value))
