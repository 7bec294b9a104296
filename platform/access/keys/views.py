"""The base of every API view that works for a tenant."""

from typing import Any

from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from access.keys.selectors import KeyContext


class TenantApiView(APIView):
    """A view behind an API key. It runs in the key's tenant; its answers carry the limits."""

    required_scope: str

    def caller(self, request: Request) -> KeyContext:
        """Whom the request acts for."""
        caller = request.auth
        assert isinstance(caller, KeyContext)  # noqa: S101 - the permission has checked it
        return caller

    def finalize_response(
        self, request: Request, response: Response, *args: Any, **kwargs: Any
    ) -> Response:
        """Add the RateLimit fields."""
        answer = super().finalize_response(request, response, *args, **kwargs)
        headers = getattr(getattr(request, "_request", request), "rate_limit_headers", None)
        for name, value in (headers or {}).items():
            answer.headers.setdefault(name, value)
        return answer
