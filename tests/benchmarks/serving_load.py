"""A load generator for one HTTP address: `python -m tests.benchmarks.serving_load` prints what it saw as JSON.

Sockets and epoll and nothing else, so that its own share of a core is small beside that of what it measures. It imports
nothing but the standard library: it starts at once, and its memory is its own.

Closed loop: each connection sends its next request when its answer has come.

Open loop (`--rate`): requests are due at moments drawn beforehand, as of many clients that know nothing of each other
(the gaps between them are exponential), whatever the answers do. Each is sent on a connection that waits for nothing;
where there is none the request is late, and too many of those mean too few connections for an open loop. Every latency
is told twice: from when a request was due to when its answer was seen, which is what a user of this generator waits
for, the generator's own slowness included; and from when it was written to when its answer lay in the socket, by the
kernel's time of its arrival (`SO_TIMESTAMPNS`), which is the server's alone. How late they were sent is told too.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import select
import socket
import struct
import sys
import time
from array import array
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from urllib.parse import urlsplit

_CHUNK = 1 << 18
_STAMPS = 35 if sys.platform == "linux" else None  # SO_TIMESTAMPNS, which `socket` has no name for
_TIMESPEC = struct.Struct("qq")
_SEED = 7
# An open loop with nothing to do for longer than this sleeps for less.
_NAP_S = 2e-4
_HUNG_UP = "The server hung up on a connection that was to be kept."
_ANSWER_S = 30.0  # nothing that is measured here may take longer than this


@dataclass
class Seen:
    """What came back.

    Attributes:
        seconds: Of the whole measurement.
        cpu_share: Of this generator, of one core: near 1, and the figures of a closed loop are the generator's and not
            the server's.
        statuses: How many answers had which status.
        answered_us: Latencies of the answers with status 200: percentiles by name, and their mean. In an open loop from
            when a request was written to when its answer lay in the socket.
        refused_us: Of all other answers.
        answered_due_us: In an open loop, from when a request was due to when its answer was seen.
        refused_due_us: Of all other answers.
        lag_us: How long after it was due a request of an open loop was sent.
        late: Requests of an open loop that found no idle connection when they were due.
        held_up_share: For which share of the time this generator wanted to run and something else was on its core.
    """

    seconds: float
    cpu_share: float
    statuses: dict[str, int]
    answered_us: dict[str, float]
    refused_us: dict[str, float]
    answered_due_us: dict[str, float] = field(default_factory=dict)
    refused_due_us: dict[str, float] = field(default_factory=dict)
    lag_us: dict[str, float] = field(default_factory=dict)
    late: int = 0
    held_up_share: float = 0.0

    @property
    def per_second(self) -> float:
        """Answers with status 200 a second."""
        return self.statuses.get("200", 0) / self.seconds

    def of(self, cpu_s: float, held_up_s: float, more_s: float = 0.0) -> Seen:
        """Adds what the generator itself took since these times, over `more_s` seconds before those that count."""
        whole_s = self.seconds + more_s
        cpu, held_up = time.process_time() - cpu_s, _held_up_s() - held_up_s
        return replace(self, cpu_share=cpu / whole_s, held_up_share=held_up / whole_s)


@dataclass(eq=False)
class _Connection:
    """One connection, and the answer that is coming in on it."""

    socket: socket.socket
    due: float = 0.0
    sent: float = 0.0
    head: bytes = b""
    missing: int = -1
    status: int = 0
    whole: bytes = b""

    def take(self, data: memoryview) -> bool:
        """Adds what came; whether the answer is complete."""
        if self.missing >= 0:
            self.missing -= len(data)
        else:
            known = self.head + bytes(data)
            if known == self.whole:  # who is refused hears the same as before, byte by byte
                return True
            end = known.find(b"\r\n\r\n")
            if end < 0:
                self.head = known
                return False
            self.status = int(known[9:12])
            start = known.find(b"content-length: ", 0, end)
            if start < 0:  # in other letters
                start = known.lower().index(b"content-length: ", 0, end)
            self.missing = int(known[start + 16 : known.index(b"\r\n", start)]) - (len(known) - end - 4)
            self.head, self.whole = b"", known if self.missing == 0 else b""
        if self.missing > 0:
            return False
        self.missing = -1
        return True


class Load:
    """Connections to one server, all sending the same request."""

    def __init__(self, host: str, port: int, request: bytes, connections: int) -> None:
        self._request = request
        self._poll = select.epoll()
        self._by_number: dict[int, _Connection] = {}
        self._buffer = memoryview(bytearray(_CHUNK))  # of all: a new one for each answer costs more than to read it
        for _ in range(connections):
            made = socket.create_connection((host, port), timeout=_ANSWER_S)
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            made.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 << 20)
            if _STAMPS is not None:
                made.setsockopt(socket.SOL_SOCKET, _STAMPS, 1)
            self._poll.register(made, select.EPOLLIN)
            self._by_number[made.fileno()] = _Connection(made)

    def close(self) -> None:
        """Hangs up."""
        self._poll.close()
        for connection in self._by_number.values():
            connection.socket.close()

    def closed_loop(self, seconds: float) -> Seen:
        """Sends without a pause on every connection for so long, then waits for the last answers."""
        clock, request, by_number, poll = time.perf_counter, self._request, self._by_number, self._poll.poll
        answered, refused, statuses = array("d"), array("d"), Counter[int]()
        cpu, held, begun = time.process_time(), _held_up_s(), clock()
        end, open_now = begun + seconds, len(by_number)
        for connection in by_number.values():
            connection.due = clock()
            connection.socket.sendall(request)
        while open_now:
            ready = poll(_ANSWER_S)
            if not ready:
                raise TimeoutError(f"No answer came within {_ANSWER_S:g} s.")
            for number, _ in ready:
                connection = by_number[number]
                if not connection.take(self._read(connection)):
                    continue
                now = clock()
                if connection.status == 200:
                    answered.append(now - connection.due)
                else:
                    refused.append(now - connection.due)
                    statuses[connection.status] += 1
                if now < end:
                    connection.due = now
                    connection.socket.sendall(request)
                else:
                    open_now -= 1
        if answered:
            statuses[200] = len(answered)
        return Seen(clock() - begun, 0.0, _counts(statuses), spread_us(answered), spread_us(refused)).of(cpu, held)

    def open_loop(self, seconds: float, rate: float, settle: float = 0.0) -> Seen:
        """Sends `rate` requests a second, whatever comes back; those due in the first `settle` seconds do not count."""
        clock, request, by_number, poll = time.time, self._request, self._by_number, self._poll.poll  # as stamps are
        due = moments(settle + seconds, rate)
        answered, refused, answered_due, refused_due, lags = (array("d") for _ in range(5))
        idle = deque(by_number.values())  # who has rested longest is next: of a refused request the body is still read
        statuses, total, sent, late, found = Counter[int](), len(due), 0, 0, -1
        cpu, held, begun = time.process_time(), _held_up_s(), clock()
        counts_from = begun + settle
        while sent < total or len(idle) < len(by_number):
            now = clock()
            while sent < total and begun + due[sent] <= now:
                if not idle:
                    late += found != sent
                    found = sent
                    break
                connection = idle.popleft()
                connection.due = begun + due[sent]
                connection.sent = clock()
                connection.socket.sendall(request)
                sent += 1
            ready = poll(0.0)
            if not ready and (sent == total or begun + due[sent] - clock() > _NAP_S):
                time.sleep(_NAP_S / 2)  # or whatever else the machine does would do it on the server's core
            for number, _ in ready:
                connection = by_number[number]
                data, stamp = self._read_stamped(connection)
                if not connection.take(data):
                    continue
                idle.append(connection)
                if connection.due < counts_from:
                    continue
                seen = clock()
                statuses[connection.status] += 1
                lags.append(connection.sent - connection.due)
                good = connection.status == 200
                (answered if good else refused).append((stamp or seen) - connection.sent)
                (answered_due if good else refused_due).append(seen - connection.due)
        return Seen(
            clock() - counts_from,
            0.0,
            _counts(statuses),
            spread_us(answered),
            spread_us(refused),
            spread_us(answered_due),
            spread_us(refused_due),
            spread_us(lags),
            late,
        ).of(cpu, held, settle)

    def _read(self, connection: _Connection) -> memoryview:
        count = connection.socket.recv_into(self._buffer)
        if not count:
            raise ConnectionError(_HUNG_UP)
        return self._buffer[:count]

    def _read_stamped(self, connection: _Connection) -> tuple[memoryview, float]:
        """Reads, and says when the last of it came by the kernel's clock; 0 where it does not tell."""
        count, told, _, _ = connection.socket.recvmsg_into((self._buffer,), 64)
        if not count:
            raise ConnectionError(_HUNG_UP)
        for _, kind, data in told:
            if kind == _STAMPS:
                whole, rest = _TIMESPEC.unpack(data[: _TIMESPEC.size])
                return self._buffer[:count], whole + rest * 1e-9
        return self._buffer[:count], 0.0


def moments(seconds: float, rate: float) -> array[float]:
    """When requests of an open loop are due: for so long, `rate` a second on average, each for itself."""
    gap, now, found = random.Random(_SEED).expovariate, 0.0, array("d")
    while (now := now + gap(rate)) < seconds:
        found.append(now)
    return found


def _held_up_s() -> float:
    """Seconds in which this process could have run, and something else was on its core; 0 where nobody counts them."""
    try:
        return int(Path("/proc/self/schedstat").read_text().split()[1]) / 1e9
    except (OSError, IndexError):
        return 0.0


def _counts(statuses: Counter[int]) -> dict[str, int]:
    return {str(status): count for status, count in sorted(statuses.items())}


def spread_us(seconds: Sequence[float]) -> dict[str, float]:
    """Percentiles and mean of latencies, in microseconds; empty if there are none."""
    if not seconds:
        return {}
    ordered = sorted(seconds)
    places = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p999": 0.999}
    found = {name: ordered[min(len(ordered) - 1, int(share * len(ordered)))] * 1e6 for name, share in places.items()}
    return found | {"mean": sum(ordered) / len(ordered) * 1e6, "max": ordered[-1] * 1e6}


def http_request(url: str, body: bytes, headers: Sequence[tuple[str, str]]) -> bytes:
    """The bytes of a POST as a keeping-alive client sends it."""
    parts = urlsplit(url)
    lines = [f"POST {parts.path} HTTP/1.1", f"host: {parts.netloc}", *(f"{name}: {value}" for name, value in headers)]
    return "\r\n".join([*lines, f"content-length: {len(body)}", "", ""]).encode() + body


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n", 1)[0])
    parser.add_argument("url")
    parser.add_argument("--body", type=Path, required=True, help="file that is sent")
    parser.add_argument("--header", action="append", default=[], metavar="NAME:VALUE")
    parser.add_argument("--connections", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--warm-up", type=float, default=0.3, help="seconds before anything counts")
    parser.add_argument("--rate", type=float, default=0.0, help="requests a second of an open loop; 0 is a closed loop")
    parser.add_argument("--settle", type=float, default=0.0, help="seconds of the open loop before anything counts")
    parser.add_argument("--core", type=int, default=-1, help="to stay on; -1 is any")
    chosen = parser.parse_args()
    if chosen.core >= 0:
        os.sched_setaffinity(0, {chosen.core})
    headers = [(name, value.strip()) for name, _, value in (header.partition(":") for header in chosen.header)]
    parts = urlsplit(chosen.url)
    request = http_request(chosen.url, chosen.body.read_bytes(), headers)
    load = Load(parts.hostname or "127.0.0.1", parts.port or 80, request, chosen.connections)
    if chosen.warm_up:
        load.closed_loop(chosen.warm_up)
    if chosen.rate:
        seen = load.open_loop(chosen.seconds, chosen.rate, chosen.settle)
    else:
        seen = load.closed_loop(chosen.seconds)
    load.close()
    print(json.dumps(asdict(seen)))


if __name__ == "__main__":
    main()
