"""How far a journal has come on a server: a small file beside it, so that another process can go on."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from pipelines.tracking.addresses import without_secrets


@dataclass
class Delivery:
    """How far one journal has come on one server.

    Attributes:
        offset: Bytes of the journal whose entries are delivered, all but the pictures and checkpoints.
        pictures_offset: Bytes of the journal whose pictures and checkpoints are delivered; never beyond `offset`.
        processed: Entries that are delivered or refused.
        attempted: Bytes of the journal that may have been delivered without our knowing, all but the pictures and
            checkpoints.
        pictures_attempted: The same of pictures and checkpoints.
        runs: The server's run ids, by uid, in the order in which they were begun there.
        experiments: The server's experiment ids, by name.
        refused: What the server will never take and why, with the number of entries.
    """

    offset: int = 0
    pictures_offset: int = 0
    processed: int = 0
    attempted: int = 0
    pictures_attempted: int = 0
    runs: dict[str, str] = field(default_factory=dict)
    experiments: dict[str, str] = field(default_factory=dict)
    refused: dict[str, int] = field(default_factory=dict)

    @property
    def delivered(self) -> int:
        """Entries that the server has."""
        return self.processed - sum(self.refused.values())

    def anew(self, journal: Path, *, same_runs: bool) -> Delivery:
        """The progress of a delivery that starts over; all of the journal may have been delivered before."""
        runs, experiments = (self.runs, self.experiments) if same_runs else ({}, {})
        size = size_of(journal)
        return Delivery(attempted=size, pictures_attempted=size, runs=dict(runs), experiments=dict(experiments))

    def write(self, file: Path) -> None:
        """Keeps it, in one step."""
        beside = file.with_suffix(".writing")
        beside.write_text(json.dumps(asdict(self)), encoding="utf-8")
        beside.replace(file)


def delivery_file(journal: Path, server: str) -> Path:
    """Where the progress of a journal on a server is kept: beside it, one file a server."""
    return journal.with_name(f"delivery-{hashlib.sha256(without_secrets(server).encode()).hexdigest()[:8]}.json")


def read_delivery(journal: Path, server: str) -> Delivery:
    """The progress so far; nothing where there is none."""
    try:
        return Delivery(**json.loads(delivery_file(journal, server).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return Delivery()


def trusted(noted: Delivery, journal: Path) -> Delivery:
    """What a new sender may believe of the progress that it finds: a power cut can take back either of the two files.

    All that is in the journal by now may have been delivered, whatever was noted; a journal that is shorter than what
    was noted is delivered from its beginning.
    """
    size = size_of(journal)
    if noted.offset > size:
        noted = noted.anew(journal, same_runs=True)
    noted.attempted = max(noted.attempted, size)
    noted.pictures_attempted = max(noted.pictures_attempted, size)
    return noted


def size_of(journal: Path) -> int:
    """Bytes of a journal; none where there is no such file."""
    return journal.stat().st_size if journal.exists() else 0
