"""What is served, as `GET /models` tells it."""

from __future__ import annotations

from typing import Any

from services.model_server.images import Form
from services.model_server.package import Contract
from services.model_server.protocols.native.answers import identity
from services.model_server.served import Slot


def task_of(contract: Contract) -> dict[str, Any]:
    """What goes in and comes out, for a client that wants to ask or to show an answer."""
    return {
        "task": contract.task,
        "labels": contract.labels,
        "target": contract.target,
        "columns": [column.model_dump(mode="json") for column in contract.columns],
    }


def describe_slot(slot: Slot, form: Form | None) -> dict[str, Any]:
    """Says what answers for a wanted model, what is loading and what was refused.

    Args:
        slot: Of the wanted model.
        form: Of the pictures that its samples are; None if they are none, or nothing answers.
    """
    served, refused = slot.served, slot.rejection
    staleness_s = slot.staleness_s()
    entry: dict[str, Any] = {
        "name": slot.ref.name,
        "wanted": str(slot.ref),
        "state": slot.state.value,
        "version": served.version if served else None,
        "loading": slot.loading,
        "rejected": None
        if refused is None
        else {"version": refused.version, "reason": f"REJECTED: {refused.reason}", "attempts": refused.attempts},
        "staleness_s": None if staleness_s is None else round(staleness_s, 1),
        "note": slot.note if served is None else slot.changed,
    }
    if served is not None:
        contract = served.contract
        entry |= identity(served) | {
            "champion_since": slot.champion_since or None,
            "loaded_at": served.loaded_at,
            "source": contract.source,
            "dataset": contract.dataset,
            "metrics": contract.metrics,
            **task_of(contract),
            "input": contract.input.model_dump(mode="json"),
            "output": contract.output.model_dump(mode="json"),
            "picture": None if form is None else form.told(),
            "samples": len(served.golden),
            "engine": {
                "name": served.predictor.engine,
                "reason": contract.engine_reason,
                "fault": served.predictor.fault,
                "restarts": served.predictor.restarts,
            },
        }
    return entry
