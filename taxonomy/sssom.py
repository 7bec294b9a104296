"""The vocabularies as one mapping set in SSSOM: a table with tabs under a header in YAML.

The form is that of w3id.org/sssom: one line for each leaf label and concept, branches written out.
A label without a match has one line whose object is sssom:NoTermFound in that vocabulary.
"""

import csv
import io
from collections.abc import Iterator, Sequence
from typing import Any

import yaml

from taxonomy.documents import Document
from taxonomy.errors import KnowledgeFileError
from taxonomy.vocabularies import Match, NoMatch, Vocabulary

NO_TERM = "sssom:NoTermFound"
LABELS = "PILLARS"
SOURCES = "PILLARSSOURCE"
COLUMNS = (
    "subject_id",
    "subject_label",
    "predicate_id",
    "object_id",
    "object_label",
    "mapping_justification",
    "object_source",
    "object_source_version",
    "mapping_date",
    "comment",
)
_PREFIXES = {
    LABELS: "urn:pillars:label:",
    SOURCES: "urn:pillars:source:",
    "semapv": "https://w3id.org/semapv/vocab/",
    "skos": "http://www.w3.org/2004/02/skos/core#",
    "sssom": "https://w3id.org/sssom/",
}


def to_sssom(vocabularies: Sequence[Vocabulary], taxonomy: Document) -> str:
    """SSSOM/TSV of the vocabularies that map this edition. KnowledgeFileError if none does."""
    edition = str(taxonomy.data["edition"])
    chosen = [vocabulary for vocabulary in vocabularies if vocabulary.taxonomy == edition]
    if not chosen:
        raise KnowledgeFileError(
            [f"vocabularies/: none maps taxonomy {edition}. Map its labels in those files first."]
        )
    header = yaml.safe_dump(_header(chosen, edition=edition), sort_keys=False, width=1000)
    out = io.StringIO()
    out.writelines(f"#{line}\n" for line in header.splitlines())
    writer = csv.DictWriter(out, COLUMNS, delimiter="\t", lineterminator="\n")
    writer.writeheader()
    for vocabulary in chosen:
        for label in taxonomy.data["labels"]:
            writer.writerows(_lines(vocabulary, label=label))
    return out.getvalue()


def _header(vocabularies: Sequence[Vocabulary], *, edition: str) -> dict[str, Any]:
    prefixes = _PREFIXES | {one.prefix: one.iri for one in vocabularies}
    return {
        "mapping_set_id": f"urn:pillars:mapping-set:{edition}",
        "mapping_set_version": max((one.version for one in vocabularies), key=_version_key),
        "mapping_set_title": f"Pillars taxonomy {edition} and external vocabularies",
        "mapping_set_description": (
            "Every label beside every vocabulary. sssom:NoTermFound says that the vocabulary has "
            "no concept that matches the label in any way."
        ),
        "license": "https://www.apache.org/licenses/LICENSE-2.0",
        "subject_source": f"{SOURCES}:taxonomy",
        "subject_source_version": edition,
        "curie_map": dict(sorted(prefixes.items())),
    }


def _version_key(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def _lines(vocabulary: Vocabulary, *, label: str) -> Iterator[dict[str, str]]:
    for row in vocabulary.rows(label):
        yield {
            "subject_id": f"{LABELS}:{label}",
            "subject_label": label,
            **_object(vocabulary, row=row),
            "mapping_justification": "semapv:ManualMappingCuration",
            "object_source": f"{SOURCES}:{vocabulary.vocabulary}",
            "object_source_version": vocabulary.edition,
            "mapping_date": vocabulary.mapped,
            "comment": row.why,
        }


def _object(vocabulary: Vocabulary, *, row: Match | NoMatch) -> dict[str, str]:
    if isinstance(row, NoMatch):
        # SSSOM wants a predicate here as well; by its convention the object says there is none.
        return {"predicate_id": "skos:exactMatch", "object_id": NO_TERM, "object_label": ""}
    return {
        "predicate_id": f"skos:{row.predicate}Match",
        "object_id": f"{vocabulary.prefix}:{row.code}",
        "object_label": vocabulary.titles[row.code],
    }
