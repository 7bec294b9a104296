"""From the loaded documents to the engine's compiled knowledge."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from django.conf import settings

from mapping.engine import Knowledge, KnowledgeError
from taxonomy.documents import read_documents
from taxonomy.errors import KnowledgeFileError
from taxonomy.selectors import KnowledgeDocuments
from taxonomy.validation import newest_taxonomy, validate


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


def compile_files(directory: Path) -> Knowledge:
    """Compile the files of a folder, all frameworks included. Raises KnowledgeFileError."""
    documents = read_documents(directory)
    validate(directory, documents)

    def of_kind(kind: str) -> list[dict[str, Any]]:
        return [document.data for document in documents if document.kind == kind]

    try:
        return Knowledge.from_documents(
            newest_taxonomy(documents).data,
            of_kind("detector"),
            of_kind("framework"),
            of_kind("crosswalk"),
        )
    except KnowledgeError as error:
        raise KnowledgeFileError([str(error)]) from None


def problems_for_the_engine(documents: KnowledgeDocuments, **_kwargs: Any) -> list[str]:
    """Receiver of knowledge_checked: what the engine refuses must not come into force."""
    try:
        Knowledge.from_documents(
            documents.taxonomy, documents.detectors, documents.frameworks, documents.crosswalks
        )
    except KnowledgeError as error:
        return [str(error)]
    return []
