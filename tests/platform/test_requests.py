"""Request ids, the log line of a request, the metrics, and the last net for errors."""

import json
import re
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import structlog
from django.core.exceptions import SuspiciousOperation
from django.db import OperationalError
from django.test import Client
from prometheus_client.parser import text_string_to_metric_families

from access.keys.models import ApiKey
from access.keys.secrets import prefix_of
from mapping.models import MappingEvent
from tenants.context import tenant_context
from tests.conftest import DemoTenant

pytestmark = pytest.mark.django_db
Api = Callable[..., Any]
ITEM = {"detector": "presidio", "output": [{"entity_type": "US_SSN", "score": 0.85}]}
UUID = "0189c2a4-7f1e-7000-8000-0123456789ab"
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.fixture
def logged() -> Iterator[list[dict[str, Any]]]:
    """What our loggers say, before the allow-list."""
    with structlog.testing.capture_logs(
        processors=[structlog.contextvars.merge_contextvars]
    ) as records:
        yield records


class TestRequestId:
    @pytest.mark.parametrize("given", [UUID, UUID.upper(), TRACE])
    def test_of_the_caller(self, api: Api, acme: DemoTenant, given: str) -> None:
        answer = api("POST", "/map", acme.key, json=ITEM, x_request_id=given)
        assert answer.headers["X-Request-ID"] == given
        with tenant_context(acme.tenant):
            event = MappingEvent.objects.get(pk=answer.json()["event_id"])
        assert event.request_id == given

    @pytest.mark.parametrize(
        "given",
        ["", "078-05-1120", "4111111111111111", "john.smith", "a b", f"{UUID}\n", "x" * 65,
         "sk-live-0123456789abcdef", "Zoë", TRACE + "0", "%00"],
    )  # fmt: skip
    def test_anything_else_is_replaced(self, api: Api, given: str) -> None:
        answer = api("GET", "/health/live", x_request_id=given)
        chosen = answer.headers["X-Request-ID"]
        assert uuid.UUID(chosen).version == 7
        if given:
            assert given not in chosen

    def test_in_problems(self, api: Api, acme: DemoTenant) -> None:
        for answer in (
            api("POST", "/map", acme.key, json={}, x_request_id=UUID),
            api("POST", "/map", None, json=ITEM, x_request_id=UUID),
            api("GET", "/nowhere", x_request_id=UUID),
            api("GET", "/map", host="unknown.example", x_request_id=UUID),
        ):
            assert answer.json()["request_id"] == answer.headers["X-Request-ID"] == UUID


class TestLogLine:
    def test_of_a_request(
        self, api: Api, acme: DemoTenant, logged: list[dict[str, Any]], caplog: Any
    ) -> None:
        with caplog.at_level("INFO"):
            api("POST", "/map", acme.key, json=ITEM, x_request_id=UUID)
        line = next(r for r in logged if r["event"] == "request")
        assert line.pop("duration_ms") > 0
        assert line == {
            "event": "request", "log_level": "info", "request_id": UUID, "route": "/map",
            "method": "POST", "status": 200, "tenant": "acme",
            "api_key_id": str(ApiKey.objects.get(prefix=prefix_of(acme.key)).pk),
            "items": 1, "detector": "presidio", "decision": "mapped",
            "label": "PII.Identifier.SSN",
        }  # fmt: skip

    def test_of_a_batch(
        self, api: Api, acme: DemoTenant, logged: list[dict[str, Any]], caplog: Any
    ) -> None:
        with caplog.at_level("INFO"):
            api("POST", "/map/batch", acme.key, json={"requests": [ITEM, ITEM, {}]})
        line = next(r for r in logged if r["event"] == "request")
        assert line["items"] == 2
        assert "detector" not in line

    def test_a_detector_that_nobody_knows(
        self, api: Api, acme: DemoTenant, logged: list[dict[str, Any]], caplog: Any
    ) -> None:
        item = {"detector": "john.smith@example.com", "output": "x"}
        with caplog.at_level("INFO"):
            api("POST", "/map", acme.key, json=item)
        line = next(r for r in logged if r["event"] == "request")
        assert line["detector"] == "unrecordable"

    def test_names_the_route_and_never_the_address(
        self, api: Api, logged: list[dict[str, Any]], caplog: Any
    ) -> None:
        secret = "john.smith@example.com"
        with caplog.at_level("INFO"):
            api("GET", f"/{secret}?who={secret}")
            api("GET", f"/reports/{UUID}/{secret}")
            api("GET", f"/admin/tenants/tenant/{secret}/change/")
        assert [line["route"] for line in logged] == [
            "unmatched",
            "/reports/<uuid:report_id>/<str:file_format>",
            "/admin/tenants/tenant/<path:object_id>/change/",
        ]
        assert secret not in json.dumps(logged)

    def test_a_made_up_method(self, api: Api, logged: list[dict[str, Any]], caplog: Any) -> None:
        with caplog.at_level("INFO"):
            api("SSN078051120", "/map")
        assert [line["method"] for line in logged] == ["other"]


def samples(client: Client) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    text = client.get("/metrics", headers={"host": "localhost"}).content.decode()
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name.startswith("pillars_")
    }


class TestMetrics:
    def test_count_what_was_answered(self, api: Api, client: Client, acme: DemoTenant) -> None:
        before = samples(client)
        api("POST", "/map", acme.key, json=ITEM)
        api("POST", "/map/batch", acme.key, json={"requests": [ITEM, ITEM, {}]})
        api("POST", "/map", acme.key, json={})
        after = samples(client)

        def grown(name: str, **labels: str) -> float:
            key = (name, tuple(sorted(labels.items())))
            return after[key] - before.get(key, 0)

        count = "pillars_http_requests_total"
        assert grown(count, route="/map", method="POST", status="200") == 1
        assert grown(count, route="/map", method="POST", status="422") == 1
        assert grown("pillars_http_request_duration_seconds_count", route="/map") == 2
        events = "pillars_mapping_events_total"
        assert grown(events, detector="presidio", decision="mapped") == 3
        assert grown("pillars_mapping_findings_total", method="rule") == 3
        assert grown("pillars_batch_items_sum") == 3
        assert grown("pillars_problems_total", code="validation_failed") == 1

    def test_made_up_names_make_no_series(self, api: Api, client: Client, acme: DemoTenant) -> None:
        def everything_odd(number: int) -> None:
            odd = f"odd{number}"
            api("POST", "/map", acme.key, json={"detector": odd, "output": odd})
            api("POST", "/map", acme.key, json={**ITEM, odd: 1})
            api("POST", "/map", odd, json=ITEM)
            api("POST", "/map", acme.key, json=ITEM, idempotency_key=odd, x_tenant_id=odd)
            api(odd.upper(), "/map", acme.key)
            api("GET", f"/{odd}")
            api("GET", f"/events?{odd}={odd}", acme.key)
            api("GET", f"/admin/{odd}/")
            api("GET", "/map", host=f"{odd}.example")
            api("GET", f"/reports/{uuid.uuid4()}", acme.key)

        everything_odd(0)
        known = set(samples(client))
        for number in range(1, 6):
            everything_odd(number)
        assert set(samples(client)) == known

    def test_labels_are_few_and_name_no_tenant(
        self, api: Api, client: Client, acme: DemoTenant, globex: DemoTenant
    ) -> None:
        for demo in (acme, globex):
            api("POST", "/map", demo.key, json=ITEM, host=demo.host)
            api("GET", "/events", demo.read_key, host=demo.host)
        found = samples(client)
        names = {name for _, labels in found for name, _ in labels}
        bounded = {"route", "method", "status", "detector", "decision", "code", "scope", "le"}
        assert names <= bounded | {"mode", "role", "version", "backend", "outcome"}
        text = client.get("/metrics", headers={"host": "localhost"}).content.decode()
        for demo in (acme, globex):
            tenant = demo.tenant
            for word in (tenant.slug, tenant.name, str(tenant.id), tenant.schema_name, demo.key):
                assert word not in text

    def test_behind_a_token(self, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
        from django.conf import settings
        from pydantic import SecretStr

        server = settings.CONFIG.server.model_copy(update={"metrics_token": SecretStr("abc")})
        monkeypatch.setattr(
            settings, "CONFIG", settings.CONFIG.model_copy(update={"server": server})
        )
        for header, status in (({}, 401), ({"authorization": "Bearer abd"}, 401),
                               ({"authorization": "Bearer abc"}, 200)):  # fmt: skip
            headers = {"host": "localhost", **header}
            assert client.get("/metrics", headers=headers).status_code == status

    def test_not_on_a_tenants_host(self, client: Client, acme: DemoTenant) -> None:
        assert client.get("/metrics", headers={"host": acme.host}).status_code == 404


class TestLastNet:
    """Exceptions that no view has handled. The views are real ones whose inside is broken."""

    @pytest.fixture
    def browser(self, client: Client) -> Client:
        client.raise_request_exception = False
        return client

    def broken(self, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
        def fail() -> Any:
            raise error

        monkeypatch.setattr("pillars.health.exposition", fail)

    def test_becomes_a_problem_and_a_log_line_without_its_text(
        self, browser: Client, monkeypatch: Any, logged: list[dict[str, Any]], caplog: Any
    ) -> None:
        self.broken(monkeypatch, ValueError("the secret"))
        with caplog.at_level("INFO"):
            answer = browser.get("/metrics", headers={"host": "localhost", "x-request-id": UUID})
        assert answer.status_code == 500
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert answer.json()["code"] == "internal_error"
        assert answer.json()["request_id"] == answer.headers["X-Request-ID"] == UUID
        assert "the secret" not in answer.content.decode()
        line = next(r for r in logged if r["event"] == "unhandled")
        assert isinstance(line["exc_info"], ValueError)
        assert line["request_id"] == UUID

    def test_of_the_database_is_a_503(self, browser: Client, monkeypatch: Any) -> None:
        self.broken(monkeypatch, OperationalError("the secret"))
        answer = browser.get("/metrics", headers={"host": "localhost"})
        assert answer.status_code == 503
        assert answer.headers["Retry-After"] == "2"
        assert answer.json()["code"] == "database_unavailable"

    def test_of_the_database_in_the_admin_is_a_page(
        self, browser: Client, monkeypatch: Any
    ) -> None:
        def fail(*_args: Any, **_kwargs: Any) -> Any:
            raise OperationalError("the secret")

        for place in (
            "django.contrib.admin.sites.AdminSite.has_permission",
            "django.contrib.sessions.middleware.SessionMiddleware.process_response",
        ):
            with monkeypatch.context() as patch:
                patch.setattr(place, fail)
                answer = browser.get("/admin/", headers={"host": "localhost"})
            assert (answer.status_code, answer.headers["Retry-After"]) == (503, "2")
            assert "text/html" in answer.headers["Content-Type"]
            assert "the secret" not in answer.content.decode()

    def test_a_suspicious_request_is_a_400(self, browser: Client, monkeypatch: Any) -> None:
        self.broken(monkeypatch, SuspiciousOperation("the secret"))
        answer = browser.get("/metrics", headers={"host": "localhost"})
        assert answer.status_code == 400
        assert answer.json()["code"] == "invalid_json"

    def test_in_the_admin_is_a_page(self, browser: Client, monkeypatch: Any, caplog: Any) -> None:
        def fail(*_args: Any, **_kwargs: Any) -> Any:
            raise ValueError("the secret")

        monkeypatch.setattr("django.contrib.admin.sites.AdminSite.has_permission", fail)
        answer = browser.get("/admin/", headers={"host": "localhost"})
        assert answer.status_code == 500
        assert "text/html" in answer.headers["Content-Type"]
        assert answer.headers["X-Request-ID"] in answer.content.decode()
        assert "the secret" not in answer.content.decode()

    def test_an_api_view_that_breaks(
        self, api: Api, acme: DemoTenant, monkeypatch: Any, logged: list[dict[str, Any]]
    ) -> None:
        def fail(**_kwargs: Any) -> Any:
            raise KeyError("the secret")

        monkeypatch.setattr("mapping.services.map_items", fail)
        answer = api("POST", "/map", acme.key, json=ITEM)
        assert (answer.status_code, answer.json()["code"]) == (500, "internal_error")
        assert "the secret" not in answer.content.decode()
        assert [r["event"] for r in logged if r["log_level"] == "error"] == ["unhandled"]


def test_every_answer_has_length_and_id(api: Api, acme: DemoTenant) -> None:
    for answer in (
        api("GET", "/health/live"), api("GET", "/openapi.json"), api("GET", "/docs"),
        api("GET", "/admin/"), api("GET", "/x"), api("POST", "/map", acme.key, json=ITEM),
        api("HEAD", "/events", acme.key), api("OPTIONS", "/map", acme.key),
    ):  # fmt: skip
        assert re.fullmatch(r"\d+", answer.headers["Content-Length"])
        assert answer.headers["X-Request-ID"]
