"""`manage.py validate_dataset DATASET`: may it be trained on?"""

import json
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from training.datasets.check import check
from training.datasets.sources import SourceError
from training.datasets.store import StoreError, find, load
from training.datasets.validate import blocking
from training.management.commands.build_dataset import folder_of_data_sets


class Command(BaseCommand):
    """Thin caller of training.datasets. Exit status 1: errors, or a set that was changed."""

    help = (
        "Verify a data set's hashes, then compare its samples with the detector files and the "
        "taxonomy. Needs no database."
    )
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("dataset", help="folder, beginning of the digest, or name")
        parser.add_argument("--directory", type=Path, default=settings.KNOWLEDGE_DIR)
        parser.add_argument("--out", type=Path, help="folder in place of the setting's")
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            stored = load(find(options["out"] or folder_of_data_sets(), options["dataset"]))
            findings = check(stored, options["directory"])
        except (StoreError, SourceError) as error:
            raise CommandError(str(error)) from None
        if options["json"]:
            facts = [one.as_dict() for one in findings]
            self.stdout.write(json.dumps({"digest": stored.digest, "findings": facts}, indent=2))
        else:
            for one in findings:
                self.stdout.write(
                    f"{one.level}: {one.message} ({one.count}: {', '.join(one.examples)})"
                )
        wrong = sum(1 for _ in blocking(findings))
        if wrong:
            raise CommandError(f"{wrong} kinds of errors. Do not train on this set.")
        if not options["json"]:
            self.stdout.write(f"{stored.digest}: may be trained on")
