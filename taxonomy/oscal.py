"""Crosswalks as one mapping collection of OSCAL, NIST's language for controls (version 1.2.3).

The model: https://pages.nist.gov/OSCAL/, "Control Mapping". It knows controls and statements alone,
so a label stands there as a `control` of a source resource whose type is `taxonomy`, in our own
namespace. For what a finding says about a control (evidence, strength) OSCAL has no measure: its
`confidence-score` says that the mapping is right, its `coverage` how much of the target is covered.
Either would be read wrongly, so evidence and strength are props in our namespace.
"""

import json
import re
import uuid
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from taxonomy.documents import digest
from taxonomy.errors import NoReleaseError, UnknownFrameworkError
from taxonomy.models import CrosswalkEdition, TaxonomyEdition
from taxonomy.selectors import current_release, documents_of
from taxonomy.validation import OTHER, branches

OSCAL_VERSION: Final = "1.2.3"
NAMESPACE: Final = "urn:pillars:oscal"
# OSCAL's tokens for the five relationships of NIST IR 8477, as each reads from label to control.
RELATIONSHIPS: Final[Mapping[str, str]] = {
    # The same in meaning. OSCAL's `equal-to` is the same requirement in another spelling, which a
    # label and a control never are; `equivalent-to` is its word where the words differ.
    "equal": "equivalent-to",
    "subset": "subset-of",  # all that the label names is inside of what the control is about
    "superset": "superset-of",  # the label names all that the control is about, and more
    "intersects": "intersects-with",  # some overlap; each has parts that the other does not have
    "not_related": "no-relationship",  # said in so many words, mostly against the row of a branch
}
_UUIDS = uuid.uuid5(uuid.NAMESPACE_URL, NAMESPACE)
_ENHANCEMENT = re.compile(r"\((\d+)\)")
_DESCRIPTION: Final = (
    "Canonical labels of detector findings to controls. A finding of a label is evidence "
    "supporting the control, and never shows that the control is met. Each row was written on its "
    "own with the reason in its remarks; codes, labels and versions were checked by machine. A "
    "source that is a branch of the taxonomy holds for every label below it, unless a row nearer "
    "to the label names the same control. Unmapped controls of the source are labels that bear on "
    "nothing in the target. The prop `evidence` is direct where a finding shows by itself how the "
    "control works or fails, and supporting where it informs the control; `strength` is how much "
    "one finding says, from 1 to 10."
)
_BRANCH: Final = (
    "A branch: holds for every label below it, unless a row nearer to the label names the same "
    "control."
)


def to_oscal(
    crosswalks: Sequence[Mapping[str, Any]],
    *,
    taxonomy: Mapping[str, Any],
    frameworks: Sequence[Mapping[str, Any]],
    version: str,
    modified: datetime,
    in_force: bool = True,
) -> dict[str, Any]:
    """The mapping collection of these crosswalk files. Equal input gives an equal document.

    `taxonomy` and `frameworks` are the files that they refer to, `version` and `modified` go into
    the document's metadata. A crosswalk that is not in force any more is marked as superseded.
    """
    known = {_edition(framework): framework for framework in frameworks}
    mappings = [_mapping(one, known[_edition(one)], taxonomy, in_force) for one in crosswalks]
    names = [known[_edition(one)]["short_name"] for one in crosswalks]
    what = names[0] if len(names) == 1 else f"{len(names)} framework editions"
    states = {mapping["status"] for mapping in mappings}
    body = {
        "metadata": {
            "title": f"Pillars taxonomy {taxonomy['edition']} to {what}",
            "last-modified": modified.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            "version": version,
            "oscal-version": OSCAL_VERSION,
        },
        "provenance": {
            "method": "hybrid",
            "matching-rationale": "semantic",
            "status": states.pop() if len(states) == 1 else "not-complete",
            "mapping-description": _DESCRIPTION,
        },
        "mappings": mappings,
        "back-matter": {
            "resources": [
                _taxonomy_resource(taxonomy),
                *(_framework_resource(known[_edition(one)]) for one in crosswalks),
            ]
        },
    }
    return {"mapping-collection": {"uuid": _uuid("collection", digest(body)), **body}}


def to_json(document: Mapping[str, Any]) -> str:
    """The document as a JSON file."""
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def oscal_in_force(framework: str | None = None) -> dict[str, Any]:
    """The crosswalks of the release in force, or those of one framework: `soc2` or `soc2@2017`.

    Raises NoReleaseError if nothing is loaded, UnknownFrameworkError if no crosswalk is so named.
    """
    release = current_release()
    if release is None:
        raise NoReleaseError("No knowledge is loaded. Run `manage.py load_config`.")
    documents = documents_of(release.serial)
    crosswalks = sorted(documents.crosswalks, key=_edition)
    chosen = [one for one in crosswalks if framework in (None, one["framework"], _edition(one))]
    if not chosen:
        raise UnknownFrameworkError(
            f"{framework}: the release in force has no crosswalk of this name. "
            f"Use one of {', '.join(map(_edition, crosswalks))}."
        )
    return to_oscal(
        chosen,
        taxonomy=documents.taxonomy,
        frameworks=documents.frameworks,
        version=f"release {documents.serial}",
        modified=release.loaded_at,
    )


def oscal_of(crosswalk: CrosswalkEdition) -> dict[str, Any]:
    """One loaded version of a crosswalk, present or past."""
    taxonomy = TaxonomyEdition.objects.get(edition=crosswalk.version.rpartition(".")[0])
    release = current_release()
    return to_oscal(
        [crosswalk.document],
        taxonomy=taxonomy.document,
        frameworks=[crosswalk.framework.document],
        version=crosswalk.version,
        modified=crosswalk.loaded_at,
        in_force=release is not None and release.crosswalks.filter(pk=crosswalk.pk).exists(),
    )


def _edition(data: Mapping[str, Any]) -> str:
    return f"{data['framework']}@{data['edition']}"


def _uuid(*parts: str) -> str:
    """The same for the same subject in every export, as OSCAL wants it."""
    return str(uuid.uuid5(_UUIDS, "\n".join(parts)))


def _prop(name: str, value: Any, remarks: str | None = None) -> dict[str, str]:
    prop = {"name": name, "ns": NAMESPACE, "value": str(value)}
    return prop | {"remarks": remarks} if remarks else prop


def _mapping(
    crosswalk: Mapping[str, Any],
    framework: Mapping[str, Any],
    taxonomy: Mapping[str, Any],
    in_force: bool,
) -> dict[str, Any]:
    """One crosswalk. `no_controls` become props with their reason, and go into the gap summary."""
    subject = _edition(crosswalk)
    unmapped = sorted(_unmapped(crosswalk, taxonomy))
    stated = {entry["label"] for entry in crosswalk.get("no_controls", [])}
    forgotten = [
        label
        for label in unmapped
        if branches(label)[-1] != OTHER and not stated & set(branches(label))
    ]
    mapping: dict[str, Any] = {
        "uuid": _uuid("mapping", subject),
        "status": ("not-complete" if forgotten else "complete") if in_force else "superseded",
        "source-resource": {
            "ns": NAMESPACE,
            "type": "taxonomy",
            "href": f"#{_uuid('taxonomy', taxonomy['edition'])}",
        },
        "target-resource": {"type": "catalog", "href": f"#{_uuid('framework', subject)}"},
        "maps": [_map(row, subject, framework, taxonomy) for row in crosswalk["rows"]],
        "props": [
            _prop("crosswalk-version", crosswalk["version"]),
            *(
                _prop("no-controls", entry["label"], entry["rationale"])
                for entry in crosswalk.get("no_controls", [])
            ),
        ],
    }
    if unmapped:
        mapping["source-gap-summary"] = {
            "uuid": _uuid("source-gap", subject),
            "unmapped-controls": [{"with-ids": unmapped}],
        }
    return mapping


def _unmapped(crosswalk: Mapping[str, Any], taxonomy: Mapping[str, Any]) -> Iterator[str]:
    """Labels without a control: what holds for them is, row by row, nothing or `not_related`."""
    for label in taxonomy["labels"]:
        line = branches(label)
        rows = [row for row in crosswalk["rows"] if row["label"] in line]
        nearest: dict[str, str] = {}
        for row in sorted(rows, key=lambda row: line.index(row["label"])):
            nearest.setdefault(row["control"], row["relationship"])
        if all(relationship == "not_related" for relationship in nearest.values()):
            yield label


def _map(
    row: Mapping[str, Any],
    subject: str,
    framework: Mapping[str, Any],
    taxonomy: Mapping[str, Any],
) -> dict[str, Any]:
    label, code = row["label"], row["control"]
    source: dict[str, Any] = {"type": "control", "id-ref": label}
    if label not in taxonomy["labels"]:
        source |= {"props": [_prop("scope", "branch")], "remarks": _BRANCH}
    return {
        "uuid": _uuid("map", subject, label, code),
        "relationship": RELATIONSHIPS[row["relationship"]],
        "sources": [source],
        "targets": [
            {
                "type": "control",
                "id-ref": control_id(framework["framework"], code),
                "props": [_prop("control", f"{subject}:{code}")],
            }
        ],
        "props": [_prop("evidence", row["evidence"]), _prop("strength", row["strength"])],
        "remarks": row["rationale"],
    }


def control_id(framework: str, code: str) -> str:
    """The control's id in its catalog: the publisher's code, except where NIST has OSCAL ids.

    NIST's own OSCAL catalog of SP 800-53 (usnistgov/oscal-content) writes SC-7(10) as `sc-7.10`.
    """
    return _ENHANCEMENT.sub(r".\1", code).lower() if framework == "nist-800-53" else code


def _taxonomy_resource(taxonomy: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "uuid": _uuid("taxonomy", taxonomy["edition"]),
        "title": f"Pillars taxonomy {taxonomy['edition']}",
        "description": "Canonical labels of what detectors find. The parent of a label is its name "
        "without the last part.",
        "document-ids": [{"scheme": NAMESPACE, "identifier": f"taxonomy@{taxonomy['edition']}"}],
    }


def _framework_resource(framework: Mapping[str, Any]) -> dict[str, Any]:
    """What the targets' ids belong to. The text of the controls is not part of the export."""
    return {
        "uuid": _uuid("framework", _edition(framework)),
        "title": framework["name"],
        "description": f"{framework['publisher']}. {framework['licence']['holder']}.",
        "props": [_prop("framework-file-version", framework["version"])],
        "document-ids": [{"scheme": NAMESPACE, "identifier": _edition(framework)}],
    }
