"""`manage.py export_sssom`: write the mappings to external vocabularies as SSSOM."""

import json
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from taxonomy.errors import KnowledgeFileError
from taxonomy.sssom import to_sssom
from taxonomy.vocabularies import read_taxonomies, read_vocabularies


class Command(BaseCommand):
    """Thin caller of taxonomy.sssom.to_sssom. Exit status 1: refused, nothing written."""

    help = "Write what the newest taxonomy's labels match in external vocabularies, as SSSOM/TSV."
    requires_system_checks = []  # files alone are read: no database is needed

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--directory",
            type=Path,
            default=settings.KNOWLEDGE_DIR,
            help="folder with taxonomy/, frameworks/, vocabularies/ and schemas/",
        )
        parser.add_argument(
            "--output", type=Path, help="file to write; without it, standard output"
        )
        parser.add_argument(
            "--json",
            action="store_true",
            help="print one JSON object: the file, its lines, problems",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            vocabularies = read_vocabularies(options["directory"])
            editions = read_taxonomies(options["directory"])
            text = to_sssom(vocabularies, editions[max(editions)])
        except KnowledgeFileError as error:
            if options["json"]:
                self.stdout.write(json.dumps({"problems": error.problems}, indent=2))
            raise CommandError(f"Nothing was written.\n{error}") from None
        self._write(text, output=options["output"], as_json=options["json"])

    def _write(self, text: str, *, output: Path | None, as_json: bool) -> None:
        rows = sum(not line.startswith("#") for line in text.splitlines()) - 1
        try:
            if output is not None:
                output.write_text(text, encoding="utf-8")
        except OSError as error:
            raise CommandError(
                f"{output}: cannot be written ({error.strerror}). Name another file with --output."
            ) from None
        if as_json:
            where = {"output": str(output)} if output else {"sssom": text}
            self.stdout.write(json.dumps({**where, "rows": rows}, indent=2))
        elif output is None:
            self.stdout.write(text, ending="")
        else:
            self.stdout.write(f"{output}: {rows} rows")
