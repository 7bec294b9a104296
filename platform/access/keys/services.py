"""Verbs on API keys: create, rotate, revoke."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.utils import timezone

from access.keys import limiter
from access.keys.models import ApiKey, Scope
from access.keys.secrets import digest, new_secret
from audit.services import record
from tenants.context import public_context, tenant_context
from tenants.models import Tenant, TenantState

DEFAULT_GRACE = timedelta(hours=24)


class ApiKeyError(Exception):
    """The key cannot be changed that way; the message says why."""


@dataclass(frozen=True, slots=True)
class IssuedKey:
    """A key and its secret. The secret exists only here: it is shown once and never stored."""

    key: ApiKey
    secret: str = field(repr=False)


@transaction.atomic
def create_key(
    *,
    tenant: Tenant,
    name: str,
    scopes: Sequence[str],
    actor: str,
    expires_at: datetime | None = None,
    items_per_minute: int | None = None,
) -> IssuedKey:
    """Make a key for a tenant. Raises ApiKeyError for an unknown scope or an empty name."""
    unknown = sorted(set(scopes) - set(Scope.values))
    if unknown or not scopes:
        raise ApiKeyError(f"Choose scopes out of: {', '.join(Scope.values)}.")
    if not name.strip():
        raise ApiKeyError("Give the key a name: what will use it.")
    prefix, secret = new_secret()
    key = ApiKey.objects.create(
        tenant=tenant,
        name=name.strip(),
        prefix=prefix,
        secret_hash=digest(secret),
        scopes=sorted(set(scopes)),
        created_by=actor,
        expires_at=expires_at,
        items_per_minute=items_per_minute,
    )
    _record(key, "key.created", actor, {"scopes": key.scopes, "prefix": prefix})
    return IssuedKey(key=key, secret=secret)


@transaction.atomic
def rotate_key(*, key: ApiKey, actor: str, grace: timedelta = DEFAULT_GRACE) -> IssuedKey:
    """Give a key a new secret; the old one works until the grace period ends.

    Raises ApiKeyError if the key is not active.
    """
    locked = ApiKey.objects.select_for_update().get(pk=key.pk)
    if locked.state != "active":
        raise ApiKeyError(f"The key is {locked.state}. Create a new one instead.")
    prefix, secret = new_secret()
    locked.previous_prefix, locked.previous_hash = locked.prefix, locked.secret_hash
    locked.previous_until = timezone.now() + grace
    locked.prefix, locked.secret_hash = prefix, digest(secret)
    locked.save(
        update_fields=[
            "prefix", "secret_hash", "previous_prefix", "previous_hash", "previous_until",
        ]
    )  # fmt: skip
    _record(
        locked, "key.rotated", actor,
        {"prefix": prefix, "old_valid_until": locked.previous_until.isoformat()},
    )  # fmt: skip
    transaction.on_commit(limiter.forget_keys)
    return IssuedKey(key=locked, secret=secret)


@transaction.atomic
def revoke_key(*, key: ApiKey, actor: str) -> ApiKey:
    """End a key at once, its old secret too. Revoking twice changes nothing."""
    locked = ApiKey.objects.select_for_update().get(pk=key.pk)
    if locked.revoked_at is None:
        locked.revoked_at = timezone.now()
        locked.previous_until = None
        locked.save(update_fields=["revoked_at", "previous_until"])
        _record(locked, "key.revoked", actor, {})
        transaction.on_commit(limiter.forget_keys)
    return locked


def end_keys_of_deleted(*, tenant: Tenant, **_kwargs: Any) -> None:
    """Receiver of tenant_state_changed: the keys of a deleted tenant end with it.

    The tenant's trail is gone by then; that it was deleted stands in the platform's.
    """
    if tenant.state == TenantState.DELETED:
        with public_context():
            ApiKey.objects.filter(tenant_id=tenant.pk, revoked_at=None).update(
                revoked_at=timezone.now(), previous_until=None
            )


def _record(key: ApiKey, action: str, actor: str, detail: dict[str, Any]) -> None:
    """In the tenant's own trail, whoever acted: an operator's deed must be visible there too."""
    with tenant_context(key.tenant):
        record(action=action, actor=actor, target=str(key.id), detail={"name": key.name, **detail})
