"""JSON in and out with orjson. Problems keep their own media type."""

from collections.abc import Iterable, Mapping
from typing import IO, Any

import orjson
from django.conf import settings
from rest_framework.exceptions import NotAcceptable
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.parsers import BaseParser
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request

from pillars.problems import Problem


class JSONRenderer(BaseRenderer):
    """Renders with orjson; dates are RFC 3339 in UTC."""

    media_type = "application/json"
    format = "json"
    charset = None

    def render(
        self,
        data: Any,
        accepted_media_type: str | None = None,
        renderer_context: Mapping[str, Any] | None = None,
    ) -> bytes:
        return b"" if data is None else orjson.dumps(data, option=orjson.OPT_UTC_Z)


class JsonNegotiation(BaseContentNegotiation):
    """JSON is the only representation: accept it, or say 406. DRF's own search costs more."""

    def select_parser(self, request: Request, parsers: Iterable[BaseParser]) -> BaseParser | None:
        """The parser for the request's Content-Type."""
        content_type = request.content_type.split(";", 1)[0].strip().lower()
        return next((parser for parser in parsers if parser.media_type == content_type), None)

    def select_renderer(
        self,
        request: Request,
        renderers: Iterable[BaseRenderer],
        format_suffix: str | None = None,
    ) -> tuple[BaseRenderer, str]:
        """The one renderer of the view. Raises NotAcceptable."""
        renderer = next(iter(renderers))
        accept = request.META.get("HTTP_ACCEPT", "*/*").lower()
        kind, _, _ = renderer.media_type.partition("/")
        if any(wanted in accept for wanted in ("*/*", f"{kind}/*", renderer.media_type)):
            return renderer, renderer.media_type
        raise NotAcceptable


class JSONParser(BaseParser):
    """Reads at most `limits.request_bytes` and parses strictly: UTF-8, no NaN."""

    media_type = "application/json"

    def parse(
        self,
        stream: IO[bytes],
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> Any:
        limit = settings.CONFIG.limits.request_bytes
        raw = stream.read(limit + 1)
        if len(raw) > limit:
            raise Problem("payload_too_large", detail=f"One request may have {limit} bytes.")
        request = (parser_context or {}).get("request")
        if request is not None:
            request._request.raw_body = raw  # the idempotency check compares it
        try:
            return orjson.loads(raw)
        except orjson.JSONDecodeError:
            raise Problem("invalid_json") from None
