"""`manage.py export_oscal_mapping`: the crosswalks in force as an OSCAL mapping collection."""

import json
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from taxonomy.errors import NoReleaseError, UnknownFrameworkError
from taxonomy.oscal import oscal_in_force, to_json


class Command(BaseCommand):
    """Thin caller of taxonomy.oscal.oscal_in_force. Exit status 1: refused, nothing written."""

    help = "Write which labels bear on which controls as a mapping collection of NIST OSCAL 1.2."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "framework", nargs="?", help="soc2, or soc2@2017 for one edition; without it, all"
        )
        parser.add_argument(
            "--output", type=Path, help="file to write; without it, standard output"
        )
        parser.add_argument(
            "--json", action="store_true", help="print one JSON object: the file and what is in it"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            document = oscal_in_force(options["framework"])
        except (NoReleaseError, UnknownFrameworkError) as error:
            raise CommandError(f"Nothing was written. {error}") from None
        text, output = to_json(document), options["output"]
        try:
            if output is not None:
                output.write_text(text, encoding="utf-8")
        except OSError as error:
            raise CommandError(
                f"{output}: cannot be written ({error.strerror}). Name another file with --output."
            ) from None
        mappings = document["mapping-collection"]["mappings"]
        maps = sum(len(mapping["maps"]) for mapping in mappings)
        if options["json"]:
            where = {"output": str(output)} if output else {"oscal": document}
            self.stdout.write(json.dumps({**where, "mappings": len(mappings), "maps": maps}))
        elif output is None:
            self.stdout.write(text, ending="")
        else:
            self.stdout.write(f"{output}: {len(mappings)} mappings, {maps} maps")
