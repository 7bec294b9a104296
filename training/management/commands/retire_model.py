"""`manage.py retire_model`: let a version of a model never be promoted again."""

from argparse import ArgumentParser
from typing import Any

from training.command import VersionCommand, actor_of, facts_of
from training.promotion import retire
from training.selectors import find_version


class Command(VersionCommand):
    """Thin caller of training.promotion."""

    help = "Retire a version that answers nobody. Its files and its record stay."

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("version", help="such as mapper-lora@v1.2.3")
        parser.add_argument("--reason", default="", metavar="TEXT", help="stays in the history")
        parser.add_argument("--by", metavar="USERNAME", help="who retires it")

    def run(self, **options: Any) -> dict[str, Any]:
        actor = actor_of(options["by"], "promote", "retire_model")
        version = find_version(options["version"])
        return facts_of(retire(version=version, reason=options["reason"], actor=actor))
