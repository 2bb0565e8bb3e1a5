"""The record of a promotion where something is in the way, and what reconciling makes of one that broke off."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.errors import HomeError, NothingToPromote
from pipelines.home import StudyFolder
from pipelines.promotion import record
from pipelines.reconcile.case import Case, Findings, named
from pipelines.reconcile.orphans import close_orphans
from pipelines.tracking.entries import END_REASON
from pipelines.tracking.run import Run
from tests.pipelines.promotion.bench import Bench, trial


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.journal.close()


def test_one_that_broke_off_is_closed_by_reconciling_and_called_what_it_is(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(record.Record, "fail", lambda self, error: None)  # the process is gone
    bench.unjudgeable[0] = "SIGKILL"
    with pytest.raises(NothingToPromote):
        bench.promote(bench.candidate(0.9))
    bench.journal.close()
    case = Case(StudyFolder(bench.root / "study"), Findings())

    close_orphans(case)

    assert case.findings.lines == ["the run of a promotion is open in the journal, and no controller is there: closed."]
    (run,) = case.runs.values()
    assert (run.status, run.number) == ("KILLED", None)
    assert "the next promotion does what is left of it" in run.tags["regatta.reason"]
    assert END_REASON in run.tags
    case.close()


def test_several_runs_of_promotions_are_counted_beside_trials(bench: Bench) -> None:
    bench.promote(bench.candidate(0.8))
    bench.promote(bench.candidate(0.9, 1))

    assert named(bench.runs()) == "the runs of 2 promotions"


def test_a_disk_that_is_full_hides_nothing_of_what_went_wrong_first(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.unjudgeable[0] = "it is torn"

    def full(*arguments: object, **named: object) -> None:
        raise HomeError("the disk is full")

    monkeypatch.setattr(Run, "log", full)

    with pytest.raises(NothingToPromote, match="it is torn"):
        bench.promote(bench.candidate(0.9))


def test_of_what_models_said_only_that_of_the_chosen_one_stays(bench: Bench) -> None:
    bench.policy["top_k"] = 3

    bench.promote(bench.candidate(0.9, 0), bench.candidate(0.91, 1), bench.candidate(0.92, 2))

    assert [path.name for path in bench.records[0].folder.glob("*.npz")] == ["outputs-00000.npz"]


def test_what_is_too_large_to_be_kept_is_not(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record, "_MOST_OUTPUT_BYTES", 10)

    bench.promote(bench.candidate(0.9))

    (run,) = bench.runs()
    assert list(bench.records[0].folder.glob("*.npz")) == []
    assert not any(path.endswith(".npz") for path in run.files)
    assert all((bench.root / "study" / path).is_file() for path in run.files)


def test_a_promotion_that_is_begun_says_whom_it_judges_and_whom_that_one_meets(bench: Bench) -> None:
    bench.promote(bench.candidate(0.9))
    champion = bench.registry.champion("tiny")
    begun = record.Record(bench.journal, "tiny", "u")

    begun.begin(trial(5), champion)

    run = bench.runs()[-1]
    assert run.status == "RUNNING"
    assert (run.tags["regatta.candidate"], run.tags["regatta.champion_version"]) == ("5", "1")
    assert json.dumps(run.tags)
    assert run.uid.startswith("u-promotion-")


def test_a_picture_that_cannot_be_drawn_takes_no_promotion_back(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(*arguments: object, **named: object) -> bytes:
        raise ValueError("no such colour")

    monkeypatch.setattr(record, "confusion_picture", breaks)

    promoted = bench.promote(bench.candidate(0.9))

    assert promoted.alias == "champion"
    (run,) = bench.runs()
    assert (run.status, run.tags["regatta.evidence_problem"]) == ("FINISHED", "ValueError: no such colour")
    assert run.tags["regatta.version"] == "1"
