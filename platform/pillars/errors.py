"""Django's error handlers: problems for programs, a page for people in the admin.

No answer shows the text of an exception.
"""

import sys

from django.db import Error as DatabaseError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from pillars import problems
from pillars.middleware import for_browser


def answer(request: HttpRequest, code: str) -> HttpResponse:
    """A page in the admin, a problem elsewhere."""
    if not for_browser(request):
        return problems.response(request, code)
    kind = problems.TABLE[code]
    context = {"problem": kind, "request_id": getattr(request, "request_id", "")}
    page = render(request, "pillars/error.html", context, status=kind.status)
    for name, value in problems.default_headers(code).items():
        page.headers[name] = value
    return page


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """400."""
    return problems.response(request, "invalid_json", detail="The request cannot be read.")


def forbidden(request: HttpRequest, exception: Exception) -> HttpResponse:
    """403."""
    return answer(request, "forbidden")


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """404."""
    return answer(request, "not_found")


def server_error(request: HttpRequest) -> HttpResponse:
    """503 if the database is the cause, else 500."""
    lost = isinstance(sys.exception(), DatabaseError)
    return answer(request, "database_unavailable" if lost else "internal_error")
