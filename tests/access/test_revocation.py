"""Revocation with committed data: it must reach whoever has the key in a cache, at once."""

import time
from collections.abc import Callable
from typing import Any

from django.utils import timezone

from access.keys import limiter, selectors
from access.keys.models import ApiKey
from access.keys.secrets import digest, new_secret, prefix_of
from access.keys.selectors import CACHE_SECONDS, key_context
from access.keys.services import revoke_key
from tests.conftest import DemoTenant

Api = Callable[..., Any]
ACTOR = "user:admin"
ITEM = {"detector": "presidio", "output": [{"entity_type": "US_SSN", "score": 0.85}]}
OK = (200, "")
REFUSED = (401, "invalid_credentials")


def status(api: Api, secret: str) -> tuple[int, str]:
    answer = api("POST", "/map", secret, json=ITEM)
    return answer.status_code, answer.json().get("code", "")


def test_revocation_reaches_a_cached_key(api: Api, spare: DemoTenant) -> None:
    key = ApiKey.objects.get(prefix=prefix_of(spare.key))
    assert status(api, spare.key) == OK
    revoke_key(key=key, actor=ACTOR)
    assert status(api, spare.key) == REFUSED


def test_a_revocation_between_look_up_and_charge(
    api: Api, spare: DemoTenant, monkeypatch: Any
) -> None:
    """The key is read as active, then revoked, and only then the request is charged."""
    key = ApiKey.objects.get(prefix=prefix_of(spare.key))
    selectors.forget_cached_keys()
    charge = limiter.limiter.charge

    def revoked_meanwhile(wanted: Any) -> Any:
        revoke_key(key=key, actor=ACTOR)
        return charge(wanted)

    with monkeypatch.context() as patch:
        patch.setattr(limiter.limiter, "charge", revoked_meanwhile)
        assert status(api, spare.key) == REFUSED
    assert status(api, spare.key) == REFUSED


def test_a_stale_context_that_another_thread_put_back(api: Api, spare: DemoTenant) -> None:
    """A slow reader caches what it read before the revocation, after everybody forgot it."""
    assert status(api, spare.key) == OK
    stale = dict(selectors._cache)
    revoke_key(key=ApiKey.objects.get(prefix=prefix_of(spare.key)), actor=ACTOR)
    assert status(api, spare.key) == REFUSED
    selectors._cache.update(stale)
    assert key_context(spare.key) is not None
    assert status(api, spare.key) == REFUSED


def test_without_the_store_a_key_is_cached_for_seconds_only(
    spare: DemoTenant, monkeypatch: Any
) -> None:
    assert key_context(spare.key) is not None
    ApiKey.objects.filter(prefix=prefix_of(spare.key)).update(revoked_at=timezone.now())
    assert key_context(spare.key) is not None
    now = time.monotonic()
    monkeypatch.setattr(selectors.time, "monotonic", lambda: now + CACHE_SECONDS + 0.01)
    assert key_context(spare.key) is None


def test_made_up_keys_do_not_fill_the_memory(spare: DemoTenant) -> None:
    before = len(selectors._cache)
    for _ in range(50):
        assert key_context(new_secret()[1]) is None
    assert len(selectors._cache) == before
    assert digest(spare.key) not in selectors._cache
