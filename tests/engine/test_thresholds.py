"""How certain a mapping must be: which of tenant, branch, detector and platform has its say."""

from itertools import product
from typing import Any

import pytest

from mapping.engine import DetectorOutput, Engine, Knowledge, Layer, Thresholds
from mapping.engine.thresholds import MOST_NAMES
from tests.engine.support import document, hash_text

EMAIL, SSN = "PII.Contact.Email", "PII.Identifier.SSN"


@pytest.mark.parametrize(
    ("tenant", "platform", "threshold"),
    [
        (Layer(), Layer(), 0.6),
        (Layer(), Layer(0.7), 0.7),
        (Layer(), Layer(0.7, {"presidio": 0.8}), 0.8),
        (Layer(), Layer(0.7, {"presidio": 0.8}, {"PII": 0.5}), 0.5),
        (Layer(), Layer(0.7, {}, {"PII": 0.5, "PII.Contact": 0.4}), 0.4),
        (Layer(), Layer(0.7, {}, {"PII": 0.5, "PII.Contact": 0.4, EMAIL: 0.3}), 0.3),
        (Layer(0.2), Layer(0.7, {"presidio": 0.8}, {EMAIL: 0.5}), 0.2),
        (Layer(0.2, {"presidio": 0.1}), Layer(0.7, {}, {EMAIL: 0.5}), 0.1),
        (Layer(0.2, {"presidio": 0.1}, {"PII": 0.9}), Layer(0.7, {}, {EMAIL: 0.5}), 0.9),
        (Layer(None, {}, {"PII": 0.0}), Layer(0.7), 0.0),
        # What does not fit says nothing.
        (Layer(None, {"other": 0.1}, {"SECURITY": 0.2}), Layer(0.7, {"presidi": 0.1}), 0.7),
        (Layer(None, {}, {"PII.Cont": 0.2, "Contact": 0.2, "pii": 0.2}), Layer(0.7), 0.7),
    ],
)
def test_the_most_specific_wins(tenant: Layer, platform: Layer, threshold: float) -> None:
    thresholds = Thresholds(platform, tenant)
    for _ in range(2):  # found, then kept
        assert thresholds.of("presidio", EMAIL) == threshold


def test_every_combination_is_answered_by_the_first_that_speaks() -> None:
    """All 64 of the six places that may say something."""
    for said in product((False, True), repeat=6):
        values = [number / 10 if one else None for number, one in enumerate(said, 1)]
        layers = []
        for branch, detector, default in (values[:3], values[3:]):
            layers.append(
                Layer(
                    default,
                    {} if detector is None else {"presidio": detector},
                    {} if branch is None else {"PII": branch},
                )
            )
        expected = next((value for value in values if value is not None), 0.6)
        assert Thresholds(layers[1], layers[0]).of("presidio", SSN) == expected


@pytest.mark.parametrize("name", ["llama-guard-3", "Llama Guard_3", "LLAMA.GUARD/3"])
def test_a_detector_goes_by_any_spelling(name: str) -> None:
    for written in ("llama-guard-3", "Llama_Guard 3"):
        assert Thresholds(Layer(0.6, {written: 0.9})).of(name, SSN) == 0.9


def test_made_up_detectors_take_little_memory() -> None:
    thresholds = Thresholds(Layer(0.6, {"presidio": 0.9}))
    for number in range(2 * MOST_NAMES):
        assert thresholds.of(f"made up {number}", SSN) == 0.6
    assert len(thresholds._seen) == MOST_NAMES
    assert thresholds.of("Presidio", SSN) == 0.9  # still found, though no longer kept
    assert thresholds.for_detector("x") is thresholds.for_detector("y")


def engine(confidences: dict[str, float], threshold: float = 0.6) -> Engine:
    """An engine with one detector, whose labels are mapped with these confidences."""
    detector: dict[str, Any] = {
        "detector": "probe",
        "version": "1",
        "recipes": [{"name": "list", "read": [{"each": "$", "label": "$"}]}],
        "labels": {
            name: {"canonical": name, "confidence": value} for name, value in confidences.items()
        },
    }
    taxonomy = document("taxonomy", "2026.11")
    return Engine(Knowledge.from_documents(taxonomy, [detector], [], []), threshold)


@pytest.mark.parametrize(
    ("layer", "decision"),
    [
        (Layer(0.6), "mapped"),
        (Layer(0.8), "review"),
        (Layer(0.7), "mapped"),  # reached is enough
        (Layer(0.6, {"probe": 0.8}), "review"),
        (Layer(0.6, {}, {"PII": 0.8}), "review"),
        (Layer(0.9, {}, {"PII.Contact": 0.5}), "mapped"),
        (Layer(0.6, {"other": 0.9}, {"SECURITY": 0.9}), "mapped"),
    ],
)
def test_the_decision_goes_by_it(layer: Layer, decision: str) -> None:
    output = DetectorOutput("probe", [EMAIL])
    found = engine({EMAIL: 0.7}).map(output, hash_text, thresholds=Thresholds(layer))
    assert (found.decision, found.confidence) == (decision, 0.7)


def test_of_several_findings_one_that_is_certain_enough_decides() -> None:
    """Each by the threshold of its own label."""
    one = engine({EMAIL: 0.7, "SECURITY.Other": 0.9})
    both = DetectorOutput("probe", [EMAIL, "SECURITY.Other"])
    for layer, decision in (
        (Layer(0.95), "review"),
        (Layer(0.95, {}, {"PII": 0.7}), "mapped"),
        (Layer(0.95, {}, {"SECURITY": 0.9}), "mapped"),
        (Layer(0.7, {}, {"SECURITY": 0.95}), "mapped"),
        (Layer(0.7, {}, {"SECURITY": 0.95, "PII": 0.75}), "review"),
    ):
        found = one.map(both, hash_text, thresholds=Thresholds(layer))
        assert found.decision == decision, layer


def test_a_detector_without_a_file_has_thresholds_too() -> None:
    """Its labels are mapped by the caller's descriptions, with confidence 0.7."""
    output = DetectorOutput("Home Made", ["e1"], label_descriptions={"e1": "Email"})
    one = engine({})
    for layer, decision in ((Layer(0.6), "mapped"), (Layer(0.6, {"home-made": 0.8}), "review")):
        found = one.map(output, hash_text, thresholds=Thresholds(layer))
        assert (found.taxonomy, found.decision) == ((EMAIL,), decision)


def test_without_thresholds_of_the_caller_the_engines_own_holds() -> None:
    output = DetectorOutput("probe", [EMAIL])
    assert engine({EMAIL: 0.7}, 0.8).map(output, hash_text).decision == "review"
    assert engine({EMAIL: 0.7}, 0.7).map(output, hash_text).decision == "mapped"
