"""One connection of a client: parses HTTP/1.1, one request after the other, within the limits."""

from __future__ import annotations

import asyncio
from typing import Any

import httptools

from services.model_server.connections.dialogue import Dialogue
from services.model_server.connections.exchange import HIGH_WATER, Exchange
from services.model_server.connections.held import Held
from services.model_server.connections.phases import BODY, FRESH, HEAD, IDLE, LINGER, WORK
from services.model_server.connections.repeats import TRIES, Repeat, learn
from services.model_server.connections.scopes import request_scope, scope_of
from services.model_server.connections.shared import Shared

# Headers of the connection itself, which a request that offers another protocol is read without.
_OF_THE_OFFER = (b"upgrade", b"connection", b"http2-settings")


class _Refused(Exception):
    """A head that is refused with another status than 400."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class Connection(Dialogue):
    """The protocol of one accepted socket."""

    def __init__(self, shared: Shared) -> None:
        super().__init__(shared)
        self.asked = 0  # see `gate.Caller`
        self._parser: Any = httptools.HttpRequestParser(self)
        self._begun = 0.0  # when the request that is being received began
        self._leaves = False  # who was turned away, and wants the connection to end
        self._held: Held | None = None  # the request that waits before the gate
        self._again: bytes | None = None  # the same, if its head came before: all of it
        self._method = self._url = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._unread = 0  # bytes since the parser last gave something out
        self._scope: dict[str, Any] = {}
        self._repeat: Repeat | None = None  # the head that may come again
        self._tries = TRIES  # how many more heads are worth a look
        self._messages = 0  # requests that began in what came last

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the event loop when the socket is open, and its TLS handshake done."""
        self._scope = scope_of(transport)
        super().connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the event loop when the socket is closed."""
        self._parser = self._held = self._again = self._repeat = None  # the parser refers to this connection
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Called by the event loop with what came."""
        if self._phase is LINGER or self._deaf:
            return
        alone = self._phase is IDLE or self._phase is FRESH
        if alone:
            repeat = self._repeat
            if repeat is not None and repeat.is_of(data) and not self.write_paused:
                self._come_again(repeat, data)
                return
            self._phase, self._since, self._messages = HEAD, self.shared.clock(), 0
        self._unread += len(data)
        whole = data
        try:
            while data:
                data = self._feed(data)
        except httptools.HttpParserError as error:
            why = error.__context__
            self._refuse(why.status if isinstance(why, _Refused) else 400)
            return
        if self._unread > self.shared.limits.header_bytes and self._phase in (HEAD, BODY):
            self._refuse(431)  # a header, a trailer or a chunk's extension without an end
        elif self._exchange is not None and self._exchange.buffered > HIGH_WATER:
            self.pause_reading()
        elif alone and self._tries and self._messages == 1 and self._phase is WORK:
            self._learn(whole)

    def _learn(self, whole: bytes) -> None:
        """Looks at a request that came alone and in one piece: one with the same head need not be parsed."""
        current = self._current
        if current is None or not current.complete or not current.keep_alive:
            return
        self._tries -= 1
        repeat = learn(whole, current.received, self._method, self._url, self._headers, current.scope)
        if repeat is not None:
            self._repeat = repeat
            current.scope["offer"] = repeat.offer

    def _come_again(self, repeat: Repeat, data: bytes) -> None:
        """Takes a whole request whose head is known. The parser is between two requests, and stays there."""
        self._begun = self._since = self.shared.clock()
        self._tries, self._url = TRIES, repeat.url
        gate = self.shared.gate
        if gate is None or (
            gate.admits_short(self) if repeat.short else gate.admits(repeat.method, repeat.headers, self)
        ):
            self._take(repeat, data)
        else:
            self._phase, self._again = HEAD, data

    def _take(self, repeat: Repeat, data: bytes) -> None:
        """Lets a request in whose head is known: by the way that the application has offered, if it takes that."""
        self._phase, body = WORK, memoryview(data)[repeat.start :]
        self._current = exchange = Exchange(self, {**repeat.scope, "arrival": self._begun}, self._begun)
        exchange.complete = True
        if repeat.again is None:
            exchange.scope["offer"] = repeat.offer
        elif repeat.again(exchange.scope, body):
            return
        exchange.add(bytes(body))
        self._start(exchange)

    def _feed(self, data: bytes) -> bytes:
        """Parses; returns what has to be parsed anew.

        A request that offers another protocol is read as if it had not: Java's client offers HTTP/2 every time. The
        parser ends at such a head and takes the body for the other protocol, so it gets the head without the offer.
        """
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            if self._method == b"CONNECT":
                raise httptools.HttpParserError from None
            headers = [b"%b: %b\r\n" % pair for pair in self._headers if pair[0] not in _OF_THE_OFFER]
            if any(name == b"connection" and b"close" in _tokens(value) for name, value in self._headers):
                headers.append(b"connection: close\r\n")
            version = self._parser.get_http_version().encode()
            self._parser = httptools.HttpRequestParser(self)
            head = b"%b %b HTTP/%b\r\n%b\r\n" % (self._method, self._url, version, b"".join(headers))
            return head + data[upgrade.args[0] :]
        return b""

    def on_message_begin(self) -> None:
        """Called by the parser at the start of a request."""
        self._turn_away_now()  # who does not wait for answers: the one before it has had its chance
        self._url, self._headers = b"", []
        self._messages += 1
        self._begun, self._in_head = self.shared.clock(), True

    def on_url(self, url: bytes) -> None:
        """Called by the parser with a piece of the address."""
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Called by the parser for every header, and for every trailer, which nobody reads."""
        if self._exchange is None:
            self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """Called by the parser when a request may be looked at."""
        headers, most = self._headers, self.shared.limits.header_bytes
        # No more than this has come since the request began, so there is nothing to add up nearly always.
        if self._unread > most and len(self._url) + sum(len(name) + len(value) for name, value in headers) > most:
            raise _Refused(431)
        parser = self._parser
        self._method = parser.get_method()
        if parser.should_upgrade():
            return  # and comes again, from `_feed`
        version = parser.get_http_version()
        if version not in ("1.1", "1.0"):
            raise httptools.HttpParserError  # 0.9 has no headers, and what the parser takes for 2.0 is none
        hosts, expects_100, codings = 0, False, b""
        for name, value in headers:
            if name == b"host":
                hosts += 1
            elif name == b"expect":
                expects_100 = expects_100 or value.lower() == b"100-continue"
            elif name == b"transfer-encoding":
                codings += b"," + value
        if hosts != 1 and (hosts or version == "1.1"):
            raise httptools.HttpParserError  # RFC 9112, 3.2
        if codings and (others := _tokens(codings)[1:]) != [b"chunked"]:
            raise _Refused(501 if others[-1] == b"chunked" else 400)  # RFC 9112, 6.1 and 6.3
        gate, keep_alive = self.shared.gate, version == "1.1" and parser.should_keep_alive()
        idle = self._current is None and not self.write_paused
        self._unread = 0
        self._in_head = False
        if gate is not None and idle and not gate.admits(self._method, headers, self):
            self._held = Held(version, keep_alive)
            return
        self._exchange = exchange = self._exchange_of(version, keep_alive)
        exchange.expects_100 = expects_100
        if self._current is None and not self.write_paused:
            self._start(exchange)
        else:
            if self._current is None:
                self._phase = WORK
            self._waiting.append(exchange)
            self.pause_reading()

    def _exchange_of(self, version: str, keep_alive: bool) -> Exchange:
        scope = request_scope(self._scope, self._method, self._url, self._headers, version, self._begun)
        exchange = Exchange(self, scope, self._begun)
        exchange.keep_alive = keep_alive
        return exchange

    def on_body(self, body: bytes) -> None:
        """Called by the parser with a piece of the body."""
        self._unread = 0
        if self._exchange is not None:
            self._exchange.add(body)
        elif self._held is not None:
            self._held.body.append(body)

    def on_message_complete(self) -> None:
        """Called by the parser at the end of a request."""
        exchange, self._exchange = self._exchange, None
        self._unread = 0
        if self._held is not None:
            self._held.complete = True
            return
        if exchange is None:
            self._after_turned_away()
            return
        exchange.complete = True
        exchange.wake()
        if self._phase is BODY and exchange is self._current:
            self._phase = WORK

    def let_in(self) -> None:
        """Called by the gate: the request that waits before it goes on."""
        again, self._again = self._again, None
        if again is not None and self._repeat is not None:
            self._since = self.shared.clock()
            self._take(self._repeat, again)
            return
        held, self._held = self._held, None
        if held is None:  # its client has gone
            return
        try:
            exchange = self._exchange_of(held.version, held.keep_alive)
        except (httptools.HttpParserError, UnicodeDecodeError):  # an address that is none
            self._refuse(400)
            return
        for chunk in held.body:
            exchange.add(chunk)
        exchange.complete = held.complete
        if not held.complete:
            self._exchange = exchange
        self._start(exchange)

    def turn_away(self) -> int:
        """Called by the gate: the request that waits before it is refused.

        The client may ask again on this connection when the rest of its body has come.

        Returns:
            The status that it was told; 0 if it has gone, or has been told before.
        """
        gate, held, complete, stays = self.shared.gate, self._held, True, True
        if self._again is None:
            if held is None:
                return 0
            complete, stays = held.complete, held.keep_alive
        self._again = self._held = None
        if gate is None:
            return 0
        self._leaves = not stays or self.shared.draining
        status, answer = gate.answer(self._url, not self._leaves)
        self._transport.write(answer)
        if complete:
            self._after_turned_away()
        return status

    def _turn_away_now(self) -> None:
        """Refuses who waits before the gate, if somebody does: no more time to decide on it."""
        if status := self.turn_away():
            self.shared.on_refused(status, 1, "")

    def _after_turned_away(self) -> None:
        """All of its body has come."""
        if self._phase is HEAD:
            self._phase, self._since = IDLE, self.shared.clock()
            if self._leaves:
                self._end(rest=False)

    def _refuse(self, status: int) -> None:
        """Answers what is no request."""
        self._turn_away_now()
        super()._refuse(status)


def _tokens(value: bytes) -> list[bytes]:
    """Returns the words of a list in a header, in lower case."""
    return [token.strip() for token in value.lower().split(b",")]
