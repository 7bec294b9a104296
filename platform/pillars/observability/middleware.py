"""The outermost middleware: request id, one log line, metrics."""

import re
import sys
import time
from collections.abc import Callable
from typing import Any

import structlog
import structlog.contextvars
import uuid_utils
from django.conf import settings
from django.core.signals import got_request_exception
from django.dispatch import receiver
from django.http import HttpRequest, HttpResponse

from pillars.observability import metrics

# A UUID or a W3C trace id. Ids are logged and stored: a freer form could hold anybody's number.
_CLIENT_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]{32}", re.IGNORECASE)
# A client may make methods up; the values of a label must stay few.
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
log = structlog.get_logger("pillars.request")


@receiver(got_request_exception, dispatch_uid="pillars.unhandled")
def log_unhandled(**_kwargs: Any) -> None:
    """Type and place of an exception that nothing has handled; pillars.errors answers it."""
    log.error("unhandled", exc_info=sys.exception())


class RequestMiddleware:
    """Gives each request an id: the caller's, if it has the form of one."""

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        self.get_response = get_response
        self.log_every_request = settings.CONFIG.observability.log_level in ("DEBUG", "INFO")

    def __call__(self, request: HttpRequest) -> HttpResponse:
        started = time.perf_counter()
        given = request.META.get("HTTP_X_REQUEST_ID", "")
        request_id = given if _CLIENT_ID.fullmatch(given) else str(uuid_utils.uuid7())
        request.request_id = request_id  # type: ignore[attr-defined]
        with structlog.contextvars.bound_contextvars(request_id=request_id):
            response: HttpResponse = self.get_response(request)
        response.headers["X-Request-ID"] = request_id
        response.headers.setdefault("X-Content-Type-Options", "nosniff")
        response.headers.setdefault("Cache-Control", "no-store")  # static files say otherwise
        if not response.streaming and not response.has_header("Content-Length"):
            response.headers["Content-Length"] = str(len(response.content))
        elapsed = time.perf_counter() - started
        match = request.resolver_match
        route = f"/{match.route}" if match is not None else "unmatched"
        method = request.method if request.method in _METHODS else "other"
        metrics.REQUESTS.labels(route, method, response.status_code).inc()
        metrics.LATENCY.labels(route).observe(elapsed)
        if self.log_every_request:
            log.info(
                "request",
                request_id=request_id,
                route=route,
                method=method,
                status=response.status_code,
                duration_ms=round(elapsed * 1000, 2),
                tenant=getattr(request, "tenant_slug", None),
                **getattr(request, "log_fields", {}),
            )
        return response
