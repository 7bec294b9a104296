"""The tables of docs/quality.md, "Mapping of unseen labels": every baseline, every protocol."""

from typing import Final

from mapping.evaluation.cases import leave_one_out
from mapping.evaluation.predictors import Known
from mapping.evaluation.report import Report, main_table, strata_table
from mapping.evaluation.run import BASELINES, LEARNING, HoldOut, evaluate

_PROTOCOLS: Final[tuple[tuple[str, HoldOut, bool], ...]] = (
    ("Its detector held out, with descriptions", "detector", True),
    ("Its detector held out, label alone", "detector", False),
    ("All detectors of its vendor held out, with descriptions", "vendor", True),
)


def tables(known: Known) -> str:
    """Markdown. Deterministic: the same files give the same text."""
    cases = leave_one_out(known.detectors.values())
    described = sum(bool(case.question.description) for case in cases)
    made = {name: build(known) for name, build in BASELINES.items()}
    parts = [
        f"{len(cases)} labels of {len(known.detectors)} detectors, {described} of them with a "
        f"description; taxonomy {known.taxonomy['edition']}."
    ]
    for title, hold_out, descriptions in _PROTOCOLS:
        reports = [
            (
                name,
                Report.of(cases, evaluate(one, cases, known, hold_out, descriptions=descriptions)),
            )
            for name, one in made.items()
            if hold_out == "detector" or name in LEARNING
        ]
        parts.append(f"{title}:")
        parts.append(main_table((name, report.overall) for name, report in reports))
        parts.append("Accepted / hit@5 by stratum:")
        parts.append(strata_table(reports))
    return "\n\n".join(parts)
