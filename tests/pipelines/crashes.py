"""A study as a crash leaves it, for tests of those who mend it."""

from __future__ import annotations

import hashlib
import json

from pipelines.facts import StudyFacts
from pipelines.home import Home, StudyFolder
from pipelines.tracking.entries import RANKED, CheckpointKept, Entry, Logged, RunBegun, RunEnded
from pipelines.tracking.journal import Journal
from tests.pipelines.scripted import RATE, recipe


def sha(number: int) -> str:
    return hashlib.sha256(b"weights %d" % number).hexdigest()


def crashed(
    home: Home, name: str = "tiny", server: str = "http://tracking.example:5000", *, ranked: bool = True
) -> StudyFolder:
    """A study whose controller died: its parent and its second trial are open; the first is complete.

    Without `ranked` it is one of before runs had a metric to be ranked by.
    """
    rank = {RANKED: 0.25} if ranked else {}
    folder = home.study(name)
    folder.root.mkdir(parents=True)
    facts = StudyFacts.begin(recipe(study=name), server)
    facts.uid = f"{name}u"
    facts.write(folder)
    (folder.root / "trials").mkdir()
    (folder.root / "trials/0.keras").write_bytes(b"weights 0")
    tag = {"regatta.study_uid": facts.uid}
    ended = {"regatta.state": "COMPLETE", "regatta.checkpoint_sha256": sha(0)}

    def trial(number: int, time_ms: int) -> RunBegun:
        tags = {
            **tag,
            "regatta.trial": str(number),
            "regatta.attempt": "1",
            "regatta.state": "RUNNING",
            "regatta.sampled": json.dumps({RATE: 0.01 * (number + 1)}),
        }
        return RunBegun(f"{name}u-{number:05d}", name, f"trial-{number:03d}", time_ms, f"{name}u", tags)

    append(
        folder,
        RunBegun(f"{name}u", name, "sweep", 1000, None, {**tag, "regatta.kind": "sweep"}),
        trial(0, 2000),
        Logged(f"{name}u-00000", 3000, 0, {"loss": 0.4, "val_loss": 0.5}),
        Logged(f"{name}u-00000", 4000, 1, {"loss": 0.3, "val_loss": 0.25}),
        CheckpointKept(f"{name}u-00000", 4000, "trials/0.keras", "trial-000", 1, sha(0), {"val_loss": 0.25}),
        Logged(f"{name}u-00000", 4500, 0, {"seconds": 2.0, "best.val_loss": 0.25, "best.epoch": 1.0, **rank}, ended),
        RunEnded(f"{name}u-00000", 5000, "FINISHED"),
        trial(1, 6000),
        Logged(f"{name}u-00001", 7000, 0, {"loss": 0.5, "val_loss": 0.6}),
    )
    return folder


def append(folder: StudyFolder, *entries: Entry) -> None:
    journal = Journal(folder.journal)
    for entry in entries:
        journal.append(entry)
    journal.close()
