"""The model in the child: a `.keras` file as one compiled function. The server's only file that imports TensorFlow.

The function takes any number of rows, so it is traced once. Rows are padded to a few sizes that were all run before
the model counts as loaded: TensorFlow's kernels prepare themselves for a shape when they first see it.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.model_server.keras_engine.contents import Refused, refuse_strangers

# Texts that stand for a missing number, as the training side reads them.
_MISSING = {
    "", " ", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A", "NA",
    "NULL", "NaN", "None", "n/a", "nan", "null",
}  # fmt: skip


def sizes_up_to(most: int) -> tuple[int, ...]:
    """The sizes that batches are padded to: powers of two and the middles between them, and the largest itself."""
    sizes = {most}
    size = 1
    while size < most:
        sizes |= {size} | ({size * 3 // 2} if size > 1 and size * 3 // 2 < most else set())
        size *= 2
    return tuple(sorted(sizes))


class KerasModel:
    """A loaded model. One thread uses it.

    Attributes:
        traces: How often TensorFlow had to trace the function; once for each model, or something is wrong.
    """

    def __init__(
        self,
        path: Path,
        *,
        shape: Sequence[int | None],
        outputs: int,
        columns: Sequence[Mapping[str, Any]] = (),
        texts: bool = False,
        threads: int = 1,
        max_batch: int = 256,
    ) -> None:
        """Loads the file, in Keras's safe mode, and compiles it.

        Args:
            path: A `.keras` file.
            shape: Of one sample, as the contract has it.
            outputs: How many numbers it gives for one sample.
            columns: Of a table: name and type of each, as the contract has them.
            texts: Whether the samples are texts, which is so for a table with words.
            threads: How many cores one call may use.
            max_batch: The most rows of one call.

        Raises:
            Refused: the file may not or cannot be loaded, or is not what it is said to be.
        """
        refuse_strangers(path)
        tf = _tensorflow(threads)
        import keras

        self._tf, self._columns, self._texts = tf, tuple(columns), texts
        self._shape, self._outputs = tuple(shape), outputs
        self._sizes = sizes_up_to(max_batch)
        self.traces = 0
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of names of columns that no tensor can have
                self._model = keras.models.load_model(path, compile=False, safe_mode=True)
        except Exception as error:  # whatever a file makes of Keras
            raise Refused(f"Keras cannot load it: {type(error).__name__}: {_first_line(error)}") from None
        self._function = self._compiled()

    def _compiled(self) -> Any:
        tf = self._tf

        def call(given: Any) -> Any:
            self.traces += 1
            return tf.cast(self._model(given, training=False), tf.float32)

        function = tf.function(call, input_signature=[self._signature()], autograph=False, reduce_retracing=False)
        try:
            concrete = function.get_concrete_function()
        except Exception as error:
            raise Refused(f"it does not take what its contract says: {_first_line(error)}") from None
        given = concrete.structured_outputs.shape
        if given.rank != 2 or given[1] != self._outputs:
            raise Refused(f"it gives outputs of shape {tuple(given)}; its contract says {self._outputs} for a sample")
        return concrete

    def _signature(self) -> Any:
        tf = self._tf
        if not self._texts:
            return tf.TensorSpec([None, *self._shape], tf.float32, name="rows")
        return {
            column["name"]: tf.TensorSpec([None, 1], tf.string if column["type"] == "category" else tf.float32)
            for column in self._columns
        }

    @property
    def sizes(self) -> tuple[int, ...]:
        """The numbers of rows that batches are padded to."""
        return self._sizes

    def warm(self) -> None:
        """Runs every size once."""
        shape = tuple(side or 1 for side in self._shape)
        for size in self._sizes:
            if self._texts:
                row = np.array([["" if c["type"] == "category" else "0" for c in self._columns]], dtype=object)
                self.run(np.repeat(row, size, axis=0))
            else:
                self.run(np.zeros((size, *shape), np.float32))

    def run(self, rows: NDArray[Any]) -> NDArray[np.float32]:
        """Computes (n, *sample shape) to float32 (n, outputs), n > 0, in calls of at most `max_batch` rows."""
        most = self._sizes[-1]
        if len(rows) > most:
            return np.concatenate([self.run(rows[start : start + most]) for start in range(0, len(rows), most)])
        count, size = len(rows), next(size for size in self._sizes if size >= len(rows))
        if size > count:  # with the last row again, which is a sample like any other
            rows = np.concatenate([rows, np.repeat(rows[-1:], size - count, axis=0)])
        return self._call(rows)[:count]

    def _call(self, rows: NDArray[Any]) -> NDArray[np.float32]:
        tf = self._tf
        if not self._texts:
            return np.asarray(self._function(tf.constant(rows, tf.float32)))
        given = {
            column["name"]: tf.constant(cells.tolist(), tf.string, shape=(len(rows), 1))
            if column["type"] == "category"
            else tf.constant(_numbers(cells, column["name"]))
            for column, cells in zip(self._columns, rows.T, strict=True)
        }
        return np.asarray(self._function(given))


def _numbers(cells: NDArray[Any], name: str) -> NDArray[np.float32]:
    """Texts of a column of numbers as float32 (n, 1); NaN where one is missing."""
    try:
        found = [np.nan if text in _MISSING else float(text) for text in cells.tolist()]
    except ValueError:
        raise ValueError(f"column {name!r} holds numbers, and one of its texts is none") from None
    return np.array(found, np.float32).reshape(-1, 1)


def _tensorflow(threads: int) -> Any:
    for name, value in {
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "CUDA_VISIBLE_DEVICES": "-1",  # a server that did not ask for a GPU must not take all of its memory
        "KERAS_BACKEND": "tensorflow",
    }.items():
        os.environ.setdefault(name, value)
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    return tf


def _first_line(error: Exception) -> str:
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0][:300]
