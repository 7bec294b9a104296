"""`manage.py approve_model`: a second person's yes to a version of a model."""

from argparse import ArgumentParser
from typing import Any

from training.command import VersionCommand, facts_of, person_named
from training.selectors import find_version
from training.services import approve, withdraw_approval


class Command(VersionCommand):
    """Thin caller of training.services."""

    help = "Approve a version that somebody else made, or withdraw that (--withdraw)."

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("version", help="such as mapper-lora@v1.2.3")
        parser.add_argument("--by", required=True, metavar="USERNAME", help="who approves")
        parser.add_argument("--comment", default="", metavar="TEXT", help="stays in the history")
        parser.add_argument("--withdraw", action="store_true", help="take the approval back")

    def run(self, **options: Any) -> dict[str, Any]:
        version = find_version(options["version"])
        person = person_named(options["by"], "approve")
        if options["withdraw"]:
            found = withdraw_approval(version=version, person=person, reason=options["comment"])
        else:
            found = approve(version=version, person=person, comment=options["comment"])
        return facts_of(found)
