"""The error tree of the site. What each looks like to a client is decided in problems.py alone.

AppError
├── InvalidInput            what was sent has the wrong shape or value; names the field
├── NotSignedIn             no key or session, or one that is not valid
├── NotAllowed              known, but without the scope or right
├── NotFound                there is no such thing, or it belongs to somebody else
├── TooLarge                the body is over a limit
├── UnsupportedMedia        a content type nobody here reads
├── RateLimited             too many requests; says when to come back
└── ScoringError            a pod answered something we cannot use
    ├── ScoringRefused      the pod refused the input; says why
    ├── ScoringUnavailable  no pod, or all of them are full
    └── ScoringTimeout      no answer within the deadline
"""


class AppError(Exception):
    """Something the client is told about. `detail` is for people: what happened and what to do."""

    def __init__(self, detail: str, *, field: str | None = None, retry_after: float | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.field = field
        self.retry_after = retry_after  # seconds


class InvalidInput(AppError):
    pass


class NotSignedIn(AppError):
    pass


class NotAllowed(AppError):
    pass


class NotFound(AppError):
    pass


class TooLarge(AppError):
    pass


class UnsupportedMedia(AppError):
    pass


class RateLimited(AppError):
    pass


class ScoringError(AppError):
    pass


class ScoringRefused(ScoringError):
    pass


class ScoringUnavailable(ScoringError):
    pass


class ScoringTimeout(ScoringError):
    pass
