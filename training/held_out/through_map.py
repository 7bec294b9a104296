"""Held-out labels through the whole of `/map`, against its response schema."""

import itertools
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import orjson
from jsonschema import Draft202012Validator

from mapping.evaluation.predictors import Known
from mapping.resolver.artifacts import Artifacts
from mapping.resolver.calibrate import Calibrator
from mapping.resolver.resolver import Resolver
from mapping.resolver.retrieve import Retriever, known_labels
from mapping.resolver.types import Chooser
from mapping.services import MapItem, map_on_files
from taxonomy.agreement import of_entry
from taxonomy.documents import Document, read_documents
from taxonomy.selectors import KnowledgeDocuments
from taxonomy.validation import newest_taxonomy
from training.held_out.questions import HeldOut

MOST = 60  # outputs


def schema_valid(
    asked: Sequence[HeldOut],
    chooser: Chooser,
    calibrator: Calibrator,
    artifacts: Artifacts,
    directory: Path,
) -> float:
    """The share of answers to held-out labels that keep to schema.json, 0 to 1.

    Their detectors' files are taken away, so that the model is asked. A sample of MOST labels: as
    many of each detector as possible.
    """
    documents = without_detectors(directory, {one.detector for one in asked})
    resolver = _resolver(documents, chooser, calibrator, artifacts)
    items = [item_of(one) for one in spread(asked, MOST)]
    answers = map_on_files(
        documents=documents, items=items, resolve=lambda questions: resolver.resolve(questions)
    )
    return share_valid(answers, directory)


def item_of(one: HeldOut) -> MapItem:
    """What a caller would send that has met this label."""
    described = {one.source: one.question.description} if one.question.description else None
    return MapItem(detector=one.detector, output=one.source, label_descriptions=described)


def share_valid(answers: Sequence[dict[str, Any]], directory: Path) -> float:
    """The share of answers that keep to schema.json of the folder, 0 to 1."""
    schema = Draft202012Validator(json.loads((directory / "schema.json").read_text("utf-8")))
    sent = [orjson.loads(orjson.dumps(one, option=orjson.OPT_UTC_Z)) for one in answers]
    return sum(map(schema.is_valid, sent)) / len(sent)


def spread(asked: Iterable[HeldOut], most: int) -> list[HeldOut]:
    """The first of each detector, then the second of each, and so on."""
    by_detector: dict[str, list[HeldOut]] = {}
    for one in asked:
        by_detector.setdefault(one.detector, []).append(one)
    rounds = itertools.chain.from_iterable(itertools.zip_longest(*by_detector.values()))
    return list(itertools.islice((one for one in rounds if one is not None), most))


def without_detectors(directory: Path, names: Iterable[str]) -> KnowledgeDocuments:
    """The files of a folder without these detectors'. Raises KnowledgeFileError."""
    hidden = set(names)
    documents = read_documents(directory)
    newest = newest_taxonomy(documents)
    detectors = [one for one in _of_kind(documents, "detector") if one["detector"] not in hidden]
    return KnowledgeDocuments(
        1, newest.data, detectors, _of_kind(documents, "framework"),
        _of_kind(documents, "crosswalk"),
    )  # fmt: skip


def _of_kind(documents: Iterable[Document], kind: str) -> list[dict[str, Any]]:
    return [one.data for one in documents if one.kind == kind]


def _resolver(
    documents: KnowledgeDocuments, chooser: Chooser, calibrator: Calibrator, artifacts: Artifacts
) -> Resolver:
    known = Known(documents.taxonomy, {file["detector"]: file for file in documents.detectors})
    retriever = Retriever(
        known.taxonomy, known_labels(known.detectors.values(), of_entry), artifacts.encoder,
        artifacts.glossary,
    )  # fmt: skip
    return Resolver(
        taxonomy=known.taxonomy,
        retriever=retriever,
        calibrators=(artifacts.calibrators[0], calibrator),
        knowledge="",
        chooser=chooser,
        budget_seconds=float("inf"),
    )
