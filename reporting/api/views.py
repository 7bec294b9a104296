"""POST and GET /reports, one report, its files: thin callers of reporting.services."""

import uuid
from collections.abc import Iterable
from typing import Any, TypeVar

import orjson
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from pydantic import BaseModel, ValidationError
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request
from rest_framework.response import Response

from access.idempotency.services import Answer, answer_once
from access.keys.models import Scope
from access.keys.views import TenantApiView
from mapping.api.schemas import validation_errors
from mapping.api.views import IDEMPOTENCY_HEADER
from pillars.api.pages import CursorPages
from pillars.api.rendering import JsonNegotiation
from pillars.api.schema import problem_responses
from pillars.problems import Problem
from reporting import services
from reporting.api.schemas import PageRequest, ReportPage, ReportRequest, ReportView, report_view
from reporting.downloads import file_response
from reporting.errors import NoSuchFileError, NotReadyError, ReportRequestError
from reporting.models import FileFormat, Report
from reporting.selectors import reports
from taxonomy.errors import NoReleaseError

COLLECTION = "/reports"
M = TypeVar("M", bound=BaseModel)


class ReportPages(CursorPages):
    """Pages of reports."""

    page_size = 20
    max_page_size = 100


class _ReportView(TenantApiView):
    """What the views of reports share."""

    required_scope = Scope.REPORTS_READ.value

    def collection(self, request: Request) -> str:
        """The address of the collection, under the prefix that the request came by."""
        end = request.path.index(COLLECTION) + len(COLLECTION)
        return request.build_absolute_uri(request.path[:end])

    def actor(self, request: Request) -> str:
        """Whom the audit trail names."""
        return f"key:{self.caller(request).key_id}"


class ReportsView(_ReportView):
    """The reports of the key's tenant."""

    @extend_schema(
        operation_id="reports_list",
        tags=["Reports"],
        summary="List reports, newest first",
        parameters=[
            OpenApiParameter("cursor", str, description="From `next` or `previous`"),
            OpenApiParameter(
                "limit", {"type": "integer", "minimum": 1, "maximum": 100}, description="A page"
            ),
        ],
        responses={200: ReportPage, **problem_responses(400, 422)},
    )
    def get(self, request: Request) -> Response:
        """A page of reports, and the address of the next."""
        _valid(PageRequest, dict(request.query_params.items()))
        pages = ReportPages()
        page = pages.paginate_queryset(reports(), request, view=self)
        collection = self.collection(request)
        return pages.get_paginated_response(
            [report_view(report, collection).model_dump() for report in page or []]
        )

    @extend_schema(
        operation_id="reports_create",
        tags=["Reports"],
        summary="Ask for a coverage report",
        description=(
            "A worker makes it. Ask at `Location` until `state` is `done` or `failed`, then "
            "download the files."
        ),
        request=ReportRequest,
        parameters=[
            IDEMPOTENCY_HEADER,
            OpenApiParameter(
                "Location", str, OpenApiParameter.HEADER, response=[202],
                description="Address of the report",
            ),
        ],
        responses={202: ReportView, **problem_responses(400, 409, 413, 415, 422)},
    )  # fmt: skip
    def post(self, request: Request) -> HttpResponse:
        """Write the wish down, once for an Idempotency-Key."""
        wanted = _valid(ReportRequest, request.data)
        collection = self.collection(request)

        def action() -> Answer:
            report = _requested(wanted, self.actor(request))
            body = report_view(report, collection).model_dump()
            return Answer(202, orjson.dumps(body, option=orjson.OPT_UTC_Z))

        answer = answer_once(
            tenant=self.caller(request).tenant,
            key=request.headers.get("Idempotency-Key"),
            path=COLLECTION,
            request_body=getattr(request._request, "raw_body", b""),
            action=action,
        )
        response = HttpResponse(answer.body, content_type="application/json", status=answer.status)
        response.headers["Location"] = f"{collection}/{orjson.loads(answer.body)['id']}"
        if answer.replayed:
            response.headers["Idempotency-Replayed"] = "true"
        return response


class ReportDetailView(_ReportView):
    """One report."""

    @extend_schema(
        operation_id="reports_read",
        tags=["Reports"],
        summary="One report: its state, versions and files",
        responses={200: ReportView, **problem_responses(404)},
    )
    def get(self, request: Request, report_id: uuid.UUID) -> Response:
        """How it stands."""
        report = reports().filter(pk=report_id).first()
        if report is None:
            raise Problem("not_found")
        return Response(report_view(report, self.collection(request)).model_dump())


class AnyNegotiation(JsonNegotiation):
    """The address names the format; whatever `Accept` says, the answer is that file."""

    def select_renderer(
        self,
        request: Request,
        renderers: Iterable[BaseRenderer],
        format_suffix: str | None = None,
    ) -> tuple[BaseRenderer, str]:
        """The renderer of problems."""
        renderer = next(iter(renderers))
        return renderer, renderer.media_type


class ReportFileDownloadView(_ReportView):
    """A file of a report."""

    content_negotiation_class = AnyNegotiation

    @extend_schema(
        operation_id="reports_download",
        tags=["Reports"],
        summary="Download a report as PDF, CSV or JSON",
        description="`ETag` is the file's SHA-256. The JSON follows reporting/report.schema.json.",
        parameters=[
            OpenApiParameter(
                "file_format", str, OpenApiParameter.PATH, enum=list(FileFormat.values)
            )
        ],
        responses={
            (200, "application/pdf"): OpenApiTypes.BINARY,
            (200, "text/csv"): OpenApiTypes.BINARY,
            (200, "application/json"): OpenApiTypes.OBJECT,
            304: OpenApiResponse(None, "The client has this file already"),
            **problem_responses(404, 409),
        },
    )
    def get(self, request: Request, report_id: uuid.UUID, file_format: str) -> HttpResponseBase:
        """The file, noted in the audit trail."""
        http_request: HttpRequest = request._request
        try:
            return file_response(
                http_request,
                report_id=report_id,
                file_format=file_format,
                actor=self.actor(request),
            )
        except NotReadyError:
            raise Problem("not_ready", headers={"Retry-After": "3"}) from None
        except NoSuchFileError as error:
            raise Problem("not_found", detail=str(error)) from None
        except Report.DoesNotExist:
            raise Problem("not_found") from None


def _valid(model: type[M], data: Any) -> M:
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise Problem("validation_failed", errors=validation_errors(error)) from None


def _requested(wanted: ReportRequest, actor: str) -> Report:
    try:
        return services.request_report(
            framework=wanted.framework,
            period_start=wanted.period_start,
            period_end=wanted.period_end,
            actor=actor,
        )
    except ReportRequestError as error:
        raise Problem(
            "validation_failed",
            errors=[{"pointer": f"/{error.field}", "detail": error.message}],
        ) from None
    except NoReleaseError:
        raise Problem("knowledge_unavailable") from None
