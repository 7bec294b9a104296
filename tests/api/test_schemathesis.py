"""schemathesis tries the API against its own OpenAPI document: positive and negative data.

At least 2,000 cases over all operations. No 500; no status, header or shape that the document does
not name; what the document forbids is refused, and what it allows is taken, apart from what no
schema can say.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from datetime import date
from typing import Any

import pytest
import schemathesis
from django.core.signals import request_finished, request_started
from django.db import close_old_connections
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import Case, CheckContext, GenerationMode, Response
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    allow_header_conformance,
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from pillars.wsgi import application
from reporting.models import FileFormat, Report, ReportFile, ReportState
from tenants.context import tenant_context
from tests.conftest import DemoTenant

CASES_EACH = 320
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    response_headers_conformance,
    unsupported_method,
    allow_header_conformance,
]
OPERATIONS = [
    ("GET", "/events"),
    ("GET", "/health/live"),
    ("GET", "/health/ready"),
    ("POST", "/map"),
    ("POST", "/map/batch"),
    ("GET", "/reports"),
    ("POST", "/reports"),
    ("GET", "/reports/{report_id}"),
    ("GET", "/reports/{report_id}/{file_format}"),
    ("GET", "/versions"),
]
KEYED = [one for one in OPERATIONS if not one[1].startswith("/health")]
WITHOUT_PARAMETERS = ("/health", "/versions")
# What is refused although the document allows it, because it depends on more than the request.
BEYOND_A_SCHEMA = {
    "idempotency_conflict", "idempotency_mismatch",  # another request had this key
    "invalid_credentials",  # X-API-Key is made up
    "tenant_mismatch", "invalid_cursor", "not_found",
}  # fmt: skip
# ... and the fields of which that is true: clocks, calendars, the knowledge that is loaded.
BEYOND_A_FIELDS_SCHEMA = {
    "/occurred_at", "/framework", "/period_start", "/period_end", "/taxonomy",
}  # fmt: skip
count: Counter[str] = Counter()
answers: Counter[tuple[str, int]] = Counter()


@pytest.fixture(scope="module")
def schema(django_db_setup: None, django_db_blocker: Any) -> Any:
    """The document as it is served."""
    with django_db_blocker.unblock():
        loaded = schemathesis.openapi.from_wsgi("/openapi.json", application)
    loaded.config.generation.update(modes=[GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
    return loaded


@pytest.fixture(autouse=True)
def keep_the_connection() -> Iterator[None]:
    """As Django's test client does: a request's end must not end the test's transaction."""
    signals = (request_started, request_finished)
    for signal in signals:
        signal.disconnect(close_old_connections)
    yield
    for signal in signals:
        signal.connect(close_old_connections)


def test_all_operations_are_tried(schema: Any) -> None:
    documented = {
        (result.ok().method.upper(), result.ok().path) for result in schema.get_all_operations()
    }
    assert documented == set(OPERATIONS)


def takes_what_the_document_allows(ctx: CheckContext, response: Response, case: Case) -> None:
    """schemathesis' positive_data_acceptance, with the exceptions named one by one."""
    if case.meta is None or case.meta.generation.mode is not GenerationMode.POSITIVE:
        return
    if response.status_code < 400:
        return
    problem = response.json()
    pointers = {error["pointer"] for error in problem.get("errors", [])}
    if problem["code"] == "validation_failed" and pointers:
        assert pointers <= BEYOND_A_FIELDS_SCHEMA, problem
    else:
        assert problem["code"] in BEYOND_A_SCHEMA, problem


@pytest.fixture
def report_id(acme: DemoTenant) -> str:
    """A finished report of the tenant, with its files."""
    today = date(2026, 11, 1)
    with tenant_context(acme.tenant):
        report = Report.objects.create(
            framework="soc2", edition="2017", period_start=today, period_end=today,
            requested_by="system:tests", state=ReportState.RUNNING,
        )  # fmt: skip
        for name in FileFormat.values:
            content = b'{"report": 1}'
            ReportFile.objects.create(
                report=report, format=name, content=content, sha256="0" * 64, size=len(content)
            )
        Report.objects.filter(pk=report.pk).update(state=ReportState.DONE)
    return str(report.pk)


def try_operation(
    schema: Any, method: str, path: str, cases: int, report_id: str = "", **headers: str
) -> None:
    """Send generated cases and check each answer. Some ask for the report that is there."""
    operation = schema[path][method]
    strategies = [
        operation.as_strategy(generation_mode=mode)
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)
        if mode is GenerationMode.POSITIVE or not path.startswith("/health")
    ]
    checks = [*CHECKS, takes_what_the_document_allows] if headers else [*CHECKS]
    if path != "/map/batch":  # there a bad item is a problem of its own in a 200
        checks.append(negative_data_rejection)

    @settings(
        max_examples=cases, deadline=None, derandomize=True, database=None,
        phases=[Phase.generate], suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(case=st.one_of(strategies), there=st.booleans())
    def run(case: Any, there: bool) -> None:
        positive = case.meta is None or case.meta.generation.mode is GenerationMode.POSITIVE
        if report_id and there and positive and "report_id" in case.path_parameters:
            case.path_parameters["report_id"] = report_id
        count[f"{method} {path}"] += 1
        answer = case.call_and_validate(checks=checks, headers={"Host": "localhost", **headers})
        answers[f"{method} {path}", answer.status_code] += 1

    run()


@pytest.mark.django_db
@pytest.mark.parametrize(("method", "path"), OPERATIONS, ids=lambda part: part)
def test_with_a_key(schema: Any, acme: DemoTenant, report_id: str, method: str, path: str) -> None:
    cases = 60 if path.startswith(WITHOUT_PARAMETERS) else CASES_EACH
    try_operation(schema, method, path, cases, report_id, Authorization=f"Bearer {acme.key}")
    good = 202 if (method, path) == ("POST", "/reports") else 200
    assert answers[f"{method} {path}", good], answers  # not refused for some other reason


@pytest.mark.django_db
@pytest.mark.parametrize(("method", "path"), KEYED, ids=lambda part: part)
def test_without_a_key(schema: Any, make_demo: Callable[..., Any], method: str, path: str) -> None:
    try_operation(schema, method, path, 30)


def test_at_least_two_thousand_cases_were_tried() -> None:
    assert sum(count.values()) >= 2_000, count
