"""`manage.py build_dataset`: the samples that the mapping models learn from and are tested on."""

import re
import shlex
import time
from argparse import ArgumentParser, ArgumentTypeError
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from mapping.evaluation.folds import FoldsError
from mapping.resolver.artifacts import SHIPPED
from training.datasets.build import BuildError, Built, Recipe, build
from training.datasets.folds import build_folds
from training.datasets.instructions import Drawing
from training.datasets.sides import SIDES
from training.datasets.sources import SourceError
from training.datasets.splits import SplitError, Splitting
from training.datasets.store import Stored, StoreError, save

SCORES: Final = SHIPPED / "folds" / "folds.npz"
# With it the shares of the detectors' categories on the three sides are most alike (of the first
# 300 seeds); chosen before any model was tested on them.
SPLIT_SEED: Final = 253
_NAME: Final = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


class Command(BaseCommand):
    """Thin caller of training.datasets. Exit status 1: nothing was kept."""

    help = (
        "Build a data set from the detector files, golden cases, taxonomy, glossary and invented "
        "labels; keep it under training.folder by its content. Needs no database."
    )
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        recipe, drawing = Recipe(Path(), ""), Drawing()
        parser.add_argument("--name", default=recipe.name, help="default: %(default)s")
        parser.add_argument("--edition", default="2026.11", help="of the taxonomy: %(default)s")
        parser.add_argument("--seed", type=int, default=recipe.seed, help="default: %(default)s")
        parser.add_argument(
            "--variations",
            type=int,
            choices=range(1, 101),
            metavar="1..100",
            default=drawing.variations,
            help="samples of each label that is learnt from; an epoch takes one (default: "
            "%(default)s)",
        )
        parser.add_argument(
            "--synthetic",
            type=int,
            default=recipe.synthetic,
            help="invented labels for every answer (default: %(default)s)",
        )
        parser.add_argument(
            "--glossary",
            type=int,
            default=recipe.glossary,
            help="labels of the glossary for every answer, at most (default: %(default)s)",
        )
        _add_sides(parser)
        _add_sources(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        started = time.monotonic()
        try:
            recipe = _recipe(options)
            tell = partial(self._tell, started)
            if options["folds"]:
                build_folds(recipe, options["folds"], tell)
            else:
                built = build(recipe)
                root = options["out"] or folder_of_data_sets()
                tell(built, save(root, built.files, built.manifest))
        except BuildError as error:
            for one in error.findings:
                self.stderr.write(f"error: {one.message} ({one.count}: {', '.join(one.examples)})")
            raise CommandError("Nothing was kept.") from None
        except (SourceError, SplitError, FoldsError, StoreError) as error:
            raise CommandError(str(error)) from None

    def _tell(self, started: float, built: Built, kept: Stored) -> None:
        for one in built.findings:
            self.stdout.write(f"{one.level}: {one.message} ({one.count})")
        for side in SIDES:
            split = built.manifest["splits"][side]
            self.stdout.write(
                f"{side}: {split['rows']} samples, {len(split['detectors'])} detectors"
            )
        self.stdout.write(f"{kept.digest}, {time.monotonic() - started:.0f} s\n{kept.folder}")


def _add_sides(parser: ArgumentParser) -> None:
    splitting = Splitting()
    parser.add_argument(
        "--validation",
        type=float,
        default=splitting.validation,
        help="share of the detectors' labels, by vendor (default: %(default)s)",
    )
    parser.add_argument("--test", type=float, default=splitting.test, help="the same")
    parser.add_argument("--split-seed", type=int, default=SPLIT_SEED)
    parser.add_argument(
        "--hold-out",
        action="append",
        default=[],
        metavar="DETECTOR",
        help="the test is this detector's vendor; may be given several times",
    )
    parser.add_argument(
        "--fold", type=_fold, metavar="i/K", help="the test is the i-th (from 0) of K parts"
    )
    parser.add_argument(
        "--everything",
        action="store_true",
        help="no test: only the validation's vendors are not learnt from; with --validation 0 "
        "nothing is left out",
    )


def _add_sources(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--decisions",
        type=Path,
        metavar="FILE",
        help="approved decisions, as export_decisions prints them",
    )
    parser.add_argument(
        "--scores",
        type=Path,
        default=SCORES,
        help="folds.npz of encoders that had not seen a label's vendor: options are as near "
        "as those that the service offers (default: those that come with Pillars)",
    )
    parser.add_argument(
        "--no-scores", action="store_true", help="options by likeness of letters alone"
    )
    parser.add_argument("--directory", type=Path, default=settings.KNOWLEDGE_DIR)
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--out", type=Path, help="folder in place of the setting's")
    where.add_argument(
        "--folds",
        type=Path,
        metavar="FOLDER",
        help="the five data sets of `python -m training.lora folds`, each tested on a fifth of "
        "the vendors, into this folder",
    )


def folder_of_data_sets() -> Path:
    """Under the setting `training.folder`; a relative one lies in the repository."""
    return Path(settings.REPOSITORY, settings.CONFIG.training.folder, "datasets")


def _recipe(options: dict[str, Any]) -> Recipe:
    if not _NAME.fullmatch(options["name"]):
        raise CommandError("--name: write small letters and digits, parted by single dashes.")
    for name in ("synthetic", "glossary"):
        if options[name] < 0:
            raise CommandError(f"--{name}: give 0 or more.")
    splitting = Splitting(
        validation=options["validation"],
        test=options["test"],
        hold_out=tuple(sorted(options["hold_out"])),
        fold=options["fold"],
        everything=options["everything"],
        seed=options["split_seed"],
    )
    return Recipe(
        directory=options["directory"],
        edition=options["edition"],
        name=options["name"],
        seed=options["seed"],
        synthetic=options["synthetic"],
        glossary=options["glossary"],
        splitting=splitting,
        drawing=replace(Drawing(), variations=options["variations"]),
        decisions=options["decisions"],
        scores=None if options["no_scores"] else options["scores"],
        command=_command(options),
    )


def _command(options: dict[str, Any]) -> str:
    """The command that makes the same set again; paths of this machine are left out."""
    words = ["manage.py", "build_dataset"]
    for name in (
        "name", "edition", "seed", "variations", "synthetic", "glossary", "validation", "test",
        "split_seed",
    ):  # fmt: skip
        words += [f"--{name.replace('_', '-')}", str(options[name])]
    for detector in sorted(options["hold_out"]):
        words += ["--hold-out", detector]
    if options["fold"] is not None:
        words += ["--fold", "{}/{}".format(*options["fold"])]
    words += [
        f"--{name.replace('_', '-')}" for name in ("everything", "no_scores") if options[name]
    ]
    if options["decisions"]:
        words += ["--decisions", options["decisions"].name]
    return shlex.join(words)


def _fold(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"(\d{1,3})/(\d{1,3})", text)
    if found is None:
        raise ArgumentTypeError("write i/K, such as 0/5")
    return int(found[1]), int(found[2])
