"""The form of an API key: `plr_<10 characters>_<36 characters>`, all base 62.

The fixed beginning lets secret scanners find a leaked key: plr_[0-9A-Za-z]{10}_[0-9A-Za-z]{36}.
The 36 random characters hold 214 bits.
"""

import hashlib
import re
import secrets
import string

KEY_PATTERN = re.compile(r"plr_([0-9A-Za-z]{10})_[0-9A-Za-z]{36}")
_ALPHABET = string.digits + string.ascii_letters


def _random(length: int) -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))


def new_secret() -> tuple[str, str]:
    """(prefix that finds the row, the whole secret to show once)."""
    prefix = _random(10)
    return prefix, f"plr_{prefix}_{_random(36)}"


def prefix_of(secret: str) -> str | None:
    """The prefix of a well-formed key, else None."""
    match = KEY_PATTERN.fullmatch(secret)
    return match.group(1) if match else None


def digest(secret: str) -> bytes:
    """SHA-256 of the secret, as stored."""
    return hashlib.sha256(secret.encode()).digest()
