"""How much a key is used: counted beside the limits, written into its tenant every minute."""

import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from typing import Any

import pytest

from access.keys import tasks
from access.keys.limiter import USE_KEY, store
from access.keys.models import ApiKey
from access.keys.tasks import flush_key_use
from access.usage.models import KeyUse
from access.usage.services import add_use
from tenants.context import PUBLIC, current_schema, tenant_context
from tenants.services import suspend_tenant
from tests.conftest import DemoTenant

pytestmark = pytest.mark.django_db
Api = Callable[..., Any]
ITEM = {"detector": "presidio", "output": [{"entity_type": "US_SSN", "score": 0.85}]}
PENDING = f"{USE_KEY}:pending"


@pytest.fixture(autouse=True)
def counters() -> Iterator[None]:
    store().delete(USE_KEY, PENDING)
    yield
    store().delete(USE_KEY, PENDING)


def used(demo: DemoTenant) -> list[tuple[date, int, int]]:
    key = ApiKey.objects.get(prefix=demo.key.split("_")[1])
    with tenant_context(demo.tenant):
        rows = KeyUse.objects.filter(key_id=key.pk)
        return [(row.day, row.requests, row.items) for row in rows]


def test_requests_and_items(api: Api, acme: DemoTenant, globex: DemoTenant) -> None:
    api("POST", "/map", acme.key, json=ITEM)
    api("POST", "/map/batch", acme.key, json={"requests": [ITEM] * 5})
    api("GET", "/events", acme.key)
    api("POST", "/map", globex.key, json=ITEM)
    assert flush_key_use() == 2
    today = datetime.now(UTC).date()
    assert used(acme) == [(today, 3, 7)]
    assert used(globex) == [(today, 1, 1)]
    assert current_schema() == PUBLIC
    assert flush_key_use() == 0
    api("POST", "/map", acme.key, json=ITEM)
    flush_key_use()
    assert used(acme) == [(today, 4, 8)]


def test_refused_requests_do_not_count(api: Api, acme: DemoTenant) -> None:
    ApiKey.objects.filter(prefix=acme.key.split("_")[1]).update(items_per_minute=1)
    for _ in range(3):
        api("POST", "/map", acme.key, json=ITEM)
    flush_key_use()
    assert [row[1:] for row in used(acme)] == [(1, 1)]


def test_days_are_apart(acme: DemoTenant) -> None:
    key = ApiKey.objects.get(prefix=acme.key.split("_")[1])
    for day, count in (("20260131", 2), ("20260201", 3)):
        for kind in ("r", "i"):
            store().hset(USE_KEY, f"{acme.tenant.id}:{key.pk}:{day}:{kind}", count)
    assert flush_key_use() == 2
    assert used(acme) == [(date(2026, 2, 1), 3, 3), (date(2026, 1, 31), 2, 2)]


def test_a_worker_that_dies_loses_nothing(
    api: Api, acme: DemoTenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has taken the counters away and not yet written them; more requests come meanwhile."""
    api("POST", "/map", acme.key, json=ITEM)

    def die(**_kwargs: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(tasks, "add_use", die)
        with pytest.raises(KeyboardInterrupt):
            flush_key_use()
    assert store().exists(PENDING)
    api("POST", "/map", acme.key, json=ITEM)
    flush_key_use()
    flush_key_use()
    assert [row[1:] for row in used(acme)] == [(2, 2)]


def test_a_tenant_that_is_gone_does_not_hold_the_others_up(api: Api, acme: DemoTenant) -> None:
    store().hset(USE_KEY, f"{uuid.uuid4()}:{uuid.uuid4()}:20260101:r", 9)
    api("POST", "/map", acme.key, json=ITEM)
    assert flush_key_use() == 1
    assert [row[1:] for row in used(acme)] == [(1, 1)]
    assert not store().exists(USE_KEY, PENDING)


def test_a_suspended_tenants_last_minute_counts(api: Api, acme: DemoTenant) -> None:
    api("POST", "/map", acme.key, json=ITEM)
    suspend_tenant(tenant=acme.tenant, actor="user:operator", reason="x")
    flush_key_use()
    assert [row[1:] for row in used(acme)] == [(1, 1)]


def test_adding_twice_adds(acme: DemoTenant) -> None:
    key = uuid.uuid4()
    with tenant_context(acme.tenant):
        for _ in range(2):
            add_use(rows=[(key, date(2026, 1, 1), 2, 30)])
        row = KeyUse.objects.get(key_id=key)
    assert (row.requests, row.items) == (4, 60)
