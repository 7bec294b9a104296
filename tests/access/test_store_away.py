"""The shared store of the limits is really stopped, killed and started again."""

import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from access.keys import limiter as module
from access.keys import throttling
from access.keys.limiter import GENERATION, Charge, Limiter, Verdict, forget_keys, store
from access.keys.models import ApiKey
from deploy.local.broker import EmbeddedBroker
from deploy.local.processes import wait_until
from pillars.observability import metrics
from tests.conftest import DemoTenant

Api = Callable[..., Any]
ITEM = {"detector": "presidio", "output": [{"entity_type": "US_SSN", "score": 0.85}]}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedBroker]:
    place: Path = tmp_path_factory.mktemp("store")
    broker = EmbeddedBroker(place / "broker")
    broker.start()
    yield broker
    broker.delete()


@pytest.fixture
def limiter(
    server: EmbeddedBroker, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Limiter]:
    """A limiter of its own, on a store of its own, also for the API."""
    settings.REDIS_URL = server.url
    store.cache_clear()
    made = Limiter()
    monkeypatch.setattr(module, "_PAUSE_SECONDS", 0.2)
    monkeypatch.setattr(throttling, "limiter", made)
    yield made
    store.cache_clear()


def charge(limiter: Limiter, key: int = 1, limit: int = 1_000_000) -> Verdict:
    return limiter.charge(
        Charge(
            key_id=uuid.UUID(int=key), tenant_id=uuid.UUID(int=1000 + key), cost=1, key_limit=limit,
            tenant_limit=10_000_000,
        )
    )  # fmt: skip


def is_up() -> bool:
    """What the metric says."""
    return metrics.BROKER_UP._value.get() == 1  # type: ignore[attr-defined]


class Callers:
    """Threads that stay, as the web server's do, each with its own connection."""

    def __init__(self, count: int, limiter: Limiter) -> None:
        self._pools = [ThreadPoolExecutor(1) for _ in range(count)]
        self._limiter = limiter

    def all_charge(self) -> list[Verdict]:
        waiting = [pool.submit(charge, self._limiter) for pool in self._pools]
        return [future.result(30) for future in waiting]

    def close(self) -> None:
        for pool in self._pools:
            pool.shutdown()


def test_old_connections_do_not_make_a_store_that_is_back_look_away(
    server: EmbeddedBroker, limiter: Limiter
) -> None:
    callers = Callers(8, limiter)
    try:
        assert all(verdict.generation is not None for verdict in callers.all_charge())
        server.kill()
        assert all(verdict.generation is None for verdict in callers.all_charge())
        assert not is_up()
        server.start()
        assert wait_until(lambda: charge(limiter).generation is not None, 10)
        assert is_up()
        for _ in range(3):
            assert all(verdict.generation is not None for verdict in callers.all_charge())
            assert is_up()
    finally:
        callers.close()


def test_a_restart_between_two_requests_is_not_noticed(
    server: EmbeddedBroker, limiter: Limiter
) -> None:
    assert charge(limiter).generation is not None
    server.kill()
    server.start()
    assert charge(limiter).generation is not None


def test_scripts_that_the_store_has_forgotten_are_sent_again(
    server: EmbeddedBroker, limiter: Limiter
) -> None:
    assert charge(limiter, key=2, limit=3).remaining == 2
    store().script_flush()
    assert charge(limiter, key=2, limit=3).remaining == 1
    store().flushall()
    assert charge(limiter, key=2, limit=3).generation == "0"


@pytest.mark.django_db
def test_map_goes_on_within_the_limits_of_the_process(
    server: EmbeddedBroker, limiter: Limiter, api: Api, acme: DemoTenant
) -> None:
    ApiKey.objects.filter(prefix=acme.key.split("_")[1]).update(items_per_minute=4)

    def send() -> int:
        answer = api("POST", "/map", acme.key, json=ITEM)
        if answer.status_code == 429:
            assert int(answer.headers["Retry-After"]) > 0
        return int(answer.status_code)

    assert send() == 200
    server.stop()
    try:
        assert [send() for _ in range(5)] == [200] * 4 + [429]
        forget_keys()  # a revocation now is not published, and is no error
    finally:
        server.start()
    assert wait_until(lambda: charge(limiter).generation is not None, 10)
    assert [send() for _ in range(4)] == [200] * 3 + [429]
    before = int(store().get(GENERATION) or 0)
    forget_keys()
    assert int(store().get(GENERATION)) == before + 1
