from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pipelines.datasets.targets import read_targets
from pipelines.errors import DataError
from pipelines.tasks import Task

BINARY, MULTICLASS, REGRESSION = Task.BINARY, Task.MULTICLASS, Task.REGRESSION
MANY = np.arange(40)

READ: list[tuple[str, Any, Task | None, dict[str, Any], list[Any], tuple[str, ...]]] = [
    # what, values, task, what else was said, y (its beginning), labels
    ("words", ["b", "a", "b"], None, {}, [1, 0, 1], ("a", "b")),
    ("words in an object array", np.array(["b", "a"], object), None, {}, [1, 0], ("a", "b")),
    ("bytes", np.array([b"b", b"a"]), None, {}, [1, 0], ("a", "b")),
    ("words of any length", np.array(["b", "a"], np.dtypes.StringDType()), None, {}, [1, 0], ("a", "b")),
    ("words in an order", ["b", "a", "b"], None, {"labels": ["b", "a"]}, [0, 1, 0], ("b", "a")),
    ("words, the first positive", ["b", "a", "b"], None, {"positive": "a"}, [0, 1, 0], ("b", "a")),
    ("words, the second positive", ["b", "a", "b"], BINARY, {"positive": "b"}, [1, 0, 1], ("a", "b")),
    ("true and false", [True, False], None, {}, [1, 0], ("False", "True")),
    ("true and false with labels", [True, False], None, {"labels": ["no", "yes"]}, [1, 0], ("no", "yes")),
    ("class numbers", [2, 0, 1] * 2, None, {}, [2, 0, 1], ("0", "1", "2")),
    ("class numbers in a column", np.array([[1], [0]] * 2), None, {}, [1, 0], ("0", "1")),
    ("class numbers with labels", [2, 0], None, {"labels": ["x", "y", "z"]}, [2, 0], ("x", "y", "z")),
    ("class numbers of floats with labels", [1.0, 0.0], None, {"labels": ["x", "y"]}, [1, 0], ("x", "y")),
    ("class numbers, one positive", [1, 0], None, {"labels": ["x", "y"], "positive": "x"}, [0, 1], ("y", "x")),
    ("any numbers as classes", [10, 2, 10], MULTICLASS, {}, [1, 0, 1], ("2", "10")),
    ("floats as classes", [3.0, -1.0, 3.0], BINARY, {}, [1, 0, 1], ("-1", "3")),
    ("class numbers as numbers", [2, 0, 1] * 2, REGRESSION, {}, [2.0, 0.0, 1.0], ()),
    ("fractions", [0.5, 2.0], None, {}, [0.5, 2.0], ()),
    ("many whole floats", MANY.astype(float), None, {}, [0.0, 1.0], ()),
    ("floats of half precision", np.array([0.5, 2.0], np.float16), None, {}, [0.5, 2.0], ()),
    ("numbers in an object array", np.array([0.5, 2], object), None, {}, [0.5, 2.0], ()),
    ("two classes of three", ["a", "b"], MULTICLASS, {"labels": ["a", "b", "c"]}, [0, 1], ("a", "b", "c")),
]  # fmt: skip


@pytest.mark.parametrize(("what", "values", "task", "said", "y", "labels"), READ, ids=[case[0] for case in READ])
def test_what_is_predicted_is_told_from_the_values_and_the_recipe(
    what: str, values: Any, task: Task | None, said: dict[str, Any], y: list[Any], labels: tuple[str, ...]
) -> None:
    found = read_targets(values, None, task, what="y", **said)
    assert found.train[: len(y)].tolist() == y
    assert found.train.dtype == (np.int64 if labels else np.float32)
    assert found.labels == labels
    assert found.test is None
    again = read_targets(values, values, task, what="y", **said)
    np.testing.assert_array_equal(again.train, found.train, strict=True)
    assert again.test is not None
    np.testing.assert_array_equal(again.test, found.train, strict=True)


def test_the_test_part_has_the_numbers_of_the_training_part() -> None:
    found = read_targets(["b", "a", "c", "a"], ["c", "c"], None, what="y")
    assert found.test is not None
    assert found.test.tolist() == [2, 2]
    assert found.labels == ("a", "b", "c")


ASK = "numbers to predict. Say in the recipe what is learned: `task: multiclass`, `task: binary` or `task: regression`."
NO_CLASS = "y holds 3 in row 1 (from 0), which is no class"
OF_TEST = "y of the test part holds 'cta' in row 1 (from 0), which is no class; "
WRONG: list[tuple[Any, Any, Task | None, dict[str, Any], str]] = [
    # values, values of the test part, task, what else was said, the sentence
    ([1.0, 2.0, 1.0], None, None, {}, "2 different ones from 1 to 2: they may be classes, or " + ASK),
    ([1, 2, 1], None, None, {}, "y holds whole numbers, 2 different ones from 1 to 2"),
    (MANY, None, None, {}, "y holds whole numbers, 40 different ones from 0 to 39"),
    (["a", "b", "c"] * 2, None, BINARY, {}, "`task: binary` needs two classes; y has 3: a, b, c."),
    (["a", "a"], None, None, {}, "y has one class alone, 'a': there is nothing to tell apart."),
    ([0, 0], None, MULTICLASS, {}, "y has one class alone, '0'"),
    (["a", "b"], None, REGRESSION, {}, "`task: regression` predicts a number; y holds words, such as 'a'."),
    ([0.5, 1.5], None, REGRESSION, {"labels": ["a"]}, "predicts a number, so y has no labels and no positive class."),
    ([0.5, 1.5], None, BINARY, {}, "y holds 0.5, which is no class number. For a number to predict, say "),
    ([0, 3], None, None, {"labels": ["a", "b", "c"]}, NO_CLASS + "; there are 0 to 2 for the labels a, b, c."),
    ([0, -1], None, None, {"labels": ["a", "b"]}, "y holds -1 in row 1 (from 0), which is no class"),
    (["a", "B"], None, None, {"labels": ["a", "b"]}, "'B' in row 1 (from 0), which is no class; there are a, b."),
    (["cat", "dog"], ["dog", "cta"], None, {}, OF_TEST + "did you mean 'cat'?; there are cat, dog."),
    (["a", "b"], [0, 1], None, {}, "y holds words in one part of the data and numbers in the other."),
    (["a", "b"], None, None, {"labels": ["a", "b", "a"]}, "The labels of y name 'a' twice."),
    (["a", "b"], None, None, {"positive": "c"}, "`positive` must be one of a, b, got 'c'."),
    (["a", "b", "c"] * 2, None, None, {"positive": "c"}, "`positive` chooses between two classes; y has 3: a, b, c."),
    ([str(word) for word in range(30)], None, None, {}, "y holds 30 different values in 30 samples, such as 0, 1, 10:"),
    ([0.5, np.nan, np.inf], None, None, {}, "y holds 2 values that are missing or infinite, first nan in row 1"),
    ([0.5, np.inf], None, None, {}, "y holds 1 value that is missing or infinite, first inf in row 1 (from 0)"),
    (["a", None], None, None, {}, "y must hold words, true and false, or numbers, all of one sort; got None in row 1"),
    (np.array(["a", 1.5], object), None, None, {}, "all of one sort; got 1.5 in row 1 (from 0)."),
    (np.eye(3), None, None, {}, "got (3, 3): this looks one-hot, so give y.argmax(axis=1)."),
    (np.ones((3, 3)), None, None, {}, "y must have one value a sample, shape (n,); got (3, 3)."),
    (3, None, None, {}, "y must have one value a sample, shape (n,); got ()."),
    (np.array([1j, 2]), None, None, {}, "y must hold words, true and false, or numbers; got complex128."),
    (np.array(["2020-01-01"], "datetime64[D]"), None, None, {}, "got datetime64[D]."),
    ([1e300, 0.5], None, None, {}, "y holds 1e+300, which is too large for float32. Use another unit."),
    (np.empty(0), None, None, {}, "y is empty: there are no samples."),
    ([], None, MULTICLASS, {}, "y is empty: there are no samples."),
    (np.ma.masked_equal([1.5, 2.5], 2.5), None, None, {}, "y is masked in row 1 (from 0)."),
]  # fmt: skip


@pytest.mark.parametrize(("values", "test", "task", "said", "sentence"), WRONG)
def test_what_cannot_be_learned_is_told(
    values: Any, test: Any, task: Task | None, said: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(DataError) as caught:
        read_targets(values, test, task, what="y", **said)
    assert sentence in str(caught.value)
