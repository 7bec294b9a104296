"""schemathesis tries the API against its own OpenAPI document: positive and negative data.

At least 2,000 cases over all operations. No 500, no status and no shape that the document does not
name.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import schemathesis
from django.core.signals import request_finished, request_started
from django.db import close_old_connections
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from pillars.wsgi import application
from tests.conftest import DemoTenant

CASES_EACH = 320
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
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
]
count: Counter[str] = Counter()


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


def try_operation(schema: Any, method: str, path: str, cases: int, **headers: str) -> None:
    """Send generated cases and check each answer."""
    operation = schema[path][method]
    strategies = [
        operation.as_strategy(generation_mode=mode)
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)
        if mode is GenerationMode.POSITIVE or not path.startswith("/health")
    ]

    @settings(
        max_examples=cases, deadline=None, derandomize=True, database=None,
        phases=[Phase.generate], suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(case=st.one_of(strategies))
    def run(case: Any) -> None:
        count[f"{method} {path}"] += 1
        case.call_and_validate(checks=CHECKS, headers={"Host": "localhost", **headers})

    run()


@pytest.mark.django_db
@pytest.mark.parametrize(("method", "path"), OPERATIONS, ids=lambda part: part)
def test_with_a_key(schema: Any, acme: DemoTenant, method: str, path: str) -> None:
    cases = 60 if path.startswith("/health") else CASES_EACH
    try_operation(schema, method, path, cases, Authorization=f"Bearer {acme.key}")


@pytest.mark.django_db
@pytest.mark.parametrize(("method", "path"), OPERATIONS[3:], ids=lambda part: part)
def test_without_a_key(schema: Any, make_demo: Callable[..., Any], method: str, path: str) -> None:
    try_operation(schema, method, path, 30)


def test_at_least_two_thousand_cases_were_tried() -> None:
    assert sum(count.values()) >= 2_000, count
