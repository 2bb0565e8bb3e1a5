"""The statistics extension, from what the server counts of a loaded version in all of its dialects.

Triton's words: an inference is a row, an execution a batch; times add up in nanoseconds. `compute_input` is from the
arrival of a request to its place in the queue. What is done after the model has answered is not measured, and is 0.
`response_stats` are of models with several answers to a request, which none is here; how much of the memory of this
process is a model's is not known, so `memory_usage` is empty.
"""

from __future__ import annotations

from typing import Any

from services.model_server.metrics.counters import ModelStats, Tally


def describe_stats(stats: ModelStats) -> dict[str, Any]:
    """Returns one entry of `model_stats`."""
    answered = stats.answered.count
    none = {"count": answered, "ns": 0}
    infer = Tally(answered, sum(tally.seconds for tally in stats.runs.values()))
    return {
        "name": stats.name,
        "version": stats.version,
        "last_inference": int(stats.last_inference * 1e3),
        "inference_count": int(sum(rows * tally.count for rows, tally in stats.runs.items())),
        "execution_count": sum(tally.count for tally in stats.runs.values()),
        "inference_stats": {
            "success": _entry(stats.answered),
            "fail": _entry(stats.failed),
            "queue": _entry(Tally(answered, stats.waited_s())),
            "compute_input": _entry(Tally(answered, stats.parsing_s)),
            "compute_infer": _entry(infer),
            "compute_output": none,
            "cache_hit": {"count": 0, "ns": 0},
            "cache_miss": {"count": 0, "ns": 0},
        },
        "response_stats": {},
        "batch_stats": [
            {
                "batch_size": rows,
                "compute_input": {"count": tally.count, "ns": 0},
                "compute_infer": _entry(tally),
                "compute_output": {"count": tally.count, "ns": 0},
            }
            for rows, tally in sorted(stats.runs.items())
        ],
        "memory_usage": [],
    }


def _entry(tally: Tally) -> dict[str, int]:
    return {"count": tally.count, "ns": int(tally.seconds * 1e9)}
