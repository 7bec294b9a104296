"""Which predictor a mode stands for: of held-out detectors, or as it is served."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from mapping.evaluation.folds import Folds, FoldsError
from mapping.evaluation.models import (
    PARTS,
    AskedPredictor,
    LettersPredictor,
    ResolverPredictor,
    Unseen,
    UnseenPredictor,
)
from mapping.evaluation.predictors import Known, Predictor, RulesPredictor
from mapping.evaluation.run import HoldOut, Mode, ModeError
from mapping.resolver.artifacts import Artifacts, ArtifactsError
from mapping.resolver.calibrate import Calibrator, CalibratorError
from mapping.resolver.glossary import Glossary, GlossaryError
from mapping.resolver.resolver import Resolver
from mapping.resolver.retrieve import Retriever, known_labels
from mapping.resolver.types import Chooser
from taxonomy.agreement import of_entry


@dataclass(frozen=True, slots=True)
class Models:
    """Where models come from. `chooser` is asked only about files of cases."""

    folder: Path
    chooser: Chooser | None = None
    threshold: Callable[[str], float] = field(default=lambda _label: 0.6)


def predictor_for(
    mode: Mode, known: Known, hold_out: HoldOut, models: Models, *, everything: bool
) -> Predictor:
    """`everything`: the cases are the labels of the detector files, which models have learnt.

    Raises ModeError if the mode cannot be used, and says what it needs.
    """
    if mode == "rules":
        return RulesPredictor(known)
    try:
        if everything:
            return _unseen(mode, known, hold_out, models)
        return _served(mode, known, models)
    except (FoldsError, CalibratorError, GlossaryError, ArtifactsError) as error:
        raise ModeError(str(error)) from None


def _unseen(mode: Mode, known: Known, hold_out: HoldOut, models: Models) -> Predictor:
    if hold_out == "none":
        raise ModeError(
            f"--mode {mode} has learnt these labels: hold out the detector or the vendor."
        )
    if mode != "retrieval" and hold_out == "vendor":
        raise ModeError(
            "The model's folds hold out all detectors of a vendor in any case: use "
            "--hold-out detector, or --mode retrieval."
        )
    shared = Unseen(
        known, Folds.load(models.folder / "folds" / "folds.npz"), Glossary.load(models.folder)
    )
    if mode == "model":
        return LettersPredictor(shared, "letters")
    letters = "letters" if mode == "hybrid" else ""
    calibrators = calibrators_of(models.folder, "model" if letters else "retrieval")
    return UnseenPredictor(
        shared, calibrators, protocol=hold_out, letters=letters, threshold=models.threshold
    )


def calibrators_of(folder: Path, kind: str) -> dict[int, Calibrator]:
    """Of each part: fitted on the detectors of the other parts. CalibratorError."""
    return {
        part: Calibrator.load(folder / "folds" / f"{kind}-without-{part}.json")
        for part in range(PARTS)
    }


def _served(mode: Mode, known: Known, models: Models) -> Predictor:
    if mode in ("hybrid", "model") and models.chooser is None:
        raise ModeError(
            f"--mode {mode} needs a model's server: set `inference.backend` in pillars.yaml, or "
            "use --mode retrieval."
        )
    artifacts = Artifacts.load(models.folder)
    retriever = Retriever(
        known.taxonomy, known_labels(known.detectors.values(), of_entry), artifacts.encoder,
        artifacts.glossary,
    )  # fmt: skip
    if mode == "model" and models.chooser is not None:
        return AskedPredictor(known, retriever, models.chooser)
    resolver = Resolver(
        taxonomy=known.taxonomy,
        retriever=retriever,
        calibrators=artifacts.calibrators,
        knowledge="",
        chooser=models.chooser if mode == "hybrid" else None,
    )
    return ResolverPredictor(resolver, known.taxonomy["labels"], threshold=models.threshold)
