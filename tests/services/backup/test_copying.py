"""What is copied of a home, in which order, and that nothing is told in a copy that the copy does not hold."""

from __future__ import annotations

import io
import json
import sqlite3
import subprocess
import sys
import tarfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from services.backup.archive import Members
from services.backup.copying import HomeCopy
from tests.sites import ROOT


class Copied(Members):
    """Where copies go: a tar in memory."""

    def __init__(self) -> None:
        self.stream = io.BytesIO()
        super().__init__(tarfile.open(fileobj=self.stream, mode="w"))  # noqa: SIM115
        self.order: list[str] = []

    def add_stream(self, name: str, *more: Any, **others: Any) -> None:
        self.order.append(name)
        super().add_stream(name, *more, **others)

    def contents(self) -> dict[str, bytes]:
        self._tar.close()
        self.stream.seek(0)
        with tarfile.open(fileobj=self.stream) as tar:
            members = [(member.name, tar.extractfile(member)) for member in tar]
            return {name: content.read() for name, content in members if content is not None}


def entry(kind: str, **more: Any) -> str:
    return json.dumps({"kind": kind, "uid": "u", **more}, separators=(",", ":")) + "\n"


def checkpoint(sha256: str, path: str, **more: Any) -> str:
    return entry("checkpoint", time_ms=1, path=path, name="best", step=0, sha256=sha256, **more)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home with a study, MLflow's files, and what is not to be kept."""
    root = tmp_path / "home"
    study = root / "studies" / "digits"
    for path, content in {
        "studies/digits/study.json": "{}",
        "studies/digits/journal.jsonl": entry("begun") + checkpoint("c0", "trials/00000-1/best.keras"),
        "studies/digits/delivery-1234.json": '{"offset": 10}',
        "studies/digits/trials/00000-1/best.keras": "weights",
        "studies/digits/lock": "17",
        "studies/digits/study.writing": "half",
        "studies/digits/earlier/20260101-000000/journal.jsonl": entry("begun"),
        "mlflow/artifacts/1/run/artifacts/notes.db": "no database of ours",
        "lanes/widths.json": "{}",
        "run/tracking_server.json": "{}",
        "models/cached": "again",
        "data/digits/train-x.npy": "prepared",
    }.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(content)
    for file in (study / "optuna.db", root / "mlflow" / "mlflow.db"):
        with closing(sqlite3.connect(file)) as database:
            database.execute("PRAGMA journal_mode=WAL")
            database.execute("CREATE TABLE numbers (number INTEGER)")
            database.execute("INSERT INTO numbers VALUES (1)")
            database.commit()
    return root


def copied(home: Path, change: Callable[[HomeCopy], HomeCopy] = lambda copy: copy) -> tuple[Copied, list[str]]:
    into = Copied()
    copy = change(HomeCopy(home, into))
    copy.copy_deliveries()
    return into, copy.copy_rest()


def test_studies_records_and_artifacts_are_kept_and_what_runs_or_can_be_made_again_is_not(home: Path) -> None:
    into, missed = copied(home)

    assert missed == []
    assert set(into.contents()) == {
        "studies/digits/study.json",
        "studies/digits/journal.jsonl",
        "studies/digits/delivery-1234.json",
        "studies/digits/optuna.db",
        "studies/digits/trials/00000-1/best.keras",
        "studies/digits/earlier/20260101-000000/journal.jsonl",
        "mlflow/mlflow.db",
        "mlflow/artifacts/1/run/artifacts/notes.db",
        "lanes/widths.json",
    }


def test_how_far_the_delivery_is_comes_before_the_databases_those_before_files_and_those_before_journals(
    home: Path,
) -> None:
    order = copied(home)[0].order

    steps = ("delivery-1234.json", "mlflow.db", "best.keras", "digits/journal.jsonl")
    places = [next(place for place, name in enumerate(order) if name.endswith(step)) for step in steps]
    assert places == sorted(places)


def test_a_torn_last_line_is_left_out(home: Path) -> None:
    journal = home / "studies/digits/journal.jsonl"
    whole = journal.read_bytes()
    journal.write_bytes(whole + b'{"kind":"checkpoint","path":"trials/0000')

    into, missed = copied(home)

    assert into.contents()["studies/digits/journal.jsonl"] == whole
    assert missed == []


@pytest.mark.parametrize("content", [b"", b"no line is whole", b"x" * 200_000])
def test_a_journal_without_a_whole_line_is_empty(home: Path, content: bytes) -> None:
    (home / "studies/digits/journal.jsonl").write_bytes(content)

    assert copied(home)[0].contents()["studies/digits/journal.jsonl"] == b""


def test_a_database_is_copied_as_it_is_between_two_transactions_and_stays_in_one_file(
    home: Path, tmp_path: Path
) -> None:
    with closing(sqlite3.connect(home / "mlflow/mlflow.db")) as writer:
        writer.execute("INSERT INTO numbers VALUES (2)")
        writer.commit()  # in the log beside the file, as long as the writer is there
        writer.execute("INSERT INTO numbers VALUES (3)")
        into, _ = copied(home)

    back = tmp_path / "back.db"
    back.write_bytes(into.contents()["mlflow/mlflow.db"])
    with closing(sqlite3.connect(back)) as database:
        assert database.execute("SELECT number FROM numbers").fetchall() == [(1,), (2,)]
        assert database.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_a_checkpoint_that_comes_while_files_are_copied_is_copied_too(home: Path) -> None:
    study = home / "studies/digits"

    class Busy(HomeCopy):
        passes = 0

        def _copy_files(self) -> None:
            super()._copy_files()
            self.passes += 1
            if self.passes == 1:  # the sweep goes on
                (study / "trials/00001-1").mkdir()
                (study / "trials/00001-1/best.keras").write_text("newer")
                with (study / "journal.jsonl").open("a") as journal:
                    journal.write(checkpoint("c1", "trials/00001-1/best.keras"))

    into = Copied()
    assert Busy(home, into).copy_rest() == []

    contents = into.contents()
    assert contents["studies/digits/trials/00001-1/best.keras"] == b"newer"
    assert b'"c1"' in contents["studies/digits/journal.jsonl"]


def test_a_state_that_is_newer_than_the_journal_is_left_out(home: Path) -> None:
    """Whoever goes on from it would not train the epochs again that no journal has."""
    states = home / "studies/digits/states/00001"
    states.mkdir(parents=True)
    (states / "state-0001-a.bin").write_text("epoch 3")

    class Busy(HomeCopy):
        def _copy_journal(self, path: Path) -> set[str]:
            told = super()._copy_journal(path)
            (states / "state-0001-a.bin").write_text("epoch 20")
            (states / "state-0001-b.bin").write_text("epoch 21")
            return told

    into = Copied()
    Busy(home, into).copy_rest()

    contents = into.contents()
    assert contents["studies/digits/states/00001/state-0001-a.bin"] == b"epoch 3"
    assert "studies/digits/states/00001/state-0001-b.bin" not in contents
    order = into.order
    assert order.index("studies/digits/states/00001/state-0001-a.bin") < order.index("studies/digits/journal.jsonl")


def test_a_checkpoint_that_is_replaced_before_it_is_copied_has_the_journal_copied_again(home: Path) -> None:
    study = home / "studies/digits"

    class Busy(HomeCopy):
        passes = 0

        def _copy_journal(self, path: Path) -> set[str]:
            told = super()._copy_journal(path)
            self.passes += path.parent == study
            if self.passes == 1 and path.parent == study:
                (study / "trials/00000-1/best.keras").unlink()
                (study / "trials/00002-1").mkdir(exist_ok=True)
                (study / "trials/00002-1/best.keras").write_text("better")
                with path.open("a") as journal:
                    journal.write(entry("dropped", time_ms=2, sha256="c0", reason="beaten"))
                    journal.write(checkpoint("c2", "trials/00002-1/best.keras"))
                told |= {"studies/digits/trials/00009-1/best.keras"}  # one that came and went in between
            return told

    into = Copied()
    assert Busy(home, into).copy_rest() == []

    contents = into.contents()
    assert contents["studies/digits/trials/00002-1/best.keras"] == b"better"
    assert b'"dropped"' in contents["studies/digits/journal.jsonl"]


def test_a_checkpoint_that_is_gone_without_a_word_is_named(home: Path) -> None:
    (home / "studies/digits/trials/00000-1/best.keras").unlink()

    assert copied(home)[1] == ["studies/digits/trials/00000-1/best.keras"]


def test_a_checkpoint_that_only_the_tracker_has_is_not_missed(home: Path) -> None:
    (home / "studies/digits/trials/00000-1/best.keras").unlink()
    (home / "studies/digits/journal.jsonl").write_text(checkpoint("c0", "trials/00000-1/best.keras", delivered=True))

    assert copied(home)[1] == []


def test_in_a_container_each_step_comes_as_a_tar_on_standard_output(home: Path) -> None:
    def names(step: str) -> set[str]:
        done = subprocess.run(
            [sys.executable, "-m", "services.backup.copying", step, str(home)],
            cwd=ROOT, capture_output=True, check=True, timeout=60,
        )  # fmt: skip
        with tarfile.open(fileobj=io.BytesIO(done.stdout)) as tar:
            return set(tar.getnames())

    assert names("deliveries") == {"studies/digits/delivery-1234.json"}
    assert {"studies/digits/journal.jsonl", "mlflow/mlflow.db"} <= names("rest")
