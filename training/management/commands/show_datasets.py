"""`manage.py show_datasets`: which data sets are kept."""

import json
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand

from training.datasets.sides import SIDES
from training.datasets.store import StoreError, folders, read_manifest
from training.management.commands.build_dataset import folder_of_data_sets


class Command(BaseCommand):
    """Thin caller of training.datasets.store. Reads manifests alone: validate_dataset verifies."""

    help = "List the data sets under training.folder. Needs no database."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--out", type=Path, help="folder in place of the setting's")
        parser.add_argument("--json", action="store_true", help="print one JSON array")

    def handle(self, *args: Any, **options: Any) -> None:
        found = []
        for folder in folders(options["out"] or folder_of_data_sets()):
            try:
                manifest = read_manifest(folder)
            except StoreError as error:
                self.stderr.write(str(error))
                continue
            rows = {side: manifest["splits"][side]["rows"] for side in SIDES}
            members = ("digest", "name", "edition", "seed")
            found.append({**{name: manifest[name] for name in members}, "rows": rows})
        if options["json"]:
            self.stdout.write(json.dumps(found, indent=2))
            return
        for one in found:
            counts = ", ".join(f"{side} {count}" for side, count in one["rows"].items())
            self.stdout.write(
                f"{one['digest'][:16]}  {one['name']}  {one['edition']}  seed {one['seed']}  "
                f"{counts}"
            )
        if not found:
            self.stdout.write("None is kept. `manage.py build_dataset` makes one.")
