"""`manage.py export_decisions --tenant SLUG`: what a tenant's people decided, as JSON lines."""

import json
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from mapping.review.selectors import exported_decisions
from tenants.context import tenant_context
from tenants.models import Tenant
from tenants.selectors import TenantRef


class Command(BaseCommand):
    """Thin caller of mapping.review.selectors.exported_decisions."""

    help = (
        "Print the tenant's decisions in force, one JSON object a line: detector, version (null: "
        "any), label, canonical (null: not a finding). Labels kept as hashes are left out."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--tenant", metavar="SLUG", required=True)

    def handle(self, *args: Any, **options: Any) -> None:
        with tenant_context(tenant_named(options["tenant"])):
            for one in exported_decisions():
                self.stdout.write(json.dumps(one.as_dict(), ensure_ascii=False))


def tenant_named(slug: str) -> TenantRef:
    """The tenant, for a command. Raises CommandError."""
    tenant = Tenant.objects.filter(slug=slug).first()
    if tenant is None:
        raise CommandError(f"There is no tenant {slug}. `manage.py tenant list` names them.")
    return TenantRef.of(tenant)
