"""What is learned from the training part alone, held against NumPy on the very same rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pipelines.datasets import base
from pipelines.datasets.base import HeldOutSpec, Samples, Source
from pipelines.datasets.fitting import fit
from pipelines.datasets.prepared import prepare
from pipelines.datasets.sealed import open_sealed
from pipelines.inputs import Column, InputFacts
from pipelines.tasks import Task

TRAIN = np.array([0, 1, 2, 5], np.int64)


def table(x: Any, columns: tuple[Column, ...], y: Any = None, labels: tuple[str, ...] = ("no", "yes")) -> Source:
    values = np.asarray(x, np.float32)
    truth = np.arange(len(values), dtype=np.int64) % 2 if y is None else np.asarray(y)
    facts = InputFacts((values.shape[1],), None, None, labels, kind="table", columns=columns, target="t")
    return Source(Samples(values, truth), None, facts)


def test_means_and_deviations_are_those_of_the_training_rows_column_by_column() -> None:
    x = np.random.default_rng(0).normal(1e4, 3.0, (7, 3)).astype(np.float32)
    x[5, 1] = np.nan
    facts = fit(table(x, tuple(Column(name) for name in "abc")), TRAIN).facts
    chosen = x[TRAIN].astype(np.float64)
    assert facts.mean == pytest.approx(np.nanmean(chosen, axis=0).tolist())
    assert facts.deviation == pytest.approx(np.nanstd(chosen, axis=0).tolist())


def test_a_column_with_one_value_is_not_divided_by_zero() -> None:
    facts = fit(
        table([[0.1, 1], [0.1, 2], [0.1, 3], [9, 4], [9, 5], [0.1, 6]], (Column("a"), Column("b"))), TRAIN
    ).facts
    assert facts.mean[0] == pytest.approx(0.1)
    assert facts.deviation[0] == 1.0


def test_a_column_without_any_number_in_training_stays_finite() -> None:
    x = np.ones((6, 1), np.float32)
    x[TRAIN] = np.nan
    facts = fit(table(x, (Column("a"),)), TRAIN).facts
    assert (facts.mean, facts.deviation) == ((0.0,), (1.0,))


@pytest.mark.parametrize(
    ("shape", "groups"), [((6, 4, 5), 1), ((6, 4, 5, 3), 3), ((6, 4, 5, 1), 1)], ids=["grey", "colour", "one channel"]
)
def test_images_have_one_mean_a_channel(shape: tuple[int, ...], groups: int) -> None:
    x = np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)
    source = Source(Samples(x, np.arange(6) % 2), None, InputFacts(shape[1:], 0.0, 255.0, ("a", "b")))
    facts = fit(source, TRAIN).facts
    by_channel = x[TRAIN].reshape(-1, groups).astype(np.float64)
    assert facts.mean == pytest.approx(by_channel.mean(axis=0).tolist())
    assert facts.deviation == pytest.approx(by_channel.std(axis=0).tolist())


def test_the_spread_of_a_number_to_predict_is_that_of_the_training_targets() -> None:
    y = np.array([1, 2, 3, 400, 500, 6], np.float32)
    facts = fit(table(np.zeros((6, 1)), (Column("a"),), y, labels=()), TRAIN).facts
    assert facts.target_mean == pytest.approx(3.0)
    assert facts.target_deviation == pytest.approx(np.std([1, 2, 3, 6]))


def test_targets_that_are_all_the_same_have_a_deviation_of_one() -> None:
    facts = fit(table(np.zeros((6, 1)), (Column("a"),), np.full(6, 7, np.float32), labels=()), TRAIN).facts
    assert (facts.target_mean, facts.target_deviation) == (7.0, 1.0)


def test_only_the_words_of_the_training_part_are_known_and_every_other_word_is_zero() -> None:
    words = ("blue", "green", "red", "white")
    x = np.array([[3, 1.5], [1, 2.5], [0, 3.5], [2, 4.5], [4, 5.5], [3, 6.5]], np.float32)  # 2 and 4 are elsewhere
    fitted = fit(table(x, (Column("colour", words), Column("size"))), TRAIN)
    assert fitted.facts.columns == (Column("colour", ("blue", "red")), Column("size"))
    assert fitted.recode(x)[:, 0].tolist() == [2, 1, 0, 0, 0, 2]
    assert fitted.recode(x)[:, 1].tolist() == x[:, 1].tolist()
    assert (fitted.facts.mean[0], fitted.facts.deviation[0]) == (0.0, 1.0)
    assert x[0, 0] == 3  # the rows that came in stay as they are


def test_rows_are_read_some_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "CHUNK", 2)
    x = np.random.default_rng(2).normal(size=(9, 2)).astype(np.float32)
    everyone = np.arange(9, dtype=np.int64)

    class Watched:
        shape, dtype = x.shape, x.dtype

        def __len__(self) -> int:
            return len(x)

        def __getitem__(self, chosen: Any) -> NDArray[Any]:
            rows: NDArray[Any] = x[chosen]
            assert len(rows) <= 2
            return rows

    source = table(x, (Column("a"), Column("b")))
    watched = Source(Samples(Watched(), source.samples.y), None, source.facts)
    assert fit(watched, everyone).facts == fit(source, everyone).facts
    assert watched.sha256() == source.sha256()


class Words(HeldOutSpec):
    """A table with words, some of them only in one row."""

    name: str = "words"

    def load(self, folder: Path | None, task: Task | None = None) -> Source:
        codes = np.arange(1, 41)
        columns = (Column("word", tuple(f"w{code:02d}" for code in codes)), Column("n"))
        return table(np.stack([codes, codes * 0.5], axis=1), columns)


def test_train_validation_and_sealed_part_are_coded_by_the_same_words(tmp_path: Path) -> None:
    data = prepare(Words(), None, tmp_path)
    train, validation = data.read()
    sealed = open_sealed(Words(), None, sha256=data.sha256, split_sha256=data.split_sha256)
    known = data.facts.columns[0].words
    assert known is not None
    assert len(known) == len(train) == 25
    # every row has a word of its own, so all others are unknown, and the number beside it tells which one it was
    assert [known[int(code) - 1] for code in train.x[:, 0]] == [f"w{int(2 * n):02d}" for n in train.x[:, 1]]
    assert not np.asarray(validation.x)[:, 0].any()
    assert not sealed.x[:][:, 0].any()
    assert sealed.x[np.array([1, 0])][:, 1].tolist() == sealed.x[:2][::-1, 1].tolist()
    assert (len(sealed), sealed.x.shape, sealed.x.dtype) == (8, (8, 2), np.float32)
