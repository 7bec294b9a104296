"""Tells drf-spectacular how a key is sent."""

from typing import Any

from drf_spectacular.extensions import OpenApiAuthenticationExtension


class ApiKeyScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """Two ways for the same key."""

    target_class = "access.keys.authentication.ApiKeyAuthentication"
    name = ["bearerKey", "headerKey"]

    def get_security_definition(self, auto_schema: Any) -> list[dict[str, str]]:
        """The two security schemes."""
        return [
            {"type": "http", "scheme": "bearer", "description": "An API key as bearer token"},
            {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "An API key"},
        ]

    def get_security_requirement(self, auto_schema: Any) -> list[dict[str, list[str]]]:
        """Either of the two."""
        return [{"bearerKey": []}, {"headerKey": []}]
