from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from pipelines.datasets.base import Source
from pipelines.datasets.function import Function
from pipelines.errors import DataError, RegattaError
from pipelines.inputs import Column
from pipelines.tasks import Task

Load = Callable[..., Source]

BEGINNING = """
import numpy as np
import pandas as pd

X = np.arange(24.0).reshape(8, 3) / 7
Y = np.arange(8) % 2
IMAGES = np.arange(8 * 4 * 4, dtype=np.uint8).reshape(8, 4, 4)

class Stream:
    def __init__(self, array=IMAGES, **promises):
        self.array, self.read = array, 0
        self.shape = promises.get('shape', array.shape)
        self.dtype = promises.get('dtype', array.dtype)
    def __getitem__(self, chosen):
        if not isinstance(chosen, slice) and not (np.diff(chosen) > 0).all():
            raise TypeError('Indexing elements must be in increasing order')
        self.read += len(self.array[chosen])
        return self.array[chosen]
    def __array__(self, *more):
        raise RuntimeError('the whole of it does not fit into memory')

class Counted(Stream):
    def __len__(self): return 9

class Ragged:
    shape, dtype = (8, 4, 4), np.dtype(np.uint8)
    def __getitem__(self, chosen): return IMAGES[chosen][:, :2]

class Failing:
    shape, dtype = (8, 4, 4), np.dtype(np.uint8)
    def __getitem__(self, chosen): raise OSError('disk on fire')
"""


@pytest.fixture(autouse=True)
def fresh_imports(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """The current folder is the test's own, and its module is forgotten after it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield
    sys.modules.pop("mine", None)


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Loads what a function `data` returns, given its body's last expression, or the whole of it."""

    def loads(returned: str, task: Task | None = None, signature: str = "", **arguments: Any) -> Source:
        body = returned if returned.startswith("def ") else f"def data({signature}):\n    return {returned}\n"
        (tmp_path / "mine.py").write_text(BEGINNING + body)
        sys.modules.pop("mine", None)
        return Function(function="mine:data", arguments=arguments).load(None, task)

    return loads


def test_arrays_are_a_data_set(load: Load) -> None:
    source = load("X, Y")
    assert (source.facts.kind, source.facts.shape, source.facts.labels) == ("table", (3,), ("0", "1"))
    np.testing.assert_array_equal(source.samples.x[:], (np.arange(24.0).reshape(8, 3) / 7).astype(np.float32))
    assert source.official_test is None


@pytest.mark.parametrize("returned", ["(X, Y), (X[:2], Y[:2])", "[(X, Y), (X[:2], Y[:2])]"])
def test_two_pairs_have_a_test_part(load: Load, returned: str) -> None:
    source = load(returned)
    assert source.official_test is not None
    assert (len(source.samples), len(source.official_test)) == (8, 2)


def test_a_dictionary_says_all_there_is_to_say(load: Load) -> None:
    parts = "x=X, y=Y, x_test=X[:2], y_test=Y[:2]"
    source = load(f"dict({parts}, labels=['no', 'yes'], columns=np.array(['a', 'b', 'c']), target='t')")
    assert source.official_test is not None
    assert source.facts.labels == ("no", "yes")
    assert source.facts.columns == (Column("a"), Column("b"), Column("c"))
    assert source.facts.target == "t"
    facts = load("dict(x=IMAGES, y=Y, low=-1, high=np.float32(300))").facts
    assert (facts.kind, facts.low, facts.high) == ("image", -1.0, 300.0)
    facts = load("dict(x=X[:, :2], y=Y, kind='points', low=-6, high=6)").facts
    assert (facts.kind, facts.low, facts.high) == ("points", -6.0, 6.0)
    assert facts.columns == (Column("x1"), Column("x2"))
    facts = load("dict(x=X[:, :2], y=Y, kind='points', x_test=None, y_test=None, labels=None)").facts
    assert (facts.low, facts.high) == pytest.approx((0.0, 22 / 7))


@pytest.mark.parametrize(
    "returned", ["X.tolist(), Y.tolist()", "X, pd.Series(Y, index=range(100, 108))", "X, Y[:, None]"]
)
def test_lists_and_columns_and_series_will_do(load: Load, returned: str) -> None:
    assert load(returned).sha256() == load("X, Y").sha256()


def test_arguments_reach_the_function(load: Load) -> None:
    source = load("X[:count] * scale, Y[:count]", signature="count, scale=1", count=6, scale=2.0)
    assert len(source.samples) == 6
    assert source.samples.x[-1].tolist() == pytest.approx([30 / 7, 32 / 7, 34 / 7])


def test_an_argument_that_yaml_reads_as_text_is_the_number_it_is(load: Load) -> None:
    scaled = load("X * scale, Y", signature="scale", scale="1e-3")
    assert scaled.sha256() == load("X * scale, Y", signature="scale", scale=1e-3).sha256()


def test_the_task_decides_what_is_predicted(load: Load) -> None:
    assert load("X, Y", Task.REGRESSION).facts.labels == ()
    assert load("X, X[:, 0]").facts.labels == ()
    assert load("X, Y + 3", Task.BINARY).facts.labels == ("3", "4")


def test_a_data_frame_is_a_table_with_numbers_and_categories(load: Load) -> None:
    frame = "pd.DataFrame({'age': [1, 2, None] + [4] * 5, 'city': ['b', None] + ['a'] * 6, 7: [True] * 8})"
    source = load(f"{frame}, Y")
    assert source.facts.columns == (Column("age"), Column("city", ("a", "b")), Column("7", ("True",)))
    np.testing.assert_array_equal(source.samples.x[:3], np.array([[1, 2, 1], [2, 0, 1], [np.nan, 1, 1]], np.float32))
    both = load(f"({frame}, Y), (pd.DataFrame({{'age': [5], 'city': ['c'], 7: [False]}}), [1])")
    assert both.facts.columns[1:] == (Column("city", ("a", "b", "c")), Column("7", ("False", "True")))
    assert both.official_test is not None
    assert both.official_test.x[:].tolist() == [[5, 3, 1]]


def test_masked_values_are_missing_ones(load: Load) -> None:
    x = load("np.ma.masked_less(X, 1), Y").samples.x[:]
    assert np.isnan(x).sum() == 7


def test_a_stream_is_read_only_as_far_as_it_is_asked_for(load: Load) -> None:
    source = load("Stream(), Y")
    stream = sys.modules["mine"].Stream
    assert (source.samples.x.shape, source.samples.x.dtype) == ((8, 4, 4), np.uint8)
    rows: Any = source.samples.x
    assert isinstance(rows._rows, stream)
    assert rows._rows.read == 3  # the first look: the first row, and both ends by an index array
    np.testing.assert_array_equal(rows[np.array([6, 2, 6])], sys.modules["mine"].IMAGES[[6, 2, 6]])
    assert rows._rows.read == 5
    assert load("Stream(), Y").sha256() == load("IMAGES, Y").sha256()
    assert load("Stream(X), Y").sha256() == load("X, Y").sha256()


def test_a_stream_that_lies_later_is_told_when_it_does(load: Load) -> None:
    source = load("def data():\n    s = Stream()\n    s.first = s.array\n    return s, Y\n")
    rows: Any = source.samples.x
    rows._rows.array = np.zeros((8, 2, 4), np.uint8)
    with pytest.raises(DataError, match="x of mine:data does not keep its promise"):
        source.samples.x[:3]


def test_tensors_are_arrays(load: Load, keras: Any) -> None:
    source = load("def data():\n    import tensorflow as tf\n    return tf.constant(IMAGES), tf.constant(Y)\n")
    assert source.sha256() == load("IMAGES, Y").sha256()
    with pytest.raises(DataError, match=r"A tf\.data\.Dataset is no array: return what it was made from"):
        load("def data():\n    import tensorflow as tf\n    return tf.data.Dataset.from_tensor_slices((IMAGES, Y))\n")
    with pytest.raises(DataError, match=r"A tf\.data\.Dataset is no array"):
        load("def data():\n    import tensorflow as tf\n    return tf.data.Dataset.from_tensor_slices(IMAGES), Y\n")


MUST = (
    "mine:data must return (x, y), ((x, y), (x_test, y_test)), or a dictionary with the keys x, y, x_test, y_test, "
    "labels, columns, target, low, high, kind; got "
)
WRONG: list[tuple[str, str]] = [
    ("None", MUST + "nothing."),
    ("3", MUST + "an int."),
    ("X", MUST + "a numpy.ndarray of float64."),
    ("(X, Y, X)", MUST + "a tuple of 3."),
    ("(X, Y, X, Y)", MUST + "a tuple of 4."),
    ("(row for row in X)", MUST + "a generator."),
    ("dict(x=X, y=Y, label=['a'])", "returned a dictionary with the key 'label'; did you mean 'labels'?; known are"),
    ("{'x': X, 'y': Y, 1: 2}", "returned a dictionary with the key 1; known are"),
    ("dict(x=X)", "mine:data returned no y. It must return (x, y), "),
    ("dict(y=Y)", "mine:data returned no x."),
    ("(None, Y)", "mine:data returned no x."),
    ("dict(x=X, y=Y, x_test=X)", "returned one of x_test and y_test; it must return both, or neither."),
    ("([[1, 2], [3]], Y)", "x of mine:data is no array ("),
    ("(object(), Y)", "x of mine:data must be (n, h, w) or (n, h, w, c) for images, c being 1, 3 or 4, or"),
    ("(object(), Y)", ", of numbers; got an object."),
    ("('images', Y)", "of numbers; got a str."),
    ("(X.astype(str), Y)", "x of mine:data must hold numbers, got <U"),
    ("(X.astype(object), Y)", "x of mine:data must hold numbers, got object."),
    ("(pd.Series(X[:, 0]), Y)", "got (8,). For one column, give x.reshape(-1, 1)."),
    ("(X, Y[:5])", "mine:data has 8 samples in x and 5 in y."),
    ("(X, np.eye(8))", "this looks one-hot, so give y.argmax(axis=1)."),
    ("((X, Y), (X[:, :2], Y))", "x_test of mine:data has samples of another shape than x: (2,), not (3,)."),
    ("dict(x=X, y=Y, labels='ab')", "labels of mine:data must be a list of words, got 'ab'."),
    ("dict(x=X, y=Y, columns=3)", "columns of mine:data must be a list of words, got 3."),
    ("dict(x=X, y=Y, columns=['a'])", "mine:data: `columns` names 1 columns, and x has 3."),
    ("dict(x=IMAGES, y=Y, low='x')", "low of mine:data must be a number, got 'x'."),
    ("dict(x=IMAGES, y=Y, high=float('nan'))", "high of mine:data must be a number, got nan."),
    ("dict(x=X, y=Y, kind='sound')", "kind of mine:data must be image, table, points, got 'sound'."),
    ("dict(x=X, y=Y, kind='points')", "x of mine:data must be (n, 2), being of the kind `points`; got (8, 3)."),
    ("dict(x=X, y=Y, kind='image')", "must be (n, h, w) or (n, h, w, c), being of the kind `image`; got (8, 3)."),
    ("dict(x=IMAGES, y=Y, kind='table')", "must be (n, k), being of the kind `table`; got (8, 4, 4)."),
    ("(Stream(shape=(8, 4)), Y)", "x of mine:data does not keep its promise: its shape and dtype say that these"),
    ("(Stream(dtype=np.float32), Y)", "say that these rows are (1, 4, 4) of float32, and (1, 4, 4) of uint8 came."),
    ("(Stream(shape=(9, 4, 4)), Y)", "its __getitem__ was asked for an index array and raised IndexError"),
    ("(Counted(), Y)", "x of mine:data says that it has 9 rows and the shape (8, 4, 4)."),
    ("(Ragged(), Y)", "x of mine:data does not keep its promise"),
    ("(Failing(), Y)", "cannot be read: its __getitem__ was asked for 0:1 and raised OSError: disk on fire."),
    ("((pd.DataFrame(X), Y), (X, Y))", "x_test of mine:data must be a DataFrame with the columns of x."),
    ("((X, Y), (pd.DataFrame(X), Y))", "x_test of mine:data is a DataFrame, so x must be one too."),
    ("(pd.DataFrame(X, columns=['a', 'a', 'b']), Y)", "x of mine:data has two columns of one name among a, a, b."),
    ("dict(x=pd.DataFrame(X), y=Y, columns=['a'])", "`columns` is for arrays; a DataFrame names its columns itself."),
    ("(pd.DataFrame(index=range(8)), Y)", "got (8, 0)."),
    ("(pd.DataFrame({'a': [None] * 8}), Y)", "Column 'a' of x of mine:data has no value in any row. Leave it out."),
    ("(pd.DataFrame({'a': [1e300] * 8}), Y)", "number too large for float32, first in row 0, column 0 (from 0)."),
    ("(pd.DataFrame({'a': map(str, range(1001))}), [0, 1])", "has 1001 different texts; at most 1000 make a category."),
    ("1 / 0", "mine:data failed: ZeroDivisionError: division by zero ({path}, line "),
]  # fmt: skip


@pytest.mark.parametrize(("returned", "sentence"), WRONG)
def test_what_a_function_must_not_return_is_told(load: Load, tmp_path: Path, returned: str, sentence: str) -> None:
    with pytest.raises(DataError) as caught:
        load(returned)
    assert sentence.replace("{path}", str(tmp_path / "mine.py")) in str(caught.value)


@pytest.mark.parametrize(
    ("signature", "arguments", "words"),
    [
        ("count", {}, "mine:data takes (count), which `arguments` does not fit: missing a required argument: 'count'."),
        ("*counts", {"scal": 3}, "mine:data takes (*counts), which"),
    ],
)
def test_arguments_that_do_not_fit_are_told(load: Load, signature: str, arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(DataError) as caught:
        load("X, Y", signature=signature, **arguments)
    assert words in str(caught.value)


def test_arguments_that_the_text_does_not_have_are_refused_when_the_recipe_is_read(load: Load) -> None:
    with pytest.raises(ValidationError, match="'scal' is no argument of mine:data; did you mean 'scale'"):
        load("X, Y", signature="count, *, scale=2", count=1, scal=3)


def test_an_error_of_the_users_own_choice_is_passed_on(load: Load) -> None:
    with pytest.raises(DataError, match=r"^put the disk in$"):
        load("def data():\n    from pipelines.errors import DataError\n    raise DataError('put the disk in')\n")


def test_what_is_no_function_is_told(load: Load) -> None:
    load("X, Y")
    with pytest.raises(DataError, match=r"mine:IMAGES is no function, but a numpy\.ndarray of uint8"):
        Function(function="mine:IMAGES").load(None)


def test_a_module_that_fails_is_told(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("def data(): pass\nraise ValueError('too few sails')\n")
    with pytest.raises(RegattaError, match="ValueError: too few sails"):
        Function(function="mine:data").load(None)


def test_a_function_that_is_not_there_is_refused_when_the_recipe_is_read(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("def data(a=None): pass\n")
    with pytest.raises(ValidationError, match="has no 'date'; did you mean 'data'"):
        Function(function="mine:date")
    spec = Function(function="mine:data", arguments={"a": [1, {"b": None}]})
    assert Function.model_validate(spec.model_dump(mode="json")) == spec
