"""API-key authentication: the key decides the tenant before anything of the tenant is touched."""

from typing import Any

from django.http import HttpRequest
from rest_framework.authentication import BaseAuthentication
from rest_framework.request import Request

from access.keys.selectors import KeyContext, key_context
from pillars.problems import Problem
from tenants import context
from tenants.selectors import TenantRef


class ApiCaller:
    """The user object of a request made with a key: authenticated, and nobody in particular."""

    is_authenticated = True
    is_active = True
    is_anonymous = False
    pk = None


_CALLER = ApiCaller()


class ApiKeyAuthentication(BaseAuthentication):
    """`Authorization: Bearer <key>` or `X-API-Key: <key>`."""

    def authenticate(self, request: Request) -> tuple[ApiCaller, KeyContext]:
        """Find the key, check that nothing names another tenant, and enter its tenant."""
        caller = self.find(request)
        check_tenant(request._request, caller.tenant)
        context.activate(caller.tenant)
        request._request.tenant_slug = caller.tenant.slug  # type: ignore[attr-defined]
        request._request.log_fields = {"api_key_id": str(caller.key_id)}  # type: ignore[attr-defined]
        return _CALLER, caller

    def find(self, request: Request, *, fresh: bool = False) -> KeyContext:
        """The key of a request. Raises a Problem if there is none or it does not count."""
        secret = _secret_in(request.META)
        if secret is None:
            raise Problem("missing_credentials")
        caller = key_context(secret, fresh=fresh)
        if caller is None:
            raise Problem("invalid_credentials")
        if not caller.tenant.is_active:
            raise Problem("tenant_inactive")
        return caller

    def authenticate_header(self, request: Request) -> str:
        """What a 401 says is wanted."""
        return 'Bearer realm="pillars"'


def _secret_in(meta: dict[str, Any]) -> str | None:
    """The key as sent; "" for one that cannot count: two headers that disagree, another scheme."""
    header = meta.get("HTTP_AUTHORIZATION")
    direct = meta.get("HTTP_X_API_KEY", "").strip()
    if not header:
        return direct or None
    kind, _, secret = header.partition(" ")
    secret = secret.strip()
    return secret if kind.lower() == "bearer" and direct in ("", secret) else ""


def names_tenant(text: str, tenant: TenantRef) -> bool:
    """Whether a caller's text (slug or id) means this tenant."""
    return text == tenant.slug or text.lower() == str(tenant.id)


def check_tenant(request: HttpRequest, tenant: TenantRef) -> None:
    """Host and X-Tenant-ID must agree with the key's tenant, where they name one."""
    host_tenant: TenantRef | None = getattr(request, "host_tenant", None)
    if host_tenant is not None and host_tenant.id != tenant.id:
        raise Problem("tenant_mismatch")
    named = request.META.get("HTTP_X_TENANT_ID")
    if named and not names_tenant(named.strip(), tenant):
        raise Problem("tenant_mismatch")
