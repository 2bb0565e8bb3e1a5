"""Finds out how the `.keras` files of a cohort are made, from files that Keras writes of its template model.

Which bytes belong to which variable is not guessed from names or shapes: every variable is filled with a number of its
own, each setting that differs between trials is set to one, and Keras saves that. The numbers are then looked for in
the file. A stamp is proven on these files before it is used: with what they were saved with, it must give each of them
byte for byte.
"""

from __future__ import annotations

import io
import json
import logging
import re
import tempfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipelines.training.lanes.lifting import lifted
from pipelines.training.lanes.saving import CONFIG, DATE_FORM, METADATA, WEIGHTS, Form, Hole, Stamp, bytes_of
from pipelines.training.values import variables_of

if TYPE_CHECKING:
    import keras
    from numpy.typing import NDArray

_BASE = 100
"""Marks are whole numbers from 1 to this, which every type of numbers can hold; more variables get several digits."""
_HOLE = "here stands number "
_SHARED = "shared_object_id"
"""An address in memory, by which Keras tells what is shared; of no meaning in another process."""
_log = logging.getLogger(__name__)

Place = tuple[str | int, ...]
"""Where something is in a config: keys and numbers, from the outside in."""


class _OnlyKeras(Exception):
    """Files of this model can be written by Keras alone; the message says why."""


def stamp_of(model: keras.Model, settings: Mapping[str, float] | None = None) -> Stamp | None:
    """The stamp for files of models that differ from this one in their values and some settings alone.

    It saves the model two or three times, below the folder for temporary files, and leaves it as it was.

    Args:
        model: A compiled model. Its optimizer is built if it was not.
        settings: The settings in which models differ, as `pipelines.training.lanes.lifting` names them, with those of
            this model. What Keras reads from a variable, such as the learning rate, needs no mention.

    Returns:
        None where `model.save` has to be used, as the model is saved in a way of its own.
    """
    settings = dict(settings or {})
    variables = variables_of(model)
    own = [np.asarray(variable.numpy()) for variable in variables]
    try:
        marked = _marked(settings)
        with tempfile.TemporaryDirectory() as folder:
            files = [_saved(model, Path(folder), own, settings)]
            try:
                for values in _marks(own):
                    _assign(variables, values)
                    with lifted(model, model.optimizer, marked):
                        files.append(_saved(model, Path(folder), values, marked))
            finally:
                _assign(variables, own)
        stamp = Stamp(
            files[0].metadata,
            tuple(_config_in_pieces(files)),
            tuple(_weights_in_pieces(files)),
            tuple(Form(value.shape, value.dtype) for value in own),
            settings,
        )
        for file in files:
            _prove(stamp, file)
    except _OnlyKeras as reason:
        _log.info("Keras itself saves the models of this cohort: %s", reason)
        return None
    return stamp


@dataclass(frozen=True)
class _File:
    """What is in a file that Keras wrote, and what the model held."""

    metadata: dict[str, Any]
    config: dict[str, Any]
    weights: bytes
    values: Sequence[NDArray[Any]]
    settings: Mapping[str, float]


def _saved(model: keras.Model, folder: Path, values: Sequence[NDArray[Any]], settings: Mapping[str, float]) -> _File:
    path = folder / "template.keras"
    model.save(path)
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        if [entry.filename for entry in entries] != [METADATA, CONFIG, WEIGHTS]:
            raise _OnlyKeras(f"its file holds {', '.join(entry.filename for entry in entries)}")
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
            raise _OnlyKeras("its file is compressed")
        metadata, config, weights = (archive.read(entry) for entry in entries)
    file = _File(json.loads(metadata), json.loads(config), weights, values, settings)
    try:
        datetime.strptime(file.metadata["date_saved"], DATE_FORM)
    except (KeyError, TypeError, ValueError) as problem:
        raise _OnlyKeras(f"its file does not say when it was saved: {problem!r}") from problem
    if [json.dumps(file.metadata), json.dumps(file.config)] != [metadata.decode(), config.decode()]:
        raise _OnlyKeras("its settings are not written as plain JSON")
    return file


def _assign(variables: Sequence[Any], values: Sequence[NDArray[Any]]) -> None:
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


def _marks(own: Sequence[NDArray[Any]]) -> Iterator[list[NDArray[Any]]]:
    """Values for all variables, in which each is full of a number of its own; several times, one a digit of it."""
    turn = next((turn for turn in range(_BASE) if not _by_chance(own, turn)), None)
    if turn is None:
        raise _OnlyKeras("its variables hold the very numbers that would mark them")
    for digit in range(1 if len(own) <= _BASE else 2):
        values = [np.full_like(value, _mark(number, digit, turn)) for number, value in enumerate(own)]
        for number, value in enumerate(values):
            if value.dtype.kind not in "iufV" or np.any(value.astype(np.float64) != _mark(number, digit, turn)):
                raise _OnlyKeras(f"a variable of type {value.dtype} cannot be marked")
        yield values


def _mark(number: int, digit: int, turn: int) -> int:
    return ((number // _BASE if digit else number) + turn) % _BASE + 1


def _by_chance(own: Sequence[NDArray[Any]], turn: int) -> bool:
    """Whether a lone number is its own mark already, so that nobody could see what follows it."""
    return any(value.size == 1 and float(value.item()) == _mark(number, 0, turn) for number, value in enumerate(own))


def _marked(settings: Mapping[str, float]) -> dict[str, float]:
    """Other values for settings: a number below 1 for each, so that none is that of a variable."""
    if len(settings) > 256:
        raise _OnlyKeras(f"{len(settings)} settings are more than can be marked")
    pairs = {name: (0.5 + number / 1024, 0.25 + number / 1024) for number, name in enumerate(settings)}
    return {name: pair[pair[0] == settings[name]] for name, pair in pairs.items()}


def _weights_in_pieces(files: Sequence[_File]) -> Iterator[bytes | int]:
    """The HDF5 file with the numbers of the variables where their bytes stand."""
    template, marked = files[0].weights, files[1:]
    if any(len(file.weights) != len(template) for file in marked):
        raise _OnlyKeras("the length of its file depends on its values")
    marks = zip(*(file.values for file in marked), strict=True)
    numbers = {tuple(map(_signature, found)): number for number, found in enumerate(marks)}
    done = 0
    for start, size, first in _runs(template):
        signature = tuple((size, file.weights[start : start + first]) for file in marked)
        if start < done or signature not in numbers:
            raise _OnlyKeras("its file holds more than its variables")
        yield template[done:start]
        yield numbers[signature]
        done = start + size
    yield template[done:]


def _signature(value: NDArray[Any]) -> tuple[int, bytes]:
    return value.nbytes, bytes_of(value)[: value.itemsize].tobytes()


def _runs(weights: bytes) -> list[tuple[int, int, int]]:
    """Where the values of each data set begin, and how many bytes all of them and one of them have, in order."""
    import h5py  # type: ignore[import-untyped]  # comes with Keras

    found: list[tuple[int, int, int]] = []

    def visit(name: str, entry: Any) -> None:
        if not isinstance(entry, h5py.Dataset) or entry.size == 0:
            return
        start, layout = entry.id.get_offset(), entry.id.get_create_plist().get_layout()
        if start is None or layout != h5py.h5d.CONTIGUOUS or entry.nbytes != entry.id.get_storage_size():
            raise _OnlyKeras(f"the values at {name} are not plain bytes in its file")
        found.append((start, entry.nbytes, entry.dtype.itemsize))

    with h5py.File(io.BytesIO(weights), "r") as file:
        file.visititems(visit)
    return sorted(found)


def _config_in_pieces(files: Sequence[_File]) -> Iterator[str | Hole]:
    """`config.json` with holes where the numbers differ."""
    leaves = [dict(_leaves(file.config)) for file in files]
    if any(one.keys() != leaves[0].keys() for one in leaves):
        raise _OnlyKeras("which settings it has depends on its values")
    config, holes = files[0].config, []
    for place, leaf in leaves[0].items():
        found = [one[place] for one in leaves]
        if place[-1] == "seed" and isinstance(leaf, int):
            raise _OnlyKeras(f"a seed is among its settings, {_words(place)}, and may be another in each trial")
        if all(one == leaf for one in found):
            continue
        holes.append(_hole(place, found, files))
        config = _with(config, place, f"{_HOLE}{len(holes) - 1}")
    missing = set(files[0].settings) - {hole.source for hole in holes}
    if missing:
        raise _OnlyKeras(f"nothing in its file says {', '.join(sorted(missing))}")
    for piece in re.split(rf'("{_HOLE}\d+")', json.dumps(config)):
        yield holes[int(piece[1 + len(_HOLE) : -1])] if piece.startswith(f'"{_HOLE}') else piece


def _hole(place: Place, leaves: Sequence[Any], files: Sequence[_File]) -> Hole:
    """What the number at a place follows."""
    kind = type(leaves[0])
    sources: list[int | str] = [number for number, value in enumerate(files[0].values) if value.size == 1]
    sources += files[0].settings
    if kind in (int, float):
        holes = [Hole(kind, source) for source in sources]
        fits = [
            hole
            for hole in holes
            if all(
                hole.filled(file.values, file.settings) == json.dumps(leaf)
                for file, leaf in zip(files, leaves, strict=True)
            )
        ]
        if len(fits) == 1:
            return fits[0]
    raise _OnlyKeras(f"nobody can say what its {_words(place)} follows")


def _leaves(config: Any, where: Place = ()) -> Iterator[tuple[Place, Any]]:
    if isinstance(config, dict | list) and config:
        for key, value in config.items() if isinstance(config, dict) else enumerate(config):
            if key != _SHARED:
                yield from _leaves(value, (*where, key))
    else:
        yield where, config


def _with(config: Any, place: Place, value: Any) -> Any:
    """A config with one other value."""
    if not place:
        return value
    changed = config.copy()
    changed[place[0]] = _with(config[place[0]], place[1:], value)
    return changed


def _words(place: Place) -> str:
    return ".".join(map(str, place))


def _prove(stamp: Stamp, file: _File) -> None:
    """Compares what the stamp gives with what Keras wrote.

    Raises:
        _OnlyKeras: It is not the same.
    """
    if b"".join(stamp.weights_of(file.values)) != file.weights:
        raise _OnlyKeras("values in its file are not where they were looked for")
    written = json.loads(stamp.config_of(file.values, file.settings))
    if dict(_leaves(written)) != dict(_leaves(file.config)):
        raise _OnlyKeras("its settings depend on its values")
