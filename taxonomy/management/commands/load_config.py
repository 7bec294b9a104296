"""`manage.py load_config`: load the knowledge files and put them in force."""

import json
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from taxonomy.errors import KnowledgeFileError
from taxonomy.services import LoadReport, load_knowledge


class Command(BaseCommand):
    """Thin caller of taxonomy.services.load_knowledge. Exit status 1: refused, nothing loaded."""

    help = "Load taxonomy, detectors, frameworks and crosswalks, and put them in force."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--directory",
            type=Path,
            default=settings.KNOWLEDGE_DIR,
            help="folder with taxonomy/, detectors/, frameworks/, crosswalks/ and schemas/",
        )
        parser.add_argument(
            "--discard-published",
            action="store_true",
            help="go back to the files where they lack what change sets have published since",
        )
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            report = load_knowledge(
                directory=options["directory"],
                actor="system:load_config",
                discard_published=options["discard_published"],
            )
        except KnowledgeFileError as error:
            if options["json"]:
                self.stdout.write(json.dumps({"problems": error.problems}, indent=2))
            raise CommandError(f"Nothing was loaded.\n{error}") from None
        if options["json"]:
            self.stdout.write(json.dumps(report.as_dict(), indent=2))
        else:
            self._print(report)

    def _print(self, report: LoadReport) -> None:
        for name in report.added:
            self.stdout.write(f"new        {name}")
        self.stdout.write(f"unchanged  {len(report.unchanged)} files")
        state = "is now in force" if report.released else "stays in force"
        self.stdout.write(f"release {report.serial} {state}")
