"""pillars-detectors/schema.json, the schema of a response: what it takes and what it refuses."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

ROOT = Path(__file__).resolve().parents[2] / "pillars-detectors"
DOCUMENT = json.loads((ROOT / "schema.json").read_text(encoding="utf-8"))
VALIDATOR = Draft202012Validator(DOCUMENT, format_checker=Draft202012Validator.FORMAT_CHECKER)

MAPPED: dict[str, Any] = {
    "schema_version": "2",
    "event_id": "0193a1c2-7d4e-7b1a-9c55-3f1f0c2d4e5f",
    "decision": "mapped",
    "severity": "high",
    "taxonomy": ["PII.Identifier.SSN", "OTHER.Unknown"],
    "scores": {"PII.Identifier.SSN": 0.85},
    "confidence": 1.0,
    "notes": None,
    "findings": [
        {
            "source_label": "US_SSN",
            "canonical": "PII.Identifier.SSN",
            "confidence": 1.0,
            "method": "rule",
            "score": 0.85,
            "severity": "high",
            "count": 2,
        },
        {
            "source_label": None,
            "source_digest": "hmac-sha256:4f2a",
            "canonical": "OTHER.Unknown",
            "confidence": 0.0,
            "method": "none",
            "score": None,
            "severity": "low",
            "count": 1,
        },
    ],
    "controls": ["hipaa@2013:164.514(b)(2)(i)(G)", "iso27001@2022:A.8.11", "soc2@2017:CC6.7"],
    "provenance": {
        "vendor": "Microsoft",
        "detector": "presidio",
        "detector_version": None,
        "raw_ref": None,
        "route": None,
        "model": None,
        "tenant_id": "acme",
        "ts": "2026-11-24T10:00:00Z",
    },
    "policy_context": None,
    "version_info": {
        "release": 3,
        "taxonomy": "2026.11",
        "detector_map": "2026.11.1",
        "frameworks": ["hipaa@2013", "iso27001@2022", "soc2@2017"],
        "model": None,
        "calibrator": None,
    },
}
SAFE = {
    **MAPPED,
    "decision": "safe",
    "severity": "none",
    "taxonomy": ["OTHER.Safe"],
    "scores": {},
    "findings": [],
    "controls": [],
    "policy_context": {"expected_detectors": ["presidio"], "environment": "prod"},
}


@pytest.mark.parametrize("event", [MAPPED, SAFE], ids=["mapped", "safe"])
def test_takes_what_the_service_emits(event: dict[str, Any]) -> None:
    assert [error.message for error in VALIDATOR.iter_errors(event)] == []


def test_fields_of_version_1_are_still_there() -> None:
    version_1 = {"taxonomy", "scores", "confidence", "notes", "provenance", "policy_context"}
    properties = DOCUMENT["properties"]
    assert version_1 <= set(properties)
    assert set(properties["provenance"]["properties"]) == {
        *("vendor", "detector", "detector_version", "raw_ref", "route", "model", "tenant_id", "ts")
    }
    assert set(properties["policy_context"]["properties"]) == {"expected_detectors", "environment"}


def test_null_is_taken_only_where_it_is_meant() -> None:
    assert VALIDATOR.is_valid({**MAPPED, "provenance": None})
    assert VALIDATOR.is_valid({**SAFE, "policy_context": {"expected_detectors": None}})
    for field in ("event_id", "decision", "severity", "taxonomy", "confidence", "findings"):
        assert not VALIDATOR.is_valid({**MAPPED, field: None}), field


def _set(*path: str | int, to: Any) -> Callable[[dict[str, Any]], None]:
    def change(event: dict[str, Any]) -> None:
        node: Any = event
        for key in path[:-1]:
            node = node[key]
        node[path[-1]] = to

    return change


@pytest.mark.parametrize(
    "change",
    [
        _set("raw_output", to="my number is 078-05-1120"),
        _set("findings", 0, "text", to="078-05-1120"),
        _set("provenance", "ip", to="10.0.0.1"),
        _set("version_info", "prompt", to="x"),
        _set("schema_version", to="1"),
        _set("event_id", to="not-a-uuid"),
        _set("decision", to="violation"),
        _set("severity", to="urgent"),
        _set("taxonomy", to=[]),
        _set("taxonomy", 0, to="pii.ssn"),
        _set("taxonomy", to=["PII.Other", "PII.Other"]),
        _set("scores", "PII.Identifier.SSN", to=1.2),
        _set("scores", to={"ssn": 0.5}),
        _set("confidence", to=-0.1),
        _set("notes", to="x" * 501),
        _set("findings", 0, "count", to=0),
        _set("findings", 0, "score", to="0.85"),
        _set("controls", 0, to="CC6.7"),
        _set("controls", to=["soc2@2017:CC6.7", "soc2@2017:CC6.7"]),
        _set("policy_context", to={"environment": "production"}),
        _set("provenance", "ts", to="yesterday"),
        _set("version_info", "taxonomy", to="v1"),
        _set("version_info", "release", to=0),
        _set("version_info", "release", to="3"),
        _set("version_info", "frameworks", to=["SOC 2"]),
    ],
)
def test_refuses(change: Callable[[dict[str, Any]], None]) -> None:
    event = copy.deepcopy(MAPPED)
    change(event)
    assert not VALIDATOR.is_valid(event)


@pytest.mark.parametrize("field", DOCUMENT["required"])
def test_required_fields(field: str) -> None:
    assert not VALIDATOR.is_valid({key: value for key, value in MAPPED.items() if key != field})
