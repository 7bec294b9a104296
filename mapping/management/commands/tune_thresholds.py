"""`manage.py tune_thresholds`: which threshold accepts how much, and how right is that?"""

import json
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from mapping.engine import KnowledgeError
from mapping.evaluation.cases import CaseFileError, leave_one_out, read_cases
from mapping.evaluation.registry import predictor_for
from mapping.evaluation.run import (
    HOLD_OUTS,
    MODES,
    HoldOut,
    ModeError,
    evaluate,
)
from mapping.evaluation.tradeoff import BYS, Group, Row, groups_of, proposals
from mapping.management.commands.evaluate_mapping import known_from, models_from
from taxonomy.errors import KnowledgeFileError


class Command(BaseCommand):
    """Thin caller of mapping.evaluation. Exit status 1: cases or files that cannot be used."""

    help = "Show the trade-off of thresholds on cases with a known answer, and propose some."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        source = parser.add_mutually_exclusive_group(required=True)
        source.add_argument("cases", nargs="?", type=Path, help="file with one JSON case a line")
        source.add_argument(
            "--leave-one-out", action="store_true", help="every label of the detector files"
        )
        parser.add_argument("--mode", choices=MODES, required=True)
        parser.add_argument(
            "--target-precision",
            type=_share,
            default=0.95,
            metavar="SHARE",
            help="share of accepted answers that must be right (default: %(default)s)",
        )
        parser.add_argument(
            "--by", choices=BYS, default="all", help="a threshold for each (default: %(default)s)"
        )
        parser.add_argument(
            "--hold-out",
            choices=HOLD_OUTS,
            help="files that a case must not see: its detector's, or all of its vendor "
            "(default: none for a file of cases, detector for --leave-one-out)",
        )
        parser.add_argument("--json", type=Path, metavar="OUT", help="write the figures there")
        parser.add_argument("--directory", type=Path, default=settings.KNOWLEDGE_DIR)

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            self._tune(options)
        except (KnowledgeFileError, KnowledgeError, CaseFileError, ModeError) as error:
            raise CommandError(str(error)) from None
        except OSError as error:
            raise CommandError(
                f"{error.filename}: cannot be written ({error.strerror}). Check path and rights."
            ) from None

    def _tune(self, options: dict[str, Any]) -> None:
        known = known_from(options["directory"])
        everything = options["leave_one_out"]
        cases = (
            leave_one_out(known.detectors.values())
            if everything
            else read_cases(options["cases"], known.taxonomy["labels"])
        )
        hold_out: HoldOut = options["hold_out"] or ("detector" if everything else "none")
        # Every answer counts, whatever the threshold in force: it is what is looked for.
        models = replace(models_from(), threshold=lambda _label: 0.0)
        predictor = predictor_for(options["mode"], known, hold_out, models, everything=everything)
        predictions = evaluate(predictor, cases, known, hold_out)
        by, target = options["by"], options["target_precision"]
        groups = groups_of(by, cases, predictions, target)
        proposed = proposals(by, groups)
        if options["json"]:
            facts = {
                "mode": options["mode"],
                "hold_out": hold_out,
                "cases": len(cases),
                "taxonomy": known.taxonomy["edition"],
                "target_precision": target,
                "by": by,
                "groups": [group.as_dict() for group in groups],
                "mapping": proposed,
            }
            options["json"].write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
        self.stdout.write(
            f"{len(cases)} cases, mode {options['mode']}, held out: {hold_out}; wanted: "
            f"{100 * target:g} % right of what is accepted, by the 95 % lower bound\n"
        )
        for group in groups:
            self.stdout.write(_shown(group) + "\n")
        self.stdout.write(_to_paste(proposed))


def _share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1:
        raise ArgumentTypeError(f"{text!r} is no share. Give a number between 0 and 1, as 0.95")
    return value


def _shown(group: Group) -> str:
    """Name and verdict; the table only where there is something to choose from."""
    rows = group.trade_off.table(group.proposed)
    head = f"{group.name} ({group.trade_off.cases} cases): {group.verdict}"
    return "\n".join([head, *_table(rows, group.proposed)]) if rows else head


def _table(rows: Sequence[Row], proposed: float | None) -> list[str]:
    lines = ["  threshold  accepted  coverage  precision  lower bound  to review"]
    for row in rows:
        mark = "  <- proposed" if row.threshold == proposed else ""
        lines.append(
            f"  {row.threshold:9.3f}  {row.accepted:8,}  {_percent(row.coverage):>8}  "
            f"{_percent(row.precision):>9}  {_percent(row.lower):>11}  "
            f"{_percent(row.review):>9}{mark}"
        )
    return lines


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f} %"


def _to_paste(proposed: Any) -> str:
    if not proposed:
        return "Nothing to propose: bring more cases, or lower --target-precision."
    text = yaml.safe_dump({"mapping": proposed}, sort_keys=True, default_flow_style=False)
    return f"For pillars.yaml:\n\n{text}"
