"""Charges a request's items against the limits of its key and tenant."""

from typing import Any

from django.conf import settings
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle

from access.keys.authentication import ApiKeyAuthentication
from access.keys.limiter import Charge, Verdict, limiter
from access.keys.selectors import KeyContext, note_generation
from pillars.observability import metrics
from pillars.problems import Problem

LIMITS = settings.CONFIG.rate_limits


class ItemThrottle(BaseThrottle):
    """One request costs one item, unless the view says otherwise (`item_cost(request)`)."""

    def allow_request(self, request: Request, view: Any) -> bool:
        """Always True, or a Problem with Retry-After: DRF's own answer would hide the headers."""
        caller = request.auth
        if not isinstance(caller, KeyContext):
            return True
        cost: int = view.item_cost(request) if hasattr(view, "item_cost") else 1
        verdict = limiter.charge(
            Charge(
                key_id=caller.key_id,
                tenant_id=caller.tenant.id,
                cost=cost,
                key_limit=caller.items_per_minute or LIMITS.key_items_per_minute,
                tenant_limit=LIMITS.tenant_items_per_minute,
            )
        )
        _recheck_if_keys_changed(request, caller, verdict)
        headers = rate_limit_headers(verdict)
        request._request.rate_limit_headers = headers  # type: ignore[attr-defined]
        if verdict.allowed:
            return True
        metrics.RATE_LIMITED.labels(verdict.scope).inc()
        raise Problem(
            "rate_limited",
            detail=_refusal(cost, verdict),
            headers={**headers, "Retry-After": str(verdict.reset)},
        )


def _recheck_if_keys_changed(request: Request, caller: KeyContext, verdict: Verdict) -> None:
    """A key somewhere was revoked since this one was looked up: look it up again."""
    if verdict.generation is None or verdict.generation == caller.generation:
        return
    note_generation(verdict.generation)
    ApiKeyAuthentication().find(request, fresh=True)


def _refusal(cost: int, verdict: Verdict) -> str:
    if cost > verdict.limit:
        return (
            f"The request has {cost} items and this {verdict.scope} may send {verdict.limit} "
            "a minute. Send smaller batches."
        )
    return (
        f"This {verdict.scope} may send {verdict.limit} items a minute. "
        f"Wait {verdict.reset} seconds, then send it again."
    )


def rate_limit_headers(verdict: Verdict) -> dict[str, str]:
    """RateLimit fields: draft-ietf-httpapi-ratelimit-headers-10, and its older triple."""
    return {
        "RateLimit-Policy": f'"{verdict.scope}";q={verdict.limit};w=60',
        "RateLimit": f'"{verdict.scope}";r={verdict.remaining};t={verdict.reset}',
        "RateLimit-Limit": str(verdict.limit),
        "RateLimit-Remaining": str(verdict.remaining),
        "RateLimit-Reset": str(verdict.reset),
    }
