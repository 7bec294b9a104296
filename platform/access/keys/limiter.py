"""Rate limits, shared by all processes through Redis or Valkey.

A sliding window: the count of this minute plus the part of the last minute's count that the
window still covers. One round trip checks the key and its tenant, counts the use of the key for
its daily statistics, and brings back the generation of the keys, by which a revocation reaches
every process at once.

Without the store each process keeps the limits by itself, so that /map goes on.
"""

import hashlib
import threading
import time
import uuid
from contextlib import suppress
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
_SCRIPT_SHA = hashlib.sha1(_SCRIPT.encode(), usedforsecurity=False).hexdigest()


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
def store() -> redis.Redis:
    """The shared store. It must answer at once or count as away."""
    return redis.Redis.from_url(
        settings.REDIS_URL,
        socket_timeout=0.25,
        socket_connect_timeout=0.25,
        retry=Retry(NoBackoff(), 0),
        decode_responses=True,
    )


@dataclass(frozen=True, slots=True)
class Charge:
    """What is to be counted: `cost` items for a key and its tenant, against limits a minute."""

    key_id: uuid.UUID
    tenant_id: uuid.UUID
    cost: int
    key_limit: int
    tenant_limit: int


class Limiter:
    """Charges items to a key and its tenant."""

    def __init__(self) -> None:
        self._away_until = 0.0
        self._local: dict[tuple[str, int], int] = {}
        self._lock = threading.Lock()
        self._thread = threading.local()

    def charge(self, charge: Charge) -> Verdict:
        """Count the items, or refuse them all. Never raises."""
        now = time.time()
        window, passed = divmod(now, WINDOW)
        weight = 1 - passed / WINDOW
        raw: list[Any] | None = None
        if now >= self._away_until:
            try:
                raw = self._ask(charge, int(window), weight)
            except (redis.RedisError, OSError):
                self._store_away(now)
        if raw is None:
            raw = self._count_locally(charge, int(window), weight)
        return _verdict(raw, charge, reset=int(WINDOW - passed) + 1)

    def _ask(self, charge: Charge, window: int, weight: float) -> list[Any]:
        key, tenant = f"pillars:rl:k:{charge.key_id}:", f"pillars:rl:t:{charge.tenant_id}:"
        day = time.strftime("%Y%m%d", time.gmtime())
        args = (
            6, f"{key}{window}", f"{key}{window - 1}", f"{tenant}{window}",
            f"{tenant}{window - 1}", GENERATION, USE_KEY, charge.cost, charge.key_limit,
            charge.tenant_limit, weight, f"{charge.tenant_id}:{charge.key_id}:{day}",
        )  # fmt: skip
        try:
            answer = self._command("EVALSHA", _SCRIPT_SHA, *args)
        except redis.exceptions.NoScriptError:
            answer = self._command("EVAL", _SCRIPT, *args)
        if self._away_until:
            self._away_until = 0.0
            self._local.clear()
            log.info("rate_limit_store_back")
            metrics.BROKER_UP.set(1)
        return list(answer)

    def _command(self, *words: Any) -> Any:
        """One command on this thread's own connection: the pool costs as much as the answer.

        A connection that was in use may have died with a store that is back long since: once more
        on a new one. At worst a request is counted twice.
        """
        connection = getattr(self._thread, "connection", None)
        if connection is not None:
            with suppress(redis.exceptions.ConnectionError):
                return self._exchange(connection, words)
        connection = self._thread.connection = store().connection_pool.make_connection()
        return self._exchange(connection, words)

    @staticmethod
    def _exchange(connection: Any, words: tuple[Any, ...]) -> Any:
        try:
            connection.send_command(*words)
            return connection.read_response()
        except redis.exceptions.ResponseError:
            raise
        except BaseException:
            # Half a command may be on the wire: never reuse that connection.
            connection.disconnect()
            raise

    def _store_away(self, now: float) -> None:
        if not self._away_until:
            log.warning("rate_limit_store_away")
        self._away_until = now + _PAUSE_SECONDS
        metrics.BROKER_UP.set(0)

    def _count_locally(self, charge: Charge, window: int, weight: float) -> list[Any]:
        limits = {str(charge.key_id): charge.key_limit, str(charge.tenant_id): charge.tenant_limit}
        with self._lock:
            for stale in [k for k in self._local if k[1] < window - 1]:
                del self._local[stale]
            left = []
            for name, limit in limits.items():
                used = self._local.get((name, window), 0)
                used += int(self._local.get((name, window - 1), 0) * weight)
                left.append(limit - used - charge.cost)
            refused = next((i + 1 for i, value in enumerate(left) if value < 0), 0)
            if not refused:
                for name in limits:
                    self._local[name, window] = self._local.get((name, window), 0) + charge.cost
        return [refused, *left, None]


def _verdict(raw: list[Any], charge: Charge, *, reset: int) -> Verdict:
    refused, left_key, left_tenant, generation = raw
    tenant_is_tighter = refused == 2 or (not refused and left_tenant < left_key)
    left = left_tenant if tenant_is_tighter else left_key
    return Verdict(
        allowed=refused == 0,
        scope="tenant" if tenant_is_tighter else "key",
        limit=charge.tenant_limit if tenant_is_tighter else charge.key_limit,
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
