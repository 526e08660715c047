"""The error tree of the site. What each looks like to a client is decided in problems.py alone.

AppError
├── BadRequest              what was sent cannot be read at all
├── InvalidInput            what was sent has the wrong shape or value; names the field
├── NotSignedIn             no key or session, or one that is not valid
├── NotAllowed              known, but without the scope or right
├── NotFound                there is no such thing, or it belongs to somebody else
├── Conflict                it cannot be done in the state things are in now
│   └── StillRunning        the same call is being answered already; says when to come back
├── PreconditionFailed      what was to be changed is not any more what the client has seen
├── IdempotencyKeyReused    an Idempotency-Key that came with another request before
├── MethodNotAllowed        the address does not take this method
├── NotAcceptable           the client takes no form that we can answer in
├── TooLarge                the body is over a limit
├── UnsupportedMedia        a content type nobody here reads
├── RateLimited             too many requests; says when to come back
├── QuotaExceeded           the quota of the month is used up; says when the next begins
├── Unavailable             our own database is away
├── StoreError              the model store cannot be used, or what lies in it is not what it should be
├── FilesError              the folder of batches cannot be used: it is full, away, or misses a file
└── ScoringError            a pod answered something we cannot use
    ├── ScoringRefused      the pod refused the input; says why
    ├── ScoringUnavailable  no pod, or all of them are full
    └── ScoringTimeout      no answer within the deadline
"""

from collections.abc import Mapping


class AppError(Exception):
    """Something the client is told about.

    detail: for people: what happened and what to do. field: the one input it is about; fields: several, each with its
    own sentence. retry_after: seconds after which another attempt makes sense.
    """

    def __init__(
        self,
        detail: str,
        *,
        field: str | None = None,
        fields: Mapping[str, str] | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.field = field
        self.fields = dict(fields or {})
        self.retry_after = retry_after


class BadRequest(AppError):
    pass


class InvalidInput(AppError):
    pass


class NotSignedIn(AppError):
    pass


class NotAllowed(AppError):
    pass


class NotFound(AppError):
    pass


class Conflict(AppError):
    pass


class StillRunning(Conflict):
    pass


class PreconditionFailed(AppError):
    pass


class IdempotencyKeyReused(AppError):
    pass


class MethodNotAllowed(AppError):
    pass


class NotAcceptable(AppError):
    pass


class TooLarge(AppError):
    pass


class UnsupportedMedia(AppError):
    pass


class RateLimited(AppError):
    pass


class QuotaExceeded(AppError):
    pass


class Unavailable(AppError):
    pass


class StoreError(AppError):
    pass


class FilesError(AppError):
    pass


class ScoringError(AppError):
    """model_version: the version that failed; said: the pod's own sentence. Each where the pod has said so."""

    model_version: str = ""
    said: str = ""


class ScoringRefused(ScoringError):
    pass


class ScoringUnavailable(ScoringError):
    """broke_off: whether a pod had the request already, and may have died of it."""

    broke_off: bool = False


class ScoringTimeout(ScoringError):
    pass
