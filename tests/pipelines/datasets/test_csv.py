from __future__ import annotations

import gzip
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from pipelines.datasets.base import Source
from pipelines.datasets.csv import Csv
from pipelines.datasets.prepared import prepare
from pipelines.datasets.sealed import open_sealed
from pipelines.errors import DataError
from pipelines.inputs import Column
from pipelines.tasks import Task

Load = Callable[..., Source]

PEOPLE = """\
name,age,city,member,score,level
Ann,31,Oslo,True,1.5,1
Bob, 44 ,Rome,False,-2e1,2
Cid,,Oslo,True,0.25,1
Dee,19,?,False,3,2
Eve,27,Lima,True,4.5,1
"""
KNOWN = {"drop": ["name"]}


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Writes a table and loads it; `test` is the text of a second file."""

    def loads(text: str = PEOPLE, task: Task | None = None, *, test: str | None = None, **settings: Any) -> Source:
        encoding = settings.get("encoding", "utf-8")
        (tmp_path / "table.csv").write_bytes(text.encode(encoding))
        if test is not None:
            (tmp_path / "test.csv").write_bytes(test.encode(encoding))
            settings["test_path"] = "test.csv"
        return Csv.model_validate({"path": "table.csv", **settings}).load(tmp_path, task)

    return loads


def column(values: Sequence[Any], name: str = "a") -> str:
    """A table of one column and a target of two classes."""
    return f"{name},y\n" + "".join(f"{value},{'no' if place % 2 else 'yes'}\n" for place, value in enumerate(values))


def test_columns_are_told_from_their_cells(load: Load) -> None:
    source = load(target="score", **KNOWN)
    assert source.facts.columns == (
        Column("age"),
        Column("city", ("Lima", "Oslo", "Rome")),
        Column("member", ("False", "True")),
        Column("level"),
    )
    assert (source.facts.kind, source.facts.target, source.facts.shape) == ("table", "score", (4,))
    assert (source.facts.low, source.facts.high) == (None, None)
    assert source.samples.x.dtype == np.float32
    np.testing.assert_array_equal(
        source.samples.x[:],
        np.array([[31, 2, 2, 1], [44, 3, 1, 2], [np.nan, 2, 2, 1], [19, 0, 1, 2], [27, 1, 2, 1]], np.float32),
    )


def test_a_target_of_fractions_is_a_number(load: Load) -> None:
    source = load(target="score", **KNOWN)
    assert source.samples.y.dtype == np.float32
    assert source.samples.y.tolist() == [1.5, -20.0, 0.25, 3.0, 4.5]
    assert source.facts.labels == ()


@pytest.mark.parametrize(
    ("settings", "task", "y", "labels"),
    [
        ({"target": "member"}, None, [1, 0, 1, 0, 1], ("False", "True")),
        ({"target": "member", "positive": "False"}, None, [0, 1, 0, 1, 0], ("True", "False")),
        ({"target": "level"}, Task.BINARY, [0, 1, 0, 1, 0], ("1", "2")),
        ({"target": "level", "positive": 1}, Task.BINARY, [1, 0, 1, 0, 1], ("2", "1")),
        ({"target": "level"}, Task.MULTICLASS, [0, 1, 0, 1, 0], ("1", "2")),
        ({"target": "level"}, Task.REGRESSION, [1.0, 2.0, 1.0, 2.0, 1.0], ()),
        ({"target": "city", "drop_missing_target": True}, None, [1, 2, 1, 0], ("Lima", "Oslo", "Rome")),
    ],
)
def test_the_target_is_read_as_the_recipe_and_its_cells_say(
    load: Load, settings: dict[str, Any], task: Task | None, y: list[Any], labels: tuple[str, ...]
) -> None:
    source = load(task=task, **settings, **KNOWN)
    assert source.samples.y.tolist() == y
    assert source.samples.y.dtype == (np.int64 if labels else np.float32)
    assert source.facts.labels == labels
    assert len(source.samples.x) == len(y)


def test_whole_numbers_of_many_values_are_a_number(load: Load) -> None:
    source = load("a,y\n" + "".join(f"{i}.5,{i}\n" for i in range(21)), target="y")
    assert source.facts.labels == ()
    assert source.samples.y.tolist() == list(range(21))


def test_columns_may_be_chosen_and_ordered(load: Load) -> None:
    source = load(target="score", columns=["member", "age"])
    assert [column.name for column in source.facts.columns] == ["member", "age"]
    assert source.samples.x[0].tolist() == [2.0, 31.0]


def test_what_a_column_holds_may_be_said(load: Load) -> None:
    source = load(target="score", types={"level": "category", "name": "category"})
    assert source.facts.columns[-1] == Column("level", ("1", "2"))
    assert source.facts.columns[0].words == ("Ann", "Bob", "Cid", "Dee", "Eve")


@pytest.mark.parametrize(
    ("cells", "settings", "values"),
    [
        (["1", "", "3"], {}, [1, None, 3]),
        (["1", "NA", "3"], {}, [1, None, 3]),
        (["1", "-999", "3"], {"missing": [-999]}, [1, None, 3]),
        (["1", "-999.0", "3"], {"missing": [-999]}, [1, None, 3]),
        (["1", "none", "3"], {"missing": ["none"]}, [1, None, 3]),
        (["1e2", "+3", " -.5 "], {}, [100, 3, -0.5]),
        (["1;2", "x;2"], {"separator": ";", "columns": ["a"]}, ["1", "x"]),
        (["x", "NA", "y"], {}, ["x", None, "y"]),
        (["x", "X", "x "], {}, ["x", "X", "x"]),
        (["1", "a", "2", "b"], {}, ["1", "a", "2", "b"]),
        (["1", "2", "a"], {"types": {"a": "category"}}, ["1", "2", "a"]),
        (['"1,5"', '"-2,25"'], {"decimal": ","}, [1.5, -2.25]),
        (['"a, b"', '"c ""d"""'], {}, ["a, b", 'c "d"']),
        (["été", "naïve"], {"encoding": "latin-1"}, ["été", "naïve"]),
        (["été", "naïve"], {"encoding": "utf-16"}, ["été", "naïve"]),
        (["été", "naïve"], {"encoding": "utf-8-sig"}, ["été", "naïve"]),
    ],
)
def test_cells_are_read_as_they_are_written(
    load: Load, cells: list[str], settings: dict[str, Any], values: list[Any]
) -> None:
    if settings.get("separator"):
        text = "a;b;y\n" + "".join(f"{cell};{'no' if place % 2 else 'yes'}\n" for place, cell in enumerate(cells))
    else:
        text = column(cells)
    source = load(text, target="y", **settings)
    words = source.facts.columns[0].words
    found = [
        None if np.isnan(value) or (words and not value) else words[int(value) - 1] if words else value
        for value in source.samples.x[:, 0]
    ]
    assert found == values


@pytest.mark.parametrize("separator", ["tab", "\t", ";", "|", "space"])
def test_any_character_may_separate_cells(load: Load, separator: str) -> None:
    sign = {"tab": "\t", "space": " "}.get(separator, separator)
    source = load(PEOPLE.replace(" ", "").replace(",", sign), target="score", separator=separator, **KNOWN)
    assert source.sha256() == load(target="score", **KNOWN).sha256()


@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("ends", ["\n", "\r\n"])
def test_a_byte_order_mark_and_windows_lines_change_nothing(load: Load, mark: str, ends: str) -> None:
    source = load(mark + PEOPLE.replace("\n", ends), target="score", **KNOWN)
    assert source.sha256() == load(target="score", **KNOWN).sha256()


def test_a_gzipped_file_is_read(tmp_path: Path, load: Load) -> None:
    plain = load(target="score", **KNOWN)
    (tmp_path / "table.csv.gz").write_bytes(gzip.compress(PEOPLE.encode()))
    assert Csv(path="table.csv.gz", target="score", drop=("name",)).load(tmp_path).sha256() == plain.sha256()


def test_a_test_file_is_a_test_part_with_the_words_and_classes_of_the_training_part(load: Load) -> None:
    test = "level,member,city,age,score,extra\n2,False,Kiel,50,9,x\n1,True,Rome,,7,y\n"
    source = load(target="member", test=test, **KNOWN)
    assert source.official_test is not None
    assert source.facts.columns[1].words == ("Kiel", "Lima", "Oslo", "Rome")
    assert source.samples.x[:, 1].tolist() == [3, 4, 3, 0, 2]
    assert source.official_test.x[:, 1].tolist() == [1, 4]
    assert source.official_test.y.tolist() == [0, 1]
    assert len(source.samples) == 5
    assert Csv(path="a", target="b", test_path="c").held_out_share is None
    assert Csv(path="a", target="b", test_share=0.3).held_out_share == 0.3


def test_a_table_goes_all_the_way_to_the_sealed_part(tmp_path: Path) -> None:
    random = np.random.default_rng(2)
    rows = [f"{'' if i % 9 == 0 else i},{'uvw'[random.integers(3)]},{random.normal():.3f}" for i in range(100)]
    (tmp_path / "table.csv").write_text("a,b,y\n" + "\n".join(rows))
    spec = Csv(path=str(tmp_path / "table.csv"), target="y")
    data = prepare(spec, None, tmp_path / "cache")
    assert data.facts.columns[1].words == ("u", "v", "w")
    assert sum(data.counts.values()) == 80
    sealed = open_sealed(spec, None, sha256=data.sha256, split_sha256=data.split_sha256)
    assert sealed.x.shape == (20, 2)


def test_the_digest_sees_a_word_that_changes(load: Load) -> None:
    assert (
        load(target="score", **KNOWN).sha256() != load(PEOPLE.replace("Lima", "Lomé"), target="score", **KNOWN).sha256()
    )


TEXTS = [f"t{place}" for place in range(25)]
LOOKS = "Column 'age' looks like numbers, but "
TO_BE = "Column 'city' is to be a number, but "
UNUSED_TYPE = "`types` says what column 'name' holds, which is not learned from; take it out of `types`."
Y = {"target": "y"}
SCORE = {"target": "score", **KNOWN}
MEMBER = {"target": "member", **KNOWN}
WRONG: list[tuple[str, dict[str, Any], str]] = [
    # text, settings with the task, words of the sentence ({path} is the file)
    (PEOPLE, {"target": "scor"}, "{path} has no column 'scor', which `target` names; did you mean 'score'?; it has"),
    (PEOPLE, {"target": "scor"}, "; it has name, age, city, member, score, level."),
    (PEOPLE, {**SCORE, "columns": ["agee"]}, "has no column 'agee', which `columns` names; did you mean"),
    (PEOPLE, {**SCORE, "drop": ["id"]}, "has no column 'id', which `drop` names"),
    (PEOPLE, {**SCORE, "types": {"Age": "number"}}, "has no column 'Age', which `types` names"),
    (PEOPLE, {**SCORE, "types": {"name": "category"}}, UNUSED_TYPE),
    (PEOPLE, {**SCORE, "separator": ";"}, "level. Is the separator another: separator: ','?"),
    (PEOPLE.replace(",", "\t"), {"target": "score"}, "Is the separator another: separator: tab?"),
    (PEOPLE, {"target": "level", **KNOWN}, "'level' holds whole numbers, 2 different ones from 1 to 2: they may be"),
    (PEOPLE, {"target": "level", **KNOWN}, "`task: multiclass`, `task: binary` or `task: regression`."),
    (PEOPLE, {"task": Task.BINARY, "target": "city", "drop_missing_target": True, **KNOWN}, "'city' has 3: Lima, Oslo"),
    (PEOPLE, {"target": "city", **KNOWN}, "'city' of {path} has no value in 1 row, first in data row 4. Fill it in"),
    (PEOPLE, {"target": "city", **KNOWN}, "leave out the rows without one: drop_missing_target: true."),
    (PEOPLE.replace("Oslo", ""), {"target": "city", **KNOWN}, "no value in 3 rows, first in data row 1. Fill them in"),
    ("a,b,y\n1,2,3.5\n1 2,3.5\n", Y, "Data row 2 of {path} has 2 cells, and the first row names 3 columns"),
    ("a,y\n1,\n2,NA\n", {"target": "y", "drop_missing_target": True}, "'y' of {path} has no value in any row."),
    (PEOPLE, {**MEMBER, "positive": "true"}, "`positive` must be one of False, True, got 'true'"),
    (PEOPLE, {**MEMBER, "task": Task.REGRESSION}, "no number everywhere: 'True' in data row 1, 'False' in"),
    (PEOPLE, {**MEMBER, "task": Task.REGRESSION}, ", …. Mend the cells, or say that they are"),
    (PEOPLE.replace("4.5", "n.d."), SCORE, "is no number everywhere: 'n.d.' in data row 5."),
    (PEOPLE.replace(",1.5,", ",inf,"), SCORE, "is no number everywhere: 'inf' in data row 1."),
    (PEOPLE.replace("44", "4o"), SCORE, LOOKS + "1 of its 5 cells is not: '4o' in data row 2."),
    (PEOPLE.replace("44", "4o"), SCORE, "`missing` if it means no value (now '', 'NA', 'N/A'"),
    (PEOPLE.replace("44", "4o"), SCORE, "it holds words: types: {{age: category}}."),
    (column(["1", "2", "inf", "nan ", "-inf"]), Y, "'inf' in data row 3, '-inf' in data row 5."),
    (column(["1", "2", "1e39"]), Y, "1 of its 3 cells is not: '1e39' in data row 3."),
    (column(['"1,5"', "2", "3"]), Y, "'1,5' in data row 1"),
    (PEOPLE, {**SCORE, "types": {"city": "number"}}, TO_BE + "4 of its 5 cells are not: 'Oslo' in"),
    (column(TEXTS), Y, "Column 'a' has another text in every row, such as 't0', 't1', 't2', so nothing"),
    (column(TEXTS), Y, "Leave it out: drop: [a]; or insist: types: {{a: category}}."),
    (column([*TEXTS, "t0"]), {"target": "y", "most_categories": 24}, "'t10'; at most 24 make a category. Leave it out"),
    (column([*TEXTS, "t0"]), {"target": "y", "most_categories": 24}, "drop: [a]; or raise most_categories."),
    (column(TEXTS), {"target": "y", "most_categories": 9, "types": {"a": "category"}}, "has 25 different texts"),
    (column(["", "NA", "?"]), Y, "Column 'a' has no value in any row. Leave it out: drop: [a]."),
    ("y\nyes\nno\n", Y, "{path} leaves no column to learn from beside the target 'y'."),
    (PEOPLE, {**SCORE, "columns": ["age"], "drop": ["age"]}, "leaves no column to learn from"),
    (",a,y\n0,1,yes\n1,2,no\n", Y, "Column 1 of {path} has no name; an index that pandas wrote has"),
    (",a,y\n0,1,yes\n1,2,no\n", Y, "Leave it out with drop: [''], or name it."),
    ("a,b,a,y\n1,2,3,yes\n", Y, "{path} has more than one column 'a'. Give each a name of its own."),
    ("", Y, "{path} is empty. It needs a row with the columns' names"),
    ("\n\n", Y, "{path} is empty."),
    ("a,y\n", Y, "{path} has names of columns, but no rows."),
    ("a,y\n1,yes,3\n2,no,4\n", Y, "{path} has more cells in its rows than names in its first row."),
    ("a,y\n1,yes\n2,no,4\n", Y, "cannot be read as CSV: Error tokenizing data. C error: Expected 2"),
    ('a,y\n"1,yes\n', Y, "{path} cannot be read as CSV: Error tokenizing data."),
    ("a,y\n1,yes\n2,yes\n", Y, "'y' has one class alone, 'yes'"),
    ("a,y\n" + "".join(f"1,n{i}\n" for i in range(30)), Y, "'y' holds 30 different values in 30"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "settings", "sentence"), WRONG)
def test_a_table_that_cannot_be_learned_is_told(
    load: Load, tmp_path: Path, text: str, settings: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(DataError) as caught:
        load(text, **settings)
    assert sentence.format(path=tmp_path / "table.csv") in str(caught.value)


@pytest.mark.parametrize(
    ("test", "sentence"),
    [
        ("age,city,member,score\n1,Oslo,True,2\n", "{test} lacks the column level, which {path} has."),
        ("age,city\n1,Oslo\n", "{test} lacks the columns member, level, score, which {path} has."),
        (PEOPLE.replace("19", "x"), "1 of its 10 cells is not: 'x' in data row 4 of test.csv."),
        (PEOPLE.replace("4.5", ""), "Column 'score' of {test} has no value in 1 row, first in data row 5."),
        ("", "{test} is empty."),
    ],
)  # fmt: skip
def test_a_test_file_that_does_not_fit_is_told(load: Load, tmp_path: Path, test: str, sentence: str) -> None:
    with pytest.raises(DataError) as caught:
        load(test=test, target="score", **KNOWN)
    assert sentence.format(path=tmp_path / "table.csv", test=tmp_path / "test.csv") in str(caught.value)


def test_rows_are_counted_as_in_the_file_where_some_are_left_out(load: Load) -> None:
    with pytest.raises(DataError, match="'x' in data row 4"):
        load("a,y\n1,yes\n2,\n3,no\nx,yes\n5,no\n", target="y", drop_missing_target=True)


def test_a_class_that_the_test_file_alone_has_is_told(load: Load) -> None:
    with pytest.raises(DataError) as caught:
        load("a,y\n1,cat\n2,dog\n", test="a,y\n1,cta\n", target="y")
    assert "'y' of the test part holds 'cta' in row 0 (from 0), which is no class; did you mean 'cat'?" in str(
        caught.value
    )


def test_a_target_that_is_missing_by_number_is_none_to_learn(load: Load) -> None:
    with pytest.raises(DataError, match="'y' holds 1 value that is missing or infinite, first nan in row 1"):
        load("a,y\n1,0.5\n2,-999.0\n3,1.5\n", target="y", missing=[-999])


def test_what_is_no_text_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes("a,y\nété,no\n".encode("latin-1"))
    with pytest.raises(
        DataError, match=r"is not written in utf-8 \(.* at byte \d+\)\. Say how it is: encoding: latin-1"
    ):
        Csv(path=str(tmp_path / "a.csv"), target="y").load(None)
    (tmp_path / "a.csv.gz").write_bytes(b"no gzip")
    with pytest.raises(DataError, match="cannot be read as CSV"):
        Csv(path=str(tmp_path / "a.csv.gz"), target="y").load(None)
    with pytest.raises(DataError, match=r"cannot be read as CSV: .*Is a directory"):
        Csv(path=str(tmp_path), target="y").load(None)
    with pytest.raises(DataError, match=r"The data 'b\.csv' was not found"):
        Csv(path="b.csv", target="y").load(tmp_path)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"separator": "ab"}, "must be one character, `tab` or `space`, got 'ab'"),
        ({"separator": '"'}, "must be one character"),
        ({"encoding": "utf8x"}, "must be an encoding that Python knows, such as utf-8 or latin-1, got 'utf8x'"),
        ({"encoding": "base64"}, "must be an encoding that Python knows"),
        ({"columns": ["y"]}, "the target 'y' stands in `columns` too; it is never learned from"),
        ({"drop": ["y"]}, "the target 'y' stands in `drop` too"),
        ({"columns": []}, "at least 1 item"),
        ({"positive": True}, "must be a text, got True: YAML reads yes, no, on, off"),
        ({"missing": [None]}, "must be a text, got None"),
        ({"types": {"a": "text"}}, "'number' or 'category'"),
        ({"most_categories": 1}, "greater than or equal to 2"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Csv.model_validate({"path": "a.csv", "target": "y", **settings})
    assert words in str(caught.value)


def test_numbers_in_a_recipe_are_words_of_the_data() -> None:
    spec = Csv.model_validate({"path": "a", "target": 2020, "missing": [-999, 0.5, "x"], "types": {7: "number"}})
    assert (spec.target, spec.missing, spec.types) == ("2020", ("-999", "0.5", "x"), {"7": "number"})
    assert Csv.model_validate(spec.model_dump(mode="json")) == spec
