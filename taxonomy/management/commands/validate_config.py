"""`manage.py validate_config`: check the knowledge files without loading them."""

import json
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import Error as DatabaseError

from taxonomy.services import CheckReport, check_knowledge


class Command(BaseCommand):
    """Thin caller of taxonomy.services.check_knowledge.

    Exit status 1: there are problems (with `--strict`, or warnings); 2: the database is away.
    """

    help = "Check taxonomy, detectors, frameworks and crosswalks. Nothing is loaded or changed."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--directory",
            type=Path,
            default=settings.KNOWLEDGE_DIR,
            help="folder with taxonomy/, detectors/, frameworks/, crosswalks/ and schemas/",
        )
        parser.add_argument(
            "--files-only",
            action="store_true",
            help="do not compare versions with what is loaded (needs no database)",
        )
        parser.add_argument("--strict", action="store_true", help="fail on warnings too")
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            report = check_knowledge(
                directory=options["directory"], against_loaded=not options["files_only"]
            )
        except DatabaseError:
            raise CommandError(
                "The database cannot be reached, so versions cannot be compared with what is "
                "loaded. Start it, or check the files alone with --files-only.",
                returncode=2,
            ) from None
        if options["json"]:
            self.stdout.write(json.dumps(report.as_dict(), indent=2))
        else:
            self._print(report)
        if report.problems:
            raise CommandError(f"{len(report.problems)} problems.")
        if options["strict"] and report.warnings:
            raise CommandError(f"{len(report.warnings)} warnings.")

    def _print(self, report: CheckReport) -> None:
        for problem in report.problems:
            self.stdout.write(problem)
        for warning in report.warnings:
            self.stdout.write(f"warning: {warning}")
        if not report.problems:
            self.stdout.write(f"{report.files} files are valid ({report.labels} labels).")
