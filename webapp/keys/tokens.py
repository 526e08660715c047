"""How an API key reads: `sp_<prefix>_<secret><check>`.

The prefix is public and finds the key's row. The last six characters check the others, so that a program that finds
such a text in a file (a secret scanner), or we, can tell without asking anybody that it is a key and not mistyped.
Keys made before there were checks end with the secret.
"""

import re
import secrets
import string
import zlib
from dataclasses import dataclass

PREFIX_LENGTH, SECRET_LENGTH, CHECK_LENGTH = 8, 43, 6  # 43 characters of 62 hold 256 bits
PREFIX_LETTERS = string.ascii_lowercase + string.digits
LETTERS = string.digits + string.ascii_uppercase + string.ascii_lowercase  # as digits of base 62, in this order
KEY = re.compile(
    rf"sp_([a-z0-9]{{{PREFIX_LENGTH}}})_([A-Za-z0-9]{{{SECRET_LENGTH}}}(?:[A-Za-z0-9]{{{CHECK_LENGTH}}})?)", re.ASCII
)
# What docs/api.md gives to secret scanners.
FOR_SCANNERS = rf"\bsp_[a-z0-9]{{{PREFIX_LENGTH}}}_[A-Za-z0-9]{{{SECRET_LENGTH + CHECK_LENGTH}}}\b"


@dataclass(frozen=True)
class Token:
    """A key taken apart. secret: all that comes after the prefix, the check too."""

    prefix: str
    secret: str

    def __str__(self) -> str:
        return f"sp_{self.prefix}_{self.secret}"

    @property
    def ending(self) -> str:
        """The last characters, by which people tell one secret from another; enough of it stays unknown."""
        return self.secret[-4:]


def new_prefix() -> str:
    return "".join(secrets.choice(PREFIX_LETTERS) for _ in range(PREFIX_LENGTH))


def new_token(prefix: str) -> Token:
    """A fresh secret for the prefix."""
    secret = "".join(secrets.choice(LETTERS) for _ in range(SECRET_LENGTH))
    return Token(prefix, secret + check_of(f"sp_{prefix}_{secret}"))


def read(text: str) -> Token | None:
    """The key taken apart; None for what cannot be one: it has another form, or its check does not fit."""
    match = KEY.fullmatch(text)
    if match is None:
        return None
    token = Token(*match.groups())
    checked = len(token.secret) > SECRET_LENGTH
    return None if checked and check_of(text[:-CHECK_LENGTH]) != text[-CHECK_LENGTH:] else token


def check_of(text: str) -> str:
    """The CRC-32 of the text in base 62, filled up with zeros in front to six characters."""
    number, digits = zlib.crc32(text.encode("ascii")), ""
    for _ in range(CHECK_LENGTH):
        number, digit = divmod(number, 62)
        digits = LETTERS[digit] + digits
    return digits
