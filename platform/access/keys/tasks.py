"""Writes the counted use of keys into the tenants' schemas."""

import uuid
from collections import defaultdict
from collections.abc import Mapping
from datetime import date, datetime
from typing import Any

import structlog
from celery import shared_task

from access.keys.limiter import USE_KEY, store
from access.usage.services import add_use
from tenants.context import reset, tenant_context
from tenants.models import Tenant, TenantState

_PENDING = f"{USE_KEY}:pending"
_WITH_TABLES = (TenantState.ACTIVE, TenantState.SUSPENDED)
log = structlog.get_logger("access.usage")


@shared_task(name="keys.flush_use")
def flush_key_use() -> int:
    """Move the counters of the store into the tenants' tables. Returns how many rows it wrote.

    The counters are renamed first and deleted last: a worker that dies in between counts the
    same minute again rather than losing it.
    """
    reset()
    client = store()
    if not client.exists(_PENDING):
        if not client.exists(USE_KEY):
            return 0
        client.rename(USE_KEY, _PENDING)
    by_tenant = _parse(dict(client.hgetall(_PENDING)))
    written = 0
    # Also of a tenant that was suspended in this minute: its table is still there.
    for tenant in Tenant.objects.filter(pk__in=by_tenant, state__in=_WITH_TABLES):
        rows = by_tenant[tenant.id]
        with tenant_context(tenant):
            add_use(
                rows=[(key, day, counts["r"], counts["i"]) for (key, day), counts in rows.items()]
            )
        client.hdel(_PENDING, *_fields(tenant.id, rows))
        written += len(rows)
    client.delete(_PENDING)
    return written


Rows = dict[tuple[uuid.UUID, date], dict[str, int]]


def _parse(fields: Mapping[Any, Any]) -> dict[uuid.UUID, Rows]:
    found: dict[uuid.UUID, Rows] = defaultdict(dict)
    for field, value in fields.items():
        tenant, key, day, kind = field.split(":")
        parsed = datetime.strptime(day, "%Y%m%d").date()
        row = found[uuid.UUID(tenant)].setdefault((uuid.UUID(key), parsed), {"r": 0, "i": 0})
        row[kind] = int(value)
    return found


def _fields(tenant_id: uuid.UUID, rows: Rows) -> list[str]:
    return [f"{tenant_id}:{key}:{day:%Y%m%d}:{kind}" for key, day in rows for kind in ("i", "r")]
