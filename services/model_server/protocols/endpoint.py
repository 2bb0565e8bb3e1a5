"""The ASGI application behind one address: everything that is the same for all dialects happens here.

The API key, the size limit, the headers of an answer, counting, the access log.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import re
import time
from functools import partial
from typing import TYPE_CHECKING

from starlette.types import Message, Receive, Scope, Send

from services.model_server.errors import ModelServerError, NotReady, Overloaded, Unauthorized, WrongMethod
from services.model_server.keys import ApiKeys
from services.model_server.protocols.call import Call, ClientGone, Handler, Reply, Shortcut
from services.model_server.protocols.tracing import Trace, read_trace

if TYPE_CHECKING:
    from services.model_server.protocols.base import Dialect

_LONGEST_PATH = 1024
# Codes of nginx, for the log and the metrics only: nobody is there to read them.
_CLIENT_GONE = 499
_REQUEST_ID = re.compile(r"[\x21-\x7e]{1,128}")
_request_numbers = itertools.count(1)
_request_prefix = os.urandom(4).hex()


class Endpoint:
    """An ASGI application for one route of one dialect."""

    def __init__(self, dialect: Dialect, handler: Handler, methods: str, guarded: bool) -> None:
        """Wraps a handler.

        Args:
            dialect: Whose errors and name it has.
            handler: Answers a call.
            methods: Like "GET, HEAD"; none for any.
            guarded: Whether it wants an API key, where there is one.
        """
        self._keys = dialect.keys if guarded else None
        self._dialect = dialect
        self._handler = handler
        self._allowed = methods
        self._methods = frozenset(filter(None, methods.replace(" ", "").split(",")))
        self._limit = dialect.settings.max_body_bytes
        self._stats = dialect.engine.stats

    @property
    def guarded(self) -> bool:
        """Whether it wants an API key."""
        return self._keys is not None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        call = Call(scope, receive, self._limit, self._stats)
        try:
            if self._keys is not None:
                _authorise(call, self._keys)
            if self._methods and call.method not in self._methods:
                raise WrongMethod(self._allowed)
            reply = await self._handler(call)
        except ClientGone:
            reply = None
        except asyncio.CancelledError:  # the client hung up, or the time to drain is over
            reply = None
            if not scope.get("gone"):
                reply = self._failed(call, NotReady("The server is shutting down and could not finish this request."))
        except Exception as error:
            reply = self._failed(call, error)
        finally:
            if call.held:
                call.release()
        head = self._finish(call, reply)
        if reply is None or head is None:
            return
        whole = scope.get("answer")
        if whole is None or not whole(reply.status, head, reply.body):
            await self._send(call, reply, head, send)
        self._answered(call)
        if call.shortcut is not None and (offer := scope.get("offer")) is not None:
            # The next one may be of another length.
            headers = {name: value for name, value in call.headers.items() if name != b"content-length"}
            offer(partial(self._again, call.shortcut, headers))

    def _again(self, shortcut: Shortcut, headers: dict[bytes, bytes], scope: Scope, body: memoryview) -> bool:
        """Answers a request whose head is that of an earlier one; False if it takes the usual way.

        Args:
            shortcut: What the dialect offered then.
            headers: Of the call, by lower-case names, without the length.
            scope: Of this request.
            body: All of it.
        """
        if len(body) > self._limit:
            return False
        call = Call(scope, _nothing, self._limit, self._stats, headers)
        answer = scope["answer"]

        def tell(reply: Reply | Exception) -> None:
            call.release()
            if isinstance(reply, Exception):
                reply = self._failed(call, reply)
            try:
                head = self._finish(call, None if scope.get("gone") else reply)
                if head is not None:
                    answer(reply.status, head, reply.body)
                    self._answered(call)
            except Exception as error:  # others were computed together with this one, and wait for their answers
                reply = self._failed(call, error)
                answer(reply.status, [(b"content-length", b"%d" % len(reply.body))], reply.body)

        try:
            if self._keys is not None:  # a key may have ended
                _authorise(call, self._keys)
            call.hold(len(body))
            if shortcut(call, body, tell):
                return True
        except Exception:  # the usual way says it again
            pass
        call.release()
        return False

    async def _send(self, call: Call, reply: Reply, headers: list[tuple[bytes, bytes]], send: Send) -> None:
        await send({"type": "http.response.start", "status": reply.status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if call.method == "HEAD" else reply.body})

    def _finish(self, call: Call, reply: Reply | None) -> list[tuple[bytes, bytes]] | None:
        """Counts a request and notes it in the log; returns the headers of its answer, None if nobody waits for one."""
        seconds = time.perf_counter() - call.arrival
        request_id = call.header(b"x-request-id") if b"x-request-id" in call.headers else None
        if request_id is None or _REQUEST_ID.fullmatch(request_id) is None:
            request_id = f"{_request_prefix}-{next(_request_numbers):x}"
        call.request_id = request_id
        trace = None
        if b"traceparent" in call.headers:
            trace = read_trace(call.all_headers(b"traceparent"), call.all_headers(b"tracestate"))
        if reply is None:
            if call.scope.get("gone"):
                self._note(call, _CLIENT_GONE, seconds, trace)
            return None
        # Noted before it is sent: what a client has read is counted, whatever happens to this process.
        self._note(call, reply.status, seconds, trace)
        answer = call.answer
        if answer is None:
            timing = b"total;dur=%.3f" % (seconds * 1e3)
        else:
            timing = b"infer;dur=%.3f, total;dur=%.3f" % (answer.infer_s * 1e3, seconds * 1e3)
        headers = [
            (b"content-type", reply.media_type),
            (b"content-length", b"%d" % len(reply.body)),
            (b"x-request-id", request_id.encode()),
            (b"server-timing", timing),
            *(call.model.headers if call.model is not None else ()),
            *reply.headers,
        ]
        if trace is not None:
            headers += trace.headers()
        if self._dialect.engine.draining:
            headers.append((b"connection", b"close"))
        return headers

    def _answered(self, call: Call) -> None:
        """Shows an answer to who learns from the traffic."""
        note = self._dialect.engine.note
        if note is not None and call.answer is not None and call.model is not None:
            note(call.model, call.answer, call.request_id)

    def _note(self, call: Call, status: int, seconds: float, trace: Trace | None) -> None:
        """Counts a request, and writes its line in the log."""
        dialect, model = self._dialect, call.model
        name, version = (model.name, model.version) if model is not None else ("", "")
        self._stats.request(dialect.name, name, version, status, seconds)
        if dialect.log.requests:
            more = {} if trace is None else {"trace": trace.trace_id, "span": trace.span_id, "parent": trace.parent_id}
            dialect.log.request(
                id=call.request_id,
                protocol=dialect.name,
                method=call.method,
                path=call.scope["path"][:_LONGEST_PATH],
                status=status,
                ms=round(seconds * 1e6) / 1e3,  # to a whole number is ten times as fast as to three places
                model=name,
                version=version,
                rows=call.rows,
                **more,
            )

    def _failed(self, call: Call, error: Exception) -> Reply:
        dialect = self._dialect
        status = dialect.status_of(error)
        if not isinstance(error, ModelServerError):
            # Nothing of it goes to the client: a message of a library may quote paths or other people's input.
            dialect.log(
                "request_failed", level="error", path=call.scope["path"], reason=f"{type(error).__name__}: {error}"
            )
            error = ModelServerError("The server failed on this request; its log says why.")
        reply = dialect.error_body(error, status)
        if isinstance(error, Overloaded):
            reply.headers = (*reply.headers, (b"retry-after", b"%d" % error.retry_after_s))
        elif status == 503:
            reply.headers = (*reply.headers, (b"retry-after", b"1"))
        elif status == 401:
            reply.headers = (*reply.headers, (b"www-authenticate", b"Bearer"))
        elif isinstance(error, WrongMethod):
            reply.headers = (*reply.headers, (b"allow", error.allowed.encode()))
        return reply


async def _nothing() -> Message:
    """What comes of a request whose body is here already."""
    return {"type": "http.disconnect"}


def _authorise(call: Call, keys: ApiKeys) -> None:
    sent = call.header(b"x-api-key")
    if sent is None:
        scheme, _, token = (call.header(b"authorization") or "").partition(" ")
        sent = token.strip() if scheme.lower() == "bearer" else None
    if sent is None or not keys.accept(sent):
        raise Unauthorized("The API key is missing or wrong; send it as x-api-key or as Authorization: Bearer.")
