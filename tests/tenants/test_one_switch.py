"""Nothing but tenants.context may switch the connection to another tenant."""

import ast
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SWITCHES = {"set_tenant", "set_schema", "set_schema_to_public"}
OURS = [
    path
    for folder in ("platform", "mapping", "taxonomy", "reporting", "training")
    for path in (ROOT / folder).rglob("*.py")
    if "migrations" not in path.parts and path != ROOT / "platform/tenants/context.py"
]


@cache
def read(path: Path) -> tuple[list[int], list[int]]:
    """Lines of a file that switch tenants, and lines where coroutines begin."""
    nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    switches = [n.lineno for n in nodes if isinstance(n, ast.Attribute) and n.attr in SWITCHES]
    return switches, [n.lineno for n in nodes if isinstance(n, ast.AsyncFunctionDef)]


@pytest.mark.parametrize("path", OURS, ids=lambda path: str(path.relative_to(ROOT)))
def test_only_the_context_module_switches_tenants(path: Path) -> None:
    found, _ = read(path)
    assert not found, f"{path}:{found[0]} switches tenants by itself: use tenants.context"


@pytest.mark.parametrize("path", OURS, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_coroutines(path: Path) -> None:
    """In async code the ORM runs on another connection than the one that was switched."""
    _, found = read(path)
    assert not found
