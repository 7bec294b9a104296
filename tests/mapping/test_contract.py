"""POST /map and /map/batch: every answer has the shipped schema; bad input gets a clear problem."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from django.conf import settings
from jsonschema import Draft202012Validator, FormatChecker

from mapping.models import MappingEvent
from mapping.partitions import TABLE, ensure_partitions
from mapping.store import insert_events
from tenants.context import tenant_context
from tests.conftest import DemoTenant

pytestmark = pytest.mark.django_db
Api = Callable[..., Any]
SSN = {"detector": "presidio", "output": [{"entity_type": "US_SSN", "score": 0.85}]}
SCHEMA = Draft202012Validator(
    json.loads((settings.KNOWLEDGE_DIR / "schema.json").read_text()), format_checker=FormatChecker()
)
EXAMPLES = [
    json.loads(line)
    for line in (settings.KNOWLEDGE_DIR / "examples" / "raw-outputs.jsonl").read_text().splitlines()
    if line.strip()
]


def events(demo: DemoTenant) -> list[MappingEvent]:
    with tenant_context(demo.tenant):
        return list(MappingEvent.objects.all())


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda e: e["detector"])
def test_shipped_outputs_are_answered_in_the_shipped_schema(
    api: Api, acme: DemoTenant, example: dict[str, Any]
) -> None:
    answer = api("POST", "/map", acme.key, json=example)
    assert answer.status_code == 200
    body = answer.json()
    assert [error.message for error in SCHEMA.iter_errors(body)] == []
    assert body["decision"] in ("mapped", "safe")
    (event,) = events(acme)
    assert str(event.id) == body["event_id"]
    assert event.labels == body["taxonomy"]
    assert event.taxonomy_version == body["version_info"]["taxonomy"] == "2026.11"
    assert event.detector_map_version == body["version_info"]["detector_map"]


@pytest.mark.parametrize(
    ("output", "decision", "label"),
    [
        ("safe", "safe", "OTHER.Safe"),
        ("unsafe\nS1", "mapped", "HARM.CRIME.Violent"),
        ("unsafe\nS99", "fallback", "OTHER.Unknown"),
        ("", "error", "OTHER.ModelError"),
        ("once upon a time there was a model that told stories", "error", "OTHER.ModelError"),
    ],
)
def test_each_decision(api: Api, acme: DemoTenant, output: str, decision: str, label: str) -> None:
    body = api(
        "POST", "/map", acme.key, json={"detector": "llama-guard-3", "output": output}
    ).json()
    assert (body["decision"], body["taxonomy"]) == (decision, [label])
    assert not list(SCHEMA.iter_errors(body))


def test_everything_that_may_be_said_is_kept(api: Api, acme: DemoTenant) -> None:
    request = {
        **SSN,
        "detector_version": "2.2.366",
        "vendor": "Microsoft",
        "occurred_at": "2026-11-24T10:00:00+02:00",
        "raw_ref": "s3://bucket/key-1",
        "route": "/chat",
        "policy_context": {"expected_detectors": ["presidio"], "environment": "prod"},
        "metadata": {"aggregation_method": "majority_vote", "coverage_achieved": 0.5},
        "label_descriptions": {"US_SSN": "a number"},
        "tenant_id": acme.tenant.slug,
    }
    body = api("POST", "/map", acme.key, json=request).json()
    assert not list(SCHEMA.iter_errors(body))
    (event,) = events(acme)
    assert event.occurred_at is not None
    assert event.occurred_at.isoformat() == "2026-11-24T08:00:00+00:00"
    assert (event.raw_ref, event.route, event.environment) == ("s3://bucket/key-1", "/chat", "prod")
    assert event.metadata == {"aggregation_method": "majority_vote", "coverage_achieved": 0.5}
    assert event.expected_detectors == ["presidio"]


BAD: list[tuple[str, Any, int, str]] = [
    ("no detector", {"output": "x"}, 422, "/detector"),
    ("no output", {"detector": "presidio"}, 422, "/output"),
    ("output a number", {**SSN, "output": 7}, 422, "/output"),
    ("output null", {**SSN, "output": None}, 422, "/output"),
    ("unknown field", {**SSN, "detectr": "x"}, 422, "/detectr"),
    ("time without offset", {**SSN, "occurred_at": "2026-11-24T10:00:00"}, 422, "/occurred_at"),
    ("time far off", {**SSN, "occurred_at": "3026-11-24T10:00:00Z"}, 422, "/occurred_at"),
    ("control character", {**SSN, "vendor": "a\u0000b"}, 422, "/vendor"),
    ("score out of range", {**SSN, "metadata": {"coverage_achieved": 2}}, 422, "/metadata/"),
    ("long label", {**SSN, "label_descriptions": {"x" * 201: "d"}}, 422, "/label_descriptions/"),
    ("a list", [SSN], 422, ""),
    ("a string", "presidio", 422, ""),
]


@pytest.mark.parametrize(("_name", "item", "status", "pointer"), BAD, ids=[row[0] for row in BAD])
def test_bad_items_name_the_field(
    api: Api, acme: DemoTenant, _name: str, item: Any, status: int, pointer: str
) -> None:
    answer = api("POST", "/map", acme.key, json=item)
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (status, "validation_failed")
    assert answer.headers["Content-Type"] == "application/problem+json"
    pointers = [error["pointer"] for error in problem["errors"]]
    assert any(found == pointer or (pointer and found.startswith(pointer)) for found in pointers)
    assert events(acme) == []


def test_limits_of_size_and_depth(api: Api, acme: DemoTenant) -> None:
    large = api("POST", "/map", acme.key, json={**SSN, "output": "x" * 70_000})
    assert (large.status_code, large.json()["code"]) == (413, "item_too_large")
    deep: Any = "x"
    for _ in range(40):
        deep = [deep]
    nested = api("POST", "/map", acme.key, json={**SSN, "output": deep})
    assert (nested.status_code, nested.json()["code"]) == (422, "too_deep")
    for size in (0, 1_001):
        answer = api("POST", "/map/batch", acme.key, json={"requests": [SSN] * size})
        assert answer.json()["errors"][0]["pointer"] == "/requests"
    assert events(acme) == []


@pytest.mark.parametrize("body", [b"{", b"\xff", b'{"a": NaN}', b'"\\ud800"', b"[" * 3_000])
def test_what_is_no_json_is_400(client: Any, acme: DemoTenant, body: bytes) -> None:
    answer = client.generic(
        "POST", "/map", body, content_type="application/json", HTTP_HOST="localhost",
        HTTP_AUTHORIZATION=f"Bearer {acme.key}",
    )  # fmt: skip
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_json")


def test_batch_items_stand_alone(api: Api, acme: DemoTenant) -> None:
    requests = [SSN, {"detector": "presidio"}, {**SSN, "tenant_id": "globex"}, SSN]
    answer = api("POST", "/map/batch", acme.key, json={"requests": requests})
    body = answer.json()
    assert answer.status_code == 200
    assert [result is not None for result in body["results"]] == [True, False, False, True]
    assert [(e["index"], e["code"]) for e in body["errors"]] == [
        (1, "validation_failed"),
        (2, "tenant_mismatch"),
    ]
    stored = {str(event.id) for event in events(acme)}
    assert stored == {body["results"][0]["event_id"], body["results"][3]["event_id"]}
    assert not [e for result in (body["results"][0],) for e in SCHEMA.iter_errors(result)]


def test_pages_of_events_hold_each_once_while_new_ones_arrive(api: Api, acme: DemoTenant) -> None:
    first = [
        result["event_id"]
        for result in api("POST", "/map/batch", acme.key, json={"requests": [SSN] * 7}).json()[
            "results"
        ]
    ]
    seen: list[str] = []
    path: str | None = "/events?limit=3&detector=presidio&label=PII&decision=mapped"
    while path:
        page = api("GET", path, acme.key).json()
        seen += [event["event_id"] for event in page["results"]]
        api("POST", "/map", acme.key, json=SSN)
        path = page["next"] and "/events?" + page["next"].split("?", 1)[1]
    assert seen == sorted(first, reverse=True)
    assert api("GET", "/events?label=SECRET", acme.key).json()["results"] == []


@pytest.mark.parametrize("cursor", ["x", "cD1ub3QtYS11dWlk", "%00", "bz0tMQ=="])
def test_bad_cursors(api: Api, acme: DemoTenant, cursor: str) -> None:
    api("POST", "/map", acme.key, json=SSN)
    answer = api("GET", f"/events?cursor={cursor}", acme.key)
    assert answer.status_code in (200, 400, 422)
    assert answer.status_code == 200 or answer.json()["code"] in (
        "invalid_cursor",
        "validation_failed",
    )


class TestStore:
    def row(self, api: Api, acme: DemoTenant) -> dict[str, Any]:
        """A row as the service writes it, from an event that is there."""
        api("POST", "/map", acme.key, json=SSN)
        with tenant_context(acme.tenant):
            return dict(MappingEvent.objects.values().first() or {})

    def test_a_repeated_insert_doubles_nothing(self, api: Api, acme: DemoTenant) -> None:
        row = self.row(api, acme)
        with tenant_context(acme.tenant):
            insert_events([row, row])
            assert MappingEvent.objects.count() == 1

    def test_the_table_has_the_columns_of_the_model(self, acme: DemoTenant) -> None:
        from django.db import connection

        with tenant_context(acme.tenant), connection.cursor() as cursor:
            cursor.execute(
                "SELECT column_name, is_nullable = 'YES' FROM information_schema.columns "
                "WHERE table_schema = %s AND table_name = %s",
                [acme.tenant.schema_name, TABLE],
            )
            columns = dict(cursor.fetchall())
        fields = {field.column: field.null for field in MappingEvent._meta.local_fields}
        assert columns == fields

    def test_events_without_a_month_move_into_it_when_it_is_made(
        self, api: Api, acme: DemoTenant
    ) -> None:
        from datetime import UTC, date, datetime

        row = self.row(api, acme)
        far = datetime(2031, 5, 31, 23, 59, 59, tzinfo=UTC)
        with tenant_context(acme.tenant):
            insert_events([{**row, "received_at": far}])
            assert ensure_partitions(today=date(2031, 5, 2)) == [
                f"{TABLE}_y2031m05", f"{TABLE}_y2031m06", f"{TABLE}_y2031m07",
            ]  # fmt: skip
            assert MappingEvent.objects.filter(received_at=far).count() == 1
            assert ensure_partitions(today=date(2031, 5, 2)) == []


@pytest.mark.parametrize(
    ("moment", "status"),
    [
        ("2026-11-24T10:00:00%2B17:19", 200),
        ("0001-01-01T00:00:00%2B05:00", 422),
        ("9999-12-31T23:59:59-05:00", 422),
    ],
)
def test_times_at_the_edges_of_calendars(
    api: Api, acme: DemoTenant, moment: str, status: int
) -> None:
    assert api("GET", f"/events?until={moment}", acme.key).status_code == status
