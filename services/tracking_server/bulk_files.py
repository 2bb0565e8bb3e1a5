"""Small artifacts of many runs in one request."""

from __future__ import annotations

from collections.abc import Sequence

from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

from services.tracking_server.bulk_forms import File
from services.tracking_server.bulk_places import Places
from services.tracking_server.bulk_tables import TAGS, active_runs, put

_PICTURES_TAG = "mlflow.loggedImages"
"""MLflow's page looks for pictures only where a run has this."""


def take_files(store: SqlAlchemyStore, places: Places, files: Sequence[File], contents: Sequence[memoryview]) -> None:
    """Writes all of them or none; one of the same name in the same folder is replaced.

    Raises:
        MlflowException: A run is not there, or a file can have no such name.
    """
    pictured = dict.fromkeys(file.run_id for file in files if file.picture)
    try:
        with store.ManagedSessionMaker(read_only=False) as session:
            runs = active_runs(session, (file.run_id for file in files))
            for file, content in zip(files, contents, strict=True):
                places.write(str(runs[file.run_id].artifact_uri), file.folder, file.file, content)
            put(session, TAGS, [{"run_uuid": run_id, "key": _PICTURES_TAG, "value": "True"} for run_id in pictured])
    except BaseException:
        places.forget()
        raise
