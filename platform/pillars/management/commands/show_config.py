"""Prints the configuration in force."""

import json
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandParser


class Command(BaseCommand):
    """`manage.py show_config [--json]`."""

    help = "Print each configuration value with its origin. Secrets are masked."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="print JSON")

    def handle(self, *args: Any, **options: Any) -> None:
        rows = list(settings.LOADED_CONFIG.rows())
        if options["json"]:
            document = {path: {"value": value, "origin": origin} for path, value, origin in rows}
            self.stdout.write(json.dumps(document, indent=2))
            return
        widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
        for path, value, origin in rows:
            self.stdout.write(f"{path:<{widths[0]}}  {value:<{widths[1]}}  {origin}")
