"""Reads a sample of a detector's raw output: its labels, and a recipe that reads its shape.

The sample is looked at in memory and forgotten: nothing here keeps, logs or quotes any of it but
the plain names that stand where labels stand.
"""

import copy
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from mapping.engine import KnowledgeError
from mapping.engine.bare import SCORED, looks_like_label, pieces_of
from mapping.engine.detectors import build_detector
from mapping.engine.formats import UNPARSED
from mapping.engine.recipes import Parsed, parse
from mapping.engine.sink import Sink
from mapping.engine.types import SEVERITY_RANK
from mapping.engine.vocabulary import LabelRule, fold
from mapping.onboarding.drafting import UNDECIDED
from mapping.onboarding.lists import OnboardingError, may_be_a_label
from mapping.onboarding.places import THRESHOLD, Place, Survey, readers, written

MAX_SAMPLE_CHARS: Final = 500_000
_MAX_TEXT_CHARS: Final = 20_000  # of a text that is no structure
_NAMED: Final = (
    r"(?i)\b(?:entity_type|entity_group|label|category|rule_id|type)\b[\"']?\s*[:=]\s*[\"']?"
    r"(?P<label>\w[\w./:-]{0,99})"
)


@dataclass(slots=True)
class Sample:
    """What a sample told. `notes` are words of ours, numbers, and names of members alone."""

    form: str
    outputs: int
    labels: list[str]
    recipes: list[dict[str, Any]]
    notes: list[str] = field(default_factory=list)
    read: bool = False  # the detector's file, with these labels and recipes, reads it as expected


def read_sample(
    text: str, taxonomy: Mapping[str, Any], detector: Mapping[str, Any] | None
) -> Sample:
    """Find the labels of a sample. Raises OnboardingError, which quotes nothing of it.

    `detector`: the file of a detector that exists, whose own recipes are then tried first.
    """
    if len(text) > MAX_SAMPLE_CHARS:
        raise OnboardingError(
            f"The sample is over {MAX_SAMPLE_CHARS:,} characters long. A few outputs are enough."
        )
    try:
        return _read(text, taxonomy, detector)
    except OnboardingError:
        raise
    except Exception:  # noqa: BLE001 - a hostile sample must not be quoted by a traceback
        raise OnboardingError("The sample cannot be read. Give its labels as a list.") from None


def _read(text: str, taxonomy: Mapping[str, Any], detector: Mapping[str, Any] | None) -> Sample:
    form, outputs = _outputs(text)
    survey, recipes = _survey(outputs)
    if detector is not None:
        known = _by_own_recipes(outputs, taxonomy, detector)
        if known is not None:
            return Sample(form, len(outputs), known, [], _facts(survey, by_recipes=True), read=True)
        recipes = []
    labels = survey.labels()
    if not labels:
        raise OnboardingError(_nothing_found(form, survey))
    sample = Sample(form, len(outputs), labels, recipes, _facts(survey, by_recipes=False))
    file = detector or {"detector": "sample", "version": "0", "labels": {}, "recipes": recipes}
    sample.read = _reads(outputs, survey, taxonomy, file)
    if not sample.read and detector is None and recipes:
        sample.recipes = []
    return sample


def _outputs(text: str) -> tuple[str, list[Parsed]]:
    """What the text is, and the outputs in it: one on each line, or one in all."""
    lines = [line for line in text.splitlines() if line.strip()]
    if len(lines) > 1 and all(line.lstrip().startswith(("{", "[")) for line in lines):
        parsed = [parse(line) for line in lines]
        if all(one.value is not UNPARSED for one in parsed):
            return "JSON lines", parsed
    whole = parse(text)
    if whole.value is UNPARSED:
        return "text", [whole]
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return "printed objects", [whole]
    return "JSON", [whole]


def _survey(outputs: list[Parsed]) -> tuple[Survey, list[dict[str, Any]]]:
    """What stands in the outputs, and the recipe that reads it, if one is needed."""
    survey = Survey()
    for output in outputs:
        if output.value is UNPARSED:
            return survey, _survey_text(output.text or "", survey)
        survey.look(output.value)
    found = list(readers(survey))
    return survey, [{"name": "shape of the sample", "read": found}] if found else []


def _survey_text(text: str, survey: Survey) -> list[dict[str, Any]]:
    """A text: `label: score` throughout, `label=NAME` somewhere in it, or names between signs."""
    survey.positive.append(set())
    place = Place("names", ())
    if len(text) > _MAX_TEXT_CHARS:
        raise OnboardingError(
            f"The sample is no JSON, and a text of over {_MAX_TEXT_CHARS:,} characters. Give one "
            "output."
        )
    pieces = pieces_of(text)
    scored = [SCORED.fullmatch(piece) for piece in pieces]
    if pieces and all(scored):
        for match in filter(None, scored):
            score = float(match[2])
            survey.name(place, match[1], score, positive=score >= THRESHOLD)
        return []
    named = [match["label"] for match in re.finditer(_NAMED, text)]
    plain = all(looks_like_label(piece) and not set(piece) & set(":=[]") for piece in pieces)
    for name in named or (pieces if plain else []):
        survey.name(place, name, None, positive=True)
    if not named:
        return []
    return [{"name": "named in text", "text": _NAMED, "read": [{"label": "label"}]}]


def _nothing_found(form: str, survey: Survey) -> str:
    if survey.failures:
        return "The sample states an error of the detector. Give an output with findings."
    if survey.refused:
        return (
            f"{many(survey.refused, 'text')} found where labels stand, but none is plainly a name: "
            "nothing is shown or kept. Give the labels as a list."
        )
    return (
        f"No labels were found in the sample, which was read as {form}. Looked for were members "
        "such as label, category and entity_type, objects from label to score, and lists of "
        "names. Give the labels as a list."
    )


def _facts(survey: Survey, *, by_recipes: bool) -> list[str]:
    """Where labels were found and what was passed over."""
    notes = []
    if by_recipes:
        notes.append("Read by the detector's own recipes.")
    else:
        places = list(dict.fromkeys(map(_named, survey.places)))
        notes.append(f"Labels were found in: {', '.join(places[:6])}.")
    if any(p.shape == "records" and f.scored for p, f in survey.places.items()):
        notes.append(f"A record with a score counts from {THRESHOLD} on.")
    if survey.refused:
        notes.append(
            f"{many(survey.refused, 'text')} refused where labels stand: not plainly a name, so "
            "neither shown nor kept."
        )
    if survey.failures:
        notes.append(f"{many(survey.failures, 'statement')} of an error passed over.")
    if survey.ignored:
        notes.append(f"{many(survey.ignored, 'other value')} passed over.")
    return notes


def many(count: int, noun: str) -> str:
    """A number and its noun."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def _named(place: Place) -> str:
    """A place in words."""
    if place.shape == "records":
        return written((*place.path, place.member))
    where = "the output itself" if not place.path else written(place.path)
    return where if place.shape == "names" else f"keys of {where}"


def _ranks(taxonomy: Mapping[str, Any]) -> dict[str, int]:
    return {name: SEVERITY_RANK[label["severity"]] for name, label in taxonomy["labels"].items()}


def _by_own_recipes(
    outputs: list[Parsed], taxonomy: Mapping[str, Any], detector: Mapping[str, Any]
) -> list[str] | None:
    """Labels that a detector's recipes find and its file lacks; None if they do not read it."""
    reader = build_detector(detector, _ranks(taxonomy), taxonomy["edition"]).reader
    found: dict[str, None] = {}
    for output in outputs:
        sink = Sink()
        if not reader.read(output, sink):
            return None
        for key in sink.hits:
            text = key.label if isinstance(key, LabelRule) else key
            if may_be_a_label(text):
                found[text] = None
    return list(found)


def _reads(
    outputs: list[Parsed], survey: Survey, taxonomy: Mapping[str, Any], file: Mapping[str, Any]
) -> bool:
    """Whether a detector file with the labels found reads each output, and just as expected."""
    trial = {**copy.deepcopy(dict(file))}
    known = {fold(label) for label in trial["labels"]}
    new = [label for label in survey.labels() if fold(label) not in known]
    trial["labels"] = {**trial["labels"], **{label: {"unmapped": UNDECIDED} for label in new}}
    try:
        reader = build_detector(trial, _ranks(taxonomy), taxonomy["edition"]).reader
    except KnowledgeError:
        return False
    for output, expected in zip(outputs, survey.positive, strict=True):
        sink = Sink()
        if not reader.read(output, sink):
            if expected or not survey.failures:
                return False
            continue
        found = {fold(key.label) for key in sink.hits if isinstance(key, LabelRule)}
        if found != {fold(label) for label in expected}:
            return False
    return True
