"""`manage.py register_model`: take a packed version of a model in."""

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from training.command import VersionCommand, facts_of, person_named
from training.services import register_version


class Command(VersionCommand):
    """Thin caller of training.services."""

    help = (
        "Check a version's folder (python -m training.registry package makes one), keep it, and "
        "write it down. With an evaluation in it, it waits for approval."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("folder", type=Path)
        parser.add_argument(
            "--by", required=True, metavar="USERNAME", help="who answers for it; not its approver"
        )

    def run(self, **options: Any) -> dict[str, Any]:
        author = person_named(options["by"], "add")
        return facts_of(register_version(folder=options["folder"], author=author))
