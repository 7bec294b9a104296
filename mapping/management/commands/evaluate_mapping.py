"""`manage.py evaluate_mapping`: how well are labels mapped that no file knows?"""

import json
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from mapping.chooser import current_chooser
from mapping.engine import KnowledgeError
from mapping.evaluation.cases import Case, CaseFileError, leave_one_out, read_cases
from mapping.evaluation.folds import FoldsError
from mapping.evaluation.model_page import tables as model_tables
from mapping.evaluation.page import tables
from mapping.evaluation.predictors import Known, Prediction
from mapping.evaluation.registry import Models, predictor_for
from mapping.evaluation.report import Report, main_table, strata_table
from mapping.evaluation.run import (
    HOLD_OUTS,
    MODES,
    HoldOut,
    ModeError,
    evaluate,
)
from mapping.resolver.calibrate import CalibratorError
from mapping.resolvers import artifacts_folder
from taxonomy.documents import read_documents
from taxonomy.errors import KnowledgeFileError
from taxonomy.validation import newest_taxonomy

REFUSALS = (
    KnowledgeFileError, KnowledgeError, CaseFileError, ModeError, FoldsError, CalibratorError,
)  # fmt: skip


class Command(BaseCommand):
    """Thin caller of mapping.evaluation. Exit status 1: cases or files that cannot be used."""

    help = "Measure the mapping of labels on cases with a known answer. Needs no database."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        source = parser.add_mutually_exclusive_group(required=True)
        source.add_argument("cases", nargs="?", type=Path, help="file with one JSON case a line")
        source.add_argument(
            "--leave-one-out", action="store_true", help="every label of the detector files"
        )
        source.add_argument(
            "--markdown",
            choices=("baselines", "models"),
            nargs="?",
            const="baselines",
            help="the tables of docs/quality.md",
        )
        parser.add_argument("--mode", choices=MODES, default="rules", help="default: %(default)s")
        parser.add_argument(
            "--hold-out",
            choices=HOLD_OUTS,
            help="files that a case must not see: its detector's, or all of its vendor "
            "(default: none for a file of cases, detector for --leave-one-out)",
        )
        parser.add_argument(
            "--no-descriptions", action="store_true", help="show predictors the label alone"
        )
        parser.add_argument("--json", type=Path, metavar="OUT", help="write the figures there")
        parser.add_argument(
            "--predictions", type=Path, metavar="OUT", help="write a prediction a line there"
        )
        parser.add_argument("--directory", type=Path, default=settings.KNOWLEDGE_DIR)

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            known = known_from(options["directory"])
            if options["markdown"] == "models":
                self.stdout.write(model_tables(known, artifacts_folder()))
                return
            if options["markdown"]:
                self.stdout.write(tables(known))
                return
            self._evaluate(known, options)
        except REFUSALS as error:
            raise CommandError(str(error)) from None
        except OSError as error:
            raise CommandError(
                f"{error.filename}: cannot be written ({error.strerror}). Check path and rights."
            ) from None

    def _evaluate(self, known: Known, options: dict[str, Any]) -> None:
        mode = options["mode"]
        everything = options["leave_one_out"]
        cases: list[Case] = (
            leave_one_out(known.detectors.values())
            if everything
            else read_cases(options["cases"], known.taxonomy["labels"])
        )
        hold_out: HoldOut = options["hold_out"] or ("detector" if everything else "none")
        predictor = predictor_for(mode, known, hold_out, models_from(), everything=everything)
        descriptions = not options["no_descriptions"]
        predictions = evaluate(predictor, cases, known, hold_out, descriptions=descriptions)
        report = Report.of(cases, predictions)
        if options["predictions"]:
            _write_lines(options["predictions"], predictions)
        if options["json"]:
            facts = {
                "mode": mode,
                "hold_out": hold_out,
                "descriptions": descriptions,
                "taxonomy": known.taxonomy["edition"],
            }
            options["json"].write_text(
                json.dumps(facts | report.as_dict(), indent=2) + "\n", encoding="utf-8"
            )
        self.stdout.write(f"{len(cases)} cases, held out: {hold_out}\n")
        self.stdout.write(main_table([(mode, report.overall)]) + "\n")
        self.stdout.write(strata_table([(mode, report)]))


def models_from() -> Models:
    """Models and threshold of this installation."""
    return Models(
        artifacts_folder(),
        current_chooser(),
        lambda _label: settings.CONFIG.mapping.confidence_threshold,
    )


def known_from(directory: Path) -> Known:
    documents = read_documents(directory)
    files = {one.data["detector"]: one.data for one in documents if one.kind == "detector"}
    return Known(newest_taxonomy(documents).data, files)


def _write_lines(path: Path, predictions: list[Prediction]) -> None:
    lines = (json.dumps(prediction.as_dict()) for prediction in predictions)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
