"""Scopes."""

from typing import Any

from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from access.keys.models import Scope
from access.keys.selectors import KeyContext
from pillars.problems import Problem


class HasScope(BasePermission):
    """The key must carry the view's `required_scope`; `admin` carries all of them."""

    def has_permission(self, request: Request, view: Any) -> bool:
        """Raises a Problem that names the missing scope."""
        caller = request.auth
        required: str = view.required_scope
        if not isinstance(caller, KeyContext):
            raise Problem("missing_credentials")
        if required in caller.scopes or Scope.ADMIN.value in caller.scopes:
            return True
        raise Problem(
            "insufficient_scope", detail=f"The key lacks the scope `{required}`. Use another key."
        )
