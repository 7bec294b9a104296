"""Pages of lists."""

from typing import Any

from django.core.exceptions import ValidationError
from rest_framework.exceptions import NotFound
from rest_framework.pagination import CursorPagination
from rest_framework.request import Request

from pillars.problems import Problem


class CursorPages(CursorPagination):
    """Pages by position, newest first: they stay right while rows arrive."""

    ordering = "-id"  # ids are UUIDs of version 7: in the order of time
    page_size_query_param = "limit"

    def paginate_queryset(self, queryset: Any, request: Request, view: Any = None) -> Any:
        """As DRF's, with our problem for a cursor that is not one of ours."""
        try:
            return super().paginate_queryset(queryset, request, view)
        except (NotFound, ValueError, ValidationError):
            raise Problem("invalid_cursor") from None
