"""`manage.py rollback`: let the model answer again that was live before."""

from argparse import ArgumentParser
from typing import Any

from training.command import VersionCommand, actor_of, facts_of
from training.promotion import rollback


class Command(VersionCommand):
    """Thin caller of training.promotion."""

    help = (
        "Let the version answer every tenant again that was live before. It is loaded still, and "
        "holds in every running process within two seconds."
    )
    # In an incident nothing may stand in the way that is not needed.
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--reason", default="", metavar="TEXT", help="stays in the history")
        parser.add_argument("--by", metavar="USERNAME", help="who rolls back")

    def run(self, **options: Any) -> dict[str, Any]:
        actor = actor_of(options["by"], "roll_back", "rollback")
        found = rollback(reason=options["reason"], actor=actor)
        if found is None:
            return {"changed": True, "version": None, "said": "The model of pillars.yaml answers."}
        return facts_of(found)
