"""The numbers of the traffic in MLflow: one run for each model version and each life of this server.

The run lies in the experiment `NAME serving` beside that of the study, tagged `regatta.kind=serving`: what looks for
trials there does not meet it, as with the runs of promotions. Everything here blocks on the network and is called from
one thread.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

from services.model_server.errors import RegistryUnavailable
from services.model_server.model_store import open_client
from services.model_server.traffic.feedback import Version

KIND_TAG, KIND = "regatta.kind", "serving"
SERVER_TAG, MODEL_TAG, VERSION_TAG, SOURCE_TAG = "regatta.server", "regatta.model", "regatta.version", "regatta.run_id"
WORKER_TAG = "regatta.worker"
_MOST_METRICS = 1000  # of one request to MLflow


class Point(NamedTuple):
    """The numbers of one version at one time.

    Attributes:
        version: Name and version.
        run_id: The run that made the model.
        metrics: By name.
        at_ms: Unix time.
        step: Whole seconds since the server started.
        last: Whether this version gets no more points soon: its run ends.
    """

    version: Version
    run_id: str
    metrics: dict[str, float]
    at_ms: int
    step: int
    last: bool


class Runs(Protocol):
    """Where points go."""

    def run_of(self, version: Version) -> str | None:
        """Returns the run of a version, if it has one yet."""

    def write(self, points: Sequence[Point]) -> None:
        """Writes points.

        Raises:
            RegistryUnavailable: they could not be written.
        """


class MlflowRuns:
    """Runs on an MLflow server."""

    def __init__(self, tracking_uri: str, server: str, worker: int | None = None) -> None:
        """Opens nothing yet.

        Args:
            tracking_uri: The address of the server.
            server: The name of this server; runs that an earlier life of it left open are closed. May be empty.
            worker: Which of several processes this is, each of which has a run; None if there is one.
        """
        self._uri = tracking_uri
        self._server, self._worker = server, worker
        self._runs: dict[Version, str] = {}
        self._swept: set[str] = set()

    def run_of(self, version: Version) -> str | None:
        """Returns the run of a version, if it has one yet."""
        return self._runs.get(version)

    def write(self, points: Sequence[Point]) -> None:
        """Writes points, in a run for each version; makes it at the first."""
        client = open_client(self._uri)
        try:
            for point in points:
                self._write(client, point)
        except Exception as error:  # MLflow lets through whatever its HTTP and database libraries raise
            raise RegistryUnavailable(f"{self._uri} did not take them: {type(error).__name__}: {error}") from None

    def _write(self, client: Any, point: Point) -> None:
        from mlflow.entities import Metric

        run = self._runs.get(point.version)
        if run is None:
            run = self._runs[point.version] = self._make(client, point)
        metrics = [
            Metric(name, value, point.at_ms, point.step)
            for name, value in point.metrics.items()
            if math.isfinite(value)
        ]
        for start in range(0, len(metrics), _MOST_METRICS):
            client.log_batch(run, metrics=metrics[start : start + _MOST_METRICS], synchronous=True)
        if point.last:
            client.set_terminated(run, "FINISHED", end_time=point.at_ms)

    def _make(self, client: Any, point: Point) -> str:
        name, version = point.version
        experiment = _experiment(client, name)
        self._close_left_open(client, experiment)
        tags = {
            KIND_TAG: KIND,
            MODEL_TAG: name,
            VERSION_TAG: version,
            SOURCE_TAG: point.run_id,
            SERVER_TAG: self._server,
            WORKER_TAG: "" if self._worker is None else str(self._worker),
            "mlflow.note.content": f"What {name} version {version} was asked on {self._server or 'a model server'}.",
        }
        made = client.create_run(
            experiment,
            start_time=point.at_ms,
            run_name=f"serving {name} v{version}{'' if self._worker is None else f', worker {self._worker}'}",
            tags={key: value for key, value in tags.items() if value},
        )
        return str(made.info.run_id)

    def _close_left_open(self, client: Any, experiment: str) -> None:
        """Ends the runs of a life of this server that was killed: nobody else will."""
        if not self._server or experiment in self._swept:
            return
        wanted = (
            f"tags.`{KIND_TAG}` = '{KIND}' and tags.`{SERVER_TAG}` = '{self._server}' and attributes.status = 'RUNNING'"
        )
        mine = set(self._runs.values())
        for run in client.search_runs([experiment], wanted, max_results=1000):
            if run.info.run_id not in mine:
                client.set_terminated(run.info.run_id, "KILLED")
        self._swept.add(experiment)


def _experiment(client: Any, name: str) -> str:
    """Returns the id of a model's experiment for what it was asked; makes it if there is none."""
    wanted = f"{name} serving"
    found = client.get_experiment_by_name(wanted)
    if found is None:
        try:
            return str(client.create_experiment(wanted))
        except Exception:  # another server may have been faster
            found = client.get_experiment_by_name(wanted)
            if found is None:
                raise
    return str(found.experiment_id)
