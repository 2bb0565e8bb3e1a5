"""Makes sure that a recipe's workers can live in containers, before anything is prepared for them."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from pipelines.docking.dock import INSTEAD, Dock, no_engine
from pipelines.errors import ServiceError
from pipelines.executors.docker.adrift import Adrift, labels_of
from pipelines.executors.docker.base import ContainerPlan, Engine, EngineGone, EngineRefused, ImageMissing
from pipelines.executors.docker.berth import Berth, gpu_of
from pipelines.home import Home
from pipelines.lineage.about import About

_ABOUT = ("python", "-P", "-m", "pipelines.lineage.about")


def make_sure(
    docked: Dock, environments: Sequence[Mapping[str, str]], *, cores: int, here: About | None = None
) -> None:
    """Makes sure that workers can live there: by one short container of the very kind, and once for each image.

    What an earlier controller of this study has left there is removed first. To be called with the study's lock.

    Args:
        docked: The engine.
        environments: One a worker.
        cores: Of the machine.
        here: What runs here, if not this very installation.

    Raises:
        ServiceError: They cannot.
    """
    engine, image, folder = docked.engine, docked.image, docked.folder
    try:
        _have_image(docked)
        Adrift.of(docked.config.study, folder.root, folder.logs, engine).remove()
        image_id = engine.image_id(image)
        berth = docked.berth(environments, cores=cores)
        here = here or About.here()
        token = folder.root / f".writing-{secrets.token_hex(4)}"
        plan = _of_probe(berth, token)
        known = _Known(docked.home, docked.facts.uid, image_id, here, replace(plan, name="", command=()))
        if known:
            return
        token.write_text(token.name, encoding="utf-8")
        try:
            told, code = _run(engine, plan)
        finally:
            token.unlink(missing_ok=True)
        try:
            about = About.from_json(told)
        except ValueError:
            last = " ".join(told.strip().splitlines()[-3:]) or f"it exited with code {code}"
            raise ServiceError(
                f"The image '{image}' does not hold this version of Regatta's workers ({last}). {_remedy(docked)}"
            ) from None
        differs = list(about.differences(here))
        if differs:
            what = "; ".join(differs)
            raise ServiceError(f"The image '{image}' is not what this sweep runs with: {what}. {_remedy(docked)}")
        if about.read != token.name:
            raise ServiceError(
                f"Containers of this Docker engine do not see {folder.root} as it is here: it runs on another machine, "
                f"or this sweep itself in a container. Have both see the study at the same place. {INSTEAD}"
            )
        known.note()
    except ImageMissing as problem:
        raise ServiceError(f"The Docker engine has no image '{image}' ({problem}). {_remedy(docked)}") from None
    except EngineGone as problem:
        raise no_engine(docked.address, problem) from None
    except EngineRefused as problem:
        raise ServiceError(f"No worker can live in a container of '{image}': {problem}. {INSTEAD}") from None


def _have_image(docked: Dock) -> None:
    pull = docked.config.execution.docker.pull
    if pull == "always":
        docked.engine.pull(docked.image)
        return
    try:
        docked.engine.image_id(docked.image)
    except ImageMissing:
        if pull == "never":
            raise
        docked.engine.pull(docked.image)


def _of_probe(berth: Berth, token: Path) -> ContainerPlan:
    """A container of the workers' kind, that only looks around."""
    return replace(
        berth.plan,
        command=(*_ABOUT, str(token)),
        name=f"regatta-{berth.study}-check-{secrets.token_hex(3)}",
        labels=labels_of(berth.study, berth.folder),
        gpu=gpu_of(berth.environments[0]) if berth.environments else None,
    )


def _run(engine: Engine, plan: ContainerPlan) -> tuple[str, int]:
    """Runs a container to its end. Returns what it printed, and its exit code."""
    container = engine.create(plan)
    try:
        engine.start(container)
        ended = engine.wait(container)
        return engine.printed(container, 20).decode("utf-8", "replace"), ended.code
    finally:
        with suppress(EngineGone, EngineRefused):
            engine.remove(container)


def _remedy(docked: Dock) -> str:
    if docked.config.execution.docker.image is None:
        how = " COMPOSE_FILE=docker-compose.yml:docker-compose.gpu.yml" if docked.image.endswith(":gpu") else ""
        return f"`make image{how}` builds it from this very code. {INSTEAD}"
    return f"Build it anew, or name another: execution.docker.image. {INSTEAD}"


class _Known:
    """Whether a check was made already: one file holds the newest few that went well."""

    _MOST = 50

    def __init__(self, home: Home, *what: object) -> None:
        self._path = home.root / "docker.json"
        self._what = hashlib.sha256(repr(what).encode()).hexdigest()

    def __bool__(self) -> bool:
        return self._what in self._read()

    def note(self) -> None:
        """Notes that it went well."""
        with suppress(OSError):
            self._path.write_text(json.dumps([*self._read(), self._what][-self._MOST :]), encoding="utf-8")

    def _read(self) -> list[str]:
        try:
            found = json.loads(self._path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return []
        return found if isinstance(found, list) else []
