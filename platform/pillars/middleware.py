"""Sends requests for pages through Django's browser middleware, and API requests past it."""

from collections.abc import Callable

from django.conf import settings
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.module_loading import import_string

_BROWSER_PATHS = ("/admin", "/static/", "/docs", "/api/v1/docs")


class BrowserMiddleware:
    """Sessions, CSRF, messages and static files, for the paths that people open in a browser.

    The API knows no cookies: it neither needs these layers nor should pay for them.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.api = get_response
        chain = get_response
        for path in reversed(settings.BROWSER_MIDDLEWARE):
            chain = import_string(path)(chain)
        self.browser = chain

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if request.path_info.startswith(_BROWSER_PATHS):
            return self.browser(request)
        return self.api(request)
