"""What Prometheus sees of the traffic; joined to the server's other metrics by `install`."""

from __future__ import annotations

from services.model_server.metrics.counters import FAMILIES, SECONDS, Family

_MODEL = ("model", "version")
_PAIR = (*_MODEL, "challenger")

TRAFFIC = {
    "shadow_rows": Family("model_server_shadow_rows", "counter", "Rows that the challenger answered as well.", _PAIR),
    "shadow_agreed": Family(
        "model_server_shadow_agreed_rows",
        "counter",
        "Rows on which champion and challenger named the same class.",
        _PAIR,
    ),
    "shadow_difference": Family(
        "model_server_shadow_difference", "counter", "Sum over rows of the largest difference of an output.", _PAIR
    ),
    "shadow_dropped": Family(
        "model_server_shadow_dropped", "counter", "Requests that were to be shadowed and were too many.", _MODEL
    ),
    "shadow_seconds": Family(
        "model_server_shadow_duration_seconds",
        "histogram",
        "Seconds of the same requests: the champion's, waiting included, and the challenger's.",
        (*_PAIR, "side"),
        SECONDS,
    ),
    "drift_rows": Family(
        "model_server_drift_rows", "counter", "Rows that were held against the training data.", _MODEL
    ),
    "drift_psi": Family(
        "model_server_drift_psi",
        "gauge",
        "Population stability index over the window, by group of inputs and for the answers.",
        (*_MODEL, "group"),
        merge="max",
    ),
    "feedback_rows": Family("model_server_feedback_rows", "counter", "Rows of which was told what was right.", _MODEL),
    "feedback_right": Family("model_server_feedback_right_rows", "counter", "Those that were right.", _MODEL),
    "feedback_remembered": Family("model_server_feedback_remembered_rows", "gauge", "Rows that can get feedback."),
    "traffic_failed": Family("model_server_traffic_failed", "counter", "Times that shadow or drift itself failed."),
    "traffic_written": Family("model_server_traffic_written", "counter", "Times that numbers were written to MLflow."),
    "traffic_lost": Family(
        "model_server_traffic_lost", "counter", "Times that they could not be: so many points less."
    ),
}


def install() -> None:
    """Adds the metrics of the traffic to the server's."""
    FAMILIES.update(TRAFFIC)
