"""Calls of /map whose answers are held against the shipped schema."""

import json
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
from django.conf import settings
from jsonschema import Draft202012Validator
from jsonschema.validators import validator_for

from tests.conftest import DemoTenant

Api = Callable[..., Any]


@cache
def _validator() -> Draft202012Validator:
    schema = json.loads((settings.KNOWLEDGE_DIR / "schema.json").read_text(encoding="utf-8"))
    found = validator_for(schema)
    assert found is Draft202012Validator
    return found(schema, format_checker=found.FORMAT_CHECKER)


@pytest.fixture
def valid() -> Callable[[Any], Any]:
    """valid(document): the document, if it follows pillars-detectors/schema.json."""

    def check(document: Any) -> Any:
        _validator().validate(document)
        return document

    return check


@pytest.fixture
def send(api: Api, acme: DemoTenant, valid: Callable[[Any], Any]) -> Callable[..., Any]:
    """send(item): the valid answer of /map, or the problem."""

    def post(item: Any, **headers: str) -> Any:
        answer = api("POST", "/map", acme.key, json=item, **headers)
        if answer.status_code == 200:
            return valid(answer.json())
        assert answer.headers["Content-Type"] == "application/problem+json"
        problem = answer.json()
        assert problem["status"] == answer.status_code
        return problem

    return post


@pytest.fixture
def send_raw(client: Any, acme: DemoTenant) -> Callable[..., Any]:
    """send_raw(bytes): the answer to a body just as it is."""

    def post(body: bytes, path: str = "/map", content_type: str = "application/json") -> Any:
        headers = {"host": "localhost", "authorization": f"Bearer {acme.key}"}
        return client.generic("POST", path, body, content_type=content_type, headers=headers)

    return post
