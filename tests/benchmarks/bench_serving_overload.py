"""What the model server does with twice the requests that it can answer: who is answered, and who is told to wait.

How it is measured. A closed loop of 16 connections finds the capacity. Then an open loop sends a fifth of it (unloaded)
and twice of it (overload), at moments drawn beforehand as of many clients that know nothing of each other, on more
connections than usually wait at once: a request that finds none is told as late, and too many of those are no open
loop. Each load is measured in several rounds, and the medians of the rounds are compared: what else the machine does
for a moment is then in none.

A latency is from when a request was written to when its answer lay in the client's socket, by the kernel's clock: the
server's alone. What the generator adds stands beside it, and is taken off nothing: from when a request was due to when
its answer was seen ("due"), and how late requests were sent ("lag"). So does for which share of the time the server and
the generator were kept from their cores by something else ("held up"): above one hundredth of it, a p99 is about that.

Where twice the capacity is more than a bare echo answers on the same core, no server in Python could as much as read
it: then what the echo answers is tried as well, and has a row of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import median

from tests.benchmarks.parts import table
from tests.benchmarks.serving_model import NAME, Body, binary_body, json_body
from tests.benchmarks.serving_peers import Measured, Server, bare_echo, load, regatta, running

REQUESTS: Mapping[str, tuple[str, Body]] = {
    "json, 1 row": ("/invocations", json_body(1)),
    "binary, 1 row": (f"/v2/models/{NAME}/infer", binary_body(1)),
    "json, 32 rows": ("/invocations", json_body(32)),
}
UNLOADED, OVER = 0.2, 2.0
ROUNDS = 3
# A crowd that is gone in a moment is served whole, so the first moment of an overload is another thing than the rest.
SETTLE_S = 0.5
# More than wait at once, or it would be no open loop: one that waits for connections asks no more than it is answered.
CONNECTIONS = 512
ECHO_BYTES = 256
LATENCY_FLOOR, REFUSAL_FLOOR_MS = 3.0, 10.0
COLUMNS = (
    "request", "load", "sent/s", "answered/s", "refused", "p50 ms", "p99", "due p99", "refused p50 ms", "p99",
    "due p99", "lag p99", "late", "held up", "load's", "answers",
)  # fmt: skip

Load = tuple[str, float, Sequence[Measured]]
"""What was tried, the requests a second that were due, and what was measured, round by round."""


def measured(server: Server, echo: Server, folder: Path, path: str, body: Body, seconds: float) -> list[Load]:
    """The capacity as a closed loop finds it, and then a fifth and twice of it as an open loop.

    In between, what the echo answers, if that is less than twice of it.
    """
    ask = partial(load, server, path, body, folder, seconds=seconds)
    capacity = ask(connections=16)
    most = load(echo, path, body, folder, seconds=seconds, connections=16).per_second / capacity.per_second
    loads: list[Load] = [("capacity", capacity.per_second, [capacity])]
    for share in (UNLOADED, most, OVER) if most < OVER else (UNLOADED, OVER):
        rate = share * capacity.per_second
        rounds = [ask(connections=CONNECTIONS, rate=rate, settle=SETTLE_S) for _ in range(ROUNDS)]
        loads.append((f"{share:.3g} x capacity", rate, rounds))
    return loads


def place_ms(rounds: Sequence[Measured], kind: str, place: str) -> float:
    """One percentile of one kind of latency, the median of the rounds that have it, in milliseconds."""
    found = [one.raw[kind][place] / 1e3 for one in rounds if one.raw.get(kind)]
    return median(found) if found else float("nan")


def refused(one: Measured) -> int:
    """How many were not answered with 200."""
    return sum(count for status, count in one.statuses.items() if status != "200")


def row(name: str, what: str, rate: float, rounds: Sequence[Measured]) -> list[object]:
    """For the table: medians of the rounds, latencies in milliseconds, and all answers."""
    statuses = sorted({status for one in rounds for status in one.statuses})
    return [
        name,
        what,
        round(rate),
        round(median(one.per_second for one in rounds)),
        f"{median(refused(one) / max(1, sum(one.statuses.values())) for one in rounds):.0%}",
        *(place_ms(rounds, kind, place) for kind, place in (("answered_us", "p50"), ("answered_us", "p99"))),
        place_ms(rounds, "answered_due_us", "p99"),
        *(place_ms(rounds, kind, place) for kind, place in (("refused_us", "p50"), ("refused_us", "p99"))),
        place_ms(rounds, "refused_due_us", "p99"),
        place_ms(rounds, "lag_us", "p99"),
        sum(one.raw.get("late", 0) for one in rounds),
        f"{median(one.held_up_share for one in rounds):.1%}",
        f"{median(one.raw.get('held_up_share', 0.0) for one in rounds):.1%}",
        " ".join(f"{sum(one.statuses.get(status, 0) for one in rounds)}x{status}" for status in statuses),
    ]


def verdict(name: str, what: str, calm: Sequence[Measured], busy: Sequence[Measured]) -> list[object]:
    """For the table of what is to hold with more than can be answered."""
    times = place_ms(busy, "answered_us", "p99") / place_ms(calm, "answered_us", "p99")
    refusal_ms = place_ms(busy, "refused_us", "p99")
    fewest = min(refused(one) for one in busy)
    holds = times <= LATENCY_FLOOR and refusal_ms <= REFUSAL_FLOOR_MS and fewest > 0
    return [name, what, times, refusal_ms, fewest, "yes" if holds else "NO"]


def show(folder: Path, uri: str, seconds: float) -> None:
    """Measures and prints, with the model server over the registry at `uri`."""
    lines, verdicts = [], []
    for name, (path, body) in REQUESTS.items():
        # A new one each time: it remembers a crowd for seconds.
        with running(partial(regatta, folder, uri), partial(bare_echo, folder, ECHO_BYTES)) as (server, echo):
            loads = measured(server, echo, folder, path, body, seconds)
        lines += [row(name, *one) for one in loads]
        verdicts += [verdict(name, what, loads[1][2], rounds) for what, _, rounds in loads[2:]]
    print(table(list(COLUMNS), lines))
    print()
    wanted = (f"p99, times the unloaded one (<= {LATENCY_FLOOR:g})", f"ms to a refusal, p99 (<= {REFUSAL_FLOOR_MS:g})")
    print(
        table(["too much", "that is", *wanted, "refused in each round, at least (> 0)", "holds"], verdicts),
        flush=True,
    )
