"""Ships the journal to a tracker, in the background and in batches, for as long as it takes.

How nothing is lost and nothing doubled: the sender takes a slice of the journal, notes that it is being attempted,
delivers it run by run, and only then notes it as delivered. After a failure or a crash the whole slice is delivered
again, which a tracker takes as if it were once (`tracking/base.py`); only the making of a run must look first whether
it was made.

Pictures travel beside that, with an offset of their own: a batch of them goes whenever a slice has gone, and while
entries gather for the next one, so that however many there are, metrics wait for a batch at most.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path

from pipelines.tracking.base import Refused, Tracker, Unavailable
from pipelines.tracking.entries import Entry, FileKept, Logged, PictureKept, RunBegun, RunEnded
from pipelines.tracking.journal import read_lines, read_pictures

_SLICE = 2000
_GATHER_S = 0.3
"""How long entries may gather before they are sent: an epoch of a small model is far shorter than a request."""
_LONGEST_PAUSE_S = 5.0
_CONNECTIONS = 4
_PICTURES = 16
"""Pictures in a batch: what these connections upload in less time than entries gather."""


@dataclass
class Delivery:
    """How far one journal has come on one server; kept in a file, so that another process can go on.

    Attributes:
        offset: Bytes of the journal whose entries are delivered, all but the pictures.
        pictures_offset: Bytes of the journal whose pictures are delivered; never beyond `offset`.
        processed: Entries that are delivered or refused.
        attempted: Bytes of the journal that may have been delivered without our knowing.
        runs: The server's run ids, by uid.
        experiments: The server's experiment ids, by name.
        refused: What the server will never take and why, with the number of entries.
    """

    offset: int = 0
    pictures_offset: int = 0
    processed: int = 0
    attempted: int = 0
    runs: dict[str, str] = field(default_factory=dict)
    experiments: dict[str, str] = field(default_factory=dict)
    refused: dict[str, int] = field(default_factory=dict)

    @property
    def delivered(self) -> int:
        """Entries that the server has."""
        return self.processed - sum(self.refused.values())


def delivery_file(journal: Path, server: str) -> Path:
    """Where the progress of a journal on a server is kept: beside it, one file a server."""
    return journal.with_name(f"delivery-{hashlib.sha256(server.encode()).hexdigest()[:8]}.json")


def read_delivery(journal: Path, server: str) -> Delivery:
    """The progress so far; nothing where there is none."""
    try:
        return Delivery(**json.loads(delivery_file(journal, server).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return Delivery()


def _trusted(noted: Delivery, journal: Path) -> Delivery:
    """What a new sender may believe of the progress that it finds: a power cut can take back either of the two files.

    All that is in the journal by now may have been delivered, whatever was noted; a journal that is shorter than what
    was noted is delivered from its beginning.
    """
    size = journal.stat().st_size if journal.exists() else 0
    if noted.offset > size:
        noted = Delivery(runs=noted.runs, experiments=noted.experiments)
    noted.attempted = max(noted.attempted, size)
    return noted


class Sender:
    """A background thread with a journal at one end and a tracker at the other."""

    def __init__(self, journal: Path, tracker: Tracker, server: str) -> None:
        """Takes the journal's path, the tracker, and the name under which progress is kept (the server's address)."""
        self._journal = journal
        self._tracker = tracker
        self._file = delivery_file(journal, server)
        self._state = _trusted(read_delivery(journal, server), journal)
        self._news = threading.Event()
        self._changed = threading.Condition()
        self._closing = False
        self._hurry = False
        self._problem: str | None = None
        self._begun = time.monotonic()
        self._reached = False
        self._refused_now: dict[str, int] = {}
        self._thread = threading.Thread(target=self._run, name="journal-sender", daemon=True)

    def start(self) -> None:
        """Starts sending."""
        self._thread.start()

    def wake(self) -> None:
        """There is something new in the journal."""
        self._news.set()

    @property
    def delivered(self) -> int:
        """Entries that the tracker has."""
        return self._state.delivered

    @property
    def refused(self) -> tuple[str, ...]:
        """What the tracker will never take, and why."""
        return tuple(self._state.refused)

    @property
    def problem(self) -> str | None:
        """Why nothing can be delivered at the moment, or None."""
        return self._problem

    def never_reached(self, after_s: float) -> bool:
        """Whether nothing was ever delivered by this sender, though it has tried for `after_s` seconds."""
        return not self._reached and self._problem is not None and time.monotonic() - self._begun > after_s

    def run_id(self, uid: str) -> str | None:
        """The tracker's id of a run, once it has one."""
        return self._state.runs.get(uid)

    def experiment_id(self, name: str) -> str | None:
        """The tracker's id of an experiment, once it has one."""
        return self._state.experiments.get(name)

    def flush(self, written: int, timeout_s: float) -> bool:
        """Waits until `written` entries are delivered or refused; False where the time is over first."""
        self._hurry = True
        self.wake()
        with self._changed:
            done = self._changed.wait_for(lambda: self._state.processed >= written, timeout_s)
        self._hurry = False
        return done

    def close(self) -> None:
        """Stops. What is not delivered stays in the journal for the next sender."""
        self._closing = True
        self.wake()
        if self._thread.is_alive():
            self._thread.join(30)

    def deliver(self) -> bool:
        """Delivers one slice in the calling thread, or a batch of pictures; False when there was neither.

        Raises:
            Unavailable: The tracker cannot be reached; the slice stays undelivered.
        """
        return self._deliver_slice() or self._deliver_pictures()

    def _deliver_slice(self) -> bool:
        state = self._state
        entries, offset = read_lines(self._journal, state.offset, _SLICE)
        if not entries:
            return False
        suspect = state.attempted > state.offset
        state.attempted = max(state.attempted, offset)
        self._save()
        runs: dict[str, list[Entry]] = {}
        for entry in entries:
            if not isinstance(entry, PictureKept):
                runs.setdefault(entry.uid, []).append(entry)
        self._refused_now = {}
        self._deliver_runs(runs, suspect)
        with self._changed:
            state.offset = offset
            self._note_processed(sum(map(len, runs.values())))
        return True

    def _deliver_pictures(self) -> bool:
        """Delivers a batch of pictures whose runs are begun by now, some side by side; False when there was none."""
        state = self._state
        pictures, offset = read_pictures(self._journal, state.pictures_offset, state.offset, _PICTURES)
        if pictures:
            self._refused_now = {}
            with ThreadPoolExecutor(_CONNECTIONS, "picture-connection") as pool:
                tasks = [pool.submit(self._deliver_picture, entry) for entry in pictures]
            for task in tasks:
                task.result()
        with self._changed:
            state.pictures_offset = offset
            if pictures:
                self._note_processed(len(pictures))
        return bool(pictures)

    def _deliver_picture(self, entry: PictureKept) -> None:
        try:
            self._tracker.keep_picture(self._known(entry.uid), self._journal.parent / entry.path, entry)
        except Refused as problem:
            self._refuse(f"{entry.uid}: {problem}", 1)

    def _note_processed(self, entries: int) -> None:
        """Notes, with the lock held, that so many entries more are delivered or refused."""
        state = self._state
        for text, count in self._refused_now.items():  # only now: a slice that is tried again is refused again
            state.refused[text] = state.refused.get(text, 0) + count
        state.processed += entries
        self._save()
        self._changed.notify_all()

    def _run(self) -> None:
        pause = 0.2
        while not self._closing:
            try:
                if self.deliver():
                    self._reached = True
                    self._problem, pause = None, 0.2
                    self._gather()
                else:
                    self._news.wait(1.0)
                    self._news.clear()
            except Unavailable as problem:
                self._problem = str(problem)
                self._news.clear()
                if not self._closing:  # else it was the call to stop that has just been cleared
                    self._news.wait(pause)
                pause = min(pause * 2, _LONGEST_PAUSE_S)
            except Exception as problem:  # a full disk under our own progress file: what was sent is sent again
                self._problem = f"{type(problem).__name__}: {problem}"
                time.sleep(pause)
                pause = min(pause * 2, _LONGEST_PAUSE_S)

    def _gather(self) -> None:
        """Lets entries gather, unless somebody waits for them, and delivers pictures meanwhile: at least a batch."""
        until = time.monotonic() + (0.0 if self._hurry else _GATHER_S)
        while self._deliver_pictures() and not self._closing and time.monotonic() < until:
            pass
        time.sleep(max(0.0, until - time.monotonic()))

    def _deliver_runs(self, runs: dict[str, list[Entry]], suspect: bool) -> None:
        """Parents first, as children name them; then all others side by side."""
        children = {
            uid for uid, entries in runs.items() if any(isinstance(e, RunBegun) and e.parent in runs for e in entries)
        }
        with ThreadPoolExecutor(_CONNECTIONS, "journal-connection") as pool:
            for group in (set(runs) - children, children):
                tasks = [pool.submit(self._deliver_run, uid, runs[uid], suspect) for uid in runs if uid in group]
                for problem in [task.exception() for task in tasks]:
                    if problem is not None:
                        raise problem

    def _deliver_run(self, uid: str, entries: Sequence[Entry], suspect: bool) -> None:
        gathered: list[Logged] = []
        for entry in [*entries, None]:
            if isinstance(entry, Logged):
                gathered.append(entry)
                continue
            try:
                if gathered:
                    self._tracker.log(self._known(uid), gathered)
            except Refused as problem:
                self._refuse(f"{uid}: {problem}", len(gathered))
            gathered = []
            try:
                match entry:
                    case RunBegun():
                        self._begin(entry, suspect)
                    case FileKept():
                        self._tracker.keep(self._known(uid), self._journal.parent / entry.path, entry.folder)
                    case RunEnded():
                        self._tracker.end(self._known(uid), entry.status, entry.time_ms)
            except Refused as problem:
                self._refuse(f"{uid}: {problem}", 1)

    def _begin(self, entry: RunBegun, suspect: bool) -> None:
        state = self._state
        experiment_id = self._tracker.experiment(entry.experiment)
        parent = self._known(entry.parent) if entry.parent else None
        again = suspect or entry.uid in state.runs
        run_id = self._tracker.begin(entry, experiment_id, parent, suspect=again)
        with self._changed:
            state.experiments[entry.experiment] = experiment_id
            state.runs[entry.uid] = run_id
            self._save()

    def _known(self, uid: str) -> str:
        run_id = self._state.runs.get(uid)
        if run_id is None:
            raise Refused("its run was never begun there")
        return run_id

    def _refuse(self, text: str, entries: int) -> None:
        with self._changed:
            self._refused_now[text] = self._refused_now.get(text, 0) + entries

    def _save(self) -> None:
        beside = self._file.with_suffix(".writing")
        beside.write_text(json.dumps(asdict(self._state)), encoding="utf-8")
        beside.replace(self._file)
