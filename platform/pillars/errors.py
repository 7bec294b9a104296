"""Django's error handlers: problems for programs, a page for people in the admin."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from pillars import problems
from pillars.middleware import for_browser


def _answer(request: HttpRequest, code: str) -> HttpResponse:
    if not for_browser(request):
        return problems.response(request, code)
    kind = problems.TABLE[code]
    context = {"problem": kind, "request_id": getattr(request, "request_id", "")}
    return render(request, "pillars/error.html", context, status=kind.status)


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """400."""
    return problems.response(request, "invalid_json", detail="The request cannot be read.")


def forbidden(request: HttpRequest, exception: Exception) -> HttpResponse:
    """403."""
    return _answer(request, "forbidden")


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """404."""
    return _answer(request, "not_found")


def server_error(request: HttpRequest) -> HttpResponse:
    """500."""
    return _answer(request, "internal_error")
