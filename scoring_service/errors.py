"""The error tree of the scoring service. What each looks like to a client is decided in `status_of` alone.

ServiceError
├── BadRequest            what came in cannot be understood; says what and where
│   └── BadRow            one row cannot be scored (not a picture, no words in it); the rest of its batch can
├── NotAuthorized         the pod has a token and the request does not carry it
├── NotFound              no such model or version here
├── TooLarge              the body is over the limit
├── Unavailable           try again later, here or on another pod
│   ├── Overloaded        the version's queue is full, or would take too long; says when it will have been worked off
│   └── NotReady          nothing is loaded yet, or the pod is going away
├── DeadlineExpired       nobody waits for the answer any more
├── VersionUnusable       a version in the store cannot be loaded; says why
│   └── NoRoom            there is not enough memory for it now
├── OutOfDeviceMemory     the batch was too large for the device; a smaller one may do
├── DeviceLost            the device answers no more; only a new process helps
└── WrongAnswer           a runtime broke its promise (another number of results than rows)
"""

import math


class ServiceError(Exception):
    """Base of all errors that have an answer of their own. The message is for people."""

    retry_after: int | None = None  # seconds


class BadRequest(ServiceError):
    pass


class BadRow(BadRequest):
    pass


class NotAuthorized(ServiceError):
    pass


class NotFound(ServiceError):
    pass


class TooLarge(ServiceError):
    pass


class Unavailable(ServiceError):
    retry_after = 1


class Overloaded(Unavailable):
    def __init__(self, message: str, wait: float) -> None:
        """wait: seconds until those who wait now have been served."""
        super().__init__(message)
        self.retry_after = max(1, math.ceil(wait))


class NotReady(Unavailable):
    pass


class DeadlineExpired(ServiceError):
    pass


class VersionUnusable(ServiceError):
    pass


class NoRoom(VersionUnusable):
    pass


class OutOfDeviceMemory(ServiceError):
    pass


class DeviceLost(ServiceError):
    pass


class WrongAnswer(ServiceError):
    pass


STATUS: dict[type[ServiceError], int] = {
    ServiceError: 500,
    BadRequest: 400,
    NotAuthorized: 401,
    NotFound: 404,
    TooLarge: 413,
    Unavailable: 503,
    OutOfDeviceMemory: 503,
    DeviceLost: 503,
    DeadlineExpired: 504,
}


def status_of(error: ServiceError) -> int:
    """The HTTP status for the error: that of the nearest class above it that has one."""
    return next(STATUS[base] for base in type(error).__mro__ if base in STATUS)
