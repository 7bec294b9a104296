"""POST /map, POST /map/batch, GET /events: thin callers of mapping.services."""

from collections.abc import Sequence
from typing import Any

import orjson
from django.http import HttpResponse
from drf_spectacular.utils import OpenApiParameter, extend_schema
from pydantic import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from access.idempotency.services import Answer, answer_once
from access.keys.authentication import names_tenant
from access.keys.models import Scope
from access.keys.views import TenantApiView
from mapping import services
from mapping.api.events import EVENT_PARAMETERS, EventPages, event_json, filtered_events
from mapping.api.limits import check_item
from mapping.api.schemas import BatchRequest, MapRequest, validation_errors
from mapping.errors import UnknownEditionError
from mapping.selectors import (
    NoKnowledgeError,
    check_edition,
    migrated_labels,
    versions_now,
)
from pillars import problems
from pillars.api.schema import (
    BATCH_RESPONSE,
    EVENT_PAGE,
    MAPPING_EVENT,
    VERSIONS,
    problem_responses,
)
from pillars.db import retry_lost_connection
from pillars.observability import metrics
from pillars.problems import Problem
from tenants.selectors import TenantRef

IDEMPOTENCY_HEADER = OpenApiParameter(
    "Idempotency-Key",
    {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"},
    OpenApiParameter.HEADER,
    description="1 to 255 printable ASCII characters. The same request is answered once in 24 h",
)


class _MappingView(TenantApiView):
    """What /map and /map/batch share: the answer is stored, then sent, once."""

    required_scope = Scope.MAP_WRITE.value
    path: str

    def answer(self, request: Request, mapped: Sequence[services.MappedItem], body: Any) -> Any:
        """Store events and answer in one transaction; once, if an Idempotency-Key came."""

        # Written out first: without an Idempotency-Key, what is stored stays stored.
        encoded = orjson.dumps(body, option=orjson.OPT_UTC_Z)

        def action() -> Answer:
            services.store_items(mapped=mapped)
            return Answer(200, encoded)

        answer = retry_lost_connection(
            lambda: answer_once(
                tenant=self.caller(request).tenant,
                key=request.headers.get("Idempotency-Key"),
                path=self.path,
                request_body=getattr(request._request, "raw_body", b""),
                action=action,
            )
        )
        if not answer.replayed:
            services.count_items(mapped=mapped)
        response = HttpResponse(answer.body, content_type="application/json", status=answer.status)
        if answer.replayed:
            response.headers["Idempotency-Replayed"] = "true"
        return response

    def map(
        self, request: Request, items: Sequence[services.MapItem]
    ) -> Sequence[services.MappedItem]:
        """Map items for the caller."""
        caller = self.caller(request)
        origin = services.Origin(
            tenant=caller.tenant,
            api_key_id=caller.key_id,
            request_id=request._request.request_id,  # type: ignore[attr-defined]
        )
        try:
            mapped = services.map_items(origin=origin, items=items)
        except NoKnowledgeError:
            raise Problem("knowledge_unavailable") from None
        request._request.log_fields |= _log_fields(mapped)  # type: ignore[attr-defined]
        return mapped


def _log_fields(mapped: Sequence[services.MappedItem]) -> dict[str, Any]:
    """What the request's log line says of the mapping; of a batch only how many were mapped."""
    if len(mapped) != 1:
        return {"items": len(mapped)}
    row = mapped[0].row
    return {
        "items": 1,
        "detector": row["detector"],
        "decision": row["decision"],
        "label": row["labels"][0] if row["labels"] else None,
    }


class MapView(_MappingView):
    """One detector output."""

    path = "/map"

    @extend_schema(
        operation_id="map",
        tags=["Mapping"],
        summary="Map one detector output",
        request=MapRequest,
        parameters=[IDEMPOTENCY_HEADER],
        responses={200: MAPPING_EVENT, **problem_responses(400, 409, 413, 415, 422)},
    )
    def post(self, request: Request) -> HttpResponse:
        """Parse the output, map its labels, keep the event, answer with it."""
        data = request.data  # reads the body, by which raw_body is known
        raw = getattr(request._request, "raw_body", b"")
        item = read_item(data, self.caller(request).tenant, raw=raw)
        mapped = self.map(request, [item])
        return self.answer(request, mapped, mapped[0].response)


class MapBatchView(_MappingView):
    """Up to a thousand detector outputs."""

    path = "/map/batch"

    def item_cost(self, request: Request) -> int:
        """A batch costs its items."""
        data = request.data
        items = data.get("requests") if isinstance(data, dict) else None
        return max(1, len(items)) if isinstance(items, list) else 1

    @extend_schema(
        operation_id="map_batch",
        tags=["Mapping"],
        summary="Map up to 1,000 detector outputs",
        description=(
            "Items stand alone: `results[i]` answers `requests[i]`, and is null where `errors` "
            "has a problem with that index."
        ),
        request=BatchRequest,
        parameters=[IDEMPOTENCY_HEADER],
        responses={200: BATCH_RESPONSE, **problem_responses(400, 409, 413, 415, 422)},
    )
    def post(self, request: Request) -> HttpResponse:
        """Map what can be mapped; name what cannot."""
        raw_items = _batch_items(request.data)
        tenant = self.caller(request).tenant
        metrics.BATCH_ITEMS.observe(len(raw_items))
        items: list[services.MapItem] = []
        positions: list[int] = []
        errors: list[dict[str, Any]] = []
        for index, data in enumerate(raw_items):
            try:
                items.append(read_item(data, tenant))
                positions.append(index)
            except Problem as problem:
                body = problems.body(problem.code, detail=problem.text, errors=problem.errors)
                errors.append({"index": index, **body})
        mapped = self.map(request, items)
        results: list[dict[str, Any] | None] = [None] * len(raw_items)
        for position, item in zip(positions, mapped, strict=True):
            results[position] = item.response
        return self.answer(request, mapped, {"results": results, "errors": errors})


def _batch_items(data: Any) -> list[Any]:
    """The batch's items, not yet looked into."""
    limit = BatchRequest.model_fields["requests"].metadata[1].max_length
    items = data.get("requests") if isinstance(data, dict) else None
    if not isinstance(items, list) or not 1 <= len(items) <= limit:
        raise Problem(
            "validation_failed",
            errors=[{"pointer": "/requests", "detail": f"Give a list of 1 to {limit} items"}],
        )
    unknown = sorted(set(data) - {"requests"})
    if unknown:
        raise Problem(
            "validation_failed",
            errors=[
                {"pointer": f"/{key[:100]}", "detail": "Unknown field"} for key in unknown[:20]
            ],
        )
    return items


def read_item(data: Any, tenant: TenantRef, *, raw: bytes | None = None) -> services.MapItem:
    """Check one item. Raises a Problem that says what is wrong with it."""
    check_item(data, raw=raw)
    try:
        parsed = MapRequest.model_validate(data)
    except ValidationError as error:
        raise Problem("validation_failed", errors=validation_errors(error)) from None
    if parsed.taxonomy is not None:
        _check_edition(parsed.taxonomy, tenant)
    if parsed.tenant_id is not None and not names_tenant(parsed.tenant_id, tenant):
        raise Problem("tenant_mismatch")
    return parsed.to_item()


def _check_edition(edition: str, tenant: TenantRef) -> None:
    try:
        check_edition(edition, tenant)
    except UnknownEditionError as error:
        raise Problem(
            "validation_failed", errors=[{"pointer": "/taxonomy", "detail": str(error)}]
        ) from None
    except NoKnowledgeError:
        raise Problem("knowledge_unavailable") from None


class VersionsView(TenantApiView):
    """What stands behind an answer given now."""

    required_scope = Scope.EVENTS_READ.value

    @extend_schema(
        operation_id="versions",
        tags=["Mapping"],
        summary="Every version in force",
        description=(
            "Release, taxonomy, frameworks, crosswalks, detectors, model, calibrator and mapping "
            "mode. Answers of /map have the part of it that answered, reports all but the mode."
        ),
        responses={200: VERSIONS, **problem_responses()},
    )
    def get(self, request: Request) -> Response:
        """The snapshot."""
        try:
            return Response(versions_now(self.caller(request).tenant))
        except NoKnowledgeError:
            raise Problem("knowledge_unavailable") from None


class EventsView(TenantApiView):
    """Events of the key's tenant."""

    required_scope = Scope.EVENTS_READ.value

    @extend_schema(
        operation_id="events",
        tags=["Events"],
        summary="List events, newest first",
        parameters=EVENT_PARAMETERS,
        responses={200: EVENT_PAGE, **problem_responses(400, 422)},
    )
    def get(self, request: Request) -> Response:
        """A page of events, and the address of the next."""
        pages = EventPages()
        page = pages.paginate_queryset(filtered_events(request.query_params), request, view=self)
        found = page or []
        migrated = migrated_labels(event.id for event in found)
        return pages.get_paginated_response(
            [event_json(event, migrated.get(event.id)) for event in found]
        )
