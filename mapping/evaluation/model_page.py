"""The tables of docs/quality.md, "Models": every route with a model, on held-out detectors."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from mapping.evaluation.cases import leave_one_out
from mapping.evaluation.folds import Folds
from mapping.evaluation.models import (
    LettersPredictor,
    NearestPredictor,
    Unseen,
    UnseenPredictor,
)
from mapping.evaluation.predictors import Known, Predictor
from mapping.evaluation.registry import calibrators_of
from mapping.evaluation.report import Report, main_table, strata_table
from mapping.evaluation.run import HoldOut, evaluate
from mapping.resolver.glossary import Glossary

PROTOCOLS: Final[tuple[tuple[str, HoldOut, bool], ...]] = (
    ("Its detector held out, with descriptions", "detector", True),
    ("Its detector held out, label alone", "detector", False),
    ("All detectors of its vendor held out, with descriptions", "vendor", True),
    ("All detectors of its vendor held out, label alone", "vendor", False),
)


def tables(known: Known, folder: Path) -> str:
    """Markdown. Deterministic: the same files give the same text. FoldsError, CalibratorError."""
    shared = Unseen(known, Folds.load(folder / "folds" / "folds.npz"), Glossary.load(folder))
    return "\n\n".join(section(shared, folder, *protocol) for protocol in PROTOCOLS)


def section(shared: Unseen, folder: Path, title: str, hold_out: HoldOut, described: bool) -> str:
    """The tables of one protocol."""
    cases = leave_one_out(shared.known.detectors.values())
    reports = [
        (
            name,
            Report.of(cases, evaluate(one, cases, shared.known, hold_out, descriptions=described)),
        )
        for name, one in _predictors(shared, folder, hold_out).items()
    ]
    return "\n\n".join(
        (
            f"{title}:",
            main_table((name, report.overall) for name, report in reports),
            "Accepted / hit@5 by stratum:",
            strata_table(reports),
        )
    )


def _predictors(shared: Unseen, folder: Path, hold_out: HoldOut) -> Mapping[str, Predictor]:
    retrieval = calibrators_of(folder, "retrieval")
    tuned: dict[str, Predictor] = {
        "retrieval, always answering": UnseenPredictor(
            shared, retrieval, protocol=hold_out, forced=True
        ),
        "retrieval": UnseenPredictor(shared, retrieval, protocol=hold_out),
    }
    if hold_out == "vendor":  # the model's folds hold out whole vendors in any case
        return tuned
    hybrid = calibrators_of(folder, "model")
    return {
        "published encoder": NearestPredictor(shared, lexical=False),
        "published encoder and lexical": NearestPredictor(shared, lexical=True),
        "base model alone": LettersPredictor(shared, "zero_shot"),
        "model with adapter alone": LettersPredictor(shared, "letters"),
        **tuned,
        "hybrid, always answering": UnseenPredictor(shared, hybrid, letters="letters", forced=True),
        "hybrid": UnseenPredictor(shared, hybrid, letters="letters"),
    }
