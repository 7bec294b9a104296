"""What of a caller's text may be kept: plain identifiers as they are, anything else as a hash."""

import hashlib
import hmac
from collections.abc import Callable
from urllib.parse import unquote

from mapping.engine import recordable_label, recordable_ref
from tenants.selectors import TenantRef, tenant_hash_key


def hasher(tenant: TenantRef) -> Callable[[str], str]:
    """The tenant's keyed hash, for texts that may not be recorded."""
    key = tenant_hash_key(tenant.id)

    def hash_text(text: str) -> str:
        raw = text.encode("utf-8", "surrogatepass")
        return hmac.digest(key, raw, hashlib.sha256).hex()[:32]

    return hash_text


def safe_text(text: str | None, hash_text: Callable[[str], str]) -> str | None:
    """The text if it is plainly an identifier, else a keyed hash: `the same again`, no more."""
    if text is None or (_recordable(text) and _recordable(_decoded(text))):
        return text
    return f"hmac:{hash_text(text)}"


def _recordable(text: str) -> bool:
    return recordable_ref(text) or recordable_label(text)


def _decoded(text: str) -> str:
    """Without percent-encoding, which could hide a sentence or an address from the checks."""
    for _ in range(4):
        plain = unquote(text)
        if plain == text:
            return text
        text = plain
    return " . "  # encoded over and over: nothing that may be kept
