"""POST /map and POST /map/batch: what they accept, refuse, answer and store."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.conf import settings

from access.keys.secrets import prefix_of
from mapping.models import MappingEvent
from mapping.selectors import versions_in_force
from tenants.context import tenant_context
from tests.conftest import DemoTenant

pytestmark = pytest.mark.django_db
Api = Callable[..., Any]
Send = Callable[..., Any]
LIMITS = settings.CONFIG.limits
SSN = [{"entity_type": "US_SSN", "start": 0, "end": 11, "score": 0.85}]
ITEM = {"detector": "presidio", "output": SSN}
EXAMPLES = [
    json.loads(line)
    for line in (settings.KNOWLEDGE_DIR / "examples" / "raw-outputs.jsonl")
    .read_text(encoding="utf-8")
    .splitlines()
    if line.strip()
]


def stored(acme: DemoTenant) -> list[MappingEvent]:
    with tenant_context(acme.tenant):
        return list(MappingEvent.objects.order_by("id"))


def nested(levels: int) -> dict[str, Any]:
    """An item with that many levels of objects and arrays, itself the first."""
    inner: Any = "x"
    for _ in range(levels - 1):
        inner = [inner]
    return {"detector": "presidio", "output": inner}


def of_size(size: int) -> dict[str, Any]:
    empty = len(json.dumps({"detector": "presidio", "output": ""}, separators=(",", ":")))
    return {"detector": "presidio", "output": "x" * (size - empty)}


class TestAnswer:
    def test_example(self, send: Send) -> None:
        answer = send(ITEM)
        assert answer["schema_version"] == "2"
        assert answer["decision"] == "mapped"
        assert answer["taxonomy"] == ["PII.Identifier.SSN"]
        assert answer["scores"] == {"PII.Identifier.SSN": 0.85}
        assert [f["source_label"] for f in answer["findings"]] == ["US_SSN"]
        assert answer["controls"] == sorted(answer["controls"])
        assert {control.split("@")[0] for control in answer["controls"]} >= {"soc2", "hipaa"}
        assert answer["provenance"]["tenant_id"] == "acme"
        assert answer["provenance"]["vendor"] == "Microsoft"
        assert answer["policy_context"] is None
        assert answer["version_info"]["model"] is None
        assert answer["version_info"]["release"] == versions_in_force()["release"]

    @pytest.mark.parametrize("number", range(len(EXAMPLES)))
    def test_shipped_examples(self, send: Send, acme: DemoTenant, number: int) -> None:
        answer = send(EXAMPLES[number])
        assert answer["decision"] in {"mapped", "safe"}
        assert answer["provenance"]["detector"] == EXAMPLES[number]["detector"]
        assert [str(event.id) for event in stored(acme)] == [answer["event_id"]]

    def test_every_decision(self, send: Send) -> None:
        outputs = {
            "mapped": ("presidio", SSN),
            "safe": ("presidio", []),
            "fallback": ("nobodys-scanner", "SOMETHING_NEW"),
            "error": ("llama-guard-3", {"unexpected": {"shape": 1}}),
        }
        for decision, (detector, output) in outputs.items():
            assert send({"detector": detector, "output": output})["decision"] == decision

    def test_an_unknown_label_is_recorded(self, send: Send) -> None:
        answer = send({"detector": "presidio", "output": [{"entity_type": "SHOE_SIZE"}]})
        assert answer["taxonomy"] == ["OTHER.Unknown"]
        assert answer["findings"][0]["source_label"] == "SHOE_SIZE"
        assert answer["findings"][0]["method"] == "none"

    def test_what_the_caller_says_comes_back(self, send: Send) -> None:
        said = {
            "detector_version": "2.2.366", "vendor": "Microsoft", "raw_ref": "s3://bucket/1",
            "route": "/chat", "occurred_at": "2026-01-02T03:04:05+02:00", "tenant_id": "acme",
            "policy_context": {"expected_detectors": ["presidio"], "environment": "prod"},
        }  # fmt: skip
        answer = send({**ITEM, **said})
        for name in ("detector_version", "vendor", "raw_ref", "route"):
            assert answer["provenance"][name] == said[name]
        assert answer["policy_context"] == said["policy_context"]

    @pytest.mark.parametrize("context", [{}, {"environment": "dev"}, {"expected_detectors": []}])
    def test_any_policy_context_gives_a_valid_answer(self, send: Send, context: Any) -> None:
        assert send({**ITEM, "policy_context": context})["decision"] == "mapped"

    def test_same_under_the_version(self, api: Api, acme: DemoTenant, valid: Any) -> None:
        answer = api("POST", "/api/v1/map", acme.key, json=ITEM)
        assert valid(answer.json())["decision"] == "mapped"


class TestStoredEvent:
    def test_columns(self, send: Send, acme: DemoTenant) -> None:
        before = datetime.now(UTC)
        answer = send(
            {
                **ITEM, "detector": " Presidio ", "detector_version": "2.2.366",
                "occurred_at": "2026-01-02T03:04:05+02:00", "raw_ref": "s3://bucket/1",
                "route": "/chat",
                "policy_context": {"expected_detectors": ["presidio"], "environment": "prod"},
                "metadata": {
                    "contributing_detectors": ["presidio", "call me on 555-010-9999"],
                    "normalized_scores": {"x": 0.5}, "aggregation_method": "majority_vote",
                    "conflict_resolution_applied": False, "coverage_achieved": 1,
                    "provenance": [{"detector": "presidio", "output": "raw", "confidence": 1}],
                },
            }
        )  # fmt: skip
        (event,) = stored(acme)
        assert str(event.id) == answer["event_id"]
        assert event.id.version == 7
        assert before <= event.received_at <= datetime.now(UTC)
        assert event.occurred_at == datetime(2026, 1, 2, 1, 4, 5, tzinfo=UTC)
        assert event.detector == "presidio"
        assert (event.detector_version, event.vendor) == ("2.2.366", "Microsoft")
        assert (event.decision, event.severity) == (answer["decision"], answer["severity"])
        assert event.confidence == answer["confidence"]
        assert event.labels == answer["taxonomy"]
        assert event.scores == answer["scores"]
        assert event.findings == answer["findings"]
        assert event.output_shape == {"type": "array", "items": 1}
        assert (event.environment, event.expected_detectors) == ("prod", ["presidio"])
        assert (event.route, event.raw_ref) == ("/chat", "s3://bucket/1")
        assert event.metadata is not None
        contributing = event.metadata.pop("contributing_detectors")
        assert contributing[0] == "presidio"
        assert contributing[1].startswith("hmac:")
        assert event.metadata == {
            "conflict_resolution_applied": False, "aggregation_method": "majority_vote",
            "coverage_achieved": 1,
        }  # fmt: skip
        assert event.api_key_id is not None
        assert event.release >= 1
        assert event.taxonomy_version == answer["version_info"]["taxonomy"]
        assert event.detector_map_version == answer["version_info"]["detector_map"]
        assert (event.model_version, event.calibrator_version) == (None, None)

    def test_is_of_the_key_and_the_request(self, send: Send, acme: DemoTenant) -> None:
        from access.keys.models import ApiKey

        request_id = "0189c2a4-7f1e-7000-8000-0123456789ab"
        send(ITEM, x_request_id=request_id)
        (event,) = stored(acme)
        assert event.request_id == request_id
        assert event.api_key_id == ApiKey.objects.get(prefix=prefix_of(acme.key)).pk

    def test_a_refused_item_leaves_nothing(self, send: Send, acme: DemoTenant) -> None:
        assert send({"detector": "presidio"})["code"] == "validation_failed"
        assert stored(acme) == []


class TestRefusals:
    @pytest.mark.parametrize(
        ("change", "pointer"),
        [
            ({"unknown": 1}, "/unknown"),
            ({"output": None}, "/output"),
            ({"output": 5}, "/output"),
            ({"output": True}, "/output"),
            ({"detector": ""}, "/detector"),
            ({"detector": "   "}, "/detector"),
            ({"detector": "x" * 101}, "/detector"),
            ({"detector": 7}, "/detector"),
            ({"detector": None}, "/detector"),
            ({"detector": "a\x00b"}, "/detector"),
            ({"detector": "drop\ntable"}, "/detector"),
            ({"vendor": "x" * 101}, "/vendor"),
            ({"vendor": "a\x00"}, "/vendor"),
            ({"vendor": 5}, "/vendor"),
            ({"detector_version": 2.2}, "/detector_version"),
            ({"raw_ref": "x" * 513}, "/raw_ref"),
            ({"raw_ref": "\x00"}, "/raw_ref"),
            ({"route": "x" * 257}, "/route"),
            ({"route": ["a"]}, "/route"),
            ({"occurred_at": "2026-01-02T03:04:05"}, "/occurred_at"),
            ({"occurred_at": "yesterday"}, "/occurred_at"),
            ({"occurred_at": "2026-01-02"}, "/occurred_at"),
            ({"occurred_at": 1767312000}, "/occurred_at"),
            ({"occurred_at": "1767312000"}, "/occurred_at"),
            ({"occurred_at": "1969-12-31T23:59:59Z"}, "/occurred_at"),
            ({"occurred_at": "9999-12-31T23:59:59-12:00"}, "/occurred_at"),
            ({"occurred_at": "0001-01-01T00:00:00+14:00"}, "/occurred_at"),
            ({"policy_context": []}, "/policy_context"),
            ({"policy_context": {"environment": "production"}}, "/policy_context/environment"),
            ({"policy_context": {"x": 1}}, "/policy_context/x"),
            ({"policy_context": {"expected_detectors": "presidio"}},
             "/policy_context/expected_detectors"),
            ({"policy_context": {"expected_detectors": [""]}},
             "/policy_context/expected_detectors/0"),
            ({"policy_context": {"expected_detectors": ["x"] * 101}},
             "/policy_context/expected_detectors"),
            ({"metadata": {"coverage_achieved": 1.1}}, "/metadata/coverage_achieved"),
            ({"metadata": {"coverage_achieved": "0.5"}}, "/metadata/coverage_achieved"),
            ({"metadata": {"coverage_achieved": True}}, "/metadata/coverage_achieved"),
            ({"metadata": {"conflict_resolution_applied": "yes"}},
             "/metadata/conflict_resolution_applied"),
            ({"metadata": {"conflict_resolution_applied": 1}},
             "/metadata/conflict_resolution_applied"),
            ({"metadata": {"aggregation_method": "best"}}, "/metadata/aggregation_method"),
            ({"metadata": {"normalized_scores": {"a": 5}}}, "/metadata/normalized_scores/a"),
            ({"metadata": {"provenance": [{"confidence": 0.5}]}},
             "/metadata/provenance/0/detector"),
            ({"metadata": {"provenance": [{"detector": "x", "processing_time_ms": -1}]}},
             "/metadata/provenance/0/processing_time_ms"),
            ({"metadata": {"x": 1}}, "/metadata/x"),
            ({"label_descriptions": ["a"]}, "/label_descriptions"),
            ({"label_descriptions": {"a": 1}}, "/label_descriptions/a"),
            ({"label_descriptions": {"a": "x" * (LIMITS.description_chars + 1)}},
             "/label_descriptions/a"),
            ({"label_descriptions": {str(n): "" for n in range(LIMITS.label_descriptions + 1)}},
             "/label_descriptions"),
            ({"tenant_id": ""}, "/tenant_id"),
            ({"tenant_id": "x" * 65}, "/tenant_id"),
            ({"tenant_id": 5}, "/tenant_id"),
        ],
    )  # fmt: skip
    def test_a_field(
        self, send: Send, acme: DemoTenant, change: dict[str, Any], pointer: str
    ) -> None:
        problem = send({**ITEM, **change})
        assert (problem["status"], problem["code"]) == (422, "validation_failed")
        assert [e["pointer"] for e in problem["errors"]] == [pointer]
        assert stored(acme) == []

    @pytest.mark.parametrize("item", [[], 1, "text", False], ids=str)
    def test_an_item_that_is_no_object(self, send: Send, item: Any) -> None:
        """The whole document's pointer is empty (RFC 6901): "/" would name a key of no letters."""
        assert send(item)["errors"] == [{"pointer": "", "detail": "Give an object"}]

    def test_a_label_that_is_too_long_is_not_repeated_in_full(self, send: Send) -> None:
        name = "x" * (LIMITS.label_chars + 1)
        problem = send({**ITEM, "label_descriptions": {name: "y"}})
        assert problem["code"] == "validation_failed"
        assert all(e["pointer"].startswith("/label_descriptions/") for e in problem["errors"])

    def test_a_problem_never_quotes_a_value(self, send: Send) -> None:
        secret = "zebra-4711"
        for change in (
            {"vendor": [secret]}, {"occurred_at": secret}, {"output": 5, "route": {"a": secret}},
            {"policy_context": {"environment": secret}}, {"tenant_id": secret},
            {"metadata": {"normalized_scores": {"a": secret}}},
        ):  # fmt: skip
            problem = send({**ITEM, **change})
            assert problem["status"] in (403, 422)
            assert secret not in json.dumps(problem)

    @pytest.mark.parametrize(
        "body",
        [b"{", b"not json", b'{"a": NaN}', b'{"a": 1e999}', b"\xff\xfe", b'{"a": "\xed\xa0\x80"}',
         b'{"detector": "\\ud800", "output": "x"}', b"[" * 2_000 + b"]" * 2_000, b'{"a": 1} {}',
         b"\x00", b'{"output": Infinity}', b"'single'", b'{"a": 01}'],
        ids=lambda body: repr(body[:24]),
    )  # fmt: skip
    def test_what_is_no_json(self, send_raw: Any, body: bytes) -> None:
        for path in ("/map", "/map/batch"):
            answer = send_raw(body, path)
            assert (answer.status_code, answer.json()["code"]) == (400, "invalid_json")

    @pytest.mark.parametrize("body", [b"", b"[]", b'"text"', b"5", b"null", b"true", b"{}"])
    def test_json_that_is_no_request(self, send_raw: Any, body: bytes) -> None:
        for path in ("/map", "/map/batch"):
            answer = send_raw(body, path)
            assert (answer.status_code, answer.json()["code"]) == (422, "validation_failed")

    @pytest.mark.parametrize(
        "content_type", ["text/plain", "application/xml", "multipart/form-data; boundary=x", "",
                         "application/x-www-form-urlencoded", "json"]
    )  # fmt: skip
    def test_another_media_type(self, send_raw: Any, content_type: str) -> None:
        answer = send_raw(b'{"detector": "presidio", "output": "x"}', content_type=content_type)
        assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_media_type")

    def test_media_type_with_parameters(self, send_raw: Any) -> None:
        body = json.dumps(ITEM).encode()
        assert send_raw(body, content_type="Application/JSON; charset=utf-8").status_code == 200

    @pytest.mark.parametrize(
        ("accept", "status"),
        [("application/json", 200), ("*/*", 200), ("application/*;q=0.5, text/html", 200),
         ("text/html", 406), ("application/xml", 406)],
    )  # fmt: skip
    def test_accept(self, api: Api, acme: DemoTenant, accept: str, status: int) -> None:
        assert api("POST", "/map", acme.key, json=ITEM, accept=accept).status_code == status

    @pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE", "TRACE", "BREW"])
    def test_other_methods(self, api: Api, acme: DemoTenant, method: str) -> None:
        answer = api(method, "/map", acme.key)
        assert (answer.status_code, answer.json()["code"]) == (405, "method_not_allowed")
        assert "POST" in answer.headers["Allow"]


class TestOddValues:
    """Odd, and still JSON: answered like any other output, and stored."""

    @pytest.mark.parametrize(
        "output",
        [
            "", " ", "\x00", "a\x00b", "￿", "🦓" * 100, [], {}, [[]], [None], {"": None},
            {"\x00": "\x00"}, [2**63, -(2**63), 2**64 - 1, 1.7976931348623157e308, 5e-324],
            [{"entity_type": "US_SSN", "score": -1e300}],
            [{"entity_type": "\x00"}],
            [{"entity_type": "US_SSN\x00"}], {"results": [{"categories": {"\x00": True}}]},
            [{"entity_type": {"a": 1}}], [{"entity_type": ["US_SSN"]}], [True, False, None, 0],
            [{"entity_type": "x" * 5_000}], {"a" * 5_000: True}, "unsafe\n" + "S1," * 500,
        ],
        ids=lambda output: repr(output)[:30],
    )  # fmt: skip
    @pytest.mark.parametrize("detector", ["presidio", "openai-moderation-omni", "unknown-thing"])
    def test_output(self, send: Send, acme: DemoTenant, detector: str, output: Any) -> None:
        answer = send({"detector": detector, "output": output})
        assert answer.get("decision"), answer
        (event,) = stored(acme)
        assert str(event.id) == answer["event_id"]

    @pytest.mark.parametrize("number", [10**40, 10**308, -(10**100)])
    def test_huge_numbers(self, send_raw: Any, acme: DemoTenant, valid: Any, number: int) -> None:
        finding = f'{{"entity_type": "US_SSN", "score": {number}}}'
        body = f'{{"detector": "presidio", "output": [{finding}]}}'
        answer = send_raw(body.encode())
        assert valid(answer.json())["decision"] in {"mapped", "safe", "error"}
        assert send_raw(f'{{"requests": [{body}]}}'.encode(), "/map/batch").status_code == 200
        assert len(stored(acme)) == 2

    def test_names_that_are_no_names(self, send: Send, acme: DemoTenant) -> None:
        answer = send(
            {
                **ITEM, "vendor": "Jane Doe said so, and she is right.",
                "route": "jane@example.com", "raw_ref": "078-05-1120",
                "detector_version": "call +1 555 010 9999",
                "policy_context": {"expected_detectors": ["john.doe@example.com"]},
            }
        )  # fmt: skip
        for name in ("vendor", "route", "raw_ref", "detector_version"):
            assert answer["provenance"][name].startswith("hmac:")
        assert answer["policy_context"]["expected_detectors"][0].startswith("hmac:")
        again = send({**ITEM, "route": "jane@example.com"})
        assert again["provenance"]["route"] == answer["provenance"]["route"]
        (first, second) = stored(acme)
        assert first.route == second.route == answer["provenance"]["route"]

    def test_hashes_differ_between_tenants(
        self, api: Api, acme: DemoTenant, globex: DemoTenant
    ) -> None:
        routes = {
            api("POST", "/map", demo.key, json={**ITEM, "route": "a@b.example"}).json()[
                "provenance"
            ]["route"]
            for demo in (acme, globex)
        }
        assert len(routes) == 2


class TestLimits:
    def test_bytes_of_an_item(self, send: Send, send_raw: Any, acme: DemoTenant) -> None:
        def raw(size: int) -> bytes:
            return json.dumps(of_size(size), separators=(",", ":")).encode()

        assert len(raw(LIMITS.item_bytes)) == LIMITS.item_bytes
        assert send_raw(raw(LIMITS.item_bytes)).status_code == 200
        answer = send_raw(raw(LIMITS.item_bytes + 1))
        assert (answer.status_code, answer.json()["code"]) == (413, "item_too_large")
        assert str(LIMITS.item_bytes) in answer.json()["detail"]
        assert len(stored(acme)) == 1

    def test_bytes_are_not_characters(self, send: Send) -> None:
        assert send({"detector": "presidio", "output": "é" * 32_000})["decision"]
        problem = send({"detector": "presidio", "output": "é" * 33_000})
        assert problem["code"] == "item_too_large"

    def test_bytes_of_a_request(self, send_raw: Any, acme: DemoTenant) -> None:
        padding = b" " * (LIMITS.request_bytes + 1 - 2)
        for path in ("/map", "/map/batch"):
            answer = send_raw(b"{" + padding + b"}", path)
            assert (answer.status_code, answer.json()["code"]) == (413, "payload_too_large")

    def test_levels(self, send_raw: Any) -> None:
        def code(levels: int) -> tuple[int, str]:
            answer = send_raw(json.dumps(nested(levels)).encode())
            return answer.status_code, answer.json().get("code", "")

        assert code(LIMITS.nesting_depth) == (200, "")
        for levels in (LIMITS.nesting_depth + 1, 200, 300, 900):
            assert code(levels) == (422, "too_deep"), levels

    @pytest.mark.parametrize("levels", [33, 100, 250, 300, 900])
    def test_levels_in_a_batch(self, send_raw: Any, acme: DemoTenant, levels: int) -> None:
        deep = b"[" * (levels - 1) + b"]" * (levels - 1)
        item = json.dumps(ITEM).encode()
        body = b'{"requests": [%s, {"detector": "presidio", "output": %s}]}' % (item, deep)
        answer = send_raw(body, "/map/batch")
        assert answer.status_code == 200
        assert [(e["index"], e["code"]) for e in answer.json()["errors"]] == [(1, "too_deep")]
        assert len(stored(acme)) == 1

    def test_many_brackets_are_not_many_levels(self, send: Send) -> None:
        assert send({"detector": "presidio", "output": [[]] * 500 + ["[[[[" * 50]})["decision"]


class TestBatch:
    def test_items_stand_alone(self, api: Api, acme: DemoTenant, valid: Any) -> None:
        items = [
            ITEM, {"detector": "presidio"}, 5, None, [], {**ITEM, "tenant_id": "globex"},
            {**ITEM, "unknown": 1}, of_size(LIMITS.item_bytes + 1), nested(50), EXAMPLES[6],
        ]  # fmt: skip
        answer = api("POST", "/map/batch", acme.key, json={"requests": items})
        assert answer.status_code == 200
        results, errors = answer.json()["results"], answer.json()["errors"]
        assert [index for index, result in enumerate(results) if result] == [0, 9]
        assert [(e["index"], e["code"]) for e in errors] == [
            (1, "validation_failed"), (2, "validation_failed"), (3, "validation_failed"),
            (4, "validation_failed"), (5, "tenant_mismatch"), (6, "validation_failed"),
            (7, "item_too_large"), (8, "too_deep"),
        ]  # fmt: skip
        assert errors[0]["errors"][0]["pointer"] == "/output"
        ids = [str(event.id) for event in stored(acme)]
        assert ids == [valid(results[0])["event_id"], valid(results[9])["event_id"]]

    def test_all_refused(self, api: Api, acme: DemoTenant) -> None:
        answer = api("POST", "/map/batch", acme.key, json={"requests": [{}, {}]})
        assert answer.status_code == 200
        assert answer.json()["results"] == [None, None]
        assert stored(acme) == []

    def test_all_shipped_examples_at_once(self, api: Api, acme: DemoTenant, valid: Any) -> None:
        answer = api("POST", "/map/batch", acme.key, json={"requests": EXAMPLES}).json()
        assert answer["errors"] == []
        for item, result in zip(EXAMPLES, answer["results"], strict=True):
            assert valid(result)["provenance"]["detector"] == item["detector"]
        assert len({result["event_id"] for result in answer["results"]}) == len(EXAMPLES)

    def test_a_thousand_and_one_more(self, api: Api, acme: DemoTenant) -> None:
        many = {"requests": [ITEM] * LIMITS.batch_items}
        answer = api("POST", "/map/batch", acme.key, json=many)
        assert answer.status_code == 200
        assert len(stored(acme)) == LIMITS.batch_items
        many["requests"].append(ITEM)
        answer = api("POST", "/map/batch", acme.key, json=many)
        assert (answer.status_code, answer.json()["code"]) == (422, "validation_failed")
        assert len(stored(acme)) == LIMITS.batch_items

    @pytest.mark.parametrize(
        ("body", "pointer"),
        [
            ({"requests": []}, "/requests"), ({"requests": {}}, "/requests"),
            ({"requests": None}, "/requests"), ({"items": [ITEM]}, "/requests"),
            ([ITEM], "/requests"),
            ({"requests": [ITEM], "tenant_id": "acme"}, "/tenant_id"),
        ],
    )  # fmt: skip
    def test_what_is_no_batch(self, api: Api, acme: DemoTenant, body: Any, pointer: str) -> None:
        answer = api("POST", "/map/batch", acme.key, json=body)
        assert (answer.status_code, answer.json()["code"]) == (422, "validation_failed")
        assert [e["pointer"] for e in answer.json()["errors"]] == [pointer]

    def test_costs_its_items(self, api: Api, acme: DemoTenant) -> None:
        one = api("POST", "/map", acme.key, json=ITEM)
        many = api("POST", "/map/batch", acme.key, json={"requests": [ITEM] * 10})
        left = [int(answer.headers["RateLimit-Remaining"]) for answer in (one, many)]
        assert left[0] - left[1] == 10


def test_times_of_tomorrow_pass_and_later_ones_do_not(send: Send) -> None:
    now = datetime.now(UTC)
    for hours, passes in ((-1, True), (23, True), (25, False)):
        moment = (now + timedelta(hours=hours)).isoformat()
        assert ("decision" in send({**ITEM, "occurred_at": moment})) == passes
