"""GET /events: filters, pages, and what they refuse."""

import base64
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest
from jsonschema import Draft202012Validator

from access.keys.models import Scope
from access.keys.services import create_key
from mapping.models import MappingEvent
from tenants.context import tenant_context
from tests.conftest import DemoTenant

pytestmark = pytest.mark.django_db
Api = Callable[..., Any]
Get = Callable[..., Any]
SSN = {"detector": "presidio", "output": [{"entity_type": "US_SSN", "score": 0.85}]}
EMAIL = {"detector": "presidio", "output": [{"entity_type": "EMAIL_ADDRESS", "score": 0.8}]}
SAFE = {"detector": "presidio", "output": []}
UNKNOWN = {"detector": "Acme-Scanner", "output": "NEW_THING"}


@pytest.fixture
def get(api: Api, acme: DemoTenant) -> Get:
    """get(detector="presidio", ...): the answer to /events with these parameters."""

    def ask(**parameters: Any) -> Any:
        return api("GET", f"/events?{urlencode(parameters)}", acme.read_key)

    return ask


@pytest.fixture
def events(api: Api, acme: DemoTenant) -> list[str]:
    """Ids of four events, in the order in which they were received."""
    batch = {"requests": [SSN, EMAIL, SAFE, UNKNOWN]}
    answer = api("POST", "/map/batch", acme.key, json=batch).json()
    return [result["event_id"] for result in answer["results"]]


def ids(answer: Any) -> list[str]:
    assert answer.status_code == 200, answer.content
    return [event["event_id"] for event in answer.json()["results"]]


class TestForm:
    def test_newest_first(self, get: Get, events: list[str]) -> None:
        answer = get()
        assert ids(answer) == events[::-1]
        assert (answer.json()["next"], answer.json()["previous"]) == (None, None)

    def test_holds_what_the_answer_to_map_said(self, api: Api, acme: DemoTenant, get: Get) -> None:
        said = api("POST", "/map", acme.key, json={**SSN, "route": "/chat"}).json()
        (event,) = get().json()["results"]
        for name in ("event_id", "decision", "severity", "confidence", "taxonomy", "scores",
                     "findings"):  # fmt: skip
            assert event[name] == said[name]
        assert event["route"] == "/chat"
        assert event["received_at"] == said["provenance"]["ts"]
        for name in ("release", "taxonomy", "detector_map", "model", "calibrator"):
            assert event["version_info"][name] == said["version_info"][name]

    def test_holds_every_column_but_none_that_is_the_tenants_secret(
        self, get: Get, events: list[str]
    ) -> None:
        event = get().json()["results"][0]
        columns = {field.column for field in MappingEvent._meta.local_fields}
        renamed = {"id": "event_id", "labels": "taxonomy"}
        versions = {c for c in columns if c.endswith("_version")} - {"detector_version"}
        shown = {renamed.get(c, c) for c in columns - versions - {"release"}}
        assert set(event) == shown | {"version_info", "migrated"}

    def test_follows_the_published_schema(self, api: Api, get: Get, events: list[str]) -> None:
        document = api("GET", "/openapi.json").json()
        schema = {**document, "$ref": "#/components/schemas/EventPage"}
        Draft202012Validator(schema).validate(get().json())

    def test_wants_its_scope(self, api: Api, acme: DemoTenant) -> None:
        writer = create_key(
            tenant=acme.tenant, name="w", scopes=[Scope.MAP_WRITE], actor="system:tests"
        )
        assert api("GET", "/events", writer.secret).json()["code"] == "insufficient_scope"


class TestFilters:
    @pytest.mark.parametrize(
        ("parameters", "expected"),
        [
            ({"detector": "presidio"}, [2, 1, 0]),
            ({"detector": " PRESIDIO "}, [2, 1, 0]),
            ({"detector": "Acme-Scanner"}, [3]),
            ({"detector": "acme"}, []),
            ({"label": "PII.Identifier.SSN"}, [0]),
            ({"label": "PII"}, [1, 0]),
            ({"label": "PII.Identifier"}, [0]),
            ({"label": "PI"}, []),
            ({"label": "%"}, []),
            ({"label": "PII_Identifier"}, []),
            ({"label": "OTHER.Safe"}, [2]),
            ({"decision": "mapped"}, [1, 0]),
            ({"decision": "safe"}, [2]),
            ({"decision": "fallback", "detector": "presidio"}, []),
            ({"decision": "mapped", "label": "PII.Contact"}, [1]),
            ({"severity": "none"}, [2]),
            ({"severity": "critical"}, []),
        ],
    )
    def test_each(
        self, get: Get, events: list[str], parameters: dict[str, str], expected: list[int]
    ) -> None:
        assert ids(get(**parameters)) == [events[place] for place in expected]

    def test_severity_of_a_finding(self, get: Get, events: list[str]) -> None:
        severity = get(label="PII.Identifier.SSN").json()["results"][0]["severity"]
        assert events[0] in ids(get(severity=severity))

    def test_times(self, get: Get, acme: DemoTenant, events: list[str]) -> None:
        start = datetime(2026, 11, 1, 12, tzinfo=UTC)
        with tenant_context(acme.tenant):
            for hours, event in enumerate(events):
                MappingEvent.objects.filter(pk=event).update(
                    received_at=start + timedelta(hours=hours)
                )
        at = [(start + timedelta(hours=hours)).isoformat() for hours in range(4)]
        assert ids(get(since=at[1])) == [events[3], events[2], events[1]]
        assert ids(get(until=at[1])) == [events[0]]
        assert ids(get(since=at[1], until=at[3])) == [events[2], events[1]]
        assert ids(get(since=at[3], until=at[1])) == []
        assert ids(get(since="2026-11-01T14:30:00+01:30")) == [events[3], events[2], events[1]]

    @pytest.mark.parametrize(
        "parameters",
        [
            {"since": "0001-01-01T00:00:00+14:00"}, {"since": "9999-12-31T23:59:59-14:00"},
            {"until": "9999-12-31T23:59:59.999999Z"}, {"until": "0001-01-01T00:00:00Z"},
        ],
    )  # fmt: skip
    def test_times_at_the_ends_of_the_calendar(self, get: Get, parameters: Any) -> None:
        assert get(**parameters).status_code in (200, 422)

    @pytest.mark.parametrize(
        ("parameters", "pointer"),
        [
            ({"decision": "MAPPED"}, "/decision"), ({"severity": "urgent"}, "/severity"),
            ({"since": "yesterday"}, "/since"), ({"since": "2026-01-01T00:00:00"}, "/since"),
            ({"until": "1767312000"}, "/until"), ({"since": ""}, "/since"),
            ({"limit": "0"}, "/limit"), ({"limit": "1001"}, "/limit"), ({"limit": "-1"}, "/limit"),
            ({"limit": "ten"}, "/limit"), ({"limit": "1.0"}, "/limit"), ({"limit": ""}, "/limit"),
            ({"limit": "1_0"}, "/limit"), ({"limit": "9" * 5_000}, "/limit"),
            ({"detector": ""}, "/detector"), ({"detector": "a\x00"}, "/detector"),
            ({"label": "x" * 129}, "/label"), ({"label": "\x00"}, "/label"),
            ({"page": "2"}, "/page"), ({"tenant_id": "globex"}, "/tenant_id"),
        ],
    )  # fmt: skip
    def test_refusals(self, get: Get, parameters: dict[str, str], pointer: str) -> None:
        answer = get(**parameters)
        assert (answer.status_code, answer.json()["code"]) == (422, "validation_failed")
        assert [error["pointer"] for error in answer.json()["errors"]] == [pointer]


class TestPages:
    def test_one_after_another_and_back(self, api: Api, acme: DemoTenant, get: Get) -> None:
        batch = {"requests": [SSN] * 10}
        results = api("POST", "/map/batch", acme.key, json=batch).json()["results"]
        sent = [result["event_id"] for result in results][::-1]
        pages, answer = [], get(limit=4)
        while True:
            pages.append(ids(answer))
            following = answer.json()["next"]
            if following is None:
                break
            assert urlsplit(following).netloc == "localhost"
            answer = api("GET", following.removeprefix("http://localhost"), acme.read_key)
        assert pages == [sent[:4], sent[4:8], sent[8:]]
        back = answer.json()["previous"].removeprefix("http://localhost")
        assert ids(api("GET", back, acme.read_key)) == sent[4:8]

    def test_stay_right_while_events_arrive(
        self, api: Api, acme: DemoTenant, get: Get, events: list[str]
    ) -> None:
        first = get(limit=2)
        api("POST", "/map", acme.key, json=SSN)
        second = api("GET", first.json()["next"].removeprefix("http://localhost"), acme.read_key)
        assert ids(first) + ids(second) == events[::-1]

    def test_keep_the_filter(self, api: Api, acme: DemoTenant, get: Get, events: Any) -> None:
        first = get(limit=1, decision="mapped")
        second = api("GET", first.json()["next"].removeprefix("http://localhost"), acme.read_key)
        assert ids(first) + ids(second) == [events[1], events[0]]

    def test_a_cursor_of_another_tenant_shows_ones_own(
        self, api: Api, acme: DemoTenant, globex: DemoTenant, get: Get, events: list[str]
    ) -> None:
        own = api("POST", "/map", globex.key, json=SSN).json()["event_id"]
        address = get(limit=1).json()["next"].removeprefix("http://localhost")
        answer = api("GET", address, globex.read_key)
        assert set(ids(answer)) <= {own}

    @pytest.mark.parametrize(
        "cursor",
        ["x", "%%%", "é", "=", "a" * 5_000, *(
            base64.b64encode(text).decode()
            for text in (b"p=abc", b"p=\x00", b"o=99999999999999999999", b"o=-1", b"p=1&r=1",
                         b"r=x", b"o=x", b"p=" + b"9" * 400, b"\xff\xfe", b"p=%00")
        )],
        ids=lambda cursor: cursor[:20],
    )  # fmt: skip
    def test_a_cursor_of_nobody(self, get: Get, events: list[str], cursor: str) -> None:
        answer = get(cursor=cursor)
        if answer.status_code != 200:
            assert (answer.status_code, answer.json()["code"]) == (400, "invalid_cursor")

    def test_a_thousand(self, api: Api, acme: DemoTenant, get: Get) -> None:
        api("POST", "/map/batch", acme.key, json={"requests": [SAFE] * 1_000})
        assert len(ids(get(limit=1_000))) == 1_000
        assert len(ids(get())) == 100
