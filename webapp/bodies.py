"""Bodies that nobody reads, and the connections they come on.

What is left of a body would be taken for the next request, so the server must read it or close the connection. Up to
LEFT_UNREAD we read it; above, closing is cheaper, and the answer says so (gunicorn_conf.py).
"""

import time

from django.http import HttpRequest, UnreadablePostError

LEFT_UNREAD = 4 * 1024 * 1024  # bytes
READ_FOR = 5.0  # seconds, for a client that sends slowly
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
