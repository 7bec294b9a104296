"""The outermost middleware: request id, one log line, metrics, and the last net for errors."""

import re
import time
from collections.abc import Callable
from typing import Any

import structlog
import structlog.contextvars
import uuid_utils
from django.conf import settings
from django.db import Error as DatabaseError
from django.http import HttpRequest, HttpResponse

from pillars import problems
from pillars.observability import metrics

_CLIENT_ID = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]{7,63}$")
log = structlog.get_logger("pillars.request")


class RequestMiddleware:
    """Gives each request an id (the caller's, if it is a plain token) and answers what nobody did.

    An exception that nothing below has handled becomes a problem: 503 if the database is the
    cause, else 500. Its text is never sent and never logged.
    """

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        self.get_response = get_response
        self.log_every_request = settings.CONFIG.observability.log_level in ("DEBUG", "INFO")

    def __call__(self, request: HttpRequest) -> HttpResponse:
        started = time.perf_counter()
        given = request.META.get("HTTP_X_REQUEST_ID", "")
        request_id = given if _CLIENT_ID.match(given) else str(uuid_utils.uuid7())
        request.request_id = request_id  # type: ignore[attr-defined]
        with structlog.contextvars.bound_contextvars(request_id=request_id):
            response: HttpResponse = self.get_response(request)
        response.headers["X-Request-ID"] = request_id
        if not response.streaming and not response.has_header("Content-Length"):
            response.headers["Content-Length"] = str(len(response.content))
        elapsed = time.perf_counter() - started
        match = request.resolver_match
        route = f"/{match.route}" if match is not None else "unmatched"
        method = request.method or "-"
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
            )
        return response

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        """Called by Django for exceptions of plain views (the API has its own handler)."""
        if isinstance(exception, DatabaseError):
            log.error("database_error", exc_info=exception)
            return problems.response(request, "database_unavailable")
        return None
