"""Whether a model with layers of the user's own is the same one when it is loaded from its file.

Keras makes such a layer again from what its `get_config` returns. What is missing there is missing in every checkpoint,
and shows when the best of them is to be judged: after all the training. So it is looked for before.
"""

from __future__ import annotations

import json
from collections.abc import Callable

import keras
import numpy as np
from numpy.typing import NDArray

from pipelines.models import ModelSpec
from pipelines.models.strangers import objects
from pipelines.own.code import OwnCodeError, told
from pipelines.training.feeding import Feed
from pipelines.training.lanes.drawing import undisturbed
from pipelines.training.lanes.watching_builds import fresh_names

_SAMPLES = 8
_ROUNDING = 1e-4
_proven: set[str] = set()


def prove_reloadable(model: keras.Model, spec: ModelSpec, fed: Feed, build: Callable[[], keras.Model]) -> None:
    """Loads a model as from its file, where it has anything of the user's own, and compares what both say.

    Once in a process for the same parts: a trial's numbers do not change what is written down. The model itself, random
    streams and names of layers are left as they are.

    Args:
        model: Of a trial, before it is trained; compiled or not.
        spec: What made it.
        fed: The trial's data.
        build: Makes such a model again, to be asked: some layers keep what nobody sees.

    Raises:
        OwnCodeError: It cannot be loaded, or says something else then.
    """
    if not spec.own:
        return
    config = keras.saving.serialize_keras_object(model)
    config.pop("compile_config", None)  # which has its optimizer and loss, and none of its layers
    parts = spec.own_parts(config)
    what = json.dumps(parts, sort_keys=True)
    if not parts or what in _proven:
        return
    named = ", ".join(parts.values())
    with undisturbed(), fresh_names(), keras.saving.custom_object_scope(objects(parts)):
        first = build()
        try:
            again = keras.saving.deserialize_keras_object(config)
            again.set_weights(first.get_weights())
            few = fed.train.take(np.arange(min(_SAMPLES, len(fed.train)), dtype=np.int64))
            same = _same(first, again, np.asarray(few.x, np.float32))
        except Exception as error:  # whatever the user's layers raise
            raise OwnCodeError(
                f"The model, which has {named}, cannot be loaded from its own file: {told(_first(error))}. What "
                f"get_config() of a layer returns must be all that its constructor takes."
            ) from error
    if not same:
        raise OwnCodeError(
            f"The model, which has {named}, says something else when it is loaded from its own file, as its "
            f"checkpoints would. What get_config() of a layer returns must be all that its constructor takes, and what "
            f"a layer keeps for later must be weights."
        )
    _proven.add(what)


def _first(error: BaseException) -> BaseException:
    """What an error began with: Keras tells of it in pages, and not at their beginning."""
    while (before := error.__cause__ or error.__context__) is not None:
        error = before
    return error


def _same(model: keras.Model, again: keras.Model, x: NDArray[np.float32]) -> bool:
    """Whether both say the same of samples; True where the first one says nothing, or never the same twice."""
    mine, once_more, theirs = (np.asarray(one(x, training=False)) for one in (model, model, again))
    allowed = _ROUNDING * max(1.0, float(np.abs(mine).max()))
    return not _gap(mine, once_more) <= allowed or _gap(mine, theirs) <= allowed


def _gap(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    return float(np.abs(one - other).max())
