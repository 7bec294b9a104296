"""What cannot be answered is not stored, and what cannot be stored is not answered."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from mapping import services
from mapping.models import MappingEvent
from tenants.context import tenant_context
from tests.conftest import DemoTenant

Api = Callable[..., Any]
ITEM = {"detector": "presidio", "output": [{"entity_type": "US_SSN", "score": 0.85}]}
REQUESTS = pytest.mark.parametrize(
    ("path", "body"), [("/map", ITEM), ("/map/batch", {"requests": [ITEM, ITEM]})]
)
HEADERS = pytest.mark.parametrize("headers", [{}, {"idempotency_key": "once"}], ids=["", "keyed"])


def count(demo: DemoTenant) -> int:
    with tenant_context(demo.tenant):
        return MappingEvent.objects.count()


@pytest.fixture
def spoil(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """spoil(row={...}) or spoil(response={...}): the last item of every request is mapped so."""
    genuine = services.map_items

    def change(**parts: dict[str, Any]) -> None:
        def map_items(**request: Any) -> Sequence[services.MappedItem]:
            *others, last = genuine(**request)
            wrong = {name: {**getattr(last, name), **more} for name, more in parts.items()}
            return [*others, replace(last, **wrong)]

        monkeypatch.setattr(services, "map_items", map_items)

    return change


@REQUESTS
@HEADERS
def test_an_answer_that_cannot_be_written(
    api: Api, acme: DemoTenant, spoil: Any, monkeypatch: Any, path: str, body: Any, headers: Any
) -> None:
    spoil(response={"notes": object()})
    answer = api("POST", path, acme.key, json=body, **headers)
    assert (answer.status_code, answer.json()["code"]) == (500, "internal_error")
    assert count(acme) == 0
    monkeypatch.undo()
    assert api("POST", path, acme.key, json=body, **headers).status_code == 200


@REQUESTS
@HEADERS
def test_an_event_that_the_database_refuses(
    spare: DemoTenant, api: Api, spoil: Any, monkeypatch: Any, path: str, body: Any, headers: Any
) -> None:
    """One row is wrong, so no row of its request is kept, and the key is free for another try."""
    before = count(spare)
    spoil(row={"severity": "x" * 9})
    keyed = {name: f"{value}-{path}" for name, value in headers.items()}
    answer = api("POST", path, spare.key, json=body, **keyed)
    assert (answer.status_code, answer.json()["code"]) == (503, "database_unavailable")
    assert "event_id" not in answer.content.decode()
    assert count(spare) == before
    monkeypatch.undo()
    answer = api("POST", path, spare.key, json=body, **keyed)
    assert answer.status_code == 200
    assert "Idempotency-Replayed" not in answer.headers
    with tenant_context(spare.tenant):
        MappingEvent.objects.all().delete()
