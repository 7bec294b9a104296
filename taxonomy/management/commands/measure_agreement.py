"""`manage.py measure_agreement`: do two annotators agree on what detectors' labels mean?"""

import json
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from taxonomy.agreement import Judgement, Meaning, by_category, read_judgements
from taxonomy.documents import read_documents
from taxonomy.errors import KnowledgeFileError


class Command(BaseCommand):
    """Thin caller of taxonomy.agreement. Exit status 1: an annotation is missing or unsettled."""

    help = "Measure the agreement of the detector files with the second annotation."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--directory", type=Path, default=settings.KNOWLEDGE_DIR)
        form = parser.add_mutually_exclusive_group()
        form.add_argument("--json", action="store_true", help="print one JSON object")
        form.add_argument(
            "--markdown", action="store_true", help="print the tables of docs/quality.md"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        directory: Path = options["directory"]
        try:
            documents = read_documents(directory)
            detectors = [one for one in documents if one.kind == "detector"]
            judgements = read_judgements(directory, detectors)
        except KnowledgeFileError as error:
            raise CommandError(str(error)) from None
        if options["json"]:
            self.stdout.write(json.dumps(_as_dict(judgements), indent=2))
        else:
            self.stdout.write(tables(judgements) if options["markdown"] else _table(judgements))


def tables(judgements: list[Judgement]) -> str:
    """The tables of docs/quality.md: agreement by category, then every difference."""
    lines = [_table(judgements), "", "| detector | label | file | second | ruled | why |"]
    lines.append("|---|---|---|---|---|---|")
    for one in judgements:
        if not one.agreed:
            cells = (one.detector, f"`{one.label}`", *map(_words, (one.first, one.second)))
            ruled = _side(one)
            lines.append("| " + " | ".join(_cell(c) for c in (*cells, ruled, one.why)) + " |")
    return "\n".join(lines)


def _table(judgements: list[Judgement]) -> str:
    lines = ["| category | labels | same | share | kappa |", "|---|---|---|---|---|"]
    for category, found in by_category(judgements).items():
        kappa = "-" if found.kappa is None else f"{found.kappa:.3f}"
        lines.append(
            f"| {category} | {found.labels} | {found.agreed} | {found.share:.1%} | {kappa} |"
        )
    return "\n".join(lines)


def _side(one: Judgement) -> str:
    if one.ruling == one.first:
        return "file"
    return "second" if one.ruling == one.second else _words(one.ruling or ())


def _words(meaning: Meaning) -> str:
    return " ".join(meaning)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _as_dict(judgements: list[Judgement]) -> dict[str, Any]:
    return {
        "agreement": {
            category: {
                "labels": found.labels,
                "agreed": found.agreed,
                "share": found.share,
                "kappa": found.kappa,
            }
            for category, found in by_category(judgements).items()
        },
        "differences": [
            {
                "detector": one.detector,
                "label": one.label,
                "first": one.first,
                "second": one.second,
                "ruling": one.ruling,
                "why": one.why,
            }
            for one in judgements
            if not one.agreed
        ],
    }
