"""A table with words, served as clients have it: what stands in front of a model that takes codes.

Keras's StringLookup has no ONNX form and does not compile under XLA, so a model is trained on codes: 0 for an unknown
word, k for the k-th of `Column.words`. Here are the two things that turn words into these codes: operators in front of
the exported graph, and layers in front of the Keras model. Both give what the model gives on codes.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from pipelines.inputs import Column

if TYPE_CHECKING:
    import keras
    import onnx

MISSING = (
    "", " ", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A", "NA",
    "NULL", "NaN", "None", "n/a", "nan", "null",
)  # fmt: skip
"""Texts that stand for a missing number, as in pandas.read_csv."""
UNKNOWN = "[UNK]"


def words_onnx(
    core: onnx.ModelProto, columns: Sequence[Column], input_name: str = "row", output_name: str | None = None
) -> onnx.ModelProto:
    """The exported graph of a table's model with a string input (n, columns) instead of a float one.

    A text in a column of numbers is read as C's strtod reads it, up to the first sign that belongs to no number; one
    that does not begin with a number makes ONNX Runtime fail, so whoever calls it checks them first.

    Args:
        core: The graph of the model that takes codes; left as it is.
        columns: Of the table, in order.
        input_name: Of the new input.
        output_name: Of the output; as it was where left out.
    """
    import onnx
    from onnx import TensorProto, helper

    inner = onnx.ModelProto()
    inner.CopyFrom(core)
    graph = inner.graph
    initial = {tensor.name for tensor in graph.initializer}
    (codes,) = [given.name for given in graph.input if given.name not in initial]
    _rename(graph, codes, f"{_PREFIX}codes")
    if output_name is not None:
        _rename(graph, graph.output[0].name, output_name)
    nodes, constants = _coding(columns, input_name)
    batch = graph.output[0].type.tensor_type.shape.dim[0].dim_param or "batch"
    made = helper.make_graph(
        [*nodes, *graph.node],
        f"{graph.name}_of_words",
        [helper.make_tensor_value_info(input_name, TensorProto.STRING, [batch, len(columns)])],
        list(graph.output),
        [*constants, *graph.initializer],
        value_info=list(graph.value_info),
        sparse_initializer=list(graph.sparse_initializer),
    )
    versions = {one.domain: one.version for one in inner.opset_import}
    versions[_ML] = max(versions.get(_ML, 2), 2)  # LabelEncoder takes lists of keys and values since 2
    inner.graph.CopyFrom(made)
    del inner.opset_import[:]
    inner.opset_import.extend(helper.make_opsetid(domain, version) for domain, version in versions.items())
    onnx.checker.check_model(inner, full_check=True)
    return inner


_PREFIX = "words/"
_ML = "ai.onnx.ml"


def _coding(columns: Sequence[Column], source: str) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
    """Nodes that make float32 codes of the texts in `source`, and the constants they need.

    Number columns go together, category columns one by one; the last node puts all back in order.
    """
    import numpy as np
    from onnx import TensorProto, helper, numpy_helper

    numbers = [place for place, column in enumerate(columns) if column.words is None]
    categories = [place for place, column in enumerate(columns) if column.words is not None]
    nodes, constants, parts = [], [], []

    def taken(name: str, places: Sequence[int], of: str) -> str:
        constants.append(helper.make_tensor(f"{_PREFIX}{name}_places", TensorProto.INT64, [len(places)], places))
        nodes.append(helper.make_node("Gather", [of, f"{_PREFIX}{name}_places"], [f"{_PREFIX}{name}"], axis=1))
        return f"{_PREFIX}{name}"

    if numbers:
        texts = taken("texts", numbers, source)
        flags, missing, known, parsed = (f"{_PREFIX}{name}" for name in ("flags", "missing", "known", "numbers"))
        constants.append(numpy_helper.from_array(np.array(["nan"], object), f"{_PREFIX}nan"))
        nodes += [
            _encoder(texts, flags, MISSING, [1.0] * len(MISSING)),
            helper.make_node("Cast", [flags], [missing], to=TensorProto.BOOL),
            helper.make_node("Where", [missing, f"{_PREFIX}nan", texts], [known]),
            helper.make_node("Cast", [known], [parsed], to=TensorProto.FLOAT),
        ]
        parts.append(parsed)
    for place in categories:
        words = columns[place].words or ()
        text, code = taken(f"text_{place}", [place], source), f"{_PREFIX}code_{place}"
        # an encoder needs a key; without a known word, every word gets 0
        nodes.append(_encoder(text, code, words or ("",), [float(k) for k in range(1, len(words) + 1)] or [0.0]))
        parts.append(code)
    order = [*numbers, *categories]
    nodes.append(helper.make_node("Concat", parts, [f"{_PREFIX}parts"], axis=1))
    taken("codes", [order.index(place) for place in range(len(columns))], f"{_PREFIX}parts")
    return nodes, constants


def _encoder(text: str, code: str, keys: Sequence[str], numbers: Sequence[float]) -> onnx.NodeProto:
    from onnx import helper

    return helper.make_node(
        "LabelEncoder",
        [text],
        [code],
        domain=_ML,
        keys_strings=list(keys),
        values_floats=list(numbers),
        default_float=0.0,
    )


def _rename(graph: onnx.GraphProto, old: str, new: str) -> None:
    """Gives a value of a graph another name, also where branches and loops inside use it."""
    for node in graph.node:
        for names in (node.input, node.output):
            for place, name in enumerate(names):
                if name == old:
                    names[place] = new
        for attribute in node.attribute:
            for inside in (attribute.g, *attribute.graphs):
                _rename(inside, old, new)
    for value in (*graph.input, *graph.output, *graph.value_info):
        if value.name == old:
            value.name = new


def words_model(model: keras.Model, columns: Sequence[Column]) -> keras.Model:
    """A Keras model with an input (n, 1) a column, string or float32, in front of a table's trained model.

    It takes a dictionary by column. The inputs have the columns' names; where Keras cannot take one, as it has a slash
    or is the name of a layer, only the key of the dictionary has it, and Keras warns of that when it loads the file.
    """
    import keras

    taken = {model.name, *(f"{_LOOKUP}{place}" for place in range(len(columns))), *_OWN_NAMES}
    inputs: dict[str, Any] = {}
    codes = []
    for place, (column, name) in enumerate(zip(columns, _input_names(columns, taken), strict=True)):
        given = keras.Input((1,), name=name, dtype="float32" if column.words is None else "string")
        inputs[column.name] = given
        codes.append(given if column.words is None else _code(given, column.words, f"{_LOOKUP}{place}"))
    flow = keras.layers.Concatenate(name=_ROW, dtype="float32")(codes) if len(codes) > 1 else codes[0]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "When providing `inputs` as a dict", UserWarning)
        return keras.Model(inputs, model(flow), name=_NAME)


_NAME, _ROW, _LOOKUP = "of_words", "coded_row", "code_of_column_"
_OWN_NAMES = (_NAME, _ROW)


def _input_names(columns: Sequence[Column], taken: set[str]) -> Iterator[str]:
    """A name that Keras takes for each column, none of them in `taken`."""
    names = [column.name for column in columns]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"a table's columns must have different names, got {', '.join(twice)} more than once")
    for place, name in enumerate(names):
        fits = bool(name) and "/" not in name and name not in taken
        spare = f"column_{place}"
        while spare in taken or spare in names:
            spare += "_"
        yield name if fits else spare


def _code(text: Any, words: tuple[str, ...], name: str) -> Any:
    """The place of the word among `words`, from 1, and 0 for any other; float32."""
    import keras

    unknown = UNKNOWN
    while unknown in words:
        unknown += "_"
    lookup = keras.layers.StringLookup(
        # a vocabulary must have a word; where none is known, what is found counts nothing
        vocabulary=list(words) or [""],
        num_oov_indices=1,
        mask_token=None,
        oov_token=unknown,
        name=name,
    )
    return keras.layers.Rescaling(1.0 if words else 0.0, dtype="float32", name=f"{name}_as_float")(lookup(text))
