"""Bodies that nobody reads, and the connections they come on.

What is left of a body would be taken for the next request, so the server must read it or close the connection. Up to
LEFT_UNREAD we read it; above, closing is cheaper, and the answer says so (gunicorn_conf.py).
"""

import socket
import time
from contextlib import suppress
from typing import Any

from django.conf import settings
from django.core.exceptions import TooManyFilesSent
from django.core.files.uploadhandler import FileUploadHandler
from django.http import HttpRequest, UnreadablePostError

LEFT_UNREAD = 4 * 1024 * 1024  # bytes
READ_FOR = 5.0  # seconds, for a client that sends slowly
LINGER_FOR = 2.0  # seconds
PIECE = 64 * 1024  # bytes


def length_of(announced: str | None) -> int:
    """Bytes that Content-Length announces; 0 without one, and for one that is no number (the server refuses those)."""
    return int(announced) if announced and announced.isdecimal() else 0


def read_rest(request: HttpRequest) -> None:
    """Reads and forgets what nobody has read of the body, so that the next request can follow on the connection."""
    if length_of(request.META.get("CONTENT_LENGTH")) > LEFT_UNREAD:
        return
    until = time.monotonic() + READ_FOR
    try:
        while request.read(PIECE) and time.monotonic() < until:
            pass
    except UnreadablePostError:
        pass  # the client has gone; there is no next request


def linger(connection: socket.socket) -> None:
    """Takes in and forgets what still comes on a connection that is about to end, until its sender has had the answer.

    Closed at once, with bytes unread, it would be reset, and a proxy that is still sending would call that a failure.
    """
    until = time.monotonic() + LINGER_FOR
    with suppress(OSError):  # the sender has gone, or takes too long
        connection.shutdown(socket.SHUT_WR)
        while (left := until - time.monotonic()) > 0:
            connection.settimeout(left)
            if not connection.recv(PIECE):
                return


class FewFiles(FileUploadHandler):
    """The first of the handlers that keep files in memory or temporary files: a form may have so many and no more."""

    def __init__(self, request: HttpRequest | None = None) -> None:
        super().__init__(request)
        self._count = 0

    def new_file(self, *args: Any, **options: Any) -> None:
        super().new_file(*args, **options)
        self._count += 1
        if self._count > settings.MAX_FORM_FILES:
            raise TooManyFilesSent(f"More than {settings.MAX_FORM_FILES} files in a form.")

    def receive_data_chunk(self, raw_data: bytes, _start: int) -> bytes:
        return raw_data

    def file_complete(self, _file_size: int) -> None:
        """The next handler has it."""
