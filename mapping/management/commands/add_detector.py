"""`manage.py add_detector`: a detector's file and its first golden cases from a list of labels."""

import json
import re
import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from mapping.onboarding.drafting import Row
from mapping.onboarding.lists import OnboardingError
from mapping.onboarding.proposing import Candidate
from mapping.services import DetectorDraft, add_detector
from taxonomy.errors import KnowledgeFileError

_ASKED = {
    "vendor": "Who makes the detector? ",
    "category": "What does it look for (pii, content-safety, …)? ",
    "source": "Where are its labels published? ",
    "labels": "File with its labels (CSV, JSON, YAML or one a line): ",
}


class Command(BaseCommand):
    """Thin caller of mapping.services.add_detector. Exit status 1: nothing was written."""

    help = "Write a detector's file and first golden cases; asks at a terminal for what is missing."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("detector", help="its name in requests: small letters, digits, hyphens")
        parser.add_argument("--vendor", help="who makes it")
        parser.add_argument("--category", help="pii, secrets, prompt-injection, content-safety, …")
        parser.add_argument("--source", help="public source of its labels")
        parser.add_argument("--labels", help="file with its labels; - reads standard input")
        parser.add_argument("--detector-versions", default="any", help="versions it holds for")
        parser.add_argument(
            "--accept-lexical", action="store_true", help="choose what is only likely or alike, too"
        )
        parser.add_argument("--directory", type=Path, default=settings.KNOWLEDGE_DIR)
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def handle(self, *args: Any, **options: Any) -> None:
        given = {name: options[name] or self._ask(name) for name in _ASKED}
        if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", options["detector"]):
            raise CommandError("A name has small letters, digits and hyphens, such as my-detector.")
        source = given["labels"]
        try:
            text = sys.stdin.read() if source == "-" else Path(source).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise CommandError(f"{source} cannot be read ({type(error).__name__}).") from None
        try:
            draft = add_detector(
                directory=options["directory"],
                detector=options["detector"],
                vendor=given["vendor"],
                category=given["category"],
                source=given["source"],
                detector_versions=options["detector_versions"],
                labels=text,
                accept_lexical=options["accept_lexical"],
            )
        except (OnboardingError, KnowledgeFileError) as error:
            raise CommandError(f"Nothing was written.\n{error}") from None
        self._report(draft, as_json=options["json"])

    def _ask(self, name: str) -> str:
        if not sys.stdin.isatty():
            raise CommandError(f"Give --{name}: there is no terminal to ask at.")
        return input(_ASKED[name]).strip()

    def _report(self, draft: DetectorDraft, *, as_json: bool) -> None:
        if as_json:
            self.stdout.write(json.dumps(draft.as_dict(), indent=2))
            return
        for row in draft.rows:
            self.stdout.write(f"{row.vendor.label:<40} {_meaning(row)}")
        if draft.why_not:
            self.stdout.write(f"By names, aliases and likeness of words alone. {draft.why_not}")
        open_rows = sum(row.chosen is None for row in draft.rows)
        self.stdout.write("wrote " + ", ".join(map(str, draft.paths)))
        self.stdout.write(
            f"Next: decide what is undecided ({open_rows} labels); add a recipe for each shape of "
            "the output; then run validate_config, check_golden and load_config."
        )


def _meaning(row: Row) -> str:
    if row.chosen is not None:
        first = row.proposals[0]
        sure = "" if row.confidence is None else f" {row.confidence:.0%}"
        return f"{row.chosen} ({first.reason}{sure})"
    return "undecided: " + (", ".join(map(_said, row.proposals)) or "nothing near")


def _said(candidate: Candidate) -> str:
    if candidate.percent is None:
        return candidate.canonical
    return f"{candidate.canonical} {candidate.percent} %"
