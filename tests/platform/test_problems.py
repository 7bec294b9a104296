"""The one table of problem codes: the code, the documents and the answers agree on it."""

import ast
import re
from typing import Any

import pytest
from django.conf import settings

from pillars import problems
from pillars.problems import TABLE

DOCUMENT = settings.REPOSITORY / "docs" / "errors.md"
SOURCES = [
    path
    for folder in ("platform", "mapping", "taxonomy", "reporting")
    for path in (settings.REPOSITORY / folder).rglob("*.py")
]
# Whatever names a code in its first literal argument.
CALLS = {"Problem", "problem", "response", "body", "answer"}


def rows() -> list[str]:
    """The table of docs/errors.md, as it must stand there."""
    head = ["| Status | `code` | Title | What to do |", "|---|---|---|---|"]
    return head + [
        f"| {kind.status} | `{code}` | {kind.title} | {kind.detail} |"
        for code, kind in sorted(TABLE.items(), key=lambda item: (item[1].status, item[0]))
    ]


def used_codes() -> set[str]:
    found: set[str] = set()
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            if name in CALLS:
                found |= {
                    argument.value
                    for argument in node.args[:2]
                    if isinstance(argument, ast.Constant) and isinstance(argument.value, str)
                }
    return found | {code for _, code in problems._BY_EXCEPTION}


def test_the_document_has_the_table() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    table = [line for line in text.splitlines() if line.startswith("|")]
    expected = rows()
    assert table == expected, "Put this table into docs/errors.md:\n" + "\n".join(expected)


def test_the_document_is_reached() -> None:
    readers = (settings.REPOSITORY / "README.md", *DOCUMENT.parent.glob("*.md"))
    assert any("errors.md" in path.read_text(encoding="utf-8") for path in readers)


def test_every_code_is_stable_in_form_and_says_what_to_do() -> None:
    for code, kind in TABLE.items():
        assert re.fullmatch(r"[a-z]+(_[a-z]+)*", code)
        assert 400 <= kind.status <= 599
        assert kind.detail.endswith(".")
        assert not kind.title.endswith(".")


def test_every_code_of_the_table_is_answered_somewhere_and_no_other() -> None:
    used = used_codes()
    assert set(TABLE) - used - {"internal_error"} == set()
    codes = {code for code in used if re.fullmatch(r"[a-z]+(_[a-z]+)+", code)}
    assert codes <= set(TABLE)


@pytest.mark.parametrize("code", sorted(TABLE))
def test_form_of_a_problem(code: str, rf: Any) -> None:
    """RFC 9457: media type, members, and the status twice."""
    request = rf.get("/")
    request.request_id = "a-request"
    answer = problems.response(request, code)
    document = problems.body(code, request_id="a-request")
    assert answer.status_code == document["status"] == TABLE[code].status
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert document["type"] == f"urn:pillars:problem:{code}"
    assert document["code"] == code
    assert document["request_id"] == "a-request"
    assert ("WWW-Authenticate" in answer.headers) == (answer.status_code == 401)
    assert ("Retry-After" in answer.headers) == (answer.status_code == 503)
