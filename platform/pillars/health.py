"""Liveness, readiness and metrics.

Ready means: this process can answer /map. The parts that /map needs decide the status code; the
others are named as degraded, because taking a web server out of service would not bring them back.
"""

import ctypes
import hmac
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import redis
from django.conf import settings
from django.db import Error as DatabaseError
from django.db import connection
from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_safe
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework.renderers import TemplateHTMLRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from access.keys.limiter import store
from mapping.chooser import current_chooser
from mapping.mode import MODES, mode_in_force
from mapping.resolver.types import ChooserError
from mapping.resolvers import why_not
from mapping.selectors import NoKnowledgeError, engine_in_force, versions_in_force
from mapping.serving.in_force import served_versions, serving_in_force
from mapping.serving.types import ServedModel
from mapping.versions import Served
from pillars.api.schema import open_problem_responses
from pillars.observability.metrics import exposition
from pillars.problems import response as problem

HEARTBEAT_KEY = "pillars:heartbeat"
HEARTBEAT_STALE_SECONDS = 45
REQUIRED = frozenset({"database", "knowledge"})


_LIVE = {"type": "object", "properties": {"status": {"const": "live"}}, "required": ["status"]}
_READY = {
    "type": "object",
    "required": ["status", "parts", "failed", "versions", "mode", "served"],
    "properties": {
        "status": {"enum": ["ready", "degraded", "unavailable"]},
        "parts": {"type": "object", "additionalProperties": {"type": "string"}},
        "failed": {"type": "array", "items": {"type": "string"}},
        "versions": {
            "type": ["object", "null"],
            "required": ["release", "taxonomy"],
            "properties": {"release": {"type": "integer"}, "taxonomy": {"type": "string"}},
            "description": "The knowledge in force; null while there is none",
        },
        "mode": {
            "enum": [*MODES, None],
            "description": "The mapping mode in force; null while this process does not know it",
        },
        "served": {
            "type": ["object", "null"],
            "required": ["live", "trial", "shadow"],
            "additionalProperties": {"type": ["string", "null"]},
            "description": "Versions of the language model: live, on trial, asked in the shadow; "
            "null while this process does not know them",
        },
    },
}


class HtmlRenderer(TemplateHTMLRenderer):
    """The API documentation page answers in HTML whatever the client accepts."""


class _OpenView(APIView):
    """For probes: no key, no limits."""

    authentication_classes = ()
    permission_classes = ()
    throttle_classes = ()


class LiveView(_OpenView):
    """Liveness."""

    @extend_schema(
        operation_id="health_live",
        tags=["Health"],
        summary="Whether the process answers",
        auth=[],
        responses={200: OpenApiResponse(_LIVE, "It does"), **open_problem_responses()},
    )
    def get(self, request: Request) -> Response:
        """Checks nothing else: a restart would not mend other parts."""
        return Response({"status": "live"})


class ReadyView(_OpenView):
    """Readiness."""

    @extend_schema(
        operation_id="health_ready",
        tags=["Health"],
        summary="Which parts work",
        description="`degraded` still answers /map; `failed` names the parts that do not work.",
        auth=[],
        responses={
            200: OpenApiResponse(_READY, "ready or degraded"),
            503: OpenApiResponse(_READY, "unavailable: /map cannot be answered"),
            **open_problem_responses(),
        },
    )
    def get(self, request: Request) -> Response:
        """Checks each part and names what fails: 200 `ready` or `degraded`, 503 `unavailable`."""
        parts = {name: check() for name, check in CHECKS.items()}
        failed = {name for name, state in parts.items() if state != "ok"}
        status = "unavailable" if failed & REQUIRED else "degraded" if failed else "ready"
        body = {
            "status": status, "parts": parts, "failed": sorted(failed), "versions": _versions(),
            "mode": _mode(), "served": _served(),
        }  # fmt: skip
        return Response(body, status=503 if status == "unavailable" else 200)


@require_safe
def metrics_view(request: HttpRequest) -> HttpResponse:
    """Prometheus' text format; behind `server.metrics_token` if that is set."""
    token = settings.CONFIG.server.metrics_token
    if token is not None:
        given = request.META.get("HTTP_AUTHORIZATION", "").removeprefix("Bearer ")
        if not hmac.compare_digest(given.encode(), token.get_secret_value().encode()):
            return problem(request, "missing_credentials", detail="Send the metrics token.")
    _mode()
    _served()  # both set gauges, also in a process that maps nothing just now
    body, content_type = exposition()
    return HttpResponse(body, content_type=content_type)


def _database() -> str:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except DatabaseError:
        connection.close()
        return "The database does not answer. Check DATABASE_URL and the server."
    return "ok"


def _knowledge() -> str:
    try:
        engine_in_force()
    except NoKnowledgeError as error:
        return str(error)
    except DatabaseError:
        return "The taxonomy cannot be read: the database does not answer."
    return "ok"


def _versions() -> dict[str, Any] | None:
    """The two that tell two installations apart at a glance; GET /versions has all of them."""
    try:
        versions = versions_in_force()
    except (NoKnowledgeError, DatabaseError):
        return None
    return {"release": versions["release"], "taxonomy": versions["taxonomy"]}


def _mode() -> str | None:
    try:
        return mode_in_force().mode
    except DatabaseError:
        return None


def _served() -> Served | None:
    try:
        return served_versions(serving_in_force())
    except DatabaseError:
        return None


def _broker() -> str:
    try:
        store().ping()
    except (redis.RedisError, OSError):
        return "The broker does not answer: background work waits, limits are kept per process."
    return "ok"


def _worker() -> str:
    try:
        seen: Any = store().get(HEARTBEAT_KEY)
    except (redis.RedisError, OSError):
        return "Unknown while the broker does not answer."
    if seen is None or time.time() - float(seen) > HEARTBEAT_STALE_SECONDS:
        return "No sign of life from worker and beat: reports and set-ups wait for them."
    return "ok"


def _inference() -> str:
    if current_chooser() is None:
        return "ok"
    try:
        serving = serving_in_force()
    except DatabaseError:
        return "ok"  # the database's part says it already
    complaint = _asked(serving.live)
    if complaint:
        return f"Labels that no rule knows are answered without the model. {complaint}"
    if serving.trial is not None and (complaint := _asked(serving.trial)):
        return f"The version on trial does not answer: retrieval does in its place. {complaint}"
    return "ok"


def _asked(served: ServedModel | None) -> str:
    """What is wrong with a version of the model; empty if it answers."""
    chooser = current_chooser(served)
    try:
        if chooser is not None:
            chooser.check()
    except ChooserError as error:
        return str(error)
    return ""


def _models() -> str:
    try:
        if mode_in_force().mode == "rules_only":
            return "ok"
        reason = why_not(engine_in_force().serial, serving_in_force().live)
    except (NoKnowledgeError, DatabaseError):
        return "ok"  # the parts of these names say it already
    return f"Labels that no rule knows wait for people. {reason}" if reason else "ok"


@cache
def _pdf() -> str:
    try:
        for library in ("libpango-1.0.so.0", "libpangoft2-1.0.so.0"):
            ctypes.CDLL(library)
    except OSError:
        return (
            "PDF reports are off: the system library pango is missing. "
            "Debian: apt-get install libpango-1.0-0 libpangoft2-1.0-0"
        )
    if not any(next(folder.rglob("*.[ot]tf"), None) for folder in _font_folders()):
        return "PDF reports are off: no font is there. Debian: apt-get install fonts-dejavu-core"
    return "ok"


def _font_folders() -> list[Path]:
    system = [Path("/usr/share/fonts"), Path("/usr/local/share/fonts")]
    own = [Path.home() / ".fonts", Path.home() / ".local/share/fonts"]
    return [folder for folder in (*system, *own) if folder.is_dir()]


CHECKS: dict[str, Callable[[], str]] = {
    "database": _database,
    "knowledge": _knowledge,
    "broker": _broker,
    "worker": _worker,
    "pdf": _pdf,
    "models": _models,
    "inference": _inference,
}
