"""From the loaded documents to the engine's compiled knowledge."""

from typing import Any

from django.conf import settings

from mapping.engine import Knowledge, KnowledgeError
from taxonomy.selectors import KnowledgeDocuments


def compile_documents(documents: KnowledgeDocuments) -> Knowledge:
    """Compile a release for the engine. Raises KnowledgeError."""
    return Knowledge.from_documents(
        documents.taxonomy,
        documents.detectors,
        documents.frameworks,
        documents.crosswalks,
        min_strength=settings.CONFIG.mapping.controls_min_strength,
    )


def problems_for_the_engine(documents: KnowledgeDocuments, **_kwargs: Any) -> list[str]:
    """Receiver of knowledge_checked: what the engine refuses must not come into force."""
    try:
        compile_documents(documents)
    except KnowledgeError as error:
        return [str(error)]
    return []
