"""`manage.py rebuild_review --tenant SLUG`: count a tenant's review queue anew."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from mapping.management.commands.export_decisions import tenant_named
from mapping.review.sweep import start_anew, sweep
from tenants.context import tenant_context


class Command(BaseCommand):
    """Thin caller of mapping.review.sweep."""

    help = (
        "Count the review queue anew from all events that are kept. Decisions, and what was "
        "dismissed, stay. It can be stopped at any time: the worker goes on where it was."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--tenant", metavar="SLUG", required=True)

    def handle(self, *args: Any, **options: Any) -> None:
        with tenant_context(tenant_named(options["tenant"])):
            start_anew()
            counted = sweep()
        self.stdout.write(f"{counted} events counted.")
