"""Events as requests leave them, with ids of any moment, to be counted in the review queue."""

import uuid
from datetime import datetime, timedelta
from typing import Any

from django.utils import timezone

from mapping.overview import first_id_at
from mapping.store import insert_events

UNKNOWN = "OTHER.Unknown"


def finding(label: str | None = "BADGE_NO", **more: Any) -> dict[str, Any]:
    """A finding that no rule maps, or whatever `more` says."""
    return {
        "source_label": label, "source_digest": None, "canonical": UNKNOWN, "confidence": 0.0,
        "method": "none", "score": None, "severity": "low", "count": 1, **more,
    }  # fmt: skip


def event(*findings: dict[str, Any], at: datetime | None = None, **more: Any) -> dict[str, Any]:
    """The row of an event. `at`: when its id was made."""
    at = at or timezone.now()
    made = first_id_at(at).int | uuid.uuid4().int & ((1 << 80) - 1)
    sure = [one["confidence"] for one in findings if one["canonical"] != UNKNOWN]
    return {
        "id": str(uuid.UUID(int=made)), "received_at": at, "occurred_at": None,
        "detector": "presidio", "detector_version": None, "vendor": None,
        "decision": "mapped" if sure else "fallback", "severity": "low",
        "confidence": min(sure, default=0.0), "labels": [one["canonical"] for one in findings],
        "scores": {}, "findings": list(findings), "output_shape": {}, "environment": None,
        "expected_detectors": None, "route": None, "raw_ref": None, "metadata": None,
        "request_id": "r", "api_key_id": str(uuid.UUID(int=1)), "release": 1,
        "taxonomy_version": "2026.11", "detector_map_version": None, "model_version": None,
        "calibrator_version": None, **more,
    }  # fmt: skip


def keep(*rows: dict[str, Any]) -> None:
    """Store events in the active tenant."""
    insert_events(list(rows))


def ago(**length: float) -> datetime:
    """A moment before now."""
    return timezone.now() - timedelta(**length)
