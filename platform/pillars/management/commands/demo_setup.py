"""Creates the demo: two tenants with people and an API key each, and an operator."""

import json
import os
import secrets
import time
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from access.keys.models import ApiKey, Scope
from access.keys.services import create_key, revoke_key
from access.users.roles import (
    ADMINISTRATOR,
    APPROVER,
    COMPLIANCE_OFFICER,
    CURATOR,
    MODEL_APPROVER,
    MODEL_ENGINEER,
)
from access.users.services import ensure_user
from tenants.context import public_context, tenant_context
from tenants.models import Tenant, TenantState
from tenants.selectors import TenantRef
from tenants.services import create_tenant, provision_tenant

DEMO_TENANTS = (("acme-health", "Acme Health"), ("globex-bank", "Globex Bank"))
# Who changes the knowledge, and who approves it: a crosswalk wants two approvers.
KNOWLEDGE_PEOPLE = (("curator", CURATOR), ("approver", APPROVER), ("second-approver", APPROVER))
# Who trains models, and who approves what others made.
MODEL_PEOPLE = (("engineer", MODEL_ENGINEER), ("model-approver", MODEL_APPROVER))
ACTOR = "system:demo"
KEY_NAME = "demo"


class Command(BaseCommand):
    """`manage.py demo_setup`: run again, it changes nothing."""

    help = "Create the demo tenants, people and keys; write credentials.json (mode 0600)."

    def handle(self, *args: Any, **options: Any) -> None:
        path = settings.STATE_DIR / "credentials.json"
        known = json.loads(path.read_text()) if path.exists() else {}
        base = f"http://localhost:{settings.CONFIG.server.port}"
        credentials = {
            "url": base,
            "platform_admin": self._operator(known.get("platform_admin"), base),
            **{
                kind: {
                    login: self._of_platform(login, role, known.get(kind, {}).get(login), base)
                    for login, role in people
                }
                for kind, people in (("knowledge", KNOWLEDGE_PEOPLE), ("models", MODEL_PEOPLE))
            },
            "tenants": [
                self._tenant(slug, name, _find(known, slug)) for slug, name in DEMO_TENANTS
            ],
        }
        _write_private(path, json.dumps(credentials, indent=2) + "\n")
        self.stdout.write(f"Credentials: {path}")

    def _operator(self, known: dict[str, Any] | None, base: str) -> dict[str, str]:
        password = known["password"] if known else _password()
        if not known:
            with public_context():
                ensure_user(username="operator", password=password, superuser=True, actor=ACTOR)
        return {"url": f"{base}/admin/", "username": "operator", "password": password}

    def _of_platform(
        self, login: str, role: str, known: dict[str, Any] | None, base: str
    ) -> dict[str, str]:
        password = known["password"] if known else _password()
        if not known:
            with public_context():
                ensure_user(
                    username=login, password=password, role=role, actor=ACTOR,
                    email=f"{login}@pillars.example",
                )  # fmt: skip
        return {"url": f"{base}/admin/", "username": login, "password": password}

    def _tenant(self, slug: str, name: str, known: dict[str, Any] | None) -> dict[str, Any]:
        with public_context():
            tenant = Tenant.objects.filter(slug=slug).first()
            if tenant is None:
                tenant = create_tenant(slug=slug, name=name, actor=ACTOR)
        if not tenant.is_active:
            # The worker was asked as well; whoever comes first does it.
            provision_tenant(tenant_id=tenant.id)
            tenant = _wait_until_active(tenant)
        people = {
            login: _person(tenant, login, role, known)
            for login, role in (("admin", ADMINISTRATOR), ("officer", COMPLIANCE_OFFICER))
        }
        return {
            "slug": slug,
            "name": name,
            "url": f"http://{slug}.localhost:{settings.CONFIG.server.port}/admin/",
            **people,
            "api_key": _api_key(tenant, known),
        }


def _wait_until_active(tenant: Tenant) -> Tenant:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        with public_context():
            tenant = Tenant.objects.get(pk=tenant.pk)
        if tenant.is_active:
            return tenant
        if tenant.state == TenantState.FAILED:
            break
        time.sleep(0.2)
    raise CommandError(
        f"The tenant {tenant.slug} could not be set up ({tenant.state_detail or tenant.state}). "
        "Read the worker's log, then run this again."
    )


def _find(known: dict[str, Any], slug: str) -> dict[str, Any] | None:
    return next((t for t in known.get("tenants", []) if t["slug"] == slug), None)


def _person(tenant: Tenant, login: str, role: str, known: dict[str, Any] | None) -> dict[str, str]:
    if known and login in known:
        return dict(known[login])
    password = _password()
    with tenant_context(TenantRef.of(tenant)):
        ensure_user(username=login, password=password, role=role, actor=ACTOR)
    return {"username": login, "password": password}


def _api_key(tenant: Tenant, known: dict[str, Any] | None) -> str:
    if known and known.get("api_key"):
        return str(known["api_key"])
    with public_context():
        for old in ApiKey.objects.filter(tenant=tenant, name=KEY_NAME, revoked_at=None):
            revoke_key(key=old, actor=ACTOR)
        issued = create_key(
            tenant=tenant,
            name=KEY_NAME,
            scopes=[Scope.MAP_WRITE, Scope.EVENTS_READ, Scope.REPORTS_READ],
            actor=ACTOR,
        )
    return issued.secret


def _password() -> str:
    return secrets.token_urlsafe(15)


def _write_private(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    temporary.replace(path)
