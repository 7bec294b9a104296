"""Tenants from the command line."""

import json
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from tenants import services
from tenants.context import public_context
from tenants.errors import TenantError
from tenants.export import export_tenant
from tenants.models import Tenant, TenantState

ACTOR = "system:command"


class Command(BaseCommand):
    """`manage.py tenant create|list|suspend|resume|delete`."""

    help = "Create, list, suspend, resume or delete a tenant. Deleting exports first."

    def add_arguments(self, parser: CommandParser) -> None:
        commands = parser.add_subparsers(dest="command", required=True)
        create = commands.add_parser("create", help="register a tenant and set it up")
        create.add_argument("slug", help="short name: a-z, 0-9, hyphen")
        create.add_argument("--name", required=True, help="full name")
        create.add_argument("--domain", help="host name; default SLUG.<server.tenant_domain>")
        create.add_argument(
            "--wait", action="store_true", help="set it up here instead of in a worker"
        )
        listing = commands.add_parser("list", help="show all tenants")
        listing.add_argument("--json", action="store_true", help="print JSON")
        suspend = commands.add_parser("suspend", help="stop serving a tenant, keep its data")
        suspend.add_argument("slug")
        suspend.add_argument("--reason", required=True, help="goes into the audit trail")
        resume = commands.add_parser("resume", help="serve a suspended tenant again")
        resume.add_argument("slug")
        delete = commands.add_parser("delete", help="export a suspended tenant, then drop it")
        delete.add_argument("slug")
        delete.add_argument("--export", type=Path, required=True, help="folder for the export")
        delete.add_argument("--yes", action="store_true", help="do not ask")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            with public_context():
                getattr(self, f"_{options['command']}")(options)
        except TenantError as error:
            raise CommandError(str(error)) from None

    def _create(self, options: dict[str, Any]) -> None:
        tenant = services.create_tenant(
            slug=options["slug"], name=options["name"], domain=options["domain"], actor=ACTOR
        )
        if options["wait"]:
            services.provision_tenant(tenant_id=tenant.id)
            self.stdout.write(self.style.SUCCESS(f"{tenant.slug} is ready."))
        else:
            self.stdout.write(f"{tenant.slug} is registered. A worker sets it up: `tenant list`.")

    def _list(self, options: dict[str, Any]) -> None:
        tenants = Tenant.objects.prefetch_related("domains").exclude(state=TenantState.DELETED)
        rows = [
            {
                "slug": tenant.slug,
                "name": tenant.name,
                "state": tenant.state,
                "detail": tenant.state_detail,
                "domains": [domain.domain for domain in tenant.domains.all()],
            }
            for tenant in tenants
        ]
        if options["json"]:
            self.stdout.write(json.dumps(rows, indent=2))
            return
        if not rows:
            self.stdout.write("No tenants yet: `manage.py tenant create SLUG --name NAME`.")
        for row in rows:
            domains = ", ".join(row["domains"])
            self.stdout.write(f"{row['slug']:<24} {row['state']:<13} {domains}  {row['detail']}")

    def _suspend(self, options: dict[str, Any]) -> None:
        services.suspend_tenant(tenant=_get(options["slug"]), actor=ACTOR, reason=options["reason"])
        self.stdout.write(f"{options['slug']} is suspended. Its data is kept.")

    def _resume(self, options: dict[str, Any]) -> None:
        services.resume_tenant(tenant=_get(options["slug"]), actor=ACTOR)
        self.stdout.write(f"{options['slug']} is served again.")

    def _delete(self, options: dict[str, Any]) -> None:
        tenant = _get(options["slug"])
        if tenant.state == TenantState.ACTIVE:
            raise TenantError("Suspend the tenant first: an active tenant is never deleted.")
        if not options["yes"]:
            typed = input(f"Type {tenant.slug} to export and delete it for good: ")
            if typed != tenant.slug:
                raise CommandError("Nothing was deleted.")
        archive = export_tenant(tenant=tenant, directory=options["export"])
        self.stdout.write(f"Exported to {archive}")
        services.delete_tenant(tenant=tenant, actor=ACTOR)
        self.stdout.write(f"{options['slug']} is deleted.")


def _get(slug: str) -> Tenant:
    tenant = Tenant.objects.filter(slug=slug).first()
    if tenant is None:
        raise TenantError(f"There is no tenant {slug!r}. `manage.py tenant list` shows them all.")
    return tenant
