"""`manage.py show_versions`: every version that stands behind an answer given now."""

import json
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from mapping.selectors import NoKnowledgeError, versions_now
from tenants.models import Tenant
from tenants.selectors import TenantRef


class Command(BaseCommand):
    """Thin caller of mapping.selectors.versions_now. Exit status 1: nothing is loaded."""

    help = "Print the release in force: taxonomy, frameworks, crosswalks, detectors, model."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true", help="print one JSON object")
        parser.add_argument("--tenant", metavar="SLUG", help="as this tenant has chosen")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            versions = versions_now(_tenant(options["tenant"]))
        except NoKnowledgeError as error:
            raise CommandError(str(error)) from None
        if options["json"]:
            self.stdout.write(json.dumps(versions, indent=2))
            return
        for name, value in versions.items():
            if isinstance(value, dict):
                for subject, version in value.items():
                    self.stdout.write(f"{name:<12} {subject:<32} {version}")
            else:
                self.stdout.write(f"{name:<12} {'none' if value is None else value}")


def _tenant(slug: str | None) -> TenantRef | None:
    if slug is None:
        return None
    tenant = Tenant.objects.filter(slug=slug).first()
    if tenant is None:
        raise CommandError(f"There is no tenant {slug}. `manage.py tenant list` names them.")
    return TenantRef.of(tenant)
