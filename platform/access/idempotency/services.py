"""Answers a request once.

The answer is written in the same transaction as what the request did, under an advisory lock: so
there is never an effect without its answer, nor an answer without its effect, and a process that
dies leaves neither. See draft-ietf-httpapi-idempotency-key-header for the meaning of the header.
"""

import hashlib
import hmac
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from django.conf import settings
from django.db import connection, transaction
from django.utils import timezone

from access.idempotency.models import StoredAnswer
from pillars.problems import Problem
from tenants.context import require_tenant
from tenants.selectors import TenantRef, tenant_hash_key

_KEY = re.compile(r"^[\x21-\x7e]{1,255}$")


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes back to the caller."""

    status: int
    body: bytes
    replayed: bool = False


def answer_once(
    *,
    tenant: TenantRef,
    key: str | None,
    path: str,
    request_body: bytes,
    action: Callable[[], Answer],
) -> Answer:
    """Run `action` in a transaction, or give the stored answer of the same request again.

    Without a key it just runs the action. Runs in the tenant that is active. Raises Problem
    `invalid_idempotency_key`, `idempotency_conflict` (the same request is running right now) or
    `idempotency_mismatch` (the key came with another body before).
    """
    if key is None:
        return action()
    if not _KEY.match(key):
        raise Problem("invalid_idempotency_key")
    secret = tenant_hash_key(tenant.id)
    key_digest = hmac.digest(secret, f"{path}\0{key}".encode(), hashlib.sha256)
    body_digest = hmac.new(secret, request_body, hashlib.sha256).hexdigest()
    with transaction.atomic():
        if not _lock(key_digest):
            raise Problem("idempotency_conflict", headers={"Retry-After": "1"})
        stored = StoredAnswer.objects.filter(path=path, key_digest=key_digest.hex()).first()
        if stored is not None and stored.expires_at > timezone.now():
            if stored.body_digest != body_digest:
                raise Problem("idempotency_mismatch")
            return Answer(stored.status, bytes(stored.body), replayed=True)
        answer = action()
        StoredAnswer.objects.update_or_create(
            path=path,
            key_digest=key_digest.hex(),
            defaults={
                "body_digest": body_digest,
                "status": answer.status,
                "body": answer.body,
                "expires_at": timezone.now()
                + timedelta(hours=settings.CONFIG.idempotency.ttl_hours),
            },
        )
    return answer


def delete_expired() -> int:
    """Remove answers whose time is over. Runs in the tenant that is active."""
    require_tenant()
    deleted, _ = StoredAnswer.objects.filter(expires_at__lte=timezone.now()).delete()
    return deleted


def _lock(key_digest: bytes) -> bool:
    # The digest is keyed by tenant, so tenants never wait for each other.
    number = int.from_bytes(key_digest[:8], "big", signed=True)
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [number])
        return bool(cursor.fetchone()[0])
