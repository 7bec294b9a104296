"""Nothing but tenants.context may switch the connection to another tenant."""

import ast
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


@pytest.mark.parametrize("path", OURS, ids=lambda path: str(path.relative_to(ROOT)))
def test_only_the_context_module_switches_tenants(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = [
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr in SWITCHES
    ]
    assert not found, f"{path}:{found[0]} switches tenants by itself: use tenants.context"


@pytest.mark.parametrize("path", OURS, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_coroutines(path: Path) -> None:
    """In async code the ORM runs on another connection than the one that was switched."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.AsyncFunctionDef)]
