"""Idempotency-Key: the same request is answered once."""

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connections
from django.utils import timezone

from access.idempotency.models import StoredAnswer
from access.idempotency.services import Answer, answer_once, delete_expired
from mapping.models import MappingEvent
from pillars.problems import Problem
from tenants.context import tenant_context
from tenants.selectors import TenantRef
from tests.conftest import DemoTenant

pytestmark = pytest.mark.django_db
ITEM = {"detector": "llama-guard-3", "output": "unsafe\nS1"}
OTHER = {"detector": "llama-guard-3", "output": "unsafe\nS2"}
Api = Callable[..., Any]


def events(demo: DemoTenant) -> int:
    with tenant_context(demo.tenant):
        return MappingEvent.objects.count()


@pytest.mark.parametrize(
    ("path", "body"), [("/map", ITEM), ("/map/batch", {"requests": [ITEM, OTHER]})]
)
def test_a_replay_is_the_same_answer_and_stores_nothing(
    api: Api, acme: DemoTenant, path: str, body: Any
) -> None:
    first = api("POST", path, acme.key, json=body, idempotency_key="abc")
    stored = events(acme)
    again = api("POST", path, acme.key, json=body, idempotency_key="abc")
    assert first.status_code == again.status_code == 200
    assert again.content == first.content
    assert again.headers["Idempotency-Replayed"] == "true"
    assert "Idempotency-Replayed" not in first.headers
    assert events(acme) == stored


def test_another_body_is_refused(api: Api, acme: DemoTenant) -> None:
    api("POST", "/map", acme.key, json=ITEM, idempotency_key="abc")
    answer = api("POST", "/map", acme.key, json=OTHER, idempotency_key="abc")
    assert (answer.status_code, answer.json()["code"]) == (422, "idempotency_mismatch")
    assert events(acme) == 1


def test_keys_are_apart_by_path_and_by_tenant(
    api: Api, acme: DemoTenant, globex: DemoTenant
) -> None:
    one = api("POST", "/map", acme.key, json=ITEM, idempotency_key="abc")
    batch = api("POST", "/map/batch", acme.key, json={"requests": [ITEM]}, idempotency_key="abc")
    stranger = api("POST", "/map", globex.key, json=OTHER, idempotency_key="abc")
    assert {one.status_code, batch.status_code, stranger.status_code} == {200}
    assert stranger.json()["provenance"]["tenant_id"] == globex.tenant.slug
    assert (events(acme), events(globex)) == (2, 1)


def test_both_addresses_of_the_api_are_one(api: Api, acme: DemoTenant) -> None:
    first = api("POST", "/map", acme.key, json=ITEM, idempotency_key="abc")
    again = api("POST", "/api/v1/map", acme.key, json=ITEM, idempotency_key="abc")
    assert again.content == first.content


@pytest.mark.parametrize("key", ["with space", "x" * 256, "tab\there", "é"])
def test_bad_keys_are_refused(api: Api, acme: DemoTenant, key: str) -> None:
    answer = api("POST", "/map", acme.key, json=ITEM, idempotency_key=key)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_idempotency_key")
    assert events(acme) == 0


def test_a_refused_request_leaves_its_key_free(api: Api, acme: DemoTenant) -> None:
    bad = api("POST", "/map", acme.key, json={"detector": "x"}, idempotency_key="abc")
    assert bad.status_code == 422
    assert api("POST", "/map", acme.key, json=ITEM, idempotency_key="abc").status_code == 200


def test_an_answer_is_forgotten_after_its_time(api: Api, acme: DemoTenant) -> None:
    first = api("POST", "/map", acme.key, json=ITEM, idempotency_key="abc")
    with tenant_context(acme.tenant):
        StoredAnswer.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    again = api("POST", "/map", acme.key, json=ITEM, idempotency_key="abc")
    assert again.json()["event_id"] != first.json()["event_id"]
    with tenant_context(acme.tenant):
        assert delete_expired() == 0
        StoredAnswer.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
        assert delete_expired() == 1


def test_neither_key_nor_body_is_stored(api: Api, acme: DemoTenant) -> None:
    api("POST", "/map", acme.key, json=ITEM, idempotency_key="jane.doe@example.com")
    with tenant_context(acme.tenant):
        row = StoredAnswer.objects.get()
    kept = f"{row.path} {row.key_digest} {row.body_digest} {bytes(row.body).decode()}"
    assert "jane" not in kept
    assert "unsafe" not in kept


def test_what_fails_leaves_neither_effect_nor_answer(acme: DemoTenant) -> None:
    def fail() -> Answer:
        StoredAnswer.objects.create(
            path="/effect", key_digest="k", body_digest="b", status=200, body=b"",
            expires_at=timezone.now(),
        )  # fmt: skip
        raise RuntimeError

    tenant = TenantRef.of(acme.tenant)
    with tenant_context(tenant):
        with pytest.raises(RuntimeError):
            answer_once(tenant=tenant, key="abc", path="/map", request_body=b"{}", action=fail)
        assert not StoredAnswer.objects.exists()


def test_409_while_the_first_is_being_answered(acme: DemoTenant) -> None:
    """Two real connections: the second finds the first one's lock, and never waits."""
    tenant = TenantRef.of(acme.tenant)
    running, finish = threading.Event(), threading.Event()
    done: list[Answer] = []

    def slow() -> Answer:
        running.set()
        assert finish.wait(10)
        raise _AbandonedError  # nothing of this test stays in the database

    class _AbandonedError(Exception):
        pass

    def first() -> None:
        try:
            with tenant_context(tenant):
                done.append(
                    answer_once(
                        tenant=tenant, key="same", path="/map", request_body=b"{}", action=slow
                    )
                )
        except _AbandonedError:
            pass
        finally:
            connections.close_all()

    thread = threading.Thread(target=first)
    thread.start()
    try:
        assert running.wait(10)
        with tenant_context(tenant), pytest.raises(Problem) as caught:
            answer_once(
                tenant=tenant, key="same", path="/map", request_body=b"{}",
                action=lambda: Answer(200, b"second"),
            )  # fmt: skip
        assert caught.value.code == "idempotency_conflict"
        assert caught.value.headers["Retry-After"] == "1"
    finally:
        finish.set()
        thread.join()
    with tenant_context(tenant):
        answer = answer_once(
            tenant=tenant, key="same", path="/map", request_body=b"{}",
            action=lambda: Answer(200, b"now"),
        )  # fmt: skip
    assert (answer.body, answer.replayed) == (b"now", False)
