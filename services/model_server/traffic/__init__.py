"""What a server learns from its traffic: a challenger in the shadow, drift, feedback. All of it is off by default.

Nothing here is on the way of a request: `Traffic.note` is told of an answer after it was sent.
"""

from services.model_server.traffic.hub import Traffic, said_by
from services.model_server.traffic.runs import MlflowRuns, Runs
from services.model_server.traffic.siblings import Siblings
from services.model_server.traffic.writer import Writer

__all__ = ["MlflowRuns", "Runs", "Siblings", "Traffic", "Writer", "said_by"]
