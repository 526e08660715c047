import structlog


def current_request_id() -> str:
    """The id of the request this thread works for, as middleware.py gave it; empty outside of a request."""
    return str(structlog.contextvars.get_contextvars().get("request_id", ""))
