"""Optuna's storage on a database server that may be gone for a while: restarted, failed over, full of connections.

What fails as the connection is lost is done again until the server is back, so that doing it twice comes to the same
as once: it may have been done, and only the answer been lost. That relies on there being one controller only.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.storages import RDBStorage
from optuna.storages._rdb import models
from optuna.storages._rdb.storage import _create_scoped_session
from optuna.trial import FrozenTrial, TrialState

from pipelines.study.patience import Patience

if TYPE_CHECKING:
    from sqlalchemy import Connection

_PASSING = {
    "25006",  # a standby answers, which does not take writes: the failover is not through
    "40001", "40P01",  # taken back for the sake of others
    "53300",  # all connections are in use
    "57P01", "57P02", "57P03", "57P05",  # shut down, crashed, not ready yet, idle for too long
}  # fmt: skip
"""PostgreSQL's words for what will be over some time."""
_Done = TypeVar("_Done")


class SturdyStorage(RDBStorage):
    """A storage on a server, which may be gone for a while."""

    def __init__(self, url: str, *, patience: Patience | None = None, **settings: Any) -> None:
        """Takes what Optuna's storage takes, and how to wait for a server that is gone."""
        self.patience = patience or Patience()
        self._newest: int | None = None
        try:
            super().__init__(url, **settings)
        except BaseException:
            if hasattr(self, "engine"):
                self.engine.dispose()
            raise

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

    def _sturdily(self, do: Callable[[], _Done]) -> _Done:
        # Connections that are still open may lead to a server that takes no writes any more.
        return self.patience.keep(do, lost_connection, self.engine.dispose)


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


def write(backend: RDBStorage, do: Callable[[Connection, bool], None]) -> None:
    """Has something written in one transaction; on a server, done again where the connection was lost.

    Args:
        backend: The storage.
        do: Writes; it is told whether it did so before, which may have come through.

    Raises:
        StudyError: The database was away for too long.
        StorageInternalError: The database will not take it.
    """
    from sqlalchemy.exc import SQLAlchemyError

    tries = 0

    def once() -> None:
        nonlocal tries
        tries += 1
        try:
            with backend.engine.begin() as connection:
                do(connection, tries > 1)
        except SQLAlchemyError as error:
            raise StorageInternalError(f"the study could not be written: {error}") from error

    if isinstance(backend, SturdyStorage):
        backend._sturdily(once)
    else:
        once()


def lost_connection(error: BaseException | None) -> bool:
    """Whether a lost connection, or something else that will pass, is at the bottom of what Optuna raises."""
    from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError

    if not isinstance(error, StorageInternalError):
        return False
    while error is not None:
        if isinstance(error, DBAPIError):
            passing = getattr(error.orig, "sqlstate", None) in _PASSING
            return passing or error.connection_invalidated or isinstance(error, InterfaceError | OperationalError)
        error = error.__cause__
    return False
