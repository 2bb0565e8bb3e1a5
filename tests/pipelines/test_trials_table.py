"""The trials of a study, as `regatta trials` tells them."""

from __future__ import annotations

import csv
import io
import json
import os
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from pipelines.errors import ConfigError, HomeError
from pipelines.facts import StudyFacts
from pipelines.home import Home, StudyFolder
from pipelines.tracking.delivery import Delivery, delivery_file
from pipelines.tracking.entries import Entry, Logged, RunBegun, RunEnded
from pipelines.trials_table import TrialsTable, read_table
from tests.pipelines.crashes import append
from tests.pipelines.scripted import RATE, recipe

SERVER = "http://tracking.example:5000"
RAISED = "ValueError: no such layer,\nsaid 'Keras'"


@pytest.fixture
def home(regatta_home: Path) -> Home:
    return Home(regatta_home)


def begun(home: Home, *entries: Entry, name: str = "tiny", **changes: Any) -> StudyFolder:
    """A study with these entries in its journal; `changes` are of its recipe."""
    folder = home.study(name)
    folder.root.mkdir(parents=True)
    facts = StudyFacts.begin(recipe(study=name, **changes), SERVER)
    facts.uid = "tinyu"
    facts.write(folder)
    append(folder, RunBegun("tinyu", name, "sweep", 1, None, {"regatta.kind": "sweep"}), *entries)
    return folder


def trial(
    number: int,
    state: str = "COMPLETE",
    *values: float,
    best: dict[str, float] | None = None,
    attempt: int = 1,
    reason: str = "",
    violations: dict[str, float] | None = None,
    sampled: dict[str, Any] | None = None,
) -> list[Entry]:
    """A trial with these values of `val_loss`, an epoch each; the lowest is the best, beside what `best` has."""
    uid = f"tinyu-{number:05d}"
    drawn = {RATE: 0.01 * (number + 1), **(sampled or {})}
    tags = {"regatta.trial": str(number), "regatta.state": "RUNNING", "regatta.sampled": json.dumps(drawn)}
    entries: list[Entry] = [RunBegun(uid, "tiny", f"trial-{number:03d}", 10, "tinyu", tags)]
    entries += [Logged(uid, 20 + epoch, epoch, {"val_loss": value}) for epoch, value in enumerate(values)]
    if state == "RUNNING":
        return entries
    told = {"regatta.state": state, "regatta.attempt": str(attempt), "regatta.reason": reason}
    told["regatta.violations"] = json.dumps(violations or {})
    summary = {"seconds": 1.25, **(best or {})}
    if values:
        summary |= {"best.epoch": float(values.index(min(values))), "best.val_loss": min(values)}
    status = "FAILED" if state == "FAILED" else "FINISHED"
    return [*entries, Logged(uid, 90, 0, summary, told), RunEnded(uid, 99, status)]


def of_all_kinds(home: Home) -> StudyFolder:
    return begun(
        home,
        *trial(0, "COMPLETE", 0.5, 0.3),
        *trial(1, "FAILED", 0.01, reason=RAISED, attempt=2),
        *trial(2, "PRUNED", 0.05, reason="val_loss was no better than the pruner asks for at that epoch"),
        *trial(3, "RUNNING", 0.9, 0.02),
        *trial(4, "COMPLETE", 0.1 + 0.2, 1 / 3, 0.125),
        Logged("tinyu", 100, tags={"regatta.ended": "the sweep was interrupted"}),
    )


def rows(table: TrialsTable) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(table.to_csv())))


def test_the_best_come_first_and_those_that_cannot_win_last_with_all_that_is_known_of_each(home: Home) -> None:
    folder = of_all_kinds(home)
    Delivery(runs={"tinyu-00004": "abc123"}).write(delivery_file(folder.journal, SERVER))

    told = read_table("tiny").to_json()

    trials = told.pop("trials")
    assert told == {
        "study": "tiny",
        "objectives": [{"metric": "val_loss", "direction": "minimize"}],
        "counts": {"complete": 2, "pruned": 1, "failed": 1, "running": 1},
        "best": 4,
        "front": [],
        "ended": "the sweep was interrupted",
    }
    assert [each["trial"] for each in trials] == [4, 0, 2, 3, 1]
    assert trials[0] == {
        "trial": 4,
        "state": "COMPLETE",
        "value": 0.125,
        "values": {},
        "epoch": 2,
        "epochs": 3,
        "seconds": 1.25,
        "attempt": 1,
        "run_id": "abc123",
        "failure": None,
        "reason": None,
        "violations": {},
        "params": {RATE: 0.05},
    }
    running, failed = trials[3:]
    assert (running["state"], running["value"], running["epoch"], running["epochs"]) == ("RUNNING", 0.02, None, 2)
    assert (failed["value"], failed["epoch"], failed["attempt"], failed["reason"]) == (None, None, 2, RAISED)
    assert [each["run_id"] for each in trials[1:]] == [None] * 4


def test_a_metric_that_is_maximized_has_its_highest_value_on_top(home: Home) -> None:
    reached = {number: trial(number, best={"best.val_accuracy": value}) for number, value in ((0, 0.4), (1, 0.9))}
    begun(home, *reached[0], *reached[1], *trial(2), objective="val_accuracy")

    assert [(each["trial"], each["value"]) for each in read_table(None).to_json()["trials"]] == [
        (1, 0.9), (0, 0.4), (2, None),
    ]  # fmt: skip


def test_a_csv_has_a_column_a_parameter_and_numbers_in_full(home: Home) -> None:
    begun(
        home,
        *trial(0, "COMPLETE", 0.1 + 0.2, sampled={"model.units": "[10, 20]"}),
        *trial(1, "FAILED", reason=RAISED, attempt=3, sampled={"old": None, "older": True}),
        search_space={RATE: [0.01, 0.02], "model.units": [[10, 20]], "batch_size": [16, 32]},
    )

    table = read_table("tiny")

    assert table.to_csv().splitlines()[0] == (
        "trial,state,value,epoch,epochs,seconds,attempt,run_id,failure,reason,"
        f"params.{RATE},params.model.units,params.batch_size,params.old,params.older"
    )
    best, failed = rows(table)
    assert float(best["value"]) == 0.1 + 0.2
    assert (best["trial"], best["epoch"], best["seconds"], best["params.model.units"]) == ("0", "0", "1.25", "[10, 20]")
    assert best["params.batch_size"] == best["params.old"] == best["run_id"] == best["reason"] == ""
    assert (failed["reason"], failed["attempt"], failed["value"]) == (RAISED, "3", "")
    assert (failed["params.old"], failed["params.older"]) == ("", "true")


def test_several_objectives_and_constraints_have_columns_of_their_own(home: Home) -> None:
    def point(number: int, loss: float, parameters: float, broken: float) -> list[Entry]:
        return trial(
            number, "COMPLETE", loss, best={"best.parameters": parameters}, violations={"val_accuracy": broken}
        )

    begun(
        home,
        *point(0, 0.1, 900.0, 0.0),
        *point(1, 0.11, 300.0, -0.01),
        *point(2, 0.05, 100.0, 0.03),
        *point(3, 0.3, 200.0, -0.5),
        *trial(4, "FAILED", 0.01, best={"best.parameters": 50.0}),
        objective=["val_loss", "parameters"],
        promotion={"pick": "knee"},
        constraints={"val_accuracy": {"least": 0.9}, "seconds": {"most": 60}},
    )

    table = read_table("tiny")

    told = table.to_json()
    assert (told["best"], told["front"]) == (1, [0, 1, 3])
    assert [each["trial"] for each in told["trials"]] == [0, 1, 3, 2, 4]
    assert told["trials"][1]["values"] == {"val_loss": 0.11, "parameters": 300.0}
    assert (told["trials"][4]["value"], told["trials"][4]["values"]) == (None, {})
    assert told["trials"][3]["violations"] == {"val_accuracy": 0.03}
    assert list(rows(table)[1].items())[2:5] == [
        ("value", "0.11"), ("values.val_loss", "0.11"), ("values.parameters", "300.0"),
    ]  # fmt: skip
    assert [(row["violations.val_accuracy"], row["violations.seconds"]) for row in rows(table)] == [
        ("0.0", ""), ("-0.01", ""), ("-0.5", ""), ("0.03", ""), ("", ""),
    ]  # fmt: skip


def test_a_number_that_is_not_finite_is_null(home: Home) -> None:
    begun(home, *trial(0, "COMPLETE", 0.5, violations={"seconds": float("inf")}, sampled={"high": float("nan")}))

    (told,) = read_table("tiny").to_json()["trials"]

    assert (told["violations"], told["params"]["high"]) == ({"seconds": None}, None)
    json.dumps(told, allow_nan=False)


def test_the_top_are_the_best_and_columns_and_counts_are_those_of_all(home: Home) -> None:
    of_all_kinds(home)
    every, top = read_table("tiny"), read_table("tiny", 2)

    assert [row["trial"] for row in rows(top)] == ["4", "0"]
    assert rows(top) == rows(every)[:2]
    assert top.to_csv().splitlines()[0] == every.to_csv().splitlines()[0]
    assert top.to_json() == {**every.to_json(), "trials": every.to_json()["trials"][:2]}
    assert read_table("tiny", 99).to_csv() == every.to_csv()


def said(table: TrialsTable, width: int = 200) -> list[str]:
    log = io.StringIO()
    table.show(Console(file=log, width=width, force_terminal=False))
    return log.getvalue().splitlines()


def test_a_person_sees_below_the_table_what_the_study_has_come_to(home: Home) -> None:
    of_all_kinds(home)

    assert [line.split()[0] for line in said(read_table("tiny"))[:6]] == ["trial", "4", "0", "2", "3", "1"]
    assert said(read_table("tiny"))[6:] == [
        "",
        "tiny: 2 complete, 1 pruned, 1 failed, 1 not over; best val_loss 0.125 (trial 4)",
        "minimize val_loss; the sweep was interrupted",
    ]
    assert said(read_table("tiny", 3))[-1] == "3 of 5 trials are listed; without --top, all of them"


def test_a_study_that_has_just_begun_has_no_table(home: Home) -> None:
    begun(home).journal.unlink()
    table = read_table("tiny")

    assert said(table) == ["tiny: 0 complete, 0 pruned, 0 failed; no best trial", "minimize val_loss"]
    assert table.to_csv() == (
        "trial,state,value,epoch,epochs,seconds,attempt,run_id,failure,reason,params.optimizer.learning_rate\n"
    )
    assert (table.to_json()["best"], table.to_json()["trials"]) == (None, [])


def test_without_a_name_it_is_the_newest_study(home: Home) -> None:
    begun(home, name="newer")
    older = begun(home, name="older")
    times = older.facts.stat()
    os.utime(older.facts, (times.st_atime, times.st_mtime - 60))

    assert read_table(None).config.study == "newer"
    assert read_table("older").config.study == "older"


def test_a_study_that_was_begun_anew_is_the_new_one_and_the_older_one_has_a_name_of_its_own(home: Home) -> None:
    aside = of_all_kinds(home).set_aside()
    folder = home.study("tiny")
    StudyFacts.begin(recipe(), SERVER).write(folder)
    append(folder, *trial(0, "COMPLETE", 0.75))

    assert [each["value"] for each in read_table("tiny").to_json()["trials"]] == [0.75]
    assert read_table(f"tiny/earlier/{aside.name}").to_json()["best"] == 4


def test_where_there_is_no_study_it_says_how_to_begin_one(home: Home) -> None:
    with pytest.raises(HomeError, match=r"There is no study under .* yet\. Begin with: make sweep"):
        read_table(None)
    begun(home)
    with pytest.raises(HomeError, match=r"There is no study 'tinny' under .*Studies here: tiny"):
        read_table("tinny")


@pytest.mark.parametrize("part", ["model", "dataset"])
def test_it_needs_none_of_the_users_own_code_no_database_and_no_server(
    home: Home, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    folder = of_all_kinds(home)
    facts = StudyFacts.read(folder)
    facts.config[part] = {"name": "function", "function": "not_here_at_all:make"}
    facts.write(folder)
    monkeypatch.setenv("REGATTA_STORAGE", "postgresql://nobody@127.0.0.1:9/nowhere")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")

    assert read_table("tiny").to_json()["best"] == 4


def test_it_leaves_a_sweep_that_runs_alone(home: Home) -> None:
    folder = of_all_kinds(home)
    with folder.locked():
        with folder.journal.open("ab") as journal:
            journal.write(b'{"kind": "run_beg')  # the controller is just writing it
        before = {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in sorted(home.root.rglob("*"))}

        assert len(read_table("tiny").trials) == 5
        said(read_table("tiny"))

        after = {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in sorted(home.root.rglob("*"))}
    assert after == before


def test_a_csv_goes_to_a_file_or_is_printed(home: Home, tmp_path: Path) -> None:
    of_all_kinds(home)
    table, path = read_table("tiny", 2), tmp_path / "trials.csv"

    assert table.write_csv("-") == table.to_csv()
    assert not (Path("-")).exists()
    assert table.write_csv(str(path)) == f"2 trials of study 'tiny' in {path}\n"
    assert path.read_text() == table.to_csv()
    with pytest.raises(ConfigError, match=r"--csv: cannot write .*gone/a.csv \(No such file or directory\); name a"):
        table.write_csv(str(tmp_path / "gone" / "a.csv"))
