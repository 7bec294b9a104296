"""The OSCAL export: NIST's own schema takes it, and it says what the crosswalk files say."""

import copy
import json
import re
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from django.core.management import CommandError, call_command

from taxonomy.documents import read_documents
from taxonomy.oscal import NAMESPACE, control_id, oscal_in_force, to_json, to_oscal
from taxonomy.selectors import controls_for, current_release
from taxonomy.validation import branches, newest_taxonomy

ROOT = Path(__file__).resolve().parents[2]
# NIST's patterns have \p{L}, which Python's re (and so jsonschema) does not read.
VALIDATOR = jsonschema_rs.validator_for(
    json.loads((ROOT / "tests/data/oscal_mapping_schema.json").read_text(encoding="utf-8")),
    validate_formats=True,
)
DOCUMENTS = read_documents(ROOT / "pillars-detectors")
TAXONOMY = newest_taxonomy(DOCUMENTS).data
FRAMEWORKS = [one.data for one in DOCUMENTS if one.kind == "framework"]
CROSSWALKS = {
    f"{one.data['framework']}@{one.data['edition']}": one.data
    for one in DOCUMENTS
    if one.kind == "crosswalk"
}
MODIFIED = datetime(2026, 11, 24, 10, tzinfo=UTC)
# The values that the metaschema allows where the JSON Schema takes any token:
# src/metaschema/oscal_mapping-common_metaschema.xml of OSCAL 1.2.
TOKENS = {
    *("equivalent-to", "equal-to", "subset-of", "superset-of", "intersects-with"),
    "no-relationship",
}


def export(*crosswalks: dict[str, Any], **changes: Any) -> dict[str, Any]:
    given = {
        "taxonomy": TAXONOMY,
        "frameworks": FRAMEWORKS,
        "version": "release 1",
        "modified": MODIFIED,
    }
    return to_oscal(list(crosswalks), **{**given, **changes})


ALL = export(*CROSSWALKS.values())


def problems(document: dict[str, Any]) -> list[str]:
    return [error.message for error in VALIDATOR.iter_errors(document)]


def parts(name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The crosswalk of a framework, and its mapping."""
    return CROSSWALKS[name], export(CROSSWALKS[name])["mapping-collection"]["mappings"][0]


@pytest.mark.parametrize("name", CROSSWALKS)
def test_the_schema_takes_every_crosswalk(name: str) -> None:
    assert problems(export(CROSSWALKS[name])) == []


def test_the_schema_takes_all_of_them_together() -> None:
    assert len(CROSSWALKS) == 16
    assert problems(ALL) == []


def _without(*path: str | int) -> Callable[[Any], None]:
    def change(node: Any) -> None:
        for key in path[:-1]:
            node = node[key]
        del node[path[-1]]

    return change


def _set(value: Any, *path: str | int) -> Callable[[Any], None]:
    def change(node: Any) -> None:
        for key in path[:-1]:
            node = node[key]
        node[path[-1]] = value

    return change


@pytest.mark.parametrize(
    "spoil",
    [
        _without("uuid"),
        _without("metadata", "oscal-version"),
        _without("provenance", "method"),
        _without("mappings", 0, "target-resource"),
        _without("mappings", 0, "maps", 0, "relationship"),
        _set("rows of a file", "provenance", "method"),
        _set("done", "mappings", 0, "status"),
        _set("label", "mappings", 0, "maps", 0, "sources", 0, "type"),
        _set("1 of them", "mappings", 0, "maps", 0, "relationship"),
        _set("PII", "mappings", 0, "maps", 0, "uuid"),
        _set("yesterday", "metadata", "last-modified"),
        _set([{"with-ids": ["A (b)"]}], "mappings", 0, "source-gap-summary", "unmapped-controls"),
        _set(7, "mappings", 0, "maps", 0, "strength"),
    ],
)  # fmt: skip
def test_the_schema_refuses_a_broken_one(spoil: Callable[[Any], None]) -> None:
    document = copy.deepcopy(export(CROSSWALKS["ccpa@2026"]))
    spoil(document["mapping-collection"])
    assert problems(document)


def test_each_map_says_what_its_row_says() -> None:
    tokens = {
        "equal": "equivalent-to",
        "subset": "subset-of",
        "superset": "superset-of",
        "intersects": "intersects-with",
        "not_related": "no-relationship",
    }
    for name in CROSSWALKS:
        crosswalk, mapping = parts(name)
        assert len(mapping["maps"]) == len(crosswalk["rows"])
        for row, entry in zip(crosswalk["rows"], mapping["maps"], strict=True):
            (source,), (target,) = entry["sources"], entry["targets"]
            assert entry["relationship"] == tokens[row["relationship"]]
            assert entry["relationship"] in TOKENS
            assert entry["remarks"] == row["rationale"]
            assert source["id-ref"] == row["label"]
            assert target["id-ref"] == control_id(crosswalk["framework"], row["control"])
            assert target["props"][0]["value"] == f"{name}:{row['control']}"
            said = {prop["name"]: prop["value"] for prop in entry["props"]}
            assert said == {"evidence": row["evidence"], "strength": str(row["strength"])}
            is_branch = row["label"] not in TAXONOMY["labels"]
            assert ("props" in source) == ("remarks" in source) == is_branch


def test_ids_of_800_53_are_those_of_its_catalog() -> None:
    _, mapping = parts("nist-800-53@r5")
    ids = {entry["targets"][0]["id-ref"] for entry in mapping["maps"]}
    assert {"ac-3", "sc-7.10", "si-4.18"} < ids
    assert all(re.fullmatch(r"[a-z]{2}-\d+(\.\d+)?", one) for one in ids)
    assert control_id("soc2", "CC6.7") == "CC6.7"


def test_every_label_is_mapped_or_said_to_be_unmapped() -> None:
    for name in CROSSWALKS:
        _, mapping = parts(name)
        (select,) = mapping["source-gap-summary"]["unmapped-controls"]
        gap = set(select["with-ids"])
        related = {
            entry["sources"][0]["id-ref"]
            for entry in mapping["maps"]
            if entry["relationship"] != "no-relationship"
        }
        for label in TAXONOMY["labels"]:
            assert (label in gap) != bool(related & set(branches(label))), f"{name}: {label}"
        assert mapping["status"] == "complete"


def test_labels_without_controls_come_with_the_reason() -> None:
    crosswalk, mapping = parts("pci-dss@4.0.1")
    said = {
        prop["value"]: prop["remarks"] for prop in mapping["props"] if prop["name"] == "no-controls"
    }
    assert said == {entry["label"]: entry["rationale"] for entry in crosswalk["no_controls"]}
    assert said


def test_a_forgotten_label_makes_the_mapping_incomplete() -> None:
    crosswalk = CROSSWALKS["pci-dss@4.0.1"]
    document = export({**crosswalk, "no_controls": crosswalk["no_controls"][1:]})
    assert document["mapping-collection"]["mappings"][0]["status"] == "not-complete"
    assert document["mapping-collection"]["provenance"]["status"] == "not-complete"
    assert problems(document) == []


def test_a_crosswalk_that_is_not_in_force_is_superseded() -> None:
    document = export(CROSSWALKS["soc2@2017"], in_force=False)
    assert document["mapping-collection"]["provenance"]["status"] == "superseded"
    assert problems(document) == []


def test_references_lead_to_the_back_matter() -> None:
    body = ALL["mapping-collection"]
    resources = {one["uuid"]: one["document-ids"][0] for one in body["back-matter"]["resources"]}
    assert len(resources) == 17
    for name, mapping in zip(CROSSWALKS, body["mappings"], strict=True):
        target = resources[mapping["target-resource"]["href"].removeprefix("#")]
        assert target == {"scheme": NAMESPACE, "identifier": name}
        source = resources[mapping["source-resource"]["href"].removeprefix("#")]
        assert source["identifier"] == f"taxonomy@{TAXONOMY['edition']}"


def _uuids(node: Any) -> list[str]:
    if isinstance(node, dict):
        own = [node["uuid"]] if "uuid" in node else []
        return own + [one for value in node.values() for one in _uuids(value)]
    return [one for item in node for one in _uuids(item)] if isinstance(node, list) else []


def test_ids_are_unique_and_follow_from_the_content() -> None:
    ids = _uuids(ALL)
    assert len(ids) == len(set(ids))
    assert {uuid.UUID(one).version for one in ids} == {5}
    assert export(*CROSSWALKS.values()) == ALL
    one, other = (export(CROSSWALKS["soc2@2017"], version=version) for version in ("1", "2"))
    assert one["mapping-collection"]["uuid"] != other["mapping-collection"]["uuid"]
    assert one["mapping-collection"]["mappings"] == other["mapping-collection"]["mappings"]


@pytest.mark.django_db
class TestInForce:
    def test_it_is_what_the_files_say(self) -> None:
        document = oscal_in_force()
        assert problems(document) == []
        said = {one["uuid"]: one for one in document["mapping-collection"]["mappings"]}
        assert said == {one["uuid"]: one for one in ALL["mapping-collection"]["mappings"]}

    def test_the_gap_is_what_answers_leave_out(self) -> None:
        release = current_release()
        assert release is not None
        document = oscal_in_force("owasp-agentic")
        (mapping,) = document["mapping-collection"]["mappings"]
        (select,) = mapping["source-gap-summary"]["unmapped-controls"]
        silent = [
            label
            for label in TAXONOMY["labels"]
            if not any(
                row.control.edition.framework == "owasp-agentic"
                for row in controls_for(label, release)
            )
        ]
        assert select["with-ids"] == sorted(silent)

    def test_the_command(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        target = tmp_path / "soc2.json"
        call_command("export_oscal_mapping", "soc2@2017", output=target, json=True)
        rows = len(CROSSWALKS["soc2@2017"]["rows"])
        summary = json.loads(capsys.readouterr().out)
        assert summary == {"output": str(target), "mappings": 1, "maps": rows}
        assert json.loads(target.read_text(encoding="utf-8")) == oscal_in_force("soc2")
        call_command("export_oscal_mapping", "soc2")
        assert capsys.readouterr().out == to_json(oscal_in_force("soc2"))
        call_command("export_oscal_mapping", output=target)
        assert capsys.readouterr().out.startswith(f"{target}: 16 mappings, ")

    def test_the_command_refuses_with_the_remedy(self, tmp_path: Path) -> None:
        with pytest.raises(CommandError, match=r"soc3: .* Use one of ccpa@2026, .*soc2@2017"):
            call_command("export_oscal_mapping", "soc3")
        with pytest.raises(CommandError, match="Name another file with --output"):
            call_command("export_oscal_mapping", output=tmp_path)
