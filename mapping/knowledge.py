"""From the loaded documents to the engine's compiled knowledge."""

from collections.abc import Iterable
from typing import Any

from django.conf import settings

from mapping.engine import Knowledge, KnowledgeError
from taxonomy.selectors import KnowledgeDocuments


def compile_documents(documents: KnowledgeDocuments) -> Knowledge:
    """Compile a release for answers: with the frameworks that they name. Raises KnowledgeError."""
    wanted = frozenset(settings.CONFIG.mapping.frameworks)

    def named(files: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
        return [file for file in files if file["framework"] in wanted]

    return Knowledge.from_documents(
        documents.taxonomy,
        documents.detectors,
        named(documents.frameworks),
        named(documents.crosswalks),
        min_strength=settings.CONFIG.mapping.controls_min_strength,
    )


def problems_for_the_engine(documents: KnowledgeDocuments, **_kwargs: Any) -> list[str]:
    """Receiver of knowledge_checked: what the engine refuses must not come into force."""
    try:
        Knowledge.from_documents(
            documents.taxonomy, documents.detectors, documents.frameworks, documents.crosswalks
        )
    except KnowledgeError as error:
        return [str(error)]
    return []
