"""Checks of the knowledge files. Every complaint names the file, the field and the remedy."""

from collections.abc import Iterable, Mapping
from typing import Any, NoReturn

from mapping.engine.types import KnowledgeError


def fail(file: str, field: str, problem: str, remedy: str) -> NoReturn:
    """Raises KnowledgeError in the one form that all complaints have."""
    raise KnowledgeError(f"{file}: {field}: {problem}. {remedy}.")


def mapping_of(document: Any, file: str, field: str) -> Mapping[str, Any]:
    """The value as an object with string keys."""
    if not isinstance(document, Mapping):
        fail(file, field, "an object is needed here", "Write it as `key: value` lines")
    for key in document:
        if not isinstance(key, str):
            fail(file, field, f"the key {key!r} is not a string", "Put it in quotation marks")
    return document


def list_of(value: Any, file: str, field: str) -> list[Any]:
    """The value as a list."""
    if not isinstance(value, list | tuple):
        fail(file, field, "a list is needed here", "Write it as `- item` lines")
    return list(value)


def text_of(document: Mapping[str, Any], key: str, file: str) -> str:
    """A required, non-empty string member."""
    value = document.get(key)
    if not isinstance(value, str) or not value.strip():
        fail(file, key, "a non-empty string is needed here", f"Add `{key}: ...`, quoted if numeric")
    return value


def only(document: Mapping[str, Any], allowed: Iterable[str], file: str, field: str) -> None:
    """Refuses members that no reader knows: mostly misspelt names."""
    known = sorted(allowed)
    for key in document:
        if key not in known:
            fail(file, f"{field}{key}", "unknown member", f"Known ones: {', '.join(known)}")
