"""The OpenAPI document is clean and says all that the API answers."""

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.staticfiles import finders
from django.core.management import call_command

from pillars.problems import TABLE

pytestmark = pytest.mark.django_db


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """As `make openapi` writes it: a warning would be an error."""
    path = tmp_path_factory.mktemp("openapi") / "openapi.json"
    call_command(
        "spectacular", "--format", "openapi-json", "--file", str(path), "--fail-on-warn",
        "--validate",
    )  # fmt: skip
    loaded: dict[str, Any] = json.loads(path.read_text())
    return loaded


def test_every_status_of_the_table_of_codes_is_described(document: dict[str, Any]) -> None:
    described = {
        int(status)
        for path in document["paths"].values()
        for operation in path.values()
        for status in operation["responses"]
    }
    assert {kind.status for kind in TABLE.values()} <= described
    assert document["components"]["schemas"]["Problem"]["properties"]["code"]["enum"] == sorted(
        TABLE
    )


@pytest.mark.parametrize("code", TABLE)
def test_every_code_is_described_with_its_status(document: dict[str, Any], code: str) -> None:
    """As a problem, of at least one operation."""
    status = str(TABLE[code].status)
    answers = [
        operation["responses"][status]
        for path in document["paths"].values()
        for operation in path.values()
        if status in operation["responses"]
    ]
    described = [
        answer for answer in answers
        if code in re.findall(r"\w+", answer["description"])
        and list(answer["content"]) == ["application/problem+json"]
    ]  # fmt: skip
    assert described


def test_either_header_carries_the_key(document: dict[str, Any]) -> None:
    security = document["paths"]["/map"]["post"]["security"]
    assert security == [{"bearerKey": []}, {"headerKey": []}]


@pytest.mark.parametrize("prefix", ["", "/api/v1"])
def test_served_with_its_page_from_the_service_itself(
    api: Callable[..., Any], plain_static: None, prefix: str
) -> None:
    served = api("GET", f"{prefix}/openapi.json")
    assert served.status_code == 200
    assert served.json()["openapi"] == "3.1.0"
    page = api("GET", f"{prefix}/docs").content.decode()
    sources = re.findall(r"""(?:src|href)=["']([^"']+)""", page)
    assert len(sources) >= 3
    for source in sources:
        assert source.startswith("/static/"), source  # nothing from elsewhere
        assert finders.find(source.removeprefix("/static/")), source
    assert not re.search(r"https?://", page)
    assert f'"{prefix}/openapi.json"' in page
