"""Sends requests for pages through Django's browser middleware, and API requests past it."""

from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.module_loading import import_string

_BROWSER_PATHS = ("/admin", "/static/", "/docs", "/api/v1/docs")


def for_browser(request: HttpRequest) -> bool:
    """True for paths that people open in a browser: admin, static files, API docs."""
    return request.path_info.startswith(_BROWSER_PATHS)


class BrowserMiddleware:
    """Sessions, CSRF, messages and static files, for the paths that people open in a browser.

    The API knows no cookies: it neither needs these layers nor should pay for them.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.api = get_response
        self.view_hooks: list[Callable[..., HttpResponseBase | None]] = []
        chain = get_response
        for path in reversed(settings.BROWSER_MIDDLEWARE):
            layer = import_string(path)(chain)
            if hasattr(layer, "process_view"):  # the CSRF check is one of these
                self.view_hooks.insert(0, layer.process_view)
            chain = layer
        self.browser = chain

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        return self.browser(request) if for_browser(request) else self.api(request)

    def process_view(
        self, request: HttpRequest, view: Callable[..., Any], args: Any, kwargs: Any
    ) -> HttpResponseBase | None:
        """Django calls this hook on middleware it knows; pass it on to the layers inside."""
        if for_browser(request):
            for hook in self.view_hooks:
                response = hook(request, view, args, kwargs)
                if response is not None:
                    return response
        return None
