"""The text of access tokens: made, recognised, and turned into what is kept of it.

``whodid_pat_``, 40 random letters and digits, and 6 of the CRC-32 of all before them. Prefix and checksum let secret
scanners find a leaked token with certainty, and the server refuse a mistyped one without a look into the store.
"""

import hashlib
import re
import zlib
from collections.abc import Callable

PREFIX = "whodid_pat_"

_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_RANDOM_LENGTH = 40
_CHECKSUM_LENGTH = 6
_TEXT = re.compile(rf"{PREFIX}[0-9A-Za-z]{{{_RANDOM_LENGTH + _CHECKSUM_LENGTH}}}", re.ASCII).fullmatch

_ANYWHERE = re.compile(rf"{PREFIX}[0-9A-Za-z]+", re.ASCII)


def make_token(random_bytes: Callable[[int], bytes]) -> str:
    """The text of a new token: about 238 bits of chance."""
    text = PREFIX + "".join(_random_digits(random_bytes))
    return text + _checksum(text)


def is_authentic(text: str) -> bool:
    """Whether this has the form and the checksum of a token. It says nothing about whether there is such a token."""
    return _TEXT(text) is not None and _checksum(text[:-_CHECKSUM_LENGTH]) == text[-_CHECKSUM_LENGTH:]


def digest_of(text: str) -> bytes:
    """What is kept of a token: the SHA-256 of its text, 32 bytes. Its text is random, so no salt is needed."""
    return hashlib.sha256(text.encode()).digest()


def without_tokens(text: str) -> str:
    """The text with what looks like a token cut short: for whatever is written down, or said to others."""
    return _ANYWHERE.sub(f"{PREFIX}…", text) if PREFIX in text else text


def _random_digits(random_bytes: Callable[[int], bytes]) -> list[str]:
    digits: list[str] = []
    while len(digits) < _RANDOM_LENGTH:
        # 248 is the largest multiple of 62 in a byte: above it, the first digits would come more often.
        digits += [_DIGITS[byte % 62] for byte in random_bytes(_RANDOM_LENGTH) if byte < 248]
    return digits[:_RANDOM_LENGTH]


def _checksum(text: str) -> str:
    number = zlib.crc32(text.encode())
    digits = ""
    for _ in range(_CHECKSUM_LENGTH):
        number, digit = divmod(number, 62)
        digits = _DIGITS[digit] + digits
    return digits
