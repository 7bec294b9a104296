"""Reads of the tenant register, with the short cache that the request path needs."""

import hashlib
import hmac
import time
import uuid
from dataclasses import dataclass
from functools import lru_cache

from django.conf import settings
from django.db.models import QuerySet

from tenants.context import public_context
from tenants.models import Domain, Tenant, TenantState

_CACHE_SECONDS = 2.0
_MAX_HOSTS = 10_000


@dataclass(frozen=True, slots=True)
class TenantRef:
    """What a request needs to know of its tenant; cheap to keep, safe to share between threads."""

    id: uuid.UUID
    slug: str
    name: str
    schema_name: str
    state: str

    @property
    def is_active(self) -> bool:
        """Whether requests for this tenant are served."""
        return self.state == TenantState.ACTIVE

    @classmethod
    def of(cls, tenant: Tenant) -> "TenantRef":
        """The reference to a register row."""
        return cls(tenant.id, tenant.slug, tenant.name, tenant.schema_name, tenant.state)


_by_host: dict[str, tuple[float, TenantRef | None]] = {}


def tenant_by_host(host: str) -> TenantRef | None:
    """The tenant reached at this host name (no port), at most two seconds old."""
    now = time.monotonic()
    cached = _by_host.get(host)
    if cached is not None and now - cached[0] < _CACHE_SECONDS:
        return cached[1]
    with public_context():
        domain = Domain.objects.select_related("tenant").filter(domain=host).first()
    tenant = TenantRef.of(domain.tenant) if domain is not None else None
    if len(_by_host) >= _MAX_HOSTS:  # made-up host names must not fill the memory
        _by_host.clear()
    _by_host[host] = (now, tenant)
    return tenant


def forget_hosts() -> None:
    """Drop the cache of host names of this process."""
    _by_host.clear()


def active_tenants() -> QuerySet[Tenant]:
    """Tenants that are served. Evaluate it in the public schema."""
    return Tenant.objects.filter(state=TenantState.ACTIVE).order_by("slug")


@lru_cache(maxsize=4096)
def tenant_hash_key(tenant_id: uuid.UUID) -> bytes:
    """The key of a tenant's keyed hashes: unlinkable between tenants, stable within one.

    HMAC-SHA-256 of the tenant's id under the service's secret key (RFC 2104).
    """
    secret = settings.SECRET_KEY.encode()
    return hmac.digest(secret, b"pillars/tenant-hash/" + tenant_id.bytes, hashlib.sha256)
