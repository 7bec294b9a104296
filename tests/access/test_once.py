"""Idempotency-Key over HTTP with committed data: many at once, and a process that dies."""

import json
import os
import subprocess
import sys
import uuid
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from django.test import Client

from access.idempotency.models import StoredAnswer
from mapping.models import MappingEvent
from tenants.context import tenant_context
from tests.conftest import DemoTenant
from tests.support.threads import together

ITEM = {"detector": "presidio", "output": [{"entity_type": "US_SSN", "score": 0.85}]}
BODIES = {"/map": ITEM, "/map/batch": {"requests": [ITEM] * 3}}

# A web process that ends in the middle of a request: the event is written, the answer is not.
DIE = """
import os, sys, json
import django; django.setup()
from django.test import Client
from mapping import services
write = services.insert_events
def die(rows):
    write(rows)
    os._exit(7)
services.insert_events = die
Client().post("/map", json.loads(sys.argv[1]), content_type="application/json", headers={
    "host": "localhost", "authorization": f"Bearer {os.environ['KEY']}",
    "idempotency-key": os.environ["ONCE"]})
"""


@pytest.fixture
def demo(spare: DemoTenant) -> Iterator[DemoTenant]:
    """The spare tenant, without events before and after."""
    _empty(spare)
    yield spare
    _empty(spare)


def _empty(demo: DemoTenant) -> None:
    with tenant_context(demo.tenant):
        MappingEvent.objects.all().delete()
        StoredAnswer.objects.all().delete()


def post(demo: DemoTenant, path: str, key: str, body: Any = None) -> Any:
    headers = {
        "host": "localhost", "authorization": f"Bearer {demo.key}", "idempotency-key": key,
    }  # fmt: skip
    body = BODIES[path] if body is None else body
    return Client().post(path, body, content_type="application/json", headers=headers)


def counts(demo: DemoTenant) -> tuple[int, int]:
    with tenant_context(demo.tenant):
        return MappingEvent.objects.count(), StoredAnswer.objects.count()


@pytest.mark.parametrize(("path", "events"), [("/map", 1), ("/map/batch", 3)])
def test_the_same_request_many_times_at_once(demo: DemoTenant, path: str, events: int) -> None:
    key = str(uuid.uuid4())
    answers = together([lambda: post(demo, path, key)] * 8)
    statuses = Counter(answer.status_code for answer in answers)
    assert statuses[200] >= 1
    assert set(statuses) <= {200, 409}
    assert len({answer.content for answer in answers if answer.status_code == 200}) == 1
    for answer in answers:
        if answer.status_code == 409:
            assert answer.json()["code"] == "idempotency_conflict"
            assert answer.headers["Retry-After"] == "1"
    assert counts(demo) == (events, 1)
    again = post(demo, path, key)
    assert again.headers["Idempotency-Replayed"] == "true"
    assert again.content in {answer.content for answer in answers}


def test_two_bodies_with_one_key_at_once(demo: DemoTenant) -> None:
    key = str(uuid.uuid4())
    other = {**ITEM, "route": "/other"}
    answers = together(
        [lambda: post(demo, "/map", key)] * 4 + [lambda: post(demo, "/map", key, other)] * 4
    )
    assert {answer.status_code for answer in answers} <= {200, 409, 422}
    assert len({answer.content for answer in answers if answer.status_code == 200}) == 1
    assert counts(demo) == (1, 1)


def test_different_keys_do_not_wait_for_each_other(demo: DemoTenant) -> None:
    keys = [str(uuid.uuid4()) for _ in range(8)]
    answers = together([lambda key=key: post(demo, "/map", key) for key in keys])
    assert [answer.status_code for answer in answers] == [200] * 8
    assert counts(demo) == (8, 8)


def test_a_process_that_dies_leaves_nothing(demo: DemoTenant) -> None:
    key = str(uuid.uuid4())
    died = subprocess.run(
        [sys.executable, "-c", DIE, json.dumps(ITEM)],
        env={**os.environ, "KEY": demo.key, "ONCE": key},
        check=False,
        capture_output=True,
    )
    assert died.returncode == 7, died.stderr
    assert counts(demo) == (0, 0)
    answer = post(demo, "/map", key)  # nor a lock
    assert answer.status_code == 200
    assert "Idempotency-Replayed" not in answer.headers
    assert counts(demo) == (1, 1)
