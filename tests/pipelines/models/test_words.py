from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines.inputs import Column, InputFacts
from pipelines.models.dense import DenseModel
from pipelines.models.words import MISSING, words_model, words_onnx
from tests.pipelines.models.samples import HEADS, TABLE, build, outputs

HEAD = HEADS["binary"]
ODD = (
    "a/b",
    "",
    "dense",
    "of_words",
    "coded_row",
    "code_of_column_0",
    "column_0",
    "sepal length (cm)",
    "größe",
    "a.b:c",
    "1",
)
"""Names that Keras refuses or uses itself, and some that look as if it did."""


def table(*columns: Column) -> InputFacts:
    count = len(columns)
    return InputFacts((count,), None, None, ("no", "yes"), "table", columns, "", (1.0,) * count, (2.0,) * count)


def texts(facts: InputFacts, coded: Any) -> Any:
    """The same rows as texts: numbers as Python writes them, words by their place, 0 as a word that is not known."""

    def text(value: float, words: tuple[str, ...] | None) -> str:
        if words is None:
            return repr(float(value))
        return ("nobody knows" if "" in words else "", *words)[int(value)]

    return np.array([[text(value, c.words) for value, c in zip(row, facts.columns, strict=True)] for row in coded])


def by_column(facts: InputFacts, coded: Any) -> dict[str, Any]:
    """The same rows as a dictionary of columns, as MLflow hands a data frame on."""
    said = texts(facts, coded)
    return {
        column.name: coded[:, [place]] if column.words is None else said[:, place].astype(object)
        for place, column in enumerate(facts.columns)
    }


WORDY = table(
    Column("x", ("a", "b")), Column("y", ("[UNK]", "[UNK]_", "", " a", "a ", "nan", "日本", "1\n2")), Column("z", ())
)
CASES = {
    "numbers and words": (
        TABLE, [[39, 1, 1991.5, np.nan, 2], [np.nan, 0, -3e-5, 7, 0], [0, 3, 2e9, 1, 1], [1, 2, 0, -0.0, 1]]
    ),
    "words alone": (WORDY, [[place % 3, place, 0] for place in range(9)]),
    "one column": (table(Column("x", ("a", "b"))), [[0], [2], [1]]),
    "words first": (table(Column("x", ("a",)), Column("y"), Column("z")), [[1, 2, np.nan], [0, np.nan, 4]]),
    "numbers alone": (table(Column("x"), Column("y")), [[1, np.nan], [2.5, 1e-30]]),
}  # fmt: skip
every_case = pytest.mark.parametrize(("facts", "rows"), CASES.values(), ids=CASES)


def coded_rows(rows: Any) -> Any:
    return np.array(rows, np.float32)


@every_case
def test_the_graph_of_words_says_of_texts_what_the_core_says_of_codes(
    keras: Any, export: Any, run_onnx: Any, facts: InputFacts, rows: Any
) -> None:
    model, coded = build(keras, DenseModel, facts, HEAD), coded_rows(rows)
    core = export(model)
    before = core.SerializeToString()
    graph = words_onnx(core, facts.columns, output_name="probability")
    wanted = outputs(keras, model, coded)
    np.testing.assert_allclose(run_onnx(graph, texts(facts, coded)), wanted, atol=1e-6)
    np.testing.assert_allclose(run_onnx(graph, texts(facts, coded).astype(object)), wanted, atol=1e-6)
    assert core.SerializeToString() == before


def test_the_graph_of_words_names_its_input_and_its_output(keras: Any, export: Any) -> None:
    import onnx
    import onnxruntime

    core = export(build(keras, DenseModel, TABLE, HEAD))
    session = onnxruntime.InferenceSession(
        words_onnx(core, TABLE.columns, output_name="probability").SerializeToString()
    )
    (given,), (found,) = session.get_inputs(), session.get_outputs()
    assert (given.name, given.type, given.shape[1]) == ("row", "tensor(string)", 5)
    assert (found.name, found.type, found.shape[1]) == ("probability", "tensor(float)", 1)
    assert isinstance(given.shape[0], str)  # any number of rows
    graph = words_onnx(core, TABLE.columns, input_name="texts")
    assert [value.name for value in graph.graph.input] == ["texts"]
    assert [value.name for value in graph.graph.output] == [value.name for value in core.graph.output]
    onnx.checker.check_model(graph, full_check=True)


@pytest.mark.parametrize("text", MISSING, ids=repr)
def test_what_stands_for_a_missing_number_is_read_as_one(
    keras: Any, words_of_table: Any, run_onnx: Any, text: str
) -> None:
    model, graph = words_of_table
    row = ["40", "red", text, "2", "Ulm"]
    wanted = outputs(keras, model, coded_rows([[40, 1, np.nan, 2, 1]]))
    np.testing.assert_allclose(run_onnx(graph, np.array([row])), wanted, atol=1e-6)


@pytest.mark.parametrize(
    ("text", "number"), [("7", 7), ("+7.50", 7.5), ("-1e3", -1000), (" 8 ", 8), ("1e-60", 0), ("inf", np.inf)], ids=str
)
def test_numbers_are_read_as_c_reads_them(
    keras: Any, words_of_table: Any, run_onnx: Any, text: str, number: float
) -> None:
    model, graph = words_of_table
    wanted = outputs(keras, model, coded_rows([[40, 1, number, 2, 1]]))
    np.testing.assert_allclose(run_onnx(graph, np.array([["40", "red", text, "2", "Ulm"]])), wanted, atol=1e-6)


def test_a_text_that_is_no_number_is_an_error_of_the_runtime(words_of_table: Any, run_onnx: Any) -> None:
    with pytest.raises(Exception, match=r"Cast|stod"):
        run_onnx(words_of_table[1], np.array([["forty", "red", "1", "2", "Ulm"]]))


@pytest.fixture
def words_of_table(keras: Any, export: Any) -> tuple[Any, Any]:
    model = build(keras, DenseModel, TABLE, HEAD, units=[4], activation="tanh")
    return model, words_onnx(export(model), TABLE.columns)


def test_a_graph_with_branches_inside_is_renamed_inside_too() -> None:
    import onnx
    import onnxruntime
    from onnx import TensorProto, helper

    def branch(operator: str) -> Any:
        node = helper.make_node(operator, ["row"], ["y"])
        return helper.make_graph([node], operator, [], [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)])

    core = helper.make_model(
        helper.make_graph(
            [
                helper.make_node(
                    "Constant", [], ["yes"], value=helper.make_tensor("yes", TensorProto.BOOL, [], [True])
                ),
                helper.make_node("If", ["yes"], ["out"], then_branch=branch("Neg"), else_branch=branch("Abs")),
            ],
            "core",
            [helper.make_tensor_value_info("row", TensorProto.FLOAT, ["n", 1])],
            [helper.make_tensor_value_info("out", TensorProto.FLOAT, ["n", 1])],
        ),
        opset_imports=[helper.make_opsetid("", 15)],
        ir_version=8,
    )
    onnx.checker.check_model(core)
    graph = words_onnx(core, (Column("x"),), output_name="negative")
    session = onnxruntime.InferenceSession(graph.SerializeToString())
    assert session.run(["negative"], {"row": np.array([["3"], ["4"]])})[0].tolist() == [[-3], [-4]]


@every_case
def test_the_model_of_words_says_of_columns_what_the_core_says_of_codes(
    keras: Any, tmp_path: Path, facts: InputFacts, rows: Any
) -> None:
    core, coded = build(keras, DenseModel, facts, HEAD), coded_rows(rows)
    model = words_model(core, facts.columns)
    given, wanted = by_column(facts, coded), outputs(keras, core, coded)
    np.testing.assert_allclose(model.predict(given, verbose=0), wanted, atol=1e-6)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras", safe_mode=True)
    np.testing.assert_allclose(loaded.predict(given, verbose=0), wanted, atol=1e-6)
    assert [one.name for one in loaded.inputs] == sorted(column.name for column in facts.columns)
    kinds = {one.name: (one.shape, one.dtype) for one in loaded.inputs}
    assert kinds == {c.name: ((None, 1), "float32" if c.words is None else "string") for c in facts.columns}


@pytest.mark.filterwarnings("ignore:When providing `inputs` as a dict:UserWarning")  # Keras, as it loads
def test_names_that_keras_refuses_or_uses_itself_are_keys_all_the_same(keras: Any, tmp_path: Path) -> None:
    facts = table(*(Column(name, ("p", "q") if place % 2 else None) for place, name in enumerate(ODD)))
    core = build(keras, DenseModel, facts, HEAD)
    coded = coded_rows([[place % 2 * 2 or 7.5 for place in range(len(ODD))], [0] * len(ODD)])
    words_model(core, facts.columns).save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras", safe_mode=True)
    np.testing.assert_allclose(
        loaded.predict(by_column(facts, coded), verbose=0), outputs(keras, core, coded), atol=1e-6
    )
    names = {one.name for one in loaded.inputs}
    assert {"sepal length (cm)", "größe", "a.b:c", "1", "column_0"} <= names
    assert not {"a/b", "", "dense"} & names


def test_only_names_that_keras_cannot_take_make_it_warn(keras: Any) -> None:
    """A warning is an error here: `words_model` keeps its own down, and these names cause none at all."""
    facts = table(Column("sepal length (cm)"), Column("größe", ("s",)))
    model = words_model(build(keras, DenseModel, facts, HEAD), facts.columns)
    keras.Model.from_config(model.get_config())
    odd = table(Column("a/b"), Column("b", ("s",)))
    model = words_model(build(keras, DenseModel, odd, HEAD), odd.columns)
    with pytest.warns(UserWarning, match="all keys in the dict must match"):
        keras.Model.from_config(model.get_config())


def test_two_columns_of_one_name_are_refused(keras: Any) -> None:
    facts = table(Column("x"), Column("y"), Column("x", ("a",)))
    with pytest.raises(ValueError, match="must have different names, got x more than once"):
        words_model(build(keras, DenseModel, facts, HEAD), facts.columns)


@pytest.mark.filterwarnings("ignore:When providing `inputs` as a dict:UserWarning")  # Keras, as it loads
def test_mlflow_predicts_from_a_data_frame_with_the_original_columns(
    keras: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a tensor a column in the signature: float32 (-1, 1) for numbers, object (-1,) for words."""
    import mlflow.keras
    import pandas as pd
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    monkeypatch.setenv("MLFLOW_SKIP_PIP_REQUIREMENTS_CHECK", "true")
    logging.getLogger("mlflow").setLevel(logging.ERROR)
    facts = replace(TABLE, columns=(*TABLE.columns[:4], Column("town/village", TABLE.columns[4].words)))
    core = build(keras, DenseModel, facts, HEAD)
    number, word = np.dtype("float32"), np.dtype("O")
    signature = ModelSignature(
        Schema([
            TensorSpec(number, (-1, 1), name=c.name) if c.words is None else TensorSpec(word, (-1,), name=c.name)
            for c in facts.columns
        ]),
        Schema([TensorSpec(number, (-1, 1))]),
    )  # fmt: skip
    mlflow.keras.save_model(
        words_model(core, facts.columns), str(tmp_path / "model"), signature=signature, pip_requirements=["keras"]
    )
    loaded = mlflow.pyfunc.load_model(str(tmp_path / "model"))
    frame = pd.DataFrame(
        {"town/village": [" Ulm", "", "Ulm"], "age": [39, 40, 41], "size (cm)": [1.5, np.nan, 2],
         "colour": ["blå", "mauve", "x\ny"], "year": [1990.0, 1991.0, np.nan]}
    )  # fmt: skip
    coded = coded_rows([[39, 2, 1990, 1.5, 2], [40, 0, 1991, np.nan, 0], [41, 3, np.nan, 2, 1]])
    np.testing.assert_allclose(loaded.predict(frame), outputs(keras, core, coded), atol=1e-6)
