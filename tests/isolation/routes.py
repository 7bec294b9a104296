"""Every address of both URL tables, and how to fill its parameters.

The list is made from the URL resolver: a new address is tried without anybody adding it here. One
that cannot be filled or judged fails the tests until somebody says how.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from itertools import product
from typing import Any

from django.urls import URLPattern, URLResolver, get_resolver
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerView

from access.keys.views import TenantApiView
from pillars.health import LiveView, ReadyView
from pillars.sites import platform_site, tenant_site

TENANT, PLATFORM = "pillars.urls.tenant", "pillars.urls.platform"
API_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS")
BROWSER_METHODS = ("GET", "POST")
_OPEN_VIEWS = (LiveView, ReadyView, SpectacularAPIView, SpectacularSwaggerView)
_OPEN_NAMES = frozenset({"home", "metrics"})
_PARAMETER = re.compile(r"<(?:\w+:)?(\w+)>|\(\?P<(\w+)>([^()]*)\)")


class Kind(Enum):
    """How an address is guarded."""

    OPEN = "open"  # says nothing of a tenant
    API = "api"  # wants a key
    ADMIN = "admin"  # wants a session


@dataclass(frozen=True)
class Route:
    """One pattern of a URL table."""

    table: str
    pattern: str
    name: str
    kind: Kind
    model: str  # app.model of an admin page, else empty

    def __str__(self) -> str:
        return f"{self.table.rsplit('.', 1)[-1]}:/{self.pattern}"

    @property
    def methods(self) -> tuple[str, ...]:
        """What is tried."""
        return API_METHODS if self.kind is Kind.API else BROWSER_METHODS

    @property
    def parameters(self) -> tuple[str, ...]:
        """Names of its parameters."""
        return tuple(a or b for a, b, _ in _PARAMETER.findall(self.pattern))

    @property
    def has_object(self) -> bool:
        """Whether it names a row."""
        return bool(set(self.parameters) & {"object_id", "id", "report_id"})

    def paths(self, ids: Mapping[str, Any]) -> list[str]:
        """Its addresses for somebody's rows. KeyError for a parameter that nobody has explained."""
        values = [self._values(match, ids) for match in _PARAMETER.finditer(self.pattern)]
        template = re.sub(r"[\^$]", "", _PARAMETER.sub("\0", self.pattern))
        found = []
        for chosen in product(*values):
            parts = template.split("\0")
            filled = "".join(a + b for a, b in zip(parts, [*chosen, ""], strict=True))
            found.append(f"/{filled}")
        return found

    def _values(self, match: re.Match[str], ids: Mapping[str, Any]) -> list[str]:
        name = match.group(1) or match.group(2)
        match name:
            case "object_id" | "id":
                return [str(ids[self.model])]
            case "report_id":
                return [str(ids["reporting.report"])]
            case "serial":
                return [str(ids["serial"])]
            case "file_format":
                return ["json", "csv", "pdf"]
            case "app_label":
                return match.group(3).split("|")
            case "url":
                return ["no/such/page/"]
        raise KeyError(f"{self}: tell tests/isolation/routes.py what `{name}` may be")


def all_routes() -> list[Route]:
    """The routes of both tables. ValueError for one that cannot be judged."""
    return [
        Route(table, pattern, found.name or "", _kind(table, pattern, found), _model(pattern))
        for table in (TENANT, PLATFORM)
        for pattern, found in _walk(get_resolver(table))
    ]


def _walk(resolver: URLResolver, prefix: str = "") -> Iterator[tuple[str, URLPattern]]:
    for entry in resolver.url_patterns:
        pattern = prefix + str(entry.pattern)
        if isinstance(entry, URLPattern):
            yield pattern, entry
        else:
            yield from _walk(entry, pattern)


def _kind(table: str, pattern: str, found: URLPattern) -> Kind:
    view = getattr(found.callback, "cls", None)
    if pattern.startswith("admin/"):
        return Kind.ADMIN
    if view is not None and issubclass(view, TenantApiView):
        return Kind.API
    if (view is not None and issubclass(view, _OPEN_VIEWS)) or found.name in _OPEN_NAMES:
        return Kind.OPEN
    raise ValueError(f"{table}:/{pattern}: tell tests/isolation/routes.py how it is guarded")


def _model(pattern: str) -> str:
    match = re.match(r"admin/([a-z_]+)/([a-z_]+)/", pattern)
    name = f"{match.group(1)}.{match.group(2)}" if match else ""
    registered = {m._meta.label_lower for s in (tenant_site, platform_site) for m in s._registry}
    return name if name in registered else ""
