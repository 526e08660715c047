"""A connection: its requests and their answers, and what becomes of clients that do not get on with theirs."""

import asyncio
import socket
import struct
import time
from collections.abc import Callable
from typing import Any

import msgspec
from starlette.types import Scope
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from scoring_service.app import Pod
from scoring_service.contract import ErrorBody
from scoring_service.endpoints import JSON_LENGTH, may_be_low
from scoring_service.errors import Overloaded

AT_ONCE = struct.pack("ii", 1, 0)  # of SO_LINGER
LEAST_TAKEN = 2**14  # bytes of its answer that a client takes in the time it is given
MOST_PEEKED = 2**16  # bytes of JSON that are looked through before a request is refused


class Corked(asyncio.Transport):
    """A transport whose writes of one turn of the event loop leave as one: the head of an answer with its body.

    Each write of its own would be a call of the system and a packet.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._transport = transport
        self._loop = loop
        self._held: list[bytes | bytearray | memoryview] = []

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if not self._held:
            self._loop.call_soon(self._flush)
        self._held.append(data)

    def _flush(self) -> None:
        if self._held and not self._transport.is_closing():
            self._transport.write(b"".join(self._held))
        self._held.clear()

    def close(self) -> None:
        self._flush()
        self._transport.close()

    def abort(self) -> None:
        """Ends it at once. What the client has not taken goes with it: else the kernel would keep it for a while."""
        self._held.clear()
        if self.get_write_buffer_size():
            self._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, AT_ONCE)
        self._transport.abort()

    def is_closing(self) -> bool:
        return self._transport.is_closing()

    def get_write_buffer_size(self) -> int:
        """Bytes that the client could take no more of, so far."""
        return self._transport.get_write_buffer_size()

    def pause_reading(self) -> None:
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        self._transport.resume_reading()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._transport.get_extra_info(name, default)


class PodProtocol(HttpToolsProtocol):
    """Tells the application when its connection was opened, and whether a request's body is here as a whole.

    A connection is closed when the head of a request is too long in coming, the rest of a body that nobody wants any
    more, or a client in taking its answer. There are only so many at once: for another one, that goes in which it has
    been the client's turn for the longest time. What is not HTTP gets its answer in the form of all our errors.

    An inference for which there is no room is refused by its head, before anything is made of it: refusing must cost
    little where many are refused. Its answer leaves when its body has come, for not all clients listen before that;
    what comes is thrown away, but for the JSON, in which it may say that it is of low priority.
    """

    when_lost: Callable[[], None] | None = None
    pod: Pod
    transport: Corked  # as `connection_made` has it
    timer: asyncio.TimerHandle | None = None  # runs while something is awaited that has to come in time
    stalled: asyncio.TimerHandle | None = None  # runs while the client takes nothing of what is there for it
    reading = False  # a request that is not here as a whole
    head_is_here = False  # of that
    refusal: Overloaded | None = None  # of the request that is being read
    refused_at = 0.0  # on the monotonic clock
    peeked: bytearray  # the JSON of its body
    json_left: int  # bytes
    last_one = False  # whether the connection ends with its answer

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        app = self.config.app
        assert isinstance(app, Pod)
        self.pod = app
        transport.set_write_buffer_limits(high=0)  # so that we are told as soon as a client takes no more
        super().connection_made(Corked(transport, self.loop))
        self.opened_at = time.monotonic()
        self.close_after(self.pod.settings.head_timeout)
        if len(self.connections) > self.pod.settings.max_connections and not self.make_room():
            error = ErrorBody("as many connections as this pod may have are busy")
            self.answer_and_close(b"503 Service Unavailable\r\nRetry-After: 1", error)
        else:
            self.pod.waits_for[self] = None

    def make_room(self) -> bool:
        """Ends the connection in which it has been the client's turn for the longest time, if there is any."""
        slowest = next(iter(self.pod.waits_for), None)
        if slowest:
            slowest.transport.abort()
            self.pod.waits_for.pop(slowest)
        return slowest is not None

    def connection_lost(self, exc: Exception | None) -> None:
        self.stop_timer()
        self.resume_writing()
        self.pod.waits_for.pop(self, None)
        super().connection_lost(exc)
        if self.when_lost:
            self.when_lost()

    def pause_writing(self) -> None:
        super().pause_writing()
        self.await_reader(self.transport.get_write_buffer_size())

    def await_reader(self, left: int) -> None:
        """Gives the client a while to take some of what it has not taken yet. left: so many bytes."""
        self.stalled = self.loop.call_later(self.pod.settings.send_timeout, self.look_after_reader, left)

    def look_after_reader(self, before: int) -> None:
        left = self.transport.get_write_buffer_size()
        if left > before - LEAST_TAKEN:
            self.transport.abort()
        else:
            self.await_reader(left)

    def resume_writing(self) -> None:
        if self.stalled:
            self.stalled.cancel()
            self.stalled = None
        super().resume_writing()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        # Nearly always a request comes as a whole, and needs no timer.
        if self.reading and not self.timer:
            if not self.head_is_here:
                self.close_after(self.pod.settings.head_timeout)
            elif self.refusal:
                self.close_after(self.pod.settings.default_deadline)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.stop_timer()
        self.reading, self.head_is_here = True, False
        if self.all_answered:
            self.pod.waits_for.pop(self, None)  # it is the last one now
            self.pod.waits_for[self] = None

    @property
    def all_answered(self) -> bool:
        """Whether no request of this connection waits for its answer, but for the one that is being read."""
        return self.cycle is None or self.cycle.response_complete

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.transport.is_closing() or not self.all_answered:
            return
        if self.reading:  # the client has been refused, and may not send on for ever
            self.close_after(self.pod.settings.head_timeout)
        self.pod.waits_for[self] = None

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        self.scope["connection_opened_at"] = self.opened_at  # type: ignore[typeddict-unknown-key]  # a key of our own

    def on_headers_complete(self) -> None:
        self.stop_timer()
        self.head_is_here = True
        if not self.refuse_by_head():
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        if not self.refusal:
            super().on_body(body)
        elif self.json_left:
            used = min(len(body), self.json_left)
            self.peeked += body[:used]
            self.json_left -= used
            if not self.json_left and may_be_low(self.peeked, None):
                self.read_after_all(body[used:])

    def read_after_all(self, rest: bytes) -> None:
        """Goes on as with any other request. rest: what has come of its body behind the JSON."""
        self.stop_timer()
        self.refusal = None
        super().on_headers_complete()
        super().on_body(bytes(self.peeked) + rest)

    def on_message_complete(self) -> None:
        self.reading = False
        self.stop_timer()
        self.pod.waits_for.pop(self, None)
        if self.refusal:
            self.answer_refused(self.refusal)
            return
        self.scope["body_is_here"] = True  # type: ignore[typeddict-unknown-key]  # a key of our own
        super().on_message_complete()

    def refuse_by_head(self) -> bool:
        """Whether there is no room for the request, and it is of a kind of which little has to be read to see that."""
        if not self.pod.is_crowded or not self.all_answered:  # nearly always
            return False
        if self.parser.get_method() != b"POST" or self.parser.should_upgrade():
            return False
        if self.expect_100_continue or b"%" in self.url:
            return False
        scope: Scope = self.scope  # type: ignore[assignment]  # another name for the same
        scope.update(method="POST", path=self.url.partition(b"?")[0].decode("ascii"))
        refusal = self.pod.refusal(scope)
        if not refusal:
            return False
        headers = scope["headers_by_name"]
        length, json_length = (headers.get(name, b"").decode("latin-1") for name in (b"content-length", JSON_LENGTH))
        self.json_left = int(length) if length.isdecimal() else 0
        if json_length.isdecimal():
            self.json_left = min(int(json_length), self.json_left)
        if not 0 < self.json_left <= MOST_PEEKED or b"content-encoding" in headers:
            return False
        self.peeked, self.refusal, self.refused_at = bytearray(), refusal, time.monotonic()
        return True

    def answer_refused(self, refusal: Overloaded) -> None:
        self.refusal = None
        old_client = self.parser.get_http_version() == "1.0"
        scope: Scope = self.scope  # type: ignore[assignment]  # another name for the same
        close = self.last_one or old_client or not self.parser.should_keep_alive() or self.pod.ends_connection(scope)
        self.transport.write(self.pod.refused(scope, refusal, self.refused_at, close=close))
        if close:
            self.transport.close()
        self.on_response_complete()

    def shutdown(self) -> None:
        """Ends the connection, after the answer that is awaited, if any."""
        if self.refusal:
            self.last_one = True
        else:
            super().shutdown()

    def close_after(self, seconds: float) -> None:
        """Unless `stop_timer` is called before."""
        self.stop_timer()
        self.timer = self.loop.call_later(seconds, self.transport.close)

    def stop_timer(self) -> None:
        if self.timer:
            self.timer.cancel()
            self.timer = None

    def send_400_response(self, msg: str) -> None:
        self.answer_and_close(b"400 Bad Request", ErrorBody(msg))

    def answer_and_close(self, status: bytes, error: ErrorBody) -> None:
        body = msgspec.json.encode(error)
        head = b"HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\nConnection: close\r\n\r\n"
        self.transport.write(head % (status, len(body)) + body)
        self.transport.close()
