"""`manage.py evaluate`: judge a finished run and make a version of it."""

from argparse import ArgumentParser, BooleanOptionalAction
from pathlib import Path
from typing import Any, get_args

from django.conf import settings

from mapping.worker.environment import prepare_environment
from training.asked import asks_server
from training.command import VersionCommand, facts_of, person_named
from training.evaluating import EvaluationError, finished_run, version_of_run
from training.registry.names import DEFAULT_NAME, Part
from training.services import register_version


class Command(VersionCommand):
    """Thin caller of training.evaluating and training.services."""

    help = (
        "Ask a run's adapter about the detectors that its data set held out, fit its calibrator, "
        "pack both as the next version, and write it down. It then waits for approval."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("run", nargs="?", default="", help="folder or id; default: the newest")
        parser.add_argument(
            "--by", required=True, metavar="USERNAME", help="who answers for it; not its approver"
        )
        parser.add_argument("--base", default="", help="its base model, if not training.base")
        parser.add_argument("--name", default=DEFAULT_NAME, help="default: %(default)s")
        parser.add_argument(
            "--part", choices=get_args(Part), default="minor", help="of the version that goes up"
        )
        parser.add_argument(
            "--server", action=BooleanOptionalAction, default=None,
            help="ask the server of `inference`, which versions are promoted on, rather than this "
            "process; default: if it is not the embedded worker",
        )  # fmt: skip
        parser.add_argument("--directory", type=Path, default=settings.KNOWLEDGE_DIR)

    def run(self, **options: Any) -> dict[str, Any]:
        author = person_named(options["by"], "add")
        package = version_of_run(
            run=finished_run(options["run"]),
            weights=_base(options["base"]),
            directory=options["directory"],
            name=options["name"],
            part=options["part"],
            server=asks_server(options["server"]),
            say=lambda text: self.stderr.write(text),
        )
        version = register_version(folder=package.folder, author=author)
        evaluation = package.evaluation or {}
        shown = {
            f"{kind}, {figure}": round(evaluation[kind][figure], 3)
            for kind in ("described", "label_alone")
            for figure in ("accepted", "parent", "ece", "abstained")
        }
        return facts_of(version) | shown


def _base(name: str) -> Any:
    try:
        prepare_environment()
        from training.lora.base import PACKAGED, find
        from training.lora.refusals import Refused
    except ImportError as error:
        raise EvaluationError(
            f"The package {error.name} is not installed: pip install 'pillars[model]'."
        ) from None
    cache = Path(settings.REPOSITORY, settings.CONFIG.training.folder, "bases")
    try:
        return find(name or settings.CONFIG.training.base or PACKAGED, cache)
    except Refused as error:
        raise EvaluationError(str(error)) from None
