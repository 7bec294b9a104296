"""Finds the key behind a secret, with a short cache for the request path."""

import hmac
import time
import uuid
from dataclasses import dataclass

from django.utils import timezone

from access.keys.models import ApiKey
from access.keys.secrets import digest, prefix_of
from tenants.context import public_context
from tenants.selectors import TenantRef

# Upper bound of how long a revoked key may still be taken when the shared store is away; with
# the store there, a revocation counts from the next request on (see limiter.Verdict.generation).
CACHE_SECONDS = 2.0
_MAX_CACHED = 10_000


@dataclass(frozen=True, slots=True)
class KeyContext:
    """Whom a request acts for: becomes `request.auth`."""

    key_id: uuid.UUID
    name: str
    tenant: TenantRef
    scopes: frozenset[str]
    items_per_minute: int | None
    expires_at: float | None
    generation: str | None


_cache: dict[bytes, tuple[float, KeyContext]] = {}
# The last generation of the keys that the shared store named (see limiter). A context looked up
# under an older one is not believed: a revocation may lie between.
_generation: str | None = None


def note_generation(generation: str) -> None:
    """Remember the generation that the shared store named."""
    global _generation
    _generation = generation


def key_context(secret: str, *, fresh: bool = False) -> KeyContext | None:
    """The context of a valid key, or None. `fresh` passes by the cache."""
    prefix = prefix_of(secret)
    if prefix is None:
        return None
    wanted = digest(secret)
    now = time.monotonic()
    if not fresh:
        cached = _cache.get(wanted)
        if cached is not None and now - cached[0] < CACHE_SECONDS:
            found = cached[1]
            return found if found.expires_at is None or time.time() < found.expires_at else None
    context = _read(prefix, wanted, _generation)
    if context is None:
        _cache.pop(wanted, None)
        return None
    if len(_cache) >= _MAX_CACHED:
        _cache.clear()
    _cache[wanted] = (now, context)
    return context


def forget_cached_keys() -> None:
    """Drop this process's cache."""
    _cache.clear()


def _read(prefix: str, wanted: bytes, generation: str | None) -> KeyContext | None:
    with public_context():
        key = (ApiKey.objects.select_related("tenant").filter(prefix=prefix).first()) or (
            ApiKey.objects.select_related("tenant")
            .filter(previous_prefix=prefix, previous_until__gt=timezone.now())
            .first()
        )
    if key is None or key.state != "active":
        return None
    current = key.prefix == prefix
    stored = bytes(key.secret_hash if current else key.previous_hash or b"")
    if not hmac.compare_digest(stored, wanted):
        return None
    ends = [t for t in (key.expires_at, None if current else key.previous_until) if t is not None]
    return KeyContext(
        key_id=key.id,
        name=key.name,
        tenant=TenantRef.of(key.tenant),
        scopes=frozenset(key.scopes),
        items_per_minute=key.items_per_minute,
        expires_at=min(ends).timestamp() if ends else None,
        generation=generation,
    )
