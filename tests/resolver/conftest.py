"""The shipped models and knowledge, read once."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from mapping.resolver.artifacts import Artifacts
from mapping.resolver.cache import VerdictCache
from mapping.resolver.resolver import Resolver
from mapping.resolver.retrieve import KnownLabel, Retriever, known_labels
from mapping.resolver.types import Chooser
from taxonomy.agreement import of_entry

KNOWLEDGE = Path(__file__).parents[2] / "pillars-detectors"
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
MakeResolver = Callable[..., Resolver]


def _read(path: Path) -> Any:
    return yaml.load(path.read_text(encoding="utf-8"), _LOADER)


@pytest.fixture(scope="session")
def taxonomy() -> dict[str, Any]:
    """The edition that the models were made for."""
    found: dict[str, Any] = _read(KNOWLEDGE / "taxonomy" / "2026.11.yaml")
    return found


@pytest.fixture(scope="session")
def known() -> list[KnownLabel]:
    """Every label of the shipped detector files."""
    files = [_read(path) for path in sorted((KNOWLEDGE / "detectors").glob("*.yaml"))]
    return known_labels(files, of_entry)


@pytest.fixture(scope="session")
def artifacts() -> Artifacts:
    """The models as they are shipped."""
    return Artifacts.load()


@pytest.fixture(scope="session")
def retriever(taxonomy: dict[str, Any], known: list[KnownLabel], artifacts: Artifacts) -> Retriever:
    """Of the shipped knowledge."""
    return Retriever(taxonomy, known, artifacts.encoder, artifacts.glossary)


@pytest.fixture(scope="session")
def make_resolver(
    taxonomy: dict[str, Any], artifacts: Artifacts, retriever: Retriever
) -> MakeResolver:
    """make(chooser=..., cache=..., knowledge=...): a resolver of the shipped models."""

    def make(
        chooser: Chooser | None = None,
        cache: VerdictCache | None = None,
        knowledge: str = "one",
        calibrators: Any = None,
    ) -> Resolver:
        return Resolver(
            taxonomy=taxonomy,
            retriever=retriever,
            calibrators=calibrators or artifacts.calibrators,
            knowledge=knowledge,
            chooser=chooser,
            cache=cache,
            budget_seconds=60,
        )

    return make


@pytest.fixture(scope="session")
def resolver(make_resolver: MakeResolver) -> Resolver:
    """Retrieval alone, without a cache."""
    return make_resolver()
