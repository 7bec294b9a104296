"""`manage.py plan_migration`: draft or check a plan from one taxonomy edition to another."""

import json
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

import yaml
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from taxonomy.documents import Document, read_plan
from taxonomy.errors import KnowledgeFileError
from taxonomy.migration import check_plan, draft_plan
from taxonomy.vocabularies import read_taxonomies


class Command(BaseCommand):
    """Thin caller of taxonomy.migration. Exit status 1: problems, or nothing could be written."""

    help = "Draft a plan from one taxonomy edition to another as YAML, or check a plan's file."
    requires_system_checks = []  # files alone are read: no database is needed

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("old", metavar="FROM", help="the old edition, such as 2025.09")
        parser.add_argument("new", metavar="TO", help="the new edition, such as 2026.11")
        parser.add_argument("--check", type=Path, metavar="FILE", help="check this plan instead")
        parser.add_argument(
            "--directory",
            type=Path,
            default=settings.KNOWLEDGE_DIR,
            help="folder with taxonomy/ and schemas/",
        )
        form = parser.add_mutually_exclusive_group()
        form.add_argument("--json", action="store_true", help="print one JSON object")
        form.add_argument("--output", type=Path, metavar="FILE", help="write the draft to a file")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["check"] and options["output"]:
            raise CommandError("--check writes no file. Leave --output out.")
        try:
            editions = read_taxonomies(options["directory"])
            old, new = (_edition(editions, options[name]) for name in ("old", "new"))
            if options["check"]:
                document = read_plan(options["check"])
                problems = check_plan(
                    document, directory=options["directory"], old=old.data, new=new.data
                )
                self._report(problems, as_json=options["json"])
            else:
                self._write(draft_plan(old.data, new.data), options)
        except KnowledgeFileError as error:
            self._report(list(error.problems), as_json=options["json"])

    def _report(self, problems: list[str], *, as_json: bool) -> None:
        if as_json:
            self.stdout.write(json.dumps({"problems": problems}, indent=2))
        else:
            for line in problems or ["The plan is valid."]:
                self.stdout.write(line)
        if problems:
            raise CommandError(f"{len(problems)} problems.")

    def _write(self, draft: dict[str, Any], options: dict[str, Any]) -> None:
        output: Path | None = options["output"]
        if options["json"]:
            self.stdout.write(json.dumps(draft, indent=2))
            return
        text = yaml.safe_dump(draft, sort_keys=False, default_flow_style=None, width=100)
        if output is None:
            self.stdout.write(text, ending="")
            return
        try:
            output.write_text(text, encoding="utf-8")
        except OSError as error:
            raise CommandError(
                f"{output}: cannot be written ({error.strerror}). Name another file with --output."
            ) from None
        self.stdout.write(f"{output}: {len(draft['steps'])} steps")


def _edition(editions: dict[str, Document], name: str) -> Document:
    if name not in editions:
        raise CommandError(f"There is no edition {name}. Name one of {', '.join(editions)}.")
    return editions[name]
