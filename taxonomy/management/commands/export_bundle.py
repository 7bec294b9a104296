"""`manage.py export_bundle`: a release of the knowledge as one file."""

import json
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from taxonomy.bundles import write_bundle
from taxonomy.errors import NoReleaseError
from taxonomy.selectors import current_serial


class Command(BaseCommand):
    """Thin caller of taxonomy.bundles.write_bundle. Exit status 1: nothing was written."""

    help = "Write a release (the one in force, unless --release says otherwise) as one ZIP file."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("path", type=Path, help="file to write")
        parser.add_argument("--release", type=int, help="serial of the release")
        parser.add_argument("--json", action="store_true", help="print the manifest as JSON")

    def handle(self, *args: Any, **options: Any) -> None:
        path: Path = options["path"]
        serial = current_serial() if options["release"] is None else options["release"]
        if serial is None:
            raise CommandError("No knowledge is loaded. Run `manage.py load_config`.")
        try:
            manifest = write_bundle(serial, path)
        except NoReleaseError as error:
            raise CommandError(str(error)) from None
        except OSError as error:
            raise CommandError(f"{path} cannot be written: {error.strerror}.") from None
        if options["json"]:
            self.stdout.write(json.dumps(manifest, indent=2))
        else:
            self.stdout.write(
                f"release {serial}: {len(manifest['files'])} files, sha256 {manifest['sha256']}"
            )
