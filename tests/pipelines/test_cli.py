from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest
import typer

from pipelines import cli
from pipelines.cli import app, run
from pipelines.errors import (
    ConfigError,
    DataError,
    ExecutorError,
    HomeError,
    Mistake,
    NothingToPromote,
    PromotionRefused,
    RegattaError,
    ServiceError,
    TrackingError,
)
from pipelines.executors import ExecutorKind
from pipelines.home import Home
from pipelines.recipe.catalogue import rooms
from tests.pipelines.crashes import crashed

VERBS = ("sweep", "train", "promote", "history", "rollback", "reconcile", "sync", "report", "trials", "ui", "list")
ROOMS = (
    "datasets", "models", "optimizers", "losses", "metrics", "callbacks", "schedules", "epoch_schedules", "samplers",
    "pruners", "executors",
)  # fmt: skip
HEAVY = ("tensorflow", "keras", "mlflow", "sklearn", "matplotlib", "pandas", "plotly")

GOOD = """\
study: tiny
optimizer: adam
search_space:
  optimizer.learning_rate: {type: float, low: 1e-4, high: 1e-2, log: true}
  model.units: [[10], [20, 10]]
budget: {trials: 5}
"""
FIVE = """\
study: five mistakes
optimizer: {name: adma}
callbacks: {early_stopping: {monitor: val_acc}}
epochs: 0
search_space: {batch_size: {type: int, low: 0, high: 64}}
"""

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Call:
    """Calls the command line as a shell does, in a folder with two recipes: exit code, output, errors."""
    monkeypatch.chdir(tmp_path)
    Path("good.yaml").write_text(GOOD)
    Path("five.yaml").write_text(FIVE)

    def calls(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["regatta", *arguments])
        code = run(app)
        captured = capsys.readouterr()
        assert "Traceback" not in captured.out + captured.err
        return code, captured.out, captured.err

    return calls


def in_a_process(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    root = Path(cli.__file__).parent.parent
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["sweep", "nowhere.yaml"], ["nowhere.yaml: 1 mistake", "no such file; there are five.yaml, good.yaml"]),
        (["sweep", "."], ["cannot be read"]),
        (["sweep", "five.yaml"], ["5 mistakes, nothing was started", "line 1, study", "line 2, optimizer",
                                  "line 3, callbacks.early_stopping.monitor", "line 4, epochs",
                                  "line 5, search_space.batch_size"]),
        (["sweep", "five.yaml", "--dry-run", "--json"], ["5 mistakes"]),
        (["swep", "good.yaml"], ["No such command 'swep'", "sweep"]),
        (["sweep"], ["Missing argument 'CONFIG'"]),
        (["sweep", "good.yaml", "--zebra"], ["No such option", "--zebra"]),
        (["sweep", "good.yaml", "extra"], ["unexpected extra argument", "extra"]),
        (["sweep", "good.yaml", "--trials"], ["--trials", "requires an argument"]),
        (["sweep", "good.yaml", "--trials", "many"], ["--trials", "valid integer"]),
        (["sweep", "good.yaml", "--trials", "0"], ["--set budget.trials", "greater than or equal to 1, got 0"]),
        (["sweep", "good.yaml", "--executor", "threads"], ["execution.executor", "got 'threads'"]),
        (["sweep", "good.yaml", "--executor", "["], ["execution.executor is not YAML"]),
        (["sweep", "good.yaml", "--workers", "0"], ["execution.workers", "'auto', or must be greater"]),
        (["sweep", "good.yaml", "--workers", "yes"], ["execution.workers", "'true'"]),
        (["sweep", "good.yaml", "--set", "epocs=3"], ["--set", "did you mean 'epochs'"]),
        (["sweep", "good.yaml", "--set", "epochs"], ["--set: must be path=value"]),
        (["sweep", "good.yaml", "--set", "epochs=["], ["is not YAML"]),
        (["train"], ["give either a recipe or --run RUN_ID"]),
        (["train", "good.yaml", "--run", "abc"], ["give either a recipe or --run RUN_ID"]),
        (["train", "--run", "abc", "--set", "epochs=3"], ["--set: goes with a recipe"]),
        (["train", "nowhere.yaml"], ["there is no such file; there are five.yaml"]),
        (["train", "five.yaml"], ["5 mistakes, nothing was started"]),
        (["train", "good.yaml", "--set", "epochs=0"], ["--set epochs: must be greater than or equal to 1"]),
        (["list", "study"], ["KIND: there is no 'study'; did you mean 'studies'"]),
        (["list", "optimisers"], ["KIND: there is no 'optimisers'; did you mean 'optimizers'", *ROOMS]),
        (["report", "nothing"], ["There is no study 'nothing'", "none yet"]),
        (["promote", "nothing"], ["There is no study 'nothing'", "none yet"]),
        (["trials"], ["There is no study under", "Begin with: make sweep"]),
        (["trials", "nothing"], ["There is no study 'nothing'", "none yet"]),
        (["trials", "--top", "0"], ["--top", "greater than or equal to 1"]),
        (["trials", "--csv", "-", "--json"], ["trials: 1 mistake", "--csv: goes without --json"]),
        (["ui"], ["make sweep"]),
        ([], []),
    ],
)  # fmt: skip
def test_a_wrong_call_exits_with_2_and_says_what_would_be_right(
    call: Call, arguments: list[str], words: list[str]
) -> None:
    code, out, err = call(*arguments)
    assert code == 2
    assert out == "" or not arguments
    for word in words:
        assert word in " ".join(err.split()), err


def test_a_wrong_call_leaves_no_files(call: Call, regatta_home: Path) -> None:
    call("sweep", "five.yaml")
    call("sweep", "good.yaml", "--dry-run")
    assert not regatta_home.exists()
    assert sorted(path.name for path in Path().iterdir()) == ["five.yaml", "good.yaml"]


@pytest.mark.parametrize("verb", [None, *VERBS])
def test_every_verb_has_help(call: Call, verb: str | None) -> None:
    code, out, err = call(*([verb] if verb else []), "--help")
    assert (code, err) == (0, "")
    assert "Usage: " in out
    if verb is not None:
        assert f" {verb} " in out.splitlines()[1]
    else:
        assert all(f" {name} " in out for name in VERBS)


def test_a_dry_run_shows_the_space_some_trials_and_the_budget(call: Call) -> None:
    code, out, err = call("sweep", "good.yaml", "--dry-run", "--trials", "7")
    assert (code, err) == (0, "")
    for words in (
        "tiny: minimize val_loss, nothing is run", "2 parameters", "0.0001 to 0.01, logarithmic",
        "one of [10], [20, 10]", "trial 2 would be drawn as", "7 trials of at most 20 epochs, 140 epochs",
    ):  # fmt: skip
        assert words in out


def test_a_dry_run_as_json_is_one_object_on_standard_output(call: Call) -> None:
    code, out, err = call("sweep", "good.yaml", "--dry-run", "--json", "--set", "epochs=3", "--executor", "inline")
    assert (code, err) == (0, "")
    shown = json.loads(out)
    assert shown["study"] == "tiny"
    assert shown["space"] == {
        "optimizer.learning_rate": "0.0001 to 0.01, logarithmic",
        "model.units": "one of [10], [20, 10]",
    }
    assert shown["budget"] == {"trials": 5, "failed_trials": 8, "same_failures": 3, "epochs": 3}
    assert len(shown["trials"]) == 3
    for trial in shown["trials"]:
        assert 1e-4 <= trial["optimizer"]["learning_rate"] <= 1e-2
        assert trial["model"]["units"] in ([10], [20, 10])
        assert trial["epochs"] == 3
    assert [trial["seed"] for trial in shown["trials"]] == [0, 1, 2]


def test_a_dry_run_draws_the_same_trials_each_time_and_no_more_than_the_budget(call: Call) -> None:
    assert call("sweep", "good.yaml", "--dry-run", "--json") == call("sweep", "good.yaml", "--dry-run", "--json")
    shown = json.loads(call("sweep", "good.yaml", "--dry-run", "--json", "--trials", "1")[1])
    assert len(shown["trials"]) == 1


@pytest.mark.parametrize("flags", [[], ["--json"]])
def test_a_dry_run_imports_nothing_heavy(tmp_path: Path, flags: list[str], repository: Path) -> None:
    arguments = ["regatta", "sweep", str(repository / "configs/sweeps/digits.yaml"), "--dry-run", *flags]
    done = in_a_process(
        f"import sys; from pipelines.cli import app, run; sys.argv = {arguments!r}; code = run(app)\n"
        f"print(sorted(name for name in {HEAVY!r} if name in sys.modules), file=sys.stderr); sys.exit(code)",
        tmp_path,
    )
    assert (done.returncode, done.stderr) == (0, "[]\n")
    assert list(tmp_path.iterdir()) == []


def test_mistakes_of_a_recipe_are_told_without_heavy_imports_or_a_traceback(tmp_path: Path) -> None:
    (tmp_path / "five.yaml").write_text(FIVE)
    done = in_a_process(
        "import sys, runpy; sys.argv = ['regatta', 'sweep', 'five.yaml']\n"
        f"import atexit; atexit.register(lambda: print([name for name in {HEAVY!r} if name in sys.modules]))\n"
        "runpy.run_module('pipelines', run_name='__main__')",
        tmp_path,
    )
    assert done.returncode == 2
    assert done.stdout == "[]\n"
    assert "5 mistakes" in done.stderr
    assert "Traceback" not in done.stderr


def test_listing_names_every_room_and_kind(call: Call) -> None:
    code, out, err = call("list")
    assert (code, err) == (0, "")
    assert [line.removesuffix(":") for line in out.splitlines() if line.endswith(":")] == list(ROOMS)
    for kind in (
        "digits", "fashion_mnist", "dense", "sgd", "adagrad", "rmsprop", "adam", "adamw", "early_stopping",
        "reduce_lr_on_plateau", "model_checkpoint", "learning_rate_scheduler", "tpe", "median", "inline",
    ):  # fmt: skip
        assert f"  {kind} " in out or f"  {kind}\n" in out


@pytest.mark.parametrize("room", ROOMS)
def test_listing_a_room_tells_parameters_defaults_and_limits(call: Call, room: str) -> None:
    code, out, err = call("list", room)
    assert (code, err) == (0, "")
    expected = {
        "optimizers": ["sgd", "learning_rate", "0.01 (> 0, or one of constant, step", "momentum", "0.0 (>= 0, < 1)"],
        "losses": ["label_smoothing", "0.0 (>= 0, < 1)"],
        "callbacks": ["monitor", "val_loss", "auto (auto | min | max)", "0.1 (> 0, < 1)", "schedule", "required"],
        "models": ["dense", "[100, 30]"],
        "datasets": ["0.2 (> 0, < 1)", "validation_share"],
        "executors": ["Warm worker processes", "execution.docker.memory_mb null (>= 256)", "execution.ray.num_cpus"],
    }
    for words in expected.get(room, []):
        assert words in out


def test_every_kind_of_every_room_has_a_sentence() -> None:
    found = rooms()
    assert set(found["executors"]) == set(get_args(ExecutorKind))
    wordless = [f"{room}: {name}" for room, kinds in found.items() for name, kind in kinds.items() if not kind.summary]
    assert wordless == []


def test_listing_studies_tells_of_those_of_the_home(call: Call) -> None:
    code, out, err = call("list", "studies")
    assert (code, err) == (0, "")
    assert "There is no study under" in out


def test_trials_are_listed_in_a_table_as_csv_or_as_json(call: Call, regatta_home: Path) -> None:
    crashed(Home(regatta_home))

    code, out, err = call("trials")
    assert (code, err) == (0, "")
    assert [line.split()[:3] for line in out.splitlines()[1:3]] == [["0", "complete", "0.25"], ["1", "running", "0.6"]]
    assert "tiny: 1 complete, 0 pruned, 0 failed, 1 not over; best val_loss 0.25 (trial 0)" in out
    code, out, err = call("trials", "tiny", "--csv", "-", "--top", "1")
    assert (code, err) == (0, "")
    assert [line.split(",")[:3] for line in out.splitlines()] == [
        ["trial", "state", "value"],
        ["0", "COMPLETE", "0.25"],
    ]
    code, out, err = call("trials", "tiny", "--csv", "here.csv")
    assert (code, out, err) == (0, "2 trials of study 'tiny' in here.csv\n", "")
    assert len(Path("here.csv").read_text().splitlines()) == 3
    code, out, err = call("trials", "--json")
    assert (code, err) == (0, "")
    assert json.loads(out)["best"] == 0
    code, out, err = call("trials", "--csv", "nowhere/here.csv")
    assert (code, out) == (2, "")
    assert "--csv: cannot write nowhere/here.csv (No such file or directory)" in err


@pytest.mark.parametrize("flags", [[], ["--json"], ["--csv", "-"]])
def test_trials_are_listed_without_heavy_imports(tmp_path: Path, regatta_home: Path, flags: list[str]) -> None:
    crashed(Home(regatta_home))
    arguments, heavy = ["regatta", "trials", *flags], (*HEAVY, "optuna")
    done = in_a_process(
        f"import sys; from pipelines.cli import app, run; sys.argv = {arguments!r}; code = run(app)\n"
        f"print(sorted(name for name in {heavy!r} if name in sys.modules), file=sys.stderr); sys.exit(code)",
        tmp_path,
    )
    assert (done.returncode, done.stderr) == (0, "[]\n")
    assert "0.25" in done.stdout


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigError("a.yaml", [Mistake("b", "is wrong")]), 2),
        (DataError("no data"), 2),
        (HomeError("locked"), 2),
        (ServiceError("port taken"), 2),
        (NothingToPromote("no trial"), 3),
        (PromotionRefused("no gain"), 4),
        (TrackingError("no server"), 1),
        (ExecutorError("no workers"), 1),
        (KeyboardInterrupt(), 130),
        (typer.Abort(), 130),
        (typer.Exit(3), 3),
    ],
)
def test_each_problem_has_its_exit_code_and_one_message(
    error: BaseException, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    def command(**_: Any) -> None:
        raise error

    assert run(command) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    if isinstance(error, RegattaError):
        assert captured.err == f"{error}\n"
    elif code == 130:
        assert "goes on where this one stopped" in captured.err


def test_a_home_of_somebody_else_is_no_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("REGATTA_HOME", str(tmp_path))

    def command(**_: Any) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(tmp_path / "studies" / "digits" / "report.html"))

    assert run(command) == 2
    assert capsys.readouterr().err == (
        f"Cannot write to {tmp_path}/studies/digits/report.html: Permission denied. "
        "Set REGATTA_HOME to a folder that can be written.\n"
    )


def test_a_command_that_is_interrupted_before_it_can_tell_is_interrupted_with_a_word(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("pipelines.recipe.reading.read_recipe", interrupted)
    monkeypatch.setattr("sys.argv", ["regatta", "sweep", "any.yaml", "--dry-run"])

    assert run(app) == 130
    assert "goes on where this one stopped" in capsys.readouterr().err


def test_a_bug_of_ours_keeps_its_traceback() -> None:
    def command(**_: Any) -> None:
        raise ZeroDivisionError("ours")

    with pytest.raises(ZeroDivisionError, match="ours"):
        run(command)
