"""The stack in containers copied while a sweep runs in it, lost with its volumes, and brought back."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.stack.composed import Composition, Done
from tests.stack.test_stack import await_served, trials_in_optuna

EPOCHS = 4
SMALL = ("--set", f"epochs={EPOCHS}", "--set", "pruner=none", "--set", "callbacks={}")
LONG = ("--trials", "8", "--lanes", "off", "--workers", "1", "--no-promote", "--set", "study=copied", *(
    word for setting in ("epochs=30", "pruner=none", "callbacks={}") for word in ("--set", setting)
))  # fmt: skip


def backup(stack: Composition, *arguments: str) -> Done:
    """`python -m services.backup …` in the copy of the repository."""
    return subprocess.run(
        [sys.executable, "-m", "services.backup", *arguments],
        cwd=stack.folder, env=stack.environment(), capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip


def told(stack: Composition, study: str) -> dict[str, Any]:
    """What MLflow says of a study."""
    client = stack.client()
    runs = {run.info.run_id: run for run in stack.runs(study)}
    return {
        "runs": {run_id: (run.info.status, run.data.tags, run.data.params) for run_id, run in runs.items()},
        "points": {
            (run_id, key): [(point.step, point.value) for point in client.get_metric_history(run_id, key)]
            for run_id, run in runs.items()
            for key in run.data.metrics
        },
        "artifacts": {
            run_id: sorted((file.path, file.file_size) for file in client.list_artifacts(run_id)) for run_id in runs
        },
        "versions": [(each.version, each.source) for each in client.search_model_versions(f"name = '{study}'")],
        "champion": client.get_model_version_by_alias(study, "champion").version,
    }


def assert_whole(stack: Composition, study: str, trials: int) -> None:
    """Exactly these trials, all closed; Optuna and MLflow have the same epochs of each, from the first on, once."""
    assert trials_in_optuna(stack, study) == {"COMPLETE": trials}
    told = stack.query(
        "optuna",
        "SELECT number, count(*) FROM regatta.trial_intermediate_values JOIN regatta.trials USING (trial_id) "
        f"JOIN regatta.studies USING (study_id) WHERE study_name LIKE '{study}%' GROUP BY number",
    )
    epochs = {int(number): int(count) for number, count in (line.split("|") for line in told)}
    runs, client = stack.runs(study), stack.client()
    assert {run.info.status for run in runs} == {"FINISHED"}
    children = {int(run.data.tags["regatta.trial"]): run for run in runs if "regatta.trial" in run.data.tags}
    assert len(runs) == len(children) + 1 == trials + 1
    for number, run in children.items():
        points = client.get_metric_history(run.info.run_id, "val_loss")
        assert sorted(point.step for point in points) == list(range(epochs[number])), run.info.run_name


def test_what_was_lost_with_its_volumes_comes_back_and_a_sweep_goes_on(
    stack: Composition, sweep_image: str, tmp_path: Path
) -> None:
    summary = stack.sweep("--trials", "3", *SMALL, "--set", "study=kept")
    before, trials = told(stack, "kept"), trials_in_optuna(stack, "kept")
    container = stack.begin_sweep("regatta_s_test_copied", *LONG)
    stack.until(lambda: sum(trials_in_optuna(stack, "copied").values()) >= 3, "the sweep is in the middle")
    done = backup(stack, "backup", "--to", str(tmp_path))
    assert done.returncode == 0, done.stderr
    path = done.stdout.strip()
    assert stack.exit_code(container) == 0, stack.logs(container)
    full = backup(stack, "restore", path)
    assert (full.returncode, "the database mlflow of the stack" in full.stderr) == (2, True), full.stderr

    gone = stack.make("down", "ARGS=--volumes")
    assert gone.returncode == 0, gone.stdout + gone.stderr
    for part in ("studies", "lanes"):  # of sweeps that another test has run on this machine
        shutil.rmtree(stack.folder / ".regatta" / part, ignore_errors=True)
    done = backup(stack, "restore", path)
    assert done.returncode == 0, done.stderr

    assert told(stack, "kept") == before
    assert trials_in_optuna(stack, "kept") == trials
    await_served(stack, "kept", summary["registered"]["version"])
    container = stack.begin_sweep("regatta_s_test_copied", *LONG)
    assert stack.exit_code(container) == 0, stack.logs(container)
    assert_whole(stack, "copied", 8)
