"""`manage.py import_bundle`: load a bundle and put its release in force."""

import json
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from taxonomy.errors import KnowledgeFileError
from taxonomy.services import import_bundle
from taxonomy.validation import SCHEMAS


class Command(BaseCommand):
    """Thin caller of taxonomy.services.import_bundle. Exit status 1: refused, nothing loaded."""

    help = "Load a bundle made by export_bundle, and put its release in force."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("path", type=Path, help="bundle to read")
        parser.add_argument(
            "--discard-published",
            action="store_true",
            help="load it although it lacks what change sets have published since",
        )
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            report = import_bundle(
                path=options["path"],
                schemas=settings.KNOWLEDGE_DIR / SCHEMAS,
                actor="system:import_bundle",
                discard_published=options["discard_published"],
            )
        except KnowledgeFileError as error:
            if options["json"]:
                self.stdout.write(json.dumps({"problems": error.problems}, indent=2))
            raise CommandError(f"Nothing was loaded.\n{error}") from None
        if options["json"]:
            self.stdout.write(json.dumps(report.as_dict(), indent=2))
        else:
            state = "is now in force" if report.released else "was in force already"
            self.stdout.write(f"release {report.serial} {state} ({len(report.added)} new files)")
