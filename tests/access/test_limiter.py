"""Rate limits: exact across threads, charged by items, kept per process without the store."""

import threading
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis

from access.keys import limiter as module
from access.keys.limiter import Charge, Limiter, Verdict, store
from access.keys.models import ApiKey
from tests.conftest import DemoTenant

ITEM = {"detector": "llama-guard-3", "output": "unsafe\nS1"}
Api = Callable[..., Any]


@pytest.fixture(autouse=True)
def middle_of_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    """A window must not end in the middle of a test."""
    now = 1_800_000_000.0 // 60 * 60 + 20
    monkeypatch.setattr(module.time, "time", lambda: now)


@pytest.fixture(autouse=True)
def empty_counters() -> Iterator[None]:
    yield
    for key in store().scan_iter("pillars:rl:*"):
        store().delete(key)


def charge(limiter: Limiter, cost: int = 1, key_limit: int = 10, **more: Any) -> Verdict:
    ids = {"key_id": uuid.UUID(int=1), "tenant_id": uuid.UUID(int=2), "tenant_limit": 10_000}
    return limiter.charge(Charge(cost=cost, key_limit=key_limit, **{**ids, **more}))


def test_the_last_item_that_fits_passes_and_the_next_does_not() -> None:
    limiter = Limiter()
    assert [charge(limiter).allowed for _ in range(11)] == [True] * 10 + [False]


def test_a_batch_is_refused_whole_and_charged_nothing() -> None:
    limiter = Limiter()
    assert charge(limiter, cost=8).remaining == 2
    refused = charge(limiter, cost=3)
    assert (refused.allowed, refused.scope, refused.limit) == (False, "key", 10)
    assert charge(limiter, cost=2).allowed


def test_all_keys_of_a_tenant_share_the_tenants_limit() -> None:
    limiter = Limiter()
    first = charge(limiter, cost=6, key_limit=100, tenant_limit=10)
    assert (first.scope, first.remaining) == ("tenant", 4)
    second = charge(limiter, cost=5, key_limit=100, tenant_limit=10, key_id=uuid.UUID(int=9))
    assert (second.allowed, second.scope) == (False, "tenant")


def test_the_window_slides(monkeypatch: pytest.MonkeyPatch) -> None:
    limiter = Limiter()
    assert charge(limiter, cost=10).allowed
    now = module.time.time()
    # 20 s into the next minute two thirds of the last one still count: 10 * 2/3, so 3 are left.
    monkeypatch.setattr(module.time, "time", lambda: now + 60)
    assert not charge(limiter, cost=4).allowed
    assert charge(limiter, cost=3).allowed
    monkeypatch.setattr(module.time, "time", lambda: now + 180)
    assert charge(limiter, cost=10).allowed


def test_exact_with_many_threads() -> None:
    limiter, allowed = Limiter(), []

    def ask() -> None:
        allowed.extend(charge(limiter, key_limit=100).allowed for _ in range(40))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(allowed) == 100


class TestWithoutStore:
    @pytest.fixture
    def limiter(self, monkeypatch: pytest.MonkeyPatch) -> Limiter:
        """A limiter whose store listens nowhere."""
        away = redis.Redis.from_url("redis://127.0.0.1:1/0", socket_connect_timeout=0.1)
        monkeypatch.setattr(module, "store", lambda: away)
        return Limiter()

    def test_the_limits_hold_in_the_process(self, limiter: Limiter) -> None:
        verdicts = [charge(limiter) for _ in range(11)]
        assert [verdict.allowed for verdict in verdicts] == [True] * 10 + [False]
        assert verdicts[0].generation is None

    def test_an_absent_store_is_asked_once_a_second(
        self, limiter: Limiter, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asked: list[Any] = []
        inner = limiter._ask
        monkeypatch.setattr(limiter, "_ask", lambda *a: (asked.append(a), inner(*a))[1])
        for _ in range(5):
            charge(limiter)
        assert len(asked) == 1

    def test_the_store_is_used_again_when_it_is_back(
        self, limiter: Limiter, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        charge(limiter, cost=10)
        monkeypatch.undo()
        now = 1_800_000_000.0 // 60 * 60 + 22
        monkeypatch.setattr(module.time, "time", lambda: now)
        limiter._thread = threading.local()  # connections to the old address
        verdict = charge(limiter)
        assert verdict.allowed
        assert verdict.generation is not None


@pytest.mark.django_db
class TestOverHttp:
    @pytest.fixture
    def limited(self, acme: DemoTenant) -> str:
        """A key that may send five items a minute."""
        prefix = acme.key.split("_")[1]
        ApiKey.objects.filter(prefix=prefix).update(items_per_minute=5)
        return acme.key

    def test_headers_and_refusal(self, api: Api, limited: str) -> None:
        answer = api("POST", "/map", limited, json=ITEM)
        assert answer.headers["RateLimit-Limit"] == "5"
        assert answer.headers["RateLimit-Remaining"] == "4"
        assert answer.headers["RateLimit-Policy"] == '"key";q=5;w=60'
        assert answer.headers["RateLimit"].startswith('"key";r=4;t=')
        assert api("POST", "/map/batch", limited, json={"requests": [ITEM] * 4}).status_code == 200
        refused = api("POST", "/map", limited, json=ITEM)
        assert (refused.status_code, refused.json()["code"]) == (429, "rate_limited")
        assert 0 < int(refused.headers["Retry-After"]) <= 60
        assert refused.headers["RateLimit-Remaining"] == "0"

    def test_a_batch_larger_than_the_limit_says_so(self, api: Api, limited: str) -> None:
        answer = api("POST", "/map/batch", limited, json={"requests": [ITEM] * 6})
        assert answer.status_code == 429
        assert "smaller batches" in answer.json()["detail"]

    def test_made_up_headers_buy_nothing(self, api: Api, limited: str) -> None:
        statuses = [
            api(
                "POST", "/map", limited, json=ITEM, x_forwarded_for=f"10.0.0.{n}",
                x_real_ip=f"10.0.0.{n}", forwarded=f"for=10.0.0.{n}", x_request_id=f"request-{n}",
            ).status_code
            for n in range(7)
        ]  # fmt: skip
        assert statuses == [200] * 5 + [429] * 2

    def test_refused_items_are_not_stored(self, api: Api, limited: str, acme: DemoTenant) -> None:
        for _ in range(7):
            api("POST", "/map", limited, json=ITEM)
        page = api("GET", "/events", acme.read_key).json()
        assert len(page["results"]) == 5
