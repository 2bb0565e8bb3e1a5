"""A bad network: an HTTP proxy before a real server, which misbehaves as it is told, and while it runs."""

from __future__ import annotations

import http.client
import random
import re
import socket
import socketserver
import struct
import threading
from collections import Counter
from dataclasses import dataclass
from enum import Enum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "host", "expect"}


class Fault(Enum):
    """What is done to a request."""

    NONE = "it passes"
    SLOW = "it passes, after a while"
    ERROR = "it never reaches the server; the answer is 500"
    BUSY = "it never reaches the server; the answer is 429, with Retry-After"
    UNKNOWN = "it never reaches the server; the answer is 404, as of a server that has no such address"
    RESET = "the connection is reset in the middle of the request"
    SWALLOW = "the server does the work, and the connection ends without an answer"
    HALF = "the server does the work, and half of its answer comes back"


@dataclass(frozen=True)
class Weather:
    """How the proxy behaves: which share of requests meets with `fault`."""

    fault: Fault = Fault.NONE
    share: float = 1.0
    delay_s: float = 0.0
    retry_after_s: int = 1


@dataclass
class Planned:
    """A fault that the next `times` requests meet in whose method and path `pattern` is found: `POST .*/create$`."""

    fault: Fault
    pattern: str
    times: int = 1


class Proxy:
    """Listens on a port of its own, or a given one, until it is closed; `weather` and `plan` may be set at any time."""

    def __init__(self, upstream_port: int, seed: int = 0, port: int = 0) -> None:
        self.upstream_port = upstream_port
        self.weather = Weather()
        self.plan: list[Planned] = []
        self.met: Counter[Fault] = Counter()
        self._chance = random.Random(seed)
        self._lock = threading.Lock()
        self._server: _Listener | None = None
        self._thread = threading.Thread()
        self.port = port
        self.up()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def draw(self, request: str) -> Weather:
        """The weather that a request meets: the next in the plan that is meant for it, else what is usual."""
        with self._lock:
            planned = next((each for each in self.plan if each.times and re.search(each.pattern, request)), None)
            weather = self.weather
            if planned is not None:
                planned.times -= 1
                weather = Weather(planned.fault)
            elif weather.fault is not Fault.NONE and self._chance.random() >= weather.share:
                weather = Weather()
            self.met[weather.fault] += 1
            return weather

    def down(self) -> None:
        """Refuses connections from now on, and drops those that are open."""
        server, self._server = self._server, None
        if server is not None:
            server.shutdown()
            server.server_close()
            server.drop_all()
            self._thread.join(10)

    def up(self) -> None:
        """Listens, again at the same port."""
        if self._server is None:
            self._server = _Listener(self)
            self.port = self._server.server_address[1]
            self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
            self._thread.start()

    def close(self) -> None:
        self.down()


class _Listener(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, proxy: Proxy) -> None:
        self.proxy = proxy
        self.closing = threading.Event()
        self._open: set[socket.socket] = set()
        self._abrupt: set[socket.socket] = set()
        super().__init__(("127.0.0.1", proxy.port), _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        if request in self._abrupt:  # closed without a word, which the other side sees as a reset
            self._abrupt.discard(request)
            self.close_request(request)
        else:
            super().shutdown_request(request)

    def reset(self, request: socket.socket) -> None:
        """Marks a connection as one that ends in a reset."""
        request.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._abrupt.add(request)

    def drop_all(self) -> None:
        self.closing.set()
        for request in list(self._open):
            try:
                request.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away in the middle is no news here."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: socketserver.BaseServer

    def do_GET(self) -> None:
        listener = self.server
        assert isinstance(listener, _Listener)
        weather = listener.proxy.draw(f"{self.command} {self.path}")
        match weather.fault:
            case Fault.RESET:
                self.rfile.read(self._length() // 2)
                self._hang_up(listener)
            case Fault.ERROR:
                self._body()
                self._answer(500, {}, b"the server is not well today")
            case Fault.UNKNOWN:
                self._body()
                self._answer(404, {}, b"there is no such page")
            case Fault.BUSY:
                self._body()
                self._answer(429, {"Retry-After": str(weather.retry_after_s)}, b"too many requests")
            case _:
                body = self._body()
                if weather.fault is Fault.SLOW:
                    listener.closing.wait(weather.delay_s)
                status, headers, content = self._forward(listener.proxy.upstream_port, body)
                if weather.fault is Fault.SWALLOW:
                    self._hang_up(listener)
                elif weather.fault is Fault.HALF:
                    self._answer(status, headers, content, only=len(content) // 2)
                    self._hang_up(listener)
                else:
                    self._answer(status, headers, content)

    do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = do_GET  # noqa: N815

    def _length(self) -> int:
        return int(self.headers.get("Content-Length") or 0)

    def _body(self) -> bytes:
        if "chunked" not in (self.headers.get("Transfer-Encoding") or ""):
            return self.rfile.read(self._length())
        parts = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _forward(self, port: int, body: bytes) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        try:
            headers = {name: value for name, value in self.headers.items() if name.lower() not in _HOP}
            connection.request(self.command, self.path, body or None, headers)
            response = connection.getresponse()
            # of what does not come, it tells the size
            hop = _HOP - {"content-length"} if self.command == "HEAD" else _HOP
            kept = {name: value for name, value in response.getheaders() if name.lower() not in hop}
            return response.status, kept, response.read()
        except OSError:
            return 502, {}, b"the server behind the proxy does not answer"
        finally:
            connection.close()

    def _answer(self, status: int, headers: dict[str, str], content: bytes, only: int | None = None) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if "content-length" not in {name.lower() for name in headers}:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[:only])
        self.wfile.flush()

    def _hang_up(self, listener: _Listener) -> None:
        listener.reset(self.connection)
        self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:
        """It is quiet."""
