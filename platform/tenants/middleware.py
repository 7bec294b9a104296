"""Finds out which tenant a host name means and chooses the URLs that belong to it."""

from collections.abc import Callable

from django.conf import settings
from django.core.exceptions import DisallowedHost
from django.db import Error as DatabaseError
from django.http import HttpRequest
from django.http.response import HttpResponseBase

from pillars import errors
from tenants import context
from tenants.selectors import TenantRef, tenant_by_host


class TenantMiddleware:
    """Every request starts and ends in the public schema.

    Pages of a tenant's admin run in the tenant that the host names. The API enters no tenant
    here: its key decides (access.keys.authentication), and must agree with the host.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response
        self.platform_hosts = frozenset(settings.CONFIG.server.platform_hosts)

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        context.reset()
        try:
            refusal = self._enter(request)
            return refusal if refusal is not None else self.get_response(request)
        finally:
            context.reset()

    def _enter(self, request: HttpRequest) -> HttpResponseBase | None:
        try:
            host = request.get_host().rsplit(":", 1)[0].lower()
        except DisallowedHost:
            return errors.answer(request, "unknown_host")
        if host in self.platform_hosts:
            self._route(request, None, settings.PUBLIC_SCHEMA_URLCONF)
            return None
        try:
            tenant = tenant_by_host(host)
        except DatabaseError:
            return errors.answer(request, "database_unavailable")
        if tenant is None:
            return errors.answer(request, "unknown_host")
        if not tenant.is_active:
            return errors.answer(request, "tenant_inactive")
        self._route(request, tenant, settings.ROOT_URLCONF)
        if request.path_info.startswith("/admin"):
            context.activate(tenant)
            request.tenant_slug = tenant.slug  # type: ignore[attr-defined]
        return None

    @staticmethod
    def _route(request: HttpRequest, tenant: TenantRef | None, urlconf: str) -> None:
        request.host_tenant = tenant  # type: ignore[attr-defined]
        request.urlconf = urlconf
