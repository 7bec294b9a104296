"""A report's file as an HTTP response: the same for the admin and for the API."""

import uuid

from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.utils.cache import get_conditional_response
from django.utils.http import quote_etag

from reporting.models import FileFormat
from reporting.selectors import active_tenant, file_name, report_file
from reporting.services import record_download

CONTENT_TYPES = {
    FileFormat.PDF.value: "application/pdf",
    FileFormat.CSV.value: "text/csv; charset=utf-8",
    FileFormat.JSON.value: "application/json",
}


def file_response(
    request: HttpRequest, *, report_id: uuid.UUID, file_format: str, actor: str
) -> HttpResponseBase:
    """The file as a download, noted in the audit trail. Raises as selectors.report_file does.

    The entity tag is the file's SHA-256, so that a client that has the file gets 304.
    """
    file = report_file(report_id=report_id, file_format=file_format)
    response = HttpResponse(bytes(file.content), content_type=CONTENT_TYPES[file.format])
    response.headers["Content-Disposition"] = (
        f'attachment; filename="{file_name(file, active_tenant())}"'
    )
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Cache-Control"] = "private, no-cache"
    etag = quote_etag(file.sha256)
    response.headers["ETag"] = etag
    answer = get_conditional_response(request, etag=etag, response=response) or response
    if answer.status_code == 200 and request.method == "GET":
        record_download(file=file, actor=actor)
    return answer
