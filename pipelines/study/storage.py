"""Where Optuna keeps a study: an SQLite file, a database server, or memory."""

from __future__ import annotations

import contextlib
import functools
import sqlite3
import time
import warnings
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.storages import RDBStorage
from optuna.storages._rdb import models
from optuna.storages._rdb.storage import _create_scoped_session
from optuna.trial import FrozenTrial, TrialState

from pipelines.errors import StudyError

SCHEMA = "regatta"
"""The part of a PostgreSQL database that is Optuna's; MLflow, whose tables have names in common with Optuna's, may use
the rest."""
PATIENCE_S = 30.0
"""How long a database that is gone is waited for; one that restarts is back in a few seconds."""
_PAUSES_S = (0.0, 0.5, 1.0, 2.0)


def open_storage(where: Path | str | None) -> RDBStorage | None:
    """The storage in an SQLite file, or behind the URL of a database; None keeps a study in memory.

    Raises:
        StudyError: The database cannot be reached or used.
    """
    if where is None:
        return None
    if isinstance(where, Path):
        return _sqlite(where)
    if where.startswith("sqlite:///"):
        return _sqlite(Path(where.removeprefix("sqlite:///")))
    return _server(where)


class SturdyStorage(RDBStorage):
    """A storage on a server, which may be gone for a while.

    What fails as the connection is lost is done again, so that doing it twice comes to the same as once: it may have
    been done, and only the answer been lost. That relies on there being one controller only.
    """

    def __init__(
        self, url: str, *, patience_s: float = PATIENCE_S, sleep: Callable[[float], None] = time.sleep, **settings: Any
    ) -> None:
        """Takes what Optuna's storage takes, and how to wait for a server that is gone."""
        self._patience_s = patience_s
        self._sleep = sleep
        self._newest: int | None = None
        super().__init__(url, **settings)

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Any = None) -> bool:
        """Ends a trial, or begins one that waited. This controller is the only one who does."""
        tries = 0

        def once() -> bool:
            nonlocal tries
            tries += 1
            try:
                done = super(SturdyStorage, self).set_trial_state_values(trial_id, state, values)
            except UpdateFinishedTrialError:
                if tries == 1 or self.get_trial(trial_id).state is not state:
                    raise
                return True  # the first try came through, and only its answer was lost
            return done or (tries > 1 and self.get_trial(trial_id).state is state)

        return bool(self._sturdily(once))

    def _create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> FrozenTrial:
        """Makes one trial, however often Optuna, or this, has to try."""
        self._newest = self._sturdily(lambda: self._newest_trial(study_id))
        made: FrozenTrial = self._sturdily(
            lambda: super(SturdyStorage, self)._create_new_trial(study_id, template_trial)
        )
        return made

    def _get_prepared_new_trial(self, study_id: int, template_trial: FrozenTrial | None, session: Any) -> Any:
        """The trial that an earlier try has made, where there is one; called within Optuna's own tries."""
        newest = self._newest_in(session, study_id)
        if newest is not None and newest.trial_id != self._newest:
            return newest
        return super()._get_prepared_new_trial(study_id, template_trial, session)

    def _newest_trial(self, study_id: int) -> int | None:
        with _create_scoped_session(self.scoped_session) as session:
            newest = self._newest_in(session, study_id)
            return None if newest is None else int(newest.trial_id)

    @staticmethod
    def _newest_in(session: Any, study_id: int) -> Any:
        of_study = session.query(models.TrialModel).filter(models.TrialModel.study_id == study_id)
        return of_study.order_by(models.TrialModel.trial_id.desc()).first()

    def _sturdily(self, do: Callable[[], Any]) -> Any:
        waited, pauses = 0.0, iter(_PAUSES_S)
        while True:
            try:
                return do()
            except StorageInternalError as error:
                if not lost_connection(error):
                    raise
                if waited >= self._patience_s:
                    raise StudyError(
                        f"The database of the study is gone: {_cause(error)}. Everything up to now is kept; the same "
                        f"command goes on when the database is back."
                    ) from error
                pause = next(pauses, _PAUSES_S[-1])
                self._sleep(pause)
                waited += pause or 0.01


def _again(name: str) -> Any:
    """Optuna's method of that name, which may be called twice, done again where the connection was lost."""
    method = getattr(RDBStorage, name)

    @functools.wraps(method)
    def sturdy(self: SturdyStorage, *args: Any, **kwargs: Any) -> Any:
        return self._sturdily(lambda: method(self, *args, **kwargs))

    return sturdy


for _name in (
    *("get_study_id_from_name", "get_study_name_from_id", "get_study_directions", "get_all_studies"),
    *("get_study_user_attrs", "get_study_system_attrs", "set_study_user_attr", "set_study_system_attr"),
    *("get_trial", "get_trial_user_attrs", "get_trial_system_attrs", "get_trial_id_from_study_id_trial_number"),
    *("_get_trials", "_set_trial_param", "set_trial_intermediate_value"),
    *("set_trial_user_attr", "set_trial_system_attr", "create_new_study"),
):
    setattr(SturdyStorage, _name, _again(_name))


def lost_connection(error: BaseException | None) -> bool:
    """Whether a lost connection is at the bottom of what Optuna raises."""
    from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError

    while error is not None:
        if isinstance(error, DBAPIError):
            return error.connection_invalidated or isinstance(error, InterfaceError | OperationalError)
        error = error.__cause__
    return False


@contextlib.contextmanager
def no_experimental_warnings() -> Iterator[None]:
    """Without Optuna's warnings of what is new in it; pyproject.toml says which Optuna it is."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        yield


def _sqlite(path: Path) -> RDBStorage:
    """A storage with one writer, for which a write-ahead log makes commits cost microseconds, not milliseconds."""
    path.parent.mkdir(parents=True, exist_ok=True)

    def connect() -> sqlite3.Connection:
        connection = sqlite3.connect(path, check_same_thread=False, timeout=20)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")  # a power cut may cost the last commits, never the file
        return connection

    return RDBStorage(f"sqlite:///{path}", engine_kwargs={"creator": connect})


def _server(url: str) -> RDBStorage:
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

    try:
        read = make_url(url)
    except ArgumentError:
        raise StudyError(
            "The address of the studies' database must be a URL, such as "
            "postgresql+psycopg://user:password@host:5432/database"
        ) from None
    settings: dict[str, Any] = {"pool_pre_ping": True}
    if read.drivername in {"postgres", "postgresql"}:
        read = read.set(drivername="postgresql+psycopg")
    shown = read.render_as_string(hide_password=True)
    if read.drivername == "postgresql+psycopg" and find_spec("psycopg") is None:
        raise StudyError(
            f"Studies in {shown} need the package psycopg, which is not installed here: pip install 'psycopg[binary]'"
        )
    address = read.render_as_string(hide_password=False)
    try:
        if read.get_backend_name() == "postgresql" and "options" not in read.query:
            _make_schema(address)
            settings["connect_args"] = {"options": f"-csearch_path={SCHEMA}"}
        return SturdyStorage(address, engine_kwargs=settings)
    except (NoSuchModuleError, ImportError) as error:
        raise StudyError(f"Studies cannot be kept in {shown}: {error}") from None
    except (SQLAlchemyError, StorageInternalError, RuntimeError) as error:
        raise StudyError(
            f"The studies' database {shown} cannot be used: {_cause(error)}. Start it, or correct the address."
        ) from None


def _make_schema(address: str) -> None:
    """Makes Optuna's part of a PostgreSQL database where it is not there yet."""
    from sqlalchemy import create_engine, inspect
    from sqlalchemy.schema import CreateSchema

    engine = create_engine(address)
    try:
        with engine.begin() as connection:
            if SCHEMA not in inspect(connection).get_schema_names():
                connection.execute(CreateSchema(SCHEMA, if_not_exists=True))
    finally:
        engine.dispose()


def _cause(error: BaseException) -> str:
    """The first line of what is at the bottom of an error."""
    while error.__cause__ is not None:
        error = error.__cause__
    told = getattr(error, "orig", None) or error
    return (str(told).strip().splitlines() or [type(told).__name__])[0].rstrip(".")
