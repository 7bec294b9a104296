"""The tables of docs/quality.md, "Mapping of unseen labels": every baseline, every protocol."""

from collections.abc import Mapping
from typing import Final

from mapping.evaluation.cases import leave_one_out
from mapping.evaluation.predictors import Known, Predictor
from mapping.evaluation.report import Report, main_table, strata_table
from mapping.evaluation.run import BASELINES, LEARNING, HoldOut, evaluate

PROTOCOLS: Final[tuple[tuple[str, HoldOut, bool], ...]] = (
    ("Its detector held out, with descriptions", "detector", True),
    ("Its detector held out, label alone", "detector", False),
    ("All detectors of its vendor held out, with descriptions", "vendor", True),
)


def tables(known: Known) -> str:
    """Markdown. Deterministic: the same files give the same text."""
    cases = leave_one_out(known.detectors.values())
    described = sum(bool(case.question.description) for case in cases)
    summary = (
        f"{len(cases)} labels of {len(known.detectors)} detectors, {described} of them with a "
        f"description; taxonomy {known.taxonomy['edition']}."
    )
    predictors = {name: build(known) for name, build in BASELINES.items()}
    return "\n\n".join(
        (summary, *(section(known, predictors, *protocol) for protocol in PROTOCOLS))
    )


def section(
    known: Known,
    predictors: Mapping[str, Predictor],
    title: str,
    hold_out: HoldOut,
    descriptions: bool,
) -> str:
    """The tables of one protocol."""
    cases = leave_one_out(known.detectors.values())
    reports = [
        (name, Report.of(cases, evaluate(one, cases, known, hold_out, descriptions=descriptions)))
        for name, one in predictors.items()
        if hold_out == "detector" or name in LEARNING
    ]
    return "\n\n".join(
        (
            f"{title}:",
            main_table((name, report.overall) for name, report in reports),
            "Accepted / hit@5 by stratum:",
            strata_table(reports),
        )
    )
