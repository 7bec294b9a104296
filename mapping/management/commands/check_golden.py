"""`manage.py check_golden`: do the files in a folder answer its golden cases as decided?"""

import json
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from mapping.golden import GoldenFileError, GoldenReport
from mapping.services import check_golden
from taxonomy.errors import KnowledgeFileError


class Command(BaseCommand):
    """Thin caller of mapping.services.check_golden.

    Exit status 1: fewer cases right than `--minimum`, or files that cannot be used.
    """

    help = "Check the golden cases by the detector files alone. Needs no database."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("detector", nargs="*", help="names of detectors; all if none is given")
        parser.add_argument(
            "--directory",
            type=Path,
            default=settings.KNOWLEDGE_DIR,
            help="folder with detectors/, golden/ and the other knowledge files",
        )
        parser.add_argument(
            "--minimum",
            type=float,
            default=0.99,
            help="share of cases that must be right, 0 to 1 (default: %(default)s)",
        )
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            report = check_golden(
                directory=options["directory"], detectors=frozenset(options["detector"])
            )
        except (KnowledgeFileError, GoldenFileError) as error:
            raise CommandError(str(error)) from None
        if options["json"]:
            self.stdout.write(json.dumps(report.as_dict(), indent=2))
        else:
            self._print(report)
        if report.share < options["minimum"]:
            raise CommandError(
                f"{report.share:.2%} of the cases are right; {options['minimum']:.2%} must be."
            )

    def _print(self, report: GoldenReport) -> None:
        for miss in report.misses:
            self.stdout.write(f"{miss.case.place}: {miss.case.id}: {miss.reason}")
        if report.label_share >= 0.5:  # of some detectors alone, the list would be no news
            self.stdout.write(f"no case expects: {', '.join(report.labels_missing) or 'none'}")
        right = report.cases - len(report.misses)
        self.stdout.write(
            f"{right} of {report.cases} cases right ({report.share:.2%}), "
            f"{len(report.by_detector)} detectors, {report.label_share:.1%} of the labels."
        )
