"""Rate limits, shared by all processes through Redis or Valkey.

A sliding window: the count of this minute plus the part of the last minute's count that the
window still covers. One round trip checks the key and its tenant, counts the use of the key for
its daily statistics, and brings back the generation of the keys, by which a revocation reaches
every process at once.

Without the store each process keeps the limits by itself, so that /map goes on.
"""

import threading
import time
import uuid
from dataclasses import dataclass
from functools import cache
from typing import Any

import redis
import structlog
from django.conf import settings
from redis.backoff import NoBackoff
from redis.retry import Retry

from access.keys.selectors import forget_cached_keys
from pillars.observability import metrics

WINDOW = 60
GENERATION = "pillars:keys:generation"
USE_KEY = "pillars:keys:use"
_PAUSE_SECONDS = 1.0
log = structlog.get_logger("access.limiter")

# KEYS: this and last window of the key, of the tenant; generation; use counters.
# ARGV: cost, limit of the key, limit of the tenant, weight of the last window, use field.
_SCRIPT = """
local function level(now_key, last_key)
  return tonumber(redis.call('GET', now_key) or '0')
       + tonumber(redis.call('GET', last_key) or '0') * tonumber(ARGV[4])
end
local cost = tonumber(ARGV[1])
local left_key = tonumber(ARGV[2]) - level(KEYS[1], KEYS[2]) - cost
local left_tenant = tonumber(ARGV[3]) - level(KEYS[3], KEYS[4]) - cost
local generation = redis.call('GET', KEYS[5]) or '0'
if left_key < 0 then return {1, math.floor(left_key), math.floor(left_tenant), generation} end
if left_tenant < 0 then return {2, math.floor(left_key), math.floor(left_tenant), generation} end
if redis.call('INCRBY', KEYS[1], cost) == cost then redis.call('EXPIRE', KEYS[1], 130) end
if redis.call('INCRBY', KEYS[3], cost) == cost then redis.call('EXPIRE', KEYS[3], 130) end
redis.call('HINCRBY', KEYS[6], ARGV[5] .. ':i', cost)
redis.call('HINCRBY', KEYS[6], ARGV[5] .. ':r', 1)
return {0, math.floor(left_key), math.floor(left_tenant), generation}
"""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer of the limits. `remaining` and `limit` are in items, `reset` in seconds."""

    allowed: bool
    scope: str
    limit: int
    remaining: int
    reset: int
    generation: str | None


@cache
def store() -> "redis.Redis[Any]":
    """The shared store. It must answer at once or count as away."""
    return redis.Redis.from_url(
        settings.REDIS_URL,
        socket_timeout=0.25,
        socket_connect_timeout=0.25,
        retry=Retry(NoBackoff(), 0),
        decode_responses=True,
    )


class Limiter:
    """Charges items to a key and its tenant."""

    def __init__(self) -> None:
        self._away_until = 0.0
        self._local: dict[tuple[str, int], int] = {}
        self._lock = threading.Lock()
        self._sha = ""

    def charge(
        self, *, key_id: uuid.UUID, tenant_id: uuid.UUID, cost: int, key_limit: int,
        tenant_limit: int,
    ) -> Verdict:  # fmt: skip
        """Count `cost` items, or refuse them all. Never raises."""
        now = time.time()
        window, passed = divmod(now, WINDOW)
        weight = 1 - passed / WINDOW
        reset = int(WINDOW - passed) + 1
        if now >= self._away_until:
            try:
                raw = self._ask(key_id, tenant_id, int(window), cost, key_limit, tenant_limit, weight)
            except (redis.RedisError, OSError):
                self._store_away(now)
            else:
                return _verdict(raw, key_limit, tenant_limit, reset)
        return self._charge_locally(
            str(key_id), str(tenant_id), int(window), cost, key_limit, tenant_limit, weight, reset
        )

    def _ask(
        self, key_id: uuid.UUID, tenant_id: uuid.UUID, window: int, cost: int, key_limit: int,
        tenant_limit: int, weight: float,
    ) -> list[Any]:  # fmt: skip
        key, tenant = f"pillars:rl:k:{key_id}:", f"pillars:rl:t:{tenant_id}:"
        day = time.strftime("%Y%m%d", time.gmtime())
        args = (
            6, f"{key}{window}", f"{key}{window - 1}", f"{tenant}{window}",
            f"{tenant}{window - 1}", GENERATION, USE_KEY, cost, key_limit, tenant_limit, weight,
            f"{tenant_id}:{key_id}:{day}",
        )  # fmt: skip
        client = store()
        try:
            if self._sha:
                answer = client.execute_command("EVALSHA", self._sha, *args)
            else:
                raise redis.exceptions.NoScriptError
        except redis.exceptions.NoScriptError:
            self._sha = str(client.script_load(_SCRIPT))
            answer = client.execute_command("EVALSHA", self._sha, *args)
        if self._away_until:
            self._away_until = 0.0
            self._local.clear()
            log.info("rate_limit_store_back")
        metrics.BROKER_UP.set(1)
        return list(answer)

    def _store_away(self, now: float) -> None:
        if not self._away_until:
            log.warning("rate_limit_store_away")
        self._away_until = now + _PAUSE_SECONDS
        metrics.BROKER_UP.set(0)

    def _charge_locally(
        self, key: str, tenant: str, window: int, cost: int, key_limit: int, tenant_limit: int,
        weight: float, reset: int,
    ) -> Verdict:  # fmt: skip
        with self._lock:
            for stale in [k for k in self._local if k[1] < window - 1]:
                del self._local[stale]
            left = []
            for name, limit in ((key, key_limit), (tenant, tenant_limit)):
                used = self._local.get((name, window), 0)
                used += int(self._local.get((name, window - 1), 0) * weight)
                left.append(limit - used - cost)
            refused = next((i + 1 for i, value in enumerate(left) if value < 0), 0)
            if not refused:
                for name in (key, tenant):
                    self._local[name, window] = self._local.get((name, window), 0) + cost
        return _verdict([refused, *left, None], key_limit, tenant_limit, reset)


def _verdict(raw: list[Any], key_limit: int, tenant_limit: int, reset: int) -> Verdict:
    refused, left_key, left_tenant, generation = raw
    tenant_is_tighter = refused == 2 or (not refused and left_tenant < left_key)
    left = left_tenant if tenant_is_tighter else left_key
    return Verdict(
        allowed=refused == 0,
        scope="tenant" if tenant_is_tighter else "key",
        limit=tenant_limit if tenant_is_tighter else key_limit,
        remaining=max(0, int(left)),
        reset=reset,
        generation=generation,
    )


limiter = Limiter()


def forget_keys(**_kwargs: object) -> None:
    """Make every process look its keys up again: call it after a revocation or suspension."""
    forget_cached_keys()
    try:
        store().incr(GENERATION)
    except (redis.RedisError, OSError):
        # Each process drops a cached key after selectors.CACHE_SECONDS by itself.
        log.warning("key_generation_not_published")
