"""RFC 9457 problem details: the one table of error codes, and how they are answered.

`code` is stable: clients may branch on it. `detail` says what to do and never quotes the request.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
import structlog
from django.core.exceptions import PermissionDenied
from django.db import Error as DatabaseError
from django.http import Http404, HttpRequest, HttpResponse
from rest_framework import exceptions as drf
from rest_framework.response import Response

from pillars.observability import metrics

CONTENT_TYPE = "application/problem+json"
log = structlog.get_logger("pillars.problems")


@dataclass(frozen=True, slots=True)
class ProblemType:
    """One row of the table of codes."""

    status: int
    title: str
    detail: str


TABLE: dict[str, ProblemType] = {
    "invalid_json": ProblemType(400, "Not JSON", "Send one JSON document in UTF-8."),
    "invalid_cursor": ProblemType(
        400, "Invalid cursor", "Take `cursor` from the `next` address of the page before."
    ),
    "missing_credentials": ProblemType(
        401, "No API key", "Send `Authorization: Bearer <key>` or `X-API-Key: <key>`."
    ),
    "invalid_credentials": ProblemType(
        401, "API key not accepted", "The key is unknown, expired or revoked. Use another key."
    ),
    "insufficient_scope": ProblemType(
        403, "Scope missing", "The key lacks the scope that this request needs."
    ),
    "tenant_mismatch": ProblemType(
        403,
        "Key of another tenant",
        "The host, `X-Tenant-ID` or `tenant_id` names another tenant than the API key does.",
    ),
    "tenant_inactive": ProblemType(
        403, "Tenant not active", "The tenant is suspended or not ready yet. Ask the operator."
    ),
    "forbidden": ProblemType(403, "Forbidden", "This is not allowed for this caller."),
    "not_found": ProblemType(404, "Not found", "There is nothing at this address."),
    "unknown_host": ProblemType(
        404, "Unknown host", "No tenant is reached at this host name. Check the address."
    ),
    "method_not_allowed": ProblemType(
        405, "Method not allowed", "See the `Allow` header for the methods that work here."
    ),
    "not_acceptable": ProblemType(406, "Not acceptable", "Accept `application/json`."),
    "idempotency_conflict": ProblemType(
        409,
        "Request still running",
        "A request with this Idempotency-Key is being answered. Send it again in a moment.",
    ),
    "not_ready": ProblemType(
        409, "Not ready", "The report is not finished. Ask again when its state is `done`."
    ),
    "payload_too_large": ProblemType(
        413, "Request too large", "Send fewer or smaller items in one request."
    ),
    "item_too_large": ProblemType(
        413, "Item too large", "The item has more bytes than the limit for one item."
    ),
    "unsupported_media_type": ProblemType(
        415, "Unsupported media type", "Send `Content-Type: application/json`."
    ),
    "validation_failed": ProblemType(
        422, "Request not valid", "Correct the fields named in `errors`."
    ),
    "too_deep": ProblemType(
        422, "Nested too deeply", "The item has more levels of objects and arrays than allowed."
    ),
    "invalid_idempotency_key": ProblemType(
        422, "Idempotency-Key not valid", "Use 1 to 255 printable ASCII characters."
    ),
    "idempotency_mismatch": ProblemType(
        422,
        "Idempotency-Key used before",
        "This Idempotency-Key came with another body. Use a new key for a new request.",
    ),
    "rate_limited": ProblemType(
        429, "Too many requests", "Wait for the seconds in `Retry-After`, then send it again."
    ),
    "internal_error": ProblemType(
        500, "Internal error", "Send it again; if it stays, report the request id."
    ),
    "database_unavailable": ProblemType(
        503,
        "Database unavailable",
        "Send the same request again in a moment; with an Idempotency-Key nothing is done twice.",
    ),
    "knowledge_unavailable": ProblemType(
        503, "No taxonomy loaded", "An operator must run `manage.py load_config` first."
    ),
}


class Problem(drf.APIException):
    """Raise this anywhere below a view: it becomes the problem with that code."""

    def __init__(
        self,
        code: str,
        *,
        detail: str | None = None,
        errors: Sequence[Mapping[str, str]] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        kind = TABLE[code]
        super().__init__(detail=detail or kind.detail, code=code)
        self.code = code
        self.status_code = kind.status
        self.text = detail or kind.detail
        self.errors = errors
        self.headers = dict(headers or {})


def body(
    code: str,
    *,
    detail: str | None = None,
    errors: Sequence[Mapping[str, str]] = (),
    request_id: str | None = None,
) -> dict[str, Any]:
    """The members of one problem object."""
    kind = TABLE[code]
    problem: dict[str, Any] = {
        "type": f"urn:pillars:problem:{code}",
        "title": kind.title,
        "status": kind.status,
        "detail": detail or kind.detail,
        "code": code,
    }
    if errors:
        problem["errors"] = list(errors)
    if request_id:
        problem["request_id"] = request_id
    return problem


def response(
    request: HttpRequest,
    code: str,
    *,
    detail: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> HttpResponse:
    """A problem as a plain Django response, for middleware and error handlers."""
    metrics.PROBLEMS.labels(code).inc()
    request_id = getattr(request, "request_id", None)
    answer = HttpResponse(
        orjson.dumps(body(code, detail=detail, request_id=request_id)),
        status=TABLE[code].status,
        content_type=CONTENT_TYPE,
    )
    for name, value in {**default_headers(code), **(headers or {})}.items():
        answer.headers[name] = value
    return answer


def default_headers(code: str) -> dict[str, str]:
    """Header fields that every answer with this code has."""
    status = TABLE[code].status
    if status == 401:
        return {"WWW-Authenticate": 'Bearer realm="pillars"'}
    if status == 503:
        return {"Retry-After": "2"}
    return {}


_BY_EXCEPTION: tuple[tuple[type[Exception], str], ...] = (
    (drf.ParseError, "invalid_json"),
    (drf.NotAuthenticated, "missing_credentials"),
    (drf.AuthenticationFailed, "invalid_credentials"),
    (drf.PermissionDenied, "forbidden"),
    (PermissionDenied, "forbidden"),
    (drf.NotFound, "not_found"),
    (Http404, "not_found"),
    (drf.MethodNotAllowed, "method_not_allowed"),
    (drf.NotAcceptable, "not_acceptable"),
    (drf.UnsupportedMediaType, "unsupported_media_type"),
    (drf.Throttled, "rate_limited"),
    (drf.ValidationError, "validation_failed"),
    (DatabaseError, "database_unavailable"),
)


def exception_handler(exception: Exception, context: Mapping[str, Any]) -> Response:
    """DRF's exception handler: every exception becomes a problem; none shows its text."""
    request = context["request"]
    request_id = getattr(request, "request_id", None)
    if isinstance(exception, Problem):
        code, detail, errors, headers = (
            exception.code,
            exception.text,
            exception.errors,
            exception.headers,
        )
    else:
        code = next((c for kind, c in _BY_EXCEPTION if isinstance(exception, kind)), "")
        detail, errors, headers = None, (), {}
        if not code:
            code = "internal_error"
        if TABLE[code].status >= 500:
            log.error("unhandled", code=code, request_id=request_id, exc_info=exception)
    metrics.PROBLEMS.labels(code).inc()
    answer = Response(
        body(code, detail=detail, errors=errors, request_id=request_id),
        status=TABLE[code].status,
        content_type=CONTENT_TYPE,
    )
    for name, value in {**default_headers(code), **headers}.items():
        answer[name] = value
    return answer
