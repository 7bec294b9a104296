"""Events of two taxonomy editions, written in bulk, and what the shipped plan makes of them."""

from datetime import UTC, datetime
from typing import Any, NamedTuple

import orjson
from django.db import connection

from tenants.context import tenant_context

OLD, NEW = "2025.09", "2026.11"


class Sample(NamedTuple):
    """One kind of event. `shown` is what migration (of old ones) or its way back (of new) shows."""

    edition: str
    detector: str
    findings: list[tuple[str, str]]  # the detector's label, the canonical one
    labels: list[str]
    shown: list[str]
    lossy: bool


SAMPLES = [
    Sample(OLD, "presidio", [("EMAIL", "PII.Contact.Email")],
           ["PII.Contact.Email"], ["PII.Contact.Email"], False),
    Sample(OLD, "presidio", [("CREDIT_CARD", "PII.Identifier.CreditCard")],
           ["PII.Identifier.CreditCard"], ["PII.Financial.CreditCard"], False),
    Sample(OLD, "regex-pii", [("health_id", "PII.Health.HIPAA")],
           ["PII.Health.HIPAA"], ["PII.Health.RecordNumber"], False),
    Sample(OLD, "regex-pii", [("other", "PII.Health.HIPAA")],
           ["PII.Health.HIPAA"], ["PII.Health.Other"], False),
    # One event on both sides of a split.
    Sample(OLD, "openai-moderation",
           [("violence/graphic", "HARM.VIOLENCE.Physical"), ("violence", "HARM.VIOLENCE.Physical")],
           ["HARM.VIOLENCE.Physical"], ["HARM.VIOLENCE.Graphic", "HARM.VIOLENCE.Physical"], True),
    # One event with two labels that become one.
    Sample(OLD, "rebuff",
           [("override", "PROMPT_INJECTION.PolicyOverride"), ("x", "PROMPT_INJECTION.Other")],
           ["PROMPT_INJECTION.PolicyOverride", "PROMPT_INJECTION.Other"],
           ["PROMPT_INJECTION.Direct"], True),
    Sample(OLD, "rebuff", [("x", "PROMPT_INJECTION.Other"), ("t", "PROMPT_INJECTION.ToolRequest")],
           ["PROMPT_INJECTION.Other", "PROMPT_INJECTION.ToolRequest"],
           ["PROMPT_INJECTION.Direct", "PROMPT_INJECTION.ToolMisuse"], True),
    Sample(OLD, "nobody-knows", [], ["OTHER.Unknown"], ["OTHER.Unknown"], False),
    Sample(NEW, "presidio", [("CREDIT_CARD", "PII.Financial.CreditCard")],
           ["PII.Financial.CreditCard"], ["PII.Identifier.CreditCard"], False),
    Sample(NEW, "presidio", [("PERSON", "PII.Person.Name"), ("EMAIL", "PII.Contact.Email")],
           ["PII.Person.Name", "PII.Contact.Email"], ["PII.Other", "PII.Contact.Email"], True),
]  # fmt: skip

_INSERT = """
INSERT INTO mapping_mappingevent (id, received_at, detector, decision, severity, confidence, labels,
    scores, findings, output_shape, request_id, api_key_id, release, taxonomy_version)
SELECT (lpad(to_hex(moment), 12, '0') || '70008000' || lpad(to_hex(n), 12, '0'))::uuid,
    to_timestamp(moment / 1000.0), s.detector, 'mapped', 'high', 1,
    ARRAY(SELECT jsonb_array_elements_text(s.labels)), '{}', s.findings, '{}', 'bulk',
    '00000000-0000-0000-0000-000000000000', 1, s.edition
FROM generate_series(%(first)s::bigint, %(last)s::bigint) AS n,
    LATERAL (SELECT %(start)s::bigint + n * 60000 AS moment) AS at,
    jsonb_to_recordset(%(samples)s) AS s(
        place int, edition text, detector text, labels jsonb, findings jsonb)
WHERE s.place = n %% %(kinds)s
"""


def plant(tenant: Any, count: int, *, first: int = 0, start: datetime | None = None) -> None:
    """Write `count` events, a minute apart, the samples by turns; from number `first` on."""
    start = start or datetime(2026, 9, 1, tzinfo=UTC)
    samples = [
        {
            "place": place,
            "edition": sample.edition,
            "detector": sample.detector,
            "labels": sample.labels,
            "findings": [finding(*names) for names in sample.findings],
        }
        for place, sample in enumerate(SAMPLES)
    ]
    with tenant_context(tenant), connection.cursor() as cursor:
        cursor.execute(
            _INSERT,
            {
                "first": first, "last": first + count - 1, "kinds": len(SAMPLES),
                "start": int(start.timestamp() * 1000), "samples": orjson.dumps(samples).decode(),
            },
        )  # fmt: skip


def finding(source_label: str, canonical: str) -> dict[str, Any]:
    """A finding as events keep it."""
    return {
        "source_label": source_label, "source_digest": None, "canonical": canonical,
        "confidence": 1.0, "method": "rule", "score": 0.9, "severity": "high", "count": 1,
    }  # fmt: skip
