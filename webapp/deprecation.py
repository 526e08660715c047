"""Parts of the API that will go: told in headers long before, as docs/api.md promises."""

from dataclasses import dataclass
from datetime import datetime

from django.utils.http import http_date

HEADERS = {
    "Deprecation": {
        "description": "Since when nobody should begin to use this (RFC 9745): `@` and the seconds since 1970.",
        "schema": {"type": "string", "pattern": "^@[0-9]+$"},
    },
    "Sunset": {"description": "When it may stop to answer (RFC 8594).", "schema": {"type": "string"}},
}


@dataclass(frozen=True)
class Deprecation:
    """since: from when on it is deprecated; sunset: when it may stop to answer, None while nobody knows; link: the page
    that says what to use instead.
    """

    since: datetime
    link: str
    sunset: datetime | None = None

    def headers(self) -> dict[str, str]:
        """Deprecation (RFC 9745), Link, and Sunset (RFC 8594) where the moment is known."""
        told = {
            "Deprecation": f"@{int(self.since.timestamp())}",
            "Link": f'<{self.link}>; rel="deprecation"; type="text/html"',
        }
        return {**told, "Sunset": http_date(self.sunset.timestamp())} if self.sunset else told
