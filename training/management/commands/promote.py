"""`manage.py promote`: let an approved version of a model answer everybody."""

from argparse import ArgumentParser
from typing import Any

from training.command import VersionCommand, actor_of, facts_of
from training.errors import VersionError
from training.models import ModelVersion, VersionState
from training.promotion import promote
from training.selectors import find_version


class Command(VersionCommand):
    """Thin caller of training.promotion. Exit status 4: its gates block it."""

    help = (
        "Check the gates of an approved version, load it on the model's server, and let it answer "
        "every tenant. Without a name: the approved version that was registered last."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("version", nargs="?", help="such as mapper-lora@v1.2.3")
        parser.add_argument("--reason", default="", metavar="TEXT", help="stays in the history")
        parser.add_argument("--by", metavar="USERNAME", help="who promotes")

    def run(self, **options: Any) -> dict[str, Any]:
        named = options["version"]
        version = _newest() if named is None else find_version(named)
        actor = actor_of(options["by"], "promote", "promote")
        return facts_of(promote(version=version, reason=options["reason"], actor=actor))


def _newest() -> ModelVersion:
    found = ModelVersion.objects.filter(state=VersionState.APPROVED).first()
    if found is None:
        raise VersionError("No version is approved. `manage.py models list` shows what there is.")
    return found
