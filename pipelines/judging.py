"""Judges a checkpoint on the sealed test part and packages it: the part of a promotion that needs TensorFlow.

It runs in a process of its own, so that the controller stays small and its terminal free of TensorFlow's messages.
"""

from __future__ import annotations

import shutil
import time
import traceback
from collections import Counter
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipelines.collecting import nothing_to_collect
from pipelines.datasets import Samples
from pipelines.datasets.prepared import open_prepared
from pipelines.datasets.sealed import open_sealed
from pipelines.errors import PromotionRefused, RegattaError
from pipelines.executors.base import OneByOne
from pipelines.inputs import InputFacts
from pipelines.models.strangers import config_in
from pipelines.own.digest import named_modules, other_code, own_code
from pipelines.packaging.building import build_package, load_checkpoint, outputs_of
from pipelines.packaging.forms import caller, onnx_runtime, scale_of, served_outputs
from pipelines.packaging.package import form_of, served_file
from pipelines.packaging.profile import profile_of
from pipelines.packaging.scoring import score
from pipelines.promotion.evidence import worst_mistakes
from pipelines.promotion.judge import Answers, Judged, JudgeRequest
from pipelines.promotion.policy import Measured
from pipelines.recipe.config import TrainingConfig
from pipelines.recipe.kept import read_kept
from pipelines.records import Failure
from pipelines.tracking.models import warm_up
from pipelines.training.failing import failure_of

_NEEDED = ("sklearn.datasets", "sklearn.model_selection")
GOLDEN_SAMPLES = 16
_CALLS = 200
_MEASURES_S = 0.15
"""How long the time of one answer is measured, at most; never fewer than five calls."""


class JudgeWorker(OneByOne):
    """A worker for one kind of task: a `JudgeRequest`, answered by one `Judged`."""

    def __init__(self) -> None:
        """Imports what it will need, so that it is warm when the request comes."""
        get_ready()
        super().__init__(answer)


def get_ready() -> None:
    """Imports what a judgement needs beside TensorFlow: for the sealed samples, the package, and its served form."""
    warm_up()
    with nothing_to_collect(for_good=True):
        for module in _NEEDED:
            import_module(module)
        onnx_runtime()


def answer(request: JudgeRequest, say: Callable[[Judged], object]) -> None:
    """Judges and packages one candidate, and says what came of it, whatever that is."""
    try:
        say(judge(request))
    except RegattaError as error:
        say(Judged(error=str(error), refused=isinstance(error, PromotionRefused)))
    except Exception as error:
        if failure_of(error) is Failure.DISK:
            text = (
                f"No space left on the disk of {_fullest(request)}, where the candidate is packaged. "
                f"Nothing was promoted; make room and run the same command again."
            )
            say(Judged(error=text, full=True))
            return
        text = f"The checkpoint {request.checkpoint} could not be packaged: {type(error).__name__}: {error}"
        say(Judged(error=text, traceback=traceback.format_exc()))


def _fullest(request: JudgeRequest) -> Path:
    """Where there is least room: the package is made among temporary files, the answers are kept in the study."""
    places = [Path(path).parent for path in (request.package, request.outputs) if path]
    return min(places, key=lambda place: shutil.disk_usage(place).free)


def judge(request: JudgeRequest) -> Judged:
    """Scores candidate and champion on the same sealed samples, and writes the candidate's package.

    Raises:
        DataError: The data is not what the candidate trained on.
        PromotionRefused: The candidate's two forms disagree.
    """
    # of code of the user's own, a judgement calls the data's, and that of layers which the checkpoint names
    config = read_kept(TrainingConfig, request.config, f"study '{request.name}'")
    spec = config.dataset
    data = open_prepared(Path(request.data))
    task = config.goal(data.facts).task
    own = config.model.own_parts(config_in(Path(request.checkpoint))) if config.model.own else {}
    changed = _changed_code(request, own)
    folder = Path(request.user_folder) if request.user_folder else None
    test = open_sealed(spec, folder, sha256=data.sha256, split_sha256=data.split_sha256, task=config.task)
    model = load_checkpoint(Path(request.checkpoint), own)
    mine = outputs_of(model, test.x)
    scores = score(task, mine, test.y)
    theirs = None
    if request.champion is not None:
        theirs = served_outputs(Path(request.champion), test.x, data.facts)
    package = Path(request.package)
    golden = golden_samples(test)
    shutil.rmtree(package, ignore_errors=True)
    build_package(
        model,
        package,
        name=request.name,
        task=task,
        facts=data.facts,
        golden=golden,
        scores=scores,
        source=request.source,
        dataset={"name": spec.name, "sha256": data.sha256, "split_sha256": data.split_sha256},
        parity=request.parity,
        profile=profile_of(data.read()[0], data.facts),
        own=own,
    )
    if request.outputs is not None:
        mistakes = worst_mistakes(task, test.y, mine)
        Answers(test.y, mine, theirs, mistakes, np.asarray(test.x[mistakes])).write(request.outputs)
    form = form_of(package)
    expected = outputs_of(model, golden.x)
    measured = Measured(
        scores,
        bytes=(package / served_file(package)).stat().st_size,
        latency_ms=latency_ms(package, golden, data.facts),
        parity=float(np.abs(served_outputs(package, golden.x, data.facts) - expected).max()),
        allowed=request.parity * scale_of(expected),
        form=form,
    )
    return Judged(measured, None if theirs is None else score(task, theirs, test.y), changed=changed)


def _changed_code(request: JudgeRequest, own: Mapping[str, str]) -> tuple[str, ...]:
    """The modules of own layers that are others than the trial ran.

    Other layers under the same names take the same weights, and are another model than the one that was trained.

    Raises:
        PromotionRefused: There are some, and the request does not take them.
    """
    now = own_code(list(own.values()))
    changed = [name for name in other_code(request.code, now) if name in request.code and name in now]
    if changed and not request.any_code:
        raise PromotionRefused(
            f"The code of trial {request.source['trial']}'s layers is another now ({named_modules(changed)}), so its "
            f"checkpoint would be loaded as another model than was trained. Bring that code back as it was, or train "
            f"with this one: regatta sweep … --fresh. Where what has changed is nothing that the layers compute, "
            f"--force takes it."
        )
    return tuple(changed)


def latency_ms(package: Path, golden: Samples, facts: InputFacts) -> float:
    """Median time of an answer about one row, in milliseconds, in the form in which it is served, warmed up."""
    call = caller(package, golden.x[:1], facts)
    for _ in range(3):
        call()
    took: list[float] = []
    begun = time.perf_counter()
    while len(took) < _CALLS and (len(took) < 5 or time.perf_counter() - begun < _MEASURES_S):
        start = time.perf_counter()
        call()
        took.append(time.perf_counter() - start)
    return float(np.median(took)) * 1000.0


def golden_samples(test: Samples) -> Samples:
    """A fixed number of samples for checks, and for people.

    One sample of each class, then another of each, and so on, those of a class spread evenly over the test part: a data
    set may be in some order, as a spiral is from its centre outwards. Where a number is predicted, samples whose
    targets are spread evenly from the smallest to the largest.
    """
    truth = np.asarray(test.y)
    if not np.issubdtype(truth.dtype, np.integer):
        ranked = np.argsort(truth, kind="stable")
        return test.take(ranked[_spread(len(ranked), min(GOLDEN_SAMPLES, len(ranked)))])
    classes = [np.flatnonzero(truth == label) for label in np.unique(truth)]
    turns = sorted((turn, label) for label, places in enumerate(classes) for turn in range(len(places)))
    turns = turns[:GOLDEN_SAMPLES]
    counts = Counter(label for _, label in turns)
    spread = {label: classes[label][_spread(len(classes[label]), count)] for label, count in counts.items()}
    return test.take(np.array([spread[label][turn] for turn, label in turns]))


def _spread(size: int, count: int) -> NDArray[np.int64]:
    """`count` places from the first to the last of `size`, evenly."""
    return np.linspace(0, size - 1, count).round().astype(np.int64)
