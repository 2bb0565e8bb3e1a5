from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import asdict, replace
from io import BytesIO
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
import pytest

from pipelines.datasets.prepared import PreparedData
from pipelines.records import (
    CallbackActed,
    CheckpointWritten,
    Ended,
    EpochEnded,
    Event,
    Failure,
    PictureDrawn,
    Started,
    TrialSpec,
    Verdict,
)

Train = Callable[..., Any]

OWN = """
import collections
import random
import threading

import keras
import numpy as np
import tensorflow as tf


class Drawing(keras.callbacks.Callback):
    '''Draws from every stream there is, and knows nothing of attempts.'''

    def __init__(self, around):
        super().__init__()
        self.notes, self.rng, self.old = [], np.random.default_rng(5), np.random.RandomState(4)
        self.own = random.Random(6)
        self.count, self.last, self.mean = collections.Counter(), collections.deque(maxlen=3), keras.metrics.Mean()
        self.weight, self.seen, self.path = tf.Variable(1.0), set(), around.folder / "drawn.txt"
        self.text, self.lock, self.epochs = str(self.path), threading.Lock(), len(self.seen)

    def on_train_begin(self, logs=None):
        self.best, self.before = None, np.float32(0)

    def on_epoch_end(self, epoch, logs=None):
        streams = [random.random(), np.random.rand(), self.rng.random(), self.old.rand(), self.own.random()]
        streams += [float(tf.random.uniform([])), float(keras.random.uniform([]))]
        self.weight.assign_add(streams[0])
        self.mean.update_state(streams[1])
        self.count["epochs"] += 1
        self.last.append(streams[2])
        self.seen.add(epoch)
        self.best = min(logs["val_loss"], float("inf") if self.best is None else self.best)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        (self.path.parent / "first.txt").touch()
        self.path.write_text(str(streams))
        assert self.text == str(self.path)
        heights = [sum(self.model.history.history.get("loss", [])), sum(self.last), float(self.mean.result())]
        self.notes.append(f"{streams} {heights} {self.count} {sorted(self.seen)} {self.best} {float(self.weight)}")
        self.model.optimizer.learning_rate = 0.001 * (1 + streams[0])

    def on_train_end(self, logs=None):
        self.notes.append(f"ended with {logs['loss']}")


class Knowing(keras.callbacks.Callback):
    '''Says itself what is to be kept of it.'''

    def __init__(self):
        super().__init__()
        self.thing, self.notes = Thing(), []

    def get_state(self):
        return {"epochs": self.thing.epochs}

    def set_state(self, state):
        self.thing.epochs = state["epochs"]

    def on_epoch_end(self, epoch, logs=None):
        self.thing.epochs.append(epoch)
        self.notes.append(f"saw {self.thing.epochs}")
        if len(self.thing.epochs) == 6:
            self.model.stop_training = True


class Thing:
    def __init__(self):
        self.epochs = []
"""


class Cut(BaseException):
    """The end of a process, as far as one can have that within one."""


class Witness:
    """Hears what an attempt tells, until it is cut short at an epoch."""

    def __init__(self, cut_at: int | None = None, verdicts: dict[int, Verdict] | None = None) -> None:
        self.events: list[Event] = []
        self.cut_at = cut_at
        self.verdicts = verdicts or {}

    def __call__(self, event: Event) -> Verdict:
        self.events.append(event)
        if isinstance(event, EpochEnded) and not event.retold:
            if event.epoch == self.cut_at:
                raise Cut
            return self.verdicts.get(event.epoch, Verdict.GO_ON)
        return Verdict.GO_ON

    def of(self, kind: type[Event]) -> list[Any]:
        return [event for event in self.events if type(event) is kind]

    @property
    def curve(self) -> str:
        """Every metric of every epoch; as text, in which a NaN is itself."""
        return repr([(event.epoch, dict(event.metrics)) for event in self.of(EpochEnded)])

    @property
    def acts(self) -> list[Any]:
        acts = self.of(CallbackActed)
        return [(a.epoch, a.callback, a.action, a.text, a.value) for a in acts if not a.text.startswith("went on at")]

    @property
    def pictures(self) -> list[tuple[int, str, bytes]]:
        return [(one.epoch, one.key, Path(one.path).read_bytes()) for one in self.of(PictureDrawn)]

    @property
    def files(self) -> list[str]:
        return [Path(event.path).name for event in self.of(CheckpointWritten) if event.kind == "callback"]

    @property
    def ended(self) -> Ended:
        ended = self.events[-1]
        assert isinstance(ended, Ended)
        return ended

    @property
    def best(self) -> tuple[int, list[Any]]:
        """The best epoch, and its weights and optimizer in its file."""
        import h5py  # type: ignore[import-untyped]

        (written,) = [event for event in self.of(CheckpointWritten) if event.kind == "best"]
        found: list[Any] = []

        def visit(name: str, entry: Any) -> None:
            if isinstance(entry, h5py.Dataset):
                found.append((name, entry[()].tobytes()))

        with ZipFile(written.path) as archive, h5py.File(BytesIO(archive.read("model.weights.h5"))) as file:
            file.visititems(visit)
        assert found
        return written.epoch, found


def attempts(train: Train, cuts: Iterable[int], states: Path, **config: Any) -> tuple[Witness, list[Witness]]:
    """Attempts at one trial that are cut short one after the other, and the one that comes to the end."""
    before = []
    for epoch in cuts:
        heard = Witness(epoch)
        with pytest.raises(Cut):
            train(heard, states=states, **config)
        before.append(heard)
    last = Witness()
    train(last, states=states, **config)
    return last, before


HIDDEN = {"units": [12], "dropout": 0.3, "batch_norm": True}
STOPPER = {"patience": 2, "min_delta": 0.05, "restore_best_weights": True}
PLATEAU = {"patience": 1, "min_delta": 0.2, "cooldown": 1, "factor": 0.5}
MIXES: dict[str, dict[str, Any]] = {
    "none": {},
    "stopper_plateau_and_best_only": {
        "callbacks": {
            "early_stopping": STOPPER,
            "reduce_lr_on_plateau": PLATEAU,
            "model_checkpoint": {"filepath": "best.keras", "save_best_only": True, "monitor": "val_accuracy"},
        },
        "optimizer": {"name": "rmsprop", "momentum": 0.5, "learning_rate": 0.01},
    },
    "stopper_upwards": {
        "callbacks": {"early_stopping": {**STOPPER, "monitor": "val_accuracy", "min_delta": 0.2}},
        "objective": "val_accuracy",
        "direction": "maximize",
    },
    "scheduler_swa_and_diagnostics": {
        "callbacks": {
            "learning_rate_scheduler": {"schedule": {"name": "one_cycle"}},
            "swa": {"start_from_epoch": 2, "every": 2},
            "diagnostics": None,
        },
        "optimizer": {"name": "adamw", "weight_decay": 0.01},
    },
    "means_of_weights": {
        "callbacks": {"swap_ema_weights": None, "early_stopping": STOPPER},
        "optimizer": {"name": "nadam", "use_ema": True, "ema_momentum": 0.9},
    },
    "rate_by_the_step_and_files_by_the_batch": {
        "callbacks": {
            "model_checkpoint": {"filepath": "{epoch}-{batch}.weights.h5", "save_freq": 25, "save_weights_only": True},
            "terminate_on_nan": None,
        },
        "optimizer": {"name": "sgd", "learning_rate": "cosine_restarts", "momentum": 0.9, "nesterov": True},
    },
    "gathered_gradients": {"optimizer": {"name": "lion", "gradient_accumulation_steps": 4}, "class_weight": {"3": 2.0}},
    "muon": {"optimizer": "muon"},
    "adafactor": {"optimizer": "adafactor"},
    "ftrl": {"optimizer": {"name": "ftrl", "learning_rate": 0.05}},
}


def named(optimizer: Any) -> Any:
    return {"name": optimizer} if isinstance(optimizer, str) else optimizer


@pytest.fixture(autouse=True)
def every_epoch_is_kept(monkeypatch: pytest.MonkeyPatch, keras: Any) -> None:
    """However slow the machine is just now; how writes are spaced has tests of its own."""
    from pipelines.training.states import StateWriter

    monkeypatch.setattr(StateWriter, "due", lambda writer: True)


@pytest.fixture
def own_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "own_resuming.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "own_resuming", raising=False)
    return "own_resuming"


@pytest.mark.parametrize("mix", MIXES)
def test_a_training_cut_short_again_and_again_is_the_uninterrupted_one_bit_for_bit(
    train: Train, tmp_path: Path, mix: str
) -> None:
    config = {"model": HIDDEN, "epochs": 7, **MIXES[mix]}
    if "optimizer" in config:
        config["optimizer"] = named(config["optimizer"])
    whole = Witness()
    train(whole, **config)
    length = len(whole.of(EpochEnded))
    cuts = sorted(random.Random(mix).sample(range(length), min(2, length)))

    last, before = attempts(train, cuts, tmp_path / "states", **config)

    assert (last.curve, last.acts, last.pictures) == (whole.curve, whole.acts, whole.pictures), cuts
    assert last.best == whole.best
    assert last.files == whole.files
    assert (last.ended.error, last.ended.pruned) == (None, False)
    assert [one.of(Started)[0].first_epoch for one in (*before, last)] == [0, *cuts]
    assert [event.retold for event in last.of(EpochEnded)] == [epoch < cuts[-1] for epoch in range(length)]
    assert {event.attempt for event in last.events} == {len(cuts) + 2}
    told = [event.time_ms for one in (*before, last) for event in one.of(EpochEnded) if not event.retold]
    retold = [event.time_ms for event in last.of(EpochEnded) if event.retold]
    assert set(retold) <= set(told)


def test_what_a_model_reads_from_disk_goes_on_in_the_same_order(train: Train, tmp_path: Path) -> None:
    from pipelines.training.fit import FitTrainer

    config = {"model": HIDDEN, "epochs": 4, "on": FitTrainer(0)}
    whole = Witness()
    train(whole, **config)
    last, _ = attempts(train, [2], tmp_path / "states", **config)
    assert whole.of(Started)[0].facts["regatta.data"] == "streamed from disk"
    assert (last.curve, last.best) == (whole.curve, whole.best)


def test_pictures_of_the_plane_go_on(train: Train, tmp_path: Path) -> None:
    from pipelines.datasets.playground import Circle
    from pipelines.datasets.prepared import prepare

    data = prepare(Circle(samples=60), None, tmp_path / "data")
    config = {"data": data.folder, "dataset": {"name": "circle", "samples": 60}, "model": {"units": [4]}, "epochs": 4}
    whole = Witness()
    train(whole, **config)
    last, _ = attempts(train, [1, 3], tmp_path / "states", **config)
    assert (last.curve, last.pictures) == (whole.curve, whole.pictures)
    assert [Path(event.path).parent.parent.name for event in last.of(PictureDrawn)] == [
        f"attempt-{number}" for number in (2, 3, 3, 4)
    ]  # an epoch that was told but not kept is drawn again


def test_own_callbacks_and_every_random_stream_go_on(train: Train, tmp_path: Path, own_code: str) -> None:
    callbacks = {
        "drawing": {"name": "class", "path": f"{own_code}:Drawing"},
        "knowing": {"name": "class", "path": f"{own_code}:Knowing"},
    }
    config = {"model": HIDDEN, "epochs": 9, "callbacks": callbacks}
    whole = Witness()
    train(whole, **config)
    assert len(whole.of(EpochEnded)) == 6

    last, _ = attempts(train, [1, 2, 5], tmp_path / "states", **config)

    assert last.curve == whole.curve
    assert last.acts == whole.acts
    assert last.files == whole.files == ["drawn.txt", "first.txt"]
    drawn = [one.of(CheckpointWritten)[-2].path for one in (whole, last)]
    assert Path(drawn[0]).read_text() == Path(drawn[1]).read_text()
    (lost,) = {act.text for act in last.of(CallbackActed) if act.text.startswith("went on at epoch 5")}
    assert lost == (
        "went on at epoch 5 without what cannot be kept of it: lock; with get_state() and set_state(state) it can say "
        "itself what is to be kept"
    )
    assert {act.callback for act in last.of(CallbackActed) if act.text.startswith("went on")} == {"drawing"}


def test_an_attempt_without_states_begins_anew(train: Train) -> None:
    heard = Witness(1)
    with pytest.raises(Cut):
        train(heard, epochs=3)
    again = Witness()
    train(again, epochs=3)
    assert again.of(Started)[0].first_epoch == 0
    assert not any(event.retold for event in again.of(EpochEnded))


def torn(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


@pytest.mark.parametrize(("spoilt", "goes_on_at"), [(1, 2), (2, 0)])
def test_a_torn_state_is_passed_over_for_the_one_before(
    train: Train, tmp_path: Path, spoilt: int, goes_on_at: int
) -> None:
    whole = Witness()
    train(whole, epochs=5)
    heard = Witness(3)
    with pytest.raises(Cut):
        train(heard, epochs=5, states=tmp_path / "states")
    newest_first = sorted((tmp_path / "states").iterdir(), key=lambda path: path.stat().st_mtime_ns, reverse=True)
    assert len(newest_first) == 2
    for path in newest_first[:spoilt]:
        torn(path)
    last = Witness()
    train(last, epochs=5, states=tmp_path / "states")
    assert last.of(Started)[0].first_epoch == goes_on_at
    assert (last.curve, last.best) == (whole.curve, whole.best)


@pytest.mark.parametrize("change", [{"seed": 4}, {"objective": "val_accuracy", "direction": "maximize"}], ids=str)
def test_the_state_of_another_training_is_none_to_go_on_from(
    train: Train, tmp_path: Path, change: dict[str, Any]
) -> None:
    train(Witness(), epochs=2, states=tmp_path / "states")
    other = Witness()
    train(other, epochs=2, states=tmp_path / "states", **change)
    assert other.of(Started)[0].first_epoch == 0


def test_a_model_that_has_changed_meanwhile_begins_anew(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = (
        "import keras\n\ndef make(inputs, head):\n    layers = keras.layers\n"
        "    parts = [layers.Flatten(), layers.Dense(%d, 'relu'), layers.Dense(head.units, head.activation)]\n"
        "    return keras.Sequential([keras.Input(inputs.shape), *parts])\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    config = {"model": {"name": "function", "function": "own_growing:make"}, "epochs": 3}
    found = []
    for units in (4, 5):
        (tmp_path / "own_growing.py").write_text(code % units)
        monkeypatch.delitem(sys.modules, "own_growing", raising=False)
        heard = Witness(1)
        with pytest.raises(Cut):
            train(heard, states=tmp_path / "states", **config)
        found += heard.of(Started)
    assert [one.first_epoch for one in found] == [0, 0]


def test_a_pause_keeps_the_state_and_ends_nothing(train: Train, tmp_path: Path) -> None:
    config = {"model": HIDDEN, "epochs": 6, "callbacks": {"early_stopping": STOPPER, "diagnostics": None}}
    whole = Witness()
    train(whole, **config)
    first = Witness(verdicts={2: Verdict.PAUSE})
    train(first, states=tmp_path / "states", **config)
    assert [event.epoch for event in first.of(EpochEnded)] == [0, 1, 2]
    assert (first.ended.paused, first.ended.pruned, first.ended.error) == (True, False, None)
    assert first.of(CheckpointWritten) == []
    assert first.acts == [act for act in whole.acts if act[0] <= 2 and "restored" not in act]

    second = Witness()
    train(second, states=tmp_path / "states", **config)
    assert second.of(Started)[0].first_epoch == 3
    assert (second.curve, second.acts, second.best) == (whole.curve, whole.acts, whole.best)


def test_a_pause_is_obeyed_where_nothing_is_kept(train: Train) -> None:
    heard = Witness(verdicts={0: Verdict.PAUSE})
    train(heard, epochs=4)
    assert heard.ended.paused
    assert len(heard.of(EpochEnded)) == 1


@pytest.mark.parametrize(
    "config",
    [{"epochs": 3}, {"epochs": 9, "callbacks": {"early_stopping": {"patience": 2, "min_delta": 1e9}}}],
    ids=["the_last_epoch", "a_callback_stopped_it"],
)
def test_a_pause_that_comes_when_all_is_done_pauses_nothing(
    train: Train, tmp_path: Path, config: dict[str, Any]
) -> None:
    heard = Witness(verdicts={2: Verdict.PAUSE})
    train(heard, states=tmp_path / "states", **config)
    assert (heard.ended.paused, heard.ended.pruned) == (False, False)
    assert heard.best[0] == 2


class CutAtTheEnd(Witness):
    """Is cut short when all epochs are told and kept, and only the end is missing."""

    def __call__(self, event: Event) -> Verdict:
        if isinstance(event, CheckpointWritten):
            raise Cut
        return super().__call__(event)


@pytest.mark.parametrize(
    ("config", "verdicts"),
    [
        ({"epochs": 3}, {}),
        ({"epochs": 9, "callbacks": {"early_stopping": STOPPER, "diagnostics": None}}, {}),
        ({"epochs": 9, "optimizer": {"name": "adam", "use_ema": True}, "callbacks": {"swap_ema_weights": None}}, {}),
        ({"epochs": 9, "callbacks": {"diagnostics": None}}, {2: Verdict.STOP}),
    ],
    ids=["last_epoch", "stopped_early", "means_of_weights", "pruned"],
)
def test_a_training_that_was_over_is_only_ended(
    train: Train, tmp_path: Path, config: dict[str, Any], verdicts: dict[int, Verdict]
) -> None:
    config = {"model": HIDDEN, **config}
    whole = Witness(verdicts=verdicts)
    train(whole, **config)
    with pytest.raises(Cut):
        train(CutAtTheEnd(verdicts=verdicts), states=tmp_path / "states", **config)
    last = Witness()
    train(last, states=tmp_path / "states", **config)
    assert all(event.retold for event in last.of(EpochEnded))
    assert (last.curve, last.acts, last.best) == (whole.curve, whole.acts, whole.best)
    assert (last.ended.pruned, last.ended.failure) == (whole.ended.pruned, whole.ended.failure)


def test_a_training_that_broke_down_stays_broken_when_it_goes_on(train: Train, tmp_path: Path) -> None:
    rate = {"name": "piecewise", "boundary_epochs": [2], "values": [1e-3, 1e30]}
    config = {
        "epochs": 6,
        "optimizer": {"name": "sgd", "learning_rate": rate},
        "model": {"units": [8], "activation": "linear"},
    }
    with pytest.raises(Cut):
        train(CutAtTheEnd(), states=tmp_path / "states", **config)
    last = Witness()
    train(last, states=tmp_path / "states", **config)
    assert (last.ended.pruned, last.ended.failure) == (True, Failure.NOT_FINITE)
    assert [event.retold for event in last.of(EpochEnded)] == [True] * 3
    assert last.best[0] == 1


class SaysOnRetelling(Witness):
    def __init__(self, epoch: int, verdict: Verdict) -> None:
        super().__init__()
        self.about = epoch, verdict

    def __call__(self, event: Event) -> Verdict:
        super().__call__(event)
        epoch, verdict = self.about
        retold = isinstance(event, EpochEnded) and event.retold and event.epoch == epoch
        return verdict if retold else Verdict.GO_ON


@pytest.mark.parametrize(
    ("epoch", "verdict", "epochs", "pruned", "paused"),
    [
        (0, Verdict.STOP, 4, False, False),  # it went on after that epoch, whatever is thought of it now
        (1, Verdict.STOP, 2, True, False),
        (1, Verdict.PAUSE, 2, False, True),
    ],
)
def test_of_the_verdicts_on_epochs_told_again_the_last_one_counts(
    train: Train, tmp_path: Path, epoch: int, verdict: Verdict, epochs: int, pruned: bool, paused: bool
) -> None:
    with pytest.raises(Cut):
        train(Witness(2), epochs=4, states=tmp_path / "states")
    heard = SaysOnRetelling(epoch, verdict)
    train(heard, epochs=4, states=tmp_path / "states")
    assert len(heard.of(EpochEnded)) == epochs
    assert (heard.ended.pruned, heard.ended.paused) == (pruned, paused)
    assert (heard.of(CheckpointWritten) == []) == paused


def test_files_of_an_earlier_attempt_are_copies_and_only_those_that_were_there(train: Train, tmp_path: Path) -> None:
    config = {"epochs": 4, "callbacks": {"model_checkpoint": {"filepath": "{epoch}.keras"}}}
    before = Witness(2)  # has written 3.keras already, which its state knows nothing of
    with pytest.raises(Cut):
        train(before, states=tmp_path / "states", **config)
    seen: list[set[str]] = []
    folder = tmp_path / "attempt-2" / "checkpoints"

    class Looking(Witness):
        def __call__(self, event: Event) -> Verdict:
            if isinstance(event, Started):
                seen.append({path.name for path in folder.iterdir()})
            return super().__call__(event)

    last = Looking()
    train(last, states=tmp_path / "states", **config)
    assert {path.name for path in (tmp_path / "attempt-1" / "checkpoints").iterdir()} == {
        "1.keras", "2.keras", "3.keras",
    }  # fmt: skip
    assert seen == [{"1.keras", "2.keras"}]
    assert last.files == ["1.keras", "2.keras", "3.keras", "4.keras"]
    assert all(path.stat().st_nlink == 1 for path in folder.iterdir())


def test_a_state_that_cannot_be_written_does_not_keep_a_trial_from_its_end(train: Train, tmp_path: Path) -> None:
    (tmp_path / "states").write_text("where the folder should be is a file")
    heard = Witness()
    train(heard, epochs=2, states=tmp_path / "states")
    assert heard.ended.error is None
    assert heard.best[0] == 1


def test_time_of_earlier_attempts_counts_on(train: Train, tmp_path: Path) -> None:
    from pipelines.records import MachineSampled
    from pipelines.training.fit import FitTrainer
    from tests.pipelines.training.test_machine import Scripted

    ticks = iter(range(0, 10**6, 7))
    on = FitTrainer(1 << 30, Scripted(), lambda: float(next(ticks)))
    first = Witness(1)
    with pytest.raises(Cut):
        train(first, epochs=3, states=tmp_path / "states", on=on)
    second = Witness()
    train(second, epochs=3, states=tmp_path / "states", on=on)
    samples = [event.second for event in (*first.of(MachineSampled), *second.of(MachineSampled))]
    assert len(first.of(MachineSampled)) > 2
    after = [event.second for event in second.of(MachineSampled)]
    assert min(after) > min(samples)
    assert after == sorted(after)


CHILD = """
import json, sys
from dataclasses import asdict
from pipelines.records import EpochEnded, Started, Ended, CheckpointWritten, TrialSpec, Verdict
from pipelines.worker import TrialWorker, WorkerSettings
from tests.pipelines.scripted import ScriptedDesk

spec = TrialSpec(**json.loads(sys.argv[1]))

def answers(event):
    if isinstance(event, (EpochEnded, Started, Ended, CheckpointWritten)):
        told = {"event": type(event).__name__, **asdict(event)}
        told.pop("failure", None)
        print("told " + json.dumps(told), flush=True)
    return ()

TrialWorker(WorkerSettings(threads=1))(ScriptedDesk(spec, answer=answers))
"""


def child(spec: TrialSpec, repository: Path, kill_at: int | None) -> list[dict[str, Any]]:
    """Trains in a process of its own, which is killed as soon as it has told an epoch."""
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    process = subprocess.Popen(
        [sys.executable, "-c", CHILD, json.dumps(asdict(spec))],
        cwd=repository,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    told: list[dict[str, Any]] = []
    assert process.stdout is not None
    with process.stdout:
        for line in process.stdout:
            if line.startswith("told "):
                told.append(json.loads(line.removeprefix("told ")))
                if told[-1]["event"] == "EpochEnded" and told[-1]["epoch"] == kill_at and not told[-1]["retold"]:
                    process.send_signal(signal.SIGKILL)
    assert process.wait(60) == (-signal.SIGKILL if kill_at is not None else 0)
    return told


@pytest.mark.timeout(240)
def test_a_process_that_is_killed_at_any_epoch_is_gone_on_with_to_the_very_same_end(
    train: Train, digits: PreparedData, tmp_path: Path, repository: Path
) -> None:
    callbacks = {"early_stopping": {**STOPPER, "patience": 4}, "reduce_lr_on_plateau": PLATEAU}
    whole = Witness()
    spec = train(whole, model=HIDDEN, epochs=60, callbacks=callbacks).spec
    length = len(whole.of(EpochEnded))
    cuts = sorted(random.sample(range(1, length - 1), 2))
    parts = []
    for attempt, cut in enumerate((*cuts, None), start=1):
        folder = tmp_path / f"killed-{attempt}"
        own = replace(spec, attempt=attempt, folder=str(folder), states=str(tmp_path / "states"))
        parts.append(child(own, repository, cut))
    starts = [part[0]["first_epoch"] for part in parts]
    assert starts[0] == 0
    for cut, start in zip(cuts, starts[1:], strict=True):
        assert 1 <= start <= cut + 1, (cuts, starts)  # a slow write is followed by epochs without one
    assert parts[-1][-1]["error"] is None
    epochs = [told for told in parts[-1] if told["event"] == "EpochEnded"]
    assert repr([(told["epoch"], told["metrics"]) for told in epochs]) == whole.curve, cuts
    written = [told for told in parts[-1] if told["event"] == "CheckpointWritten"]
    finished = Witness()
    finished.events = [CheckpointWritten(5, 3, written[0]["epoch"], "best", written[0]["path"], written[0]["sha256"])]
    assert finished.best[0] == whole.best[0]
    for (name, mine), (other, theirs) in zip(finished.best[1], whole.best[1], strict=True):
        assert (name, mine) == (other, theirs)
    assert np.isfinite([told["metrics"]["loss"] for told in epochs]).all()
