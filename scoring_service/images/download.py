"""Fetching one large file: with progress, continued where it stopped, and checked against a known hash."""

import http.client
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from scoring_service.store import sha256_of

_CHUNK = 1 << 20
_TRIES = 3
_TIMEOUT = 30.0  # seconds without a byte

Progress = Callable[[int, int | None], None]  # bytes so far, bytes in all if known


class DownloadFailed(OSError):
    """The file could not be fetched; the text says why, in one line."""


class WrongHash(ValueError):
    """The file is not the one that was asked for; the text names both hashes."""


def check_hash(path: Path, expected: str) -> str:
    """The file's SHA-256, when it starts with `expected` (hex digits, at least 8).

    Raises WrongHash otherwise.
    """
    actual = sha256_of(path)
    if len(expected) < 8 or not actual.startswith(expected.lower()):
        raise WrongHash(f"{path.name} has SHA-256 {actual}, expected {expected}…")
    return actual


def download(url: str, to: Path, *, expected: str, progress: Progress, pause: float = 1.0) -> str:
    """Fetches `url` into the file `to` and returns its SHA-256.

    What arrives is kept beside it as `NAME.part`, so that a later call goes on where this one stopped.
    expected: hex digits the SHA-256 must start with, at least 8.
    pause: seconds before trying again after the connection broke.
    Raises DownloadFailed when the server cannot be reached or refuses; WrongHash, with nothing kept, when the whole
    file is not the expected one.
    """
    if not url.startswith(("https://", "http://")):
        raise DownloadFailed(f"{url} is not an http or https address")
    part = to.with_name(to.name + ".part")
    part.parent.mkdir(parents=True, exist_ok=True)
    for attempt in range(1, _TRIES + 1):
        try:
            _fetch_rest(url, part, progress)
            break
        except urllib.error.HTTPError as error:
            raise DownloadFailed(f"{url} answered {error.code} {error.reason}") from error
        except urllib.error.URLError as error:  # nobody there: no reason to expect somebody in a second
            raise DownloadFailed(f"{url} cannot be fetched: {_reason(error)}") from error
        except (OSError, http.client.HTTPException) as error:
            if attempt == _TRIES:
                raise DownloadFailed(f"{url} cannot be fetched: {_reason(error)}") from error
            time.sleep(pause)
    try:
        digest = check_hash(part, expected)
    except WrongHash:
        part.unlink()
        raise
    part.replace(to)
    return digest


def _fetch_rest(url: str, part: Path, progress: Progress) -> None:
    """Appends what is missing to `part`; the whole file where the server cannot continue."""
    have = part.stat().st_size if part.exists() else 0
    headers = {"User-Agent": "scorepod", "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    request = urllib.request.Request(url, headers=headers)  # noqa: S310 - the caller has checked the scheme
    try:
        answer = urllib.request.urlopen(request, timeout=_TIMEOUT)  # noqa: S310 - same
    except urllib.error.HTTPError as error:
        if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and have:
            return  # nothing is missing, or the file changed: the hash will tell
        raise
    with answer:
        continued = answer.status == http.HTTPStatus.PARTIAL_CONTENT
        done = have if continued else 0
        length = answer.headers.get("Content-Length")
        total = None if length is None else done + int(length)
        with part.open("ab" if continued else "wb") as file:
            while chunk := answer.read(_CHUNK):
                file.write(chunk)
                done += len(chunk)
                progress(done, total)
    if total is not None and done < total:
        raise http.client.IncompleteRead(b"", total - done)


def _reason(error: Exception) -> str:
    if isinstance(error, urllib.error.URLError) and isinstance(error.reason, OSError):
        return error.reason.strerror or str(error.reason)
    if isinstance(error, http.client.IncompleteRead):
        return f"the connection broke with {error.expected} bytes missing"
    return str(error) or type(error).__name__
