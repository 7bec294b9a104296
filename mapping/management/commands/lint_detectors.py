"""`manage.py lint_detectors`: style of the detector files, beyond what their schema says."""

import json
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from mapping.lint import LintReport, UnknownDetectorError, lint


class Command(BaseCommand):
    """Thin caller of mapping.lint.lint. Exit status 0: clean, 1: findings, 2: no such file."""

    help = "Check the style of the detector files. Needs no database."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("detector", nargs="*", help="names of detectors; all if none is given")
        parser.add_argument(
            "--directory",
            type=Path,
            default=settings.KNOWLEDGE_DIR,
            help="folder with detectors/ and schemas/",
        )
        parser.add_argument(
            "--fix",
            action="store_true",
            help="mend what changes no meaning; raises the version where the content changes",
        )
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            report = lint(
                directory=options["directory"], names=options["detector"], mend=options["fix"]
            )
        except UnknownDetectorError as error:
            raise CommandError(str(error), returncode=2) from None
        if options["json"]:
            self.stdout.write(json.dumps(report.as_dict(), indent=2))
        else:
            self._print(report)
        if not report.is_clean:
            count = len(report.problems) + len(report.findings)
            raise CommandError(f"{count} findings. See docs/operations.md for the rules.")

    def _print(self, report: LintReport) -> None:
        for file, rules in report.mended.items():
            version = report.raised.get(file)
            raised = f"; its content changed: version {version}" if version else ""
            self.stdout.write(f"{file}: mended {', '.join(rules)}{raised}")
        for problem in (*report.problems, *map(str, report.findings)):
            self.stdout.write(problem)
        if report.is_clean:
            self.stdout.write(f"{report.files} files are clean.")
