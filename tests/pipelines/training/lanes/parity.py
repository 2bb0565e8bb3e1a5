"""Trains the same trials with `fit` and in lanes, and compares everything that they tell and write.

In double precision the two agree to 1e-9, as the algorithm is the same one. In single precision what is left is the
order of additions, which XLA, Eigen and oneDNN choose differently (a dot product in pieces of another size, a product
and a sum in one rounding): some 1e-7 a step, which a training carries on. 1e-4 after three epochs leaves room for that
and for nothing else.
"""

from __future__ import annotations

import gc
import math
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np

from pipelines.datasets.prepared import PreparedData, prepare
from pipelines.recipe.config import TrainingConfig
from pipelines.records import (
    CallbackActed,
    CheckpointWritten,
    Ended,
    EpochEnded,
    Event,
    FileWritten,
    MachineSampled,
    PictureDrawn,
    Started,
    Stepped,
    TrialSpec,
    Verdict,
)

DOUBLE, SINGLE = 1e-9, 1e-4
"""By how much two values may differ, as a share of them, after three epochs in either precision."""
PARTLY = 1e-7
"""The same where some of it is computed in float32 always: schedules by Keras, the preparation of raw samples."""
SMALLEST = 1e-3
"""Below this, an error counts as a share of this: 1e-12 and 1e-7 are nothing but what is left of two equal numbers."""
SMALL: dict[str, Any] = {
    "dataset": {"name": "synthetic_images", "samples": 320, "shape": [6, 6], "classes": 5},
    "model": {"units": [6]},
    "optimizer": {"name": "sgd", "learning_rate": 0.1, "momentum": 0.5},
    "epochs": 3,
    "batch_size": 32,
}
"""204 samples to train on, 51 to validate with: seven steps an epoch, the last of 12 samples."""
AT_ONCE = 8
"""Groups that a trainer of lanes takes on where hardly two trials can share one."""
Config = Mapping[str, Any]


class Cut(BaseException):
    """The end of a process, as far as one can have that within one."""


@dataclass
class Told:
    """What an attempt told.

    Attributes:
        verdicts: What it is answered, by epoch.
        cut_at: The epoch at which its process ends.
    """

    spec: TrialSpec
    verdicts: Mapping[int, Verdict] = field(default_factory=dict)
    cut_at: int | None = None
    events: list[Event] = field(default_factory=list)

    def __call__(self, event: Event) -> Verdict:
        self.events.append(event)
        if isinstance(event, EpochEnded) and not event.retold:
            if event.epoch == self.cut_at:
                raise Cut
            return self.verdicts.get(event.epoch, Verdict.GO_ON)
        return Verdict.GO_ON

    def of(self, kind: type[Event]) -> list[Any]:
        """The events of one kind, in order."""
        return [event for event in self.events if type(event) is kind]

    @property
    def trainer(self) -> str:
        """What trained it, and why."""
        (started,) = self.of(Started)
        return str(started.facts["regatta.trainer"])

    @property
    def in_a_lane(self) -> bool:
        return self.trainer.startswith("lanes: ")

    @property
    def ended(self) -> Ended:
        (ended,) = [event for event in self.events if isinstance(event, Ended)]
        assert self.events[-1] is ended
        return ended

    @property
    def epochs(self) -> list[int]:
        return [event.epoch for event in self.of(EpochEnded)]

    @property
    def curve(self) -> str:
        """Every metric of every epoch, to the last bit; as text, in which a NaN is itself."""
        return repr([(event.epoch, dict(event.metrics)) for event in self.of(EpochEnded)])

    @property
    def best(self) -> Path:
        """The file of the best epoch."""
        return Path([event for event in self.of(CheckpointWritten) if event.kind == "best"][-1].path)


class Queue:
    """Trials that wait for a trainer; see `pipelines.training.base.Trials`."""

    def __init__(self) -> None:
        self.waiting: deque[Told] = deque()
        self.room = 0
        self.under_way: list[Told] = []
        self.most = 0

    def offer(self, places: int) -> None:
        self.room += places

    def take(self) -> tuple[TrialSpec, Callable[[Event], Verdict]] | None:
        if not self.waiting or self.room <= 0:
            return None
        self.room -= 1
        told = self.waiting.popleft()
        self.under_way.append(told)
        self.most = max(
            self.most, sum(not (one.events and isinstance(one.events[-1], Ended)) for one in self.under_way)
        )
        return told.spec, told


class Parity:
    """Both trainers, and the data and folders for them."""

    def __init__(self, folder: Path, *, data_bytes: int = 1 << 30) -> None:
        from pipelines.training.fit import FitTrainer

        self.folder = folder
        self.data_bytes = data_bytes
        self.fit_trainer = FitTrainer(data_bytes)
        self._data: dict[str, PreparedData] = {}
        self._count = 0

    def told(
        self,
        config: Config,
        *,
        states: str = "",
        attempt: int = 1,
        number: int = 0,
        data: Path | None = None,
        cut_at: int | None = None,
    ) -> Told:
        """An attempt that nobody has made yet.

        A config may say beside what a recipe says: `verdicts` by epoch, `objective` and `direction`.
        """
        given = {**SMALL, **config}
        verdicts = given.pop("verdicts", {})
        objective, direction = given.pop("objective", "val_loss"), given.pop("direction", "minimize")
        raw = TrainingConfig.model_validate(given)
        self._count += 1
        folder = self.folder / f"attempt-{self._count}"
        kept = str(self.folder / states) if states else ""
        where = self.data(raw) if data is None else data
        spec = TrialSpec(
            number, attempt, raw.model_dump(mode="json"), str(where), str(folder), objective, direction, kept
        )
        return Told(spec, verdicts, cut_at)

    def data(self, config: TrainingConfig) -> Path:
        """The folder with the config's data."""
        key = f"{config.dataset.model_dump_json()} {config.task}"
        if key not in self._data:
            self._data[key] = prepare(config.dataset, None, self.folder / "data", config.task)
        return self._data[key].folder

    def fit(self, config: Config, **about: Any) -> Told:
        """Trains with `fit`."""
        told = self.told(config, **about)
        self.train(told)
        return told

    def train(self, told: Told) -> None:
        """Makes an attempt with `fit`."""
        gc.freeze()  # Keras looks for garbage after each training, and need not among all that programs are made of
        self.fit_trainer.train(told.spec, told)

    def lanes(self, configs: Mapping[str, Config], worker: LaneWorker | None = None, **how: Any) -> dict[str, Told]:
        """Trains in lanes, all in one call; by a new trainer, for which see `worker`, where none is given."""
        all_told = {name: self.told(config, number=number) for number, (name, config) in enumerate(configs.items())}
        how = {"trials": max(1, len(all_told)), **how}
        (worker or self.worker(**how)).work(list(all_told.values()))
        return all_told

    def worker(self, *, lanes: Any = 2, most: int = 64, trials: int = 1) -> LaneWorker:
        """A trainer of lanes; its programs last as long as it does."""
        from pipelines.training.lanes.trainer import LanesTrainer

        gc.collect()
        trainer = LanesTrainer(
            self.fit_trainer,
            data_bytes=self.data_bytes,
            lanes=lanes,
            most=most,
            trials=trials,
            memory_bytes=1 << 40,  # however much of it a process of many tests has used
        )
        return LaneWorker(trainer)


class LaneWorker:
    """A trainer of lanes, and what waits for it."""

    def __init__(self, trainer: Any) -> None:
        self.trainer = trainer
        self.queue = Queue()

    def work(self, told: Sequence[Told]) -> None:
        """Trains all of these."""
        self.queue.waiting.extend(told)
        self.trainer.work(self.queue)
        assert not self.queue.waiting


class Table:
    """Trials that are trained in lanes together, and with `fit` one by one when asked."""

    def __init__(self, parity: Parity, cases: Mapping[str, Config], *, groups: int = 0, **how: Any) -> None:
        """Trains all cases in lanes; `groups` is how many trials a call takes, all of them where it is 0."""
        self._parity = parity
        self._cases = cases
        self.in_lanes: dict[str, Told] = {}
        for some in pieces(list(cases), groups or len(cases)):
            self.in_lanes |= parity.lanes({name: cases[name] for name in some}, **how)
        gc.collect()  # programs that nobody needs any more, before anything is frozen

    def agrees(self, name: str, tolerance: float) -> Told:
        """Asserts that a case came out as `fit` has it; returns what was told of it in its lane."""
        lane = self.in_lanes[name]
        assert lane.in_a_lane, lane.trainer
        assert_alike(lane, self._parity.fit(self._cases[name]), tolerance)
        return lane


def pieces(names: Sequence[str], count: int) -> Iterator[Sequence[str]]:
    """The names, so many at a time."""
    for start in range(0, len(names), count):
        yield names[start : start + count]


@contextmanager
def precision(floatx: str) -> Iterator[None]:
    """Has Keras compute in another precision inside the block."""
    import keras

    before = keras.config.floatx()
    keras.backend.clear_session()  # which holds the policy that follows from it
    keras.config.set_floatx(floatx)
    try:
        assert keras.config.dtype_policy().name == floatx
        yield
    finally:
        keras.backend.clear_session()
        keras.config.set_floatx(before)


# comparing


def assert_alike(lane: Told, fit: Told, tolerance: float) -> None:
    """Asserts that two attempts told the same, and wrote files of the same content."""
    assert kinds(lane) == kinds(fit), (lane.curve, fit.curve)
    for one, other in zip(audible(lane), audible(fit), strict=True):
        if isinstance(one, EpochEnded) and isinstance(other, EpochEnded):
            assert one.retold == other.retold
        assert_same_event(one, other, (lane, fit), tolerance)


def assert_same_story(last: Told, whole: Told, tolerance: float) -> None:
    """The same of an attempt that went on where others were, and of one that nobody disturbed."""
    for kind in (EpochEnded, CallbackActed, PictureDrawn, CheckpointWritten, Ended):
        mine, theirs = ([one for one in audible(told) if type(one) is kind] for told in (last, whole))
        assert len(mine) == len(theirs), (kind, last.curve, whole.curve)
        for one, other in zip(mine, theirs, strict=True):
            assert_same_event(one, other, (last, whole), tolerance)


def assert_same_event(one: Event, other: Event, of: tuple[Told, Told], tolerance: float) -> None:
    """Asserts that two events say the same, whichever attempts they are of."""
    match one, other:
        case Started() as one, Started() as other:
            assert one.first_epoch == other.first_epoch
            facts = [{**each.facts, "regatta.trainer": ""} for each in (one, other)]
            assert facts[0] == facts[1]
        case EpochEnded() as one, EpochEnded() as other:
            assert one.epoch == other.epoch
            assert list(one.metrics) == list(other.metrics)
            assert_close(told_of(one), told_of(other), tolerance, f"epoch {one.epoch}")
        case CallbackActed() as one, CallbackActed() as other:
            assert (one.epoch, one.callback, one.action) == (other.epoch, other.callback, other.action)
            assert one.text == other.text
            assert_close({"value": one.value}, {"value": other.value}, tolerance, one.text)
        case PictureDrawn() as one, PictureDrawn() as other:
            assert (one.epoch, one.key) == (other.epoch, other.key)
            assert_same_picture(Path(one.path), Path(other.path))
        case FileWritten() as one, FileWritten() as other:
            assert one.folder == other.folder
            assert Path(one.path).name == Path(other.path).name
            assert Path(one.path).read_bytes() == Path(other.path).read_bytes()
        case CheckpointWritten() as one, CheckpointWritten() as other:
            assert (one.kind, one.epoch) == (other.kind, other.epoch)
            paths = Path(one.path), Path(other.path)
            names = [path.relative_to(told.spec.folder) for path, told in zip(paths, of, strict=True)]
            assert names[0] == names[1]
            assert_same_file(*paths, tolerance)
        case Ended() as one, Ended() as other:
            assert (one.error, one.failure) == (other.error, other.failure)
            assert (one.pruned, one.paused) == (other.pruned, other.paused)
            assert set(one.phases) == set(other.phases)
            assert one.seconds > 0
        case _:
            raise AssertionError(f"{one} is none like {other}")


def told_of(epoch: EpochEnded) -> dict[str, float]:
    """The metrics of an epoch. Where the loss is a NaN, nobody can say which class is the likeliest."""
    broken = not math.isfinite(epoch.metrics["loss"])
    return {name: value for name, value in epoch.metrics.items() if not (broken and name.endswith("accuracy"))}


def audible(told: Told) -> list[Event]:
    """All that does not follow from how fast it was.

    The file of the best epoch is written at the end or, where a training takes long, some time after that epoch; it
    stands at the end here. The model's summary is written at once or, of a lane, when nobody waits; it stands at the
    beginning.
    """
    heard = [event for event in told.events if not isinstance(event, MachineSampled | Stepped)]
    heard.sort(key=lambda event: (not isinstance(event, Started), not isinstance(event, FileWritten)))
    bests = [event for event in heard if isinstance(event, CheckpointWritten) and event.kind == "best"]
    return [*(event for event in heard if event not in bests), *bests[-1:]]


def kinds(told: Told) -> list[str]:
    """What was told, in order; one word each, so that a difference can be read."""
    words = []
    for event in audible(told):
        about = ""
        if isinstance(event, EpochEnded):
            about = f" {event.epoch}"
        elif isinstance(event, CallbackActed):
            about = f" of {event.callback}: {event.text}"
        elif isinstance(event, CheckpointWritten):
            about = f" {event.kind}: {Path(event.path).name}"
        elif isinstance(event, Ended):
            about = f" {event.error or 'well'}"
        words.append(f"{type(event).__name__}{about}")
    return words


def assert_close(
    one: Mapping[str, float | None], other: Mapping[str, float | None], tolerance: float, where: str
) -> None:
    """Asserts that numbers have the same names, in the same order, and nearly the same values."""
    assert list(one) == list(other)
    for name, value in one.items():
        wanted = other[name]
        if value is None or wanted is None or not math.isfinite(wanted):
            assert repr(value) == repr(wanted), (where, name)
        else:
            error = abs(value - wanted) / max(abs(wanted), SMALLEST)
            assert error <= tolerance, (where, name, value, wanted, error)


def assert_close_arrays(one: Any, other: Any, tolerance: float, where: str) -> None:
    """The same of arrays; numbers in them are compared with the largest of them."""
    one, other = np.asarray(one), np.asarray(other)
    assert (one.dtype, one.shape) == (other.dtype, other.shape), where
    if other.dtype.kind != "f":
        assert np.array_equal(one, other), where
        return
    finite = np.isfinite(other)
    assert np.array_equal(one[~finite], other[~finite], equal_nan=True), where
    if finite.any():
        largest = max(float(np.max(np.abs(other[finite]))), SMALLEST)
        error = float(np.max(np.abs(one[finite].astype(float) - other[finite].astype(float)))) / largest
        assert error <= tolerance, (where, error)


def assert_same_file(one: Path, other: Path, tolerance: float) -> None:
    """Asserts that two files hold the same: models as plain Keras loads them, weights, or bytes."""
    if one.suffix == ".keras":
        assert_same_model(one, other, tolerance)
    elif one.suffix == ".h5":
        assert_same_weights(BytesIO(one.read_bytes()), BytesIO(other.read_bytes()), tolerance)
    else:
        assert one.read_bytes() == other.read_bytes()


def assert_same_model(one: Path, other: Path, tolerance: float) -> None:
    import keras

    models = []
    for path in (one, other):
        keras.backend.clear_session(free_memory=False)  # some variables have no other name than a number
        models.append(keras.saving.load_model(path))
    paths = [[variable.path for variable in model.variables] for model in models]
    assert paths[0] == paths[1]
    assert models[0].compiled == models[1].compiled
    variables = [[*model.variables, *(model.optimizer.variables if model.compiled else ())] for model in models]
    for mine, theirs in zip(*variables, strict=True):
        if theirs.path.endswith("seed_generator_state"):
            continue  # which Keras saves in no file
        assert_close_arrays(mine.numpy(), theirs.numpy(), tolerance, theirs.path)
    with ZipFile(one) as mine, ZipFile(other) as theirs:
        assert mine.namelist() == theirs.namelist()
        held = [BytesIO(archive.read("model.weights.h5")) for archive in (mine, theirs)]
    assert_same_weights(held[0], held[1], tolerance)
    configs = [{"model": model.get_config(), "compiled": model.get_compile_config()} for model in models]
    assert_same_config(configs[0], configs[1], tolerance, "")


def assert_same_config(one: Any, other: Any, tolerance: float, where: str) -> None:
    """Asserts that settings are equal; a learning rate that a callback moved is a number like any."""
    if isinstance(other, dict):
        assert list(one) == list(other), where
        for key, value in other.items():
            if key != "shared_object_id":  # an address
                assert_same_config(one[key], value, tolerance, f"{where}.{key}")
    elif isinstance(other, list | tuple):
        assert len(one) == len(other), where
        for place, (mine, theirs) in enumerate(zip(one, other, strict=True)):
            assert_same_config(mine, theirs, tolerance, f"{where}.{place}")
    elif isinstance(other, float):
        assert_close({where: one}, {where: other}, tolerance, where)
    elif hasattr(other, "get_config"):
        assert type(one) is type(other), where
        assert_same_config(one.get_config(), other.get_config(), tolerance, where)
    else:
        assert one == other, where


def assert_same_weights(one: BytesIO, other: BytesIO, tolerance: float) -> None:
    import h5py  # type: ignore[import-untyped]

    found: list[dict[str, Any]] = [{}, {}]
    for file, entries in zip((one, other), found, strict=True):
        with h5py.File(file) as opened:
            opened.visititems(
                lambda name, entry, entries=entries: (
                    entries.update({name: entry[()]}) if isinstance(entry, h5py.Dataset) else None
                )
            )
    assert list(found[0]) == list(found[1])
    for name, value in found[1].items():
        assert_close_arrays(found[0][name], value, tolerance, name)


def assert_same_picture(one: Path, other: Path) -> None:
    """Asserts that two pictures look the same: a colour may be rounded the other way here and there."""
    from PIL import Image

    mine, theirs = (np.asarray(Image.open(path).convert("RGB"), int) for path in (one, other))
    assert mine.shape == theirs.shape
    different = np.abs(mine - theirs).max(axis=-1) > 8
    assert different.mean() < 0.002, different.mean()
