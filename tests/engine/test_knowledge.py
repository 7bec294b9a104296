"""Knowledge files that contradict themselves are refused with file, field and remedy."""

import copy
import re
from collections.abc import Callable
from typing import Any

import pytest

from mapping.engine import Knowledge, KnowledgeError
from tests.engine.support import NAMES, document, documents, knowledge

TAXONOMY = {
    "edition": "2026.11",
    "labels": {
        label: {"meaning": "a meaning", "severity": severity, "aliases": []}
        for label, severity in {
            "PII.Contact.Email": "medium", "PII.Contact.Phone": "medium",
            "PII.Health.Other": "high", "OTHER.Safe": "none", "OTHER.Unknown": "low",
            "OTHER.NeedsReview": "low", "OTHER.Flagged": "medium", "OTHER.ModelError": "info",
        }.items()
    },
}  # fmt: skip
DETECTOR = {
    "detector": "small",
    "vendor": "Test",
    "version": "2026.11.1",
    "recipes": [{"name": "list", "read": [{"each": "[]", "label": "type"}]}],
    "labels": {
        "MAIL": {"canonical": "PII.Contact.Email"},
        "MEDICAL": {"canonical": ["PII.Health.Other"]},
    },
}
FRAMEWORK = {
    "framework": "soc2",
    "edition": "2017",
    "controls": [{"code": "CC6.7"}, {"code": "CC7.2"}],
}


def row(label: str, control: str, relationship: str = "intersects") -> dict[str, Any]:
    """A row of a crosswalk."""
    unrelated = relationship == "not_related"
    return {
        "label": label, "control": control, "relationship": relationship, "rationale": "a reason",
        "evidence": "none" if unrelated else "supporting", "strength": 0 if unrelated else 3,
    }  # fmt: skip


def crosswalk(*rows: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A crosswalk of the small framework."""
    return {
        "framework": "soc2",
        "edition": "2017",
        "version": "2026.11.1",
        "rows": list(rows),
        **more,
    }


def build(
    taxonomy: Any = None, detector: Any = None, framework: Any = None, walk: Any = None
) -> Knowledge:
    """Small knowledge with one document replaced."""
    return Knowledge.from_documents(
        taxonomy or TAXONOMY,
        [detector or DETECTOR],
        [framework or FRAMEWORK],
        [walk or crosswalk(row("PII", "CC6.7"))],
    )


def changed(base: dict[str, Any], change: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
    """A deep copy with a change made."""
    other = copy.deepcopy(base)
    change(other)
    return other


def test_versions_of_all_that_is_shipped() -> None:
    versions = knowledge().versions
    assert versions.taxonomy == "2026.11"
    assert tuple(versions.detector_maps) == NAMES
    for kind, found in (("frameworks", versions.frameworks), ("crosswalks", versions.crosswalks)):
        assert set(found) == {f"{d['framework']}@{d['edition']}" for d in documents(kind)}
    assert (versions.model, versions.calibrator) == (None, None)


def test_a_branch_stands_for_all_below_it_and_the_nearest_row_holds() -> None:
    walk = crosswalk(
        row("PII", "CC6.7"),
        row("PII.Health", "CC6.7", "not_related"),
        row("PII.Health.Other", "CC7.2"),
    )
    controls = build(walk=walk).controls
    assert controls["PII.Contact.Email"] == ("soc2@2017:CC6.7",)
    assert controls["PII.Health.Other"] == ("soc2@2017:CC7.2",)
    assert not any(label.startswith("OTHER.") for label in controls)


def test_a_branch_is_whole_parts_of_a_name() -> None:
    with pytest.raises(KnowledgeError, match="no label or branch"):
        build(walk=crosswalk(row("PII.Cont", "CC6.7")))


DETECTOR_FAULTS: list[tuple[str, Callable[[dict[str, Any]], Any], str]] = [
    (
        "unknown-label",
        lambda d: d["labels"]["MAIL"].update(canonical="PII.Mail"),
        r"labels\.MAIL\.canonical.*taxonomy 2026\.11",
    ),
    (
        "two-meanings",
        lambda d: d["labels"]["MAIL"].update(unmapped="why"),
        r"labels\.MAIL.*one meaning",
    ),
    ("no-meaning", lambda d: d["labels"].update(X={}), r"labels\.X.*one meaning"),
    (
        "severity",
        lambda d: d["labels"]["MAIL"].update(severity="grave"),
        r"labels\.MAIL\.severity.*critical",
    ),
    (
        "confidence",
        lambda d: d["labels"]["MAIL"].update(confidence=2),
        r"labels\.MAIL\.confidence.*0 to 1",
    ),
    (
        "misspelt-member",
        lambda d: d["labels"]["MAIL"].update(cannonical="x"),
        r"labels\.MAIL\.cannonical.*Known ones",
    ),
    (
        "label-twice",
        lambda d: d["labels"]["MAIL"].update(canonical=["PII.Contact.Email"] * 2),
        r"MAIL\.canonical.*once",
    ),
    (
        "unknown-as-meaning",
        lambda d: d["labels"]["MAIL"].update(canonical="OTHER.Unknown"),
        r"MAIL\.canonical.*unmapped: reason",
    ),
    (
        "safe-and-more",
        lambda d: d["labels"]["MAIL"].update(canonical=["OTHER.Safe", "PII.Contact.Email"]),
        r"MAIL\.canonical",
    ),
    (
        "alias-of-two",
        lambda d: d["labels"]["MAIL"].update(aliases=["MEDICAL"]),
        r"labels\.MAIL\.aliases.*two labels",
    ),
    ("no-version", lambda d: d.pop("version"), r"version.*non-empty string"),
    ("number-as-version", lambda d: d.update(version=2026.11), r"version.*quoted"),
    ("labels-as-list", lambda d: d.update(labels=["MAIL"]), r"labels.*object"),
    ("misspelt-top", lambda d: d.update(recipe=[]), r"recipe: unknown member"),
    ("threshold", lambda d: d.update(threshold="half"), r"threshold.*0 to 1"),
    (
        "recipe-without-reader",
        lambda d: d["recipes"][0].pop("read"),
        r"recipes\[0\].*`read` or `unwrap`",
    ),
    (
        "reader-without-source",
        lambda d: d["recipes"][0]["read"][0].pop("label"),
        r"recipes\[0\]\.read\[0\].*label, keys or name",
    ),
    ("reader-member", lambda d: d["recipes"][0]["read"][0].update(lable="x"), r"read\[0\]\.lable"),
    ("path", lambda d: d["recipes"][0]["read"][0].update(each="a[x]"), r"recipes\[0\].*not a path"),
    (
        "expression",
        lambda d: d["recipes"][0].update(text="(?P<label>"),
        r"recipes\[0\].*cannot be compiled",
    ),
    (
        "name-without-label",
        lambda d: d["recipes"][0].update(read=[{"name": "PHONE"}]),
        r"name.*not under labels",
    ),
    (
        "polarity",
        lambda d: d["recipes"][0]["read"][0].update(polarity="good"),
        r"polarity.*finding, pass, valid, listed",
    ),
    ("condition", lambda d: d["recipes"][0].update(when=[{"path": "a"}]), r"when.*one test"),
    (
        "severity-word",
        lambda d: d["recipes"][0]["read"][0].update(
            severity={"path": "a", "words": {"H": "grave"}}
        ),
        r"recipes\[0\].*compiled",
    ),
    ("own-alias", lambda d: d.update(aliases="small"), r"aliases.*list"),
]


@pytest.mark.parametrize(
    ("change", "complaint"),
    [fault[1:] for fault in DETECTOR_FAULTS],
    ids=[f[0] for f in DETECTOR_FAULTS],
)
def test_faults_of_a_detector_file(change: Callable[[dict[str, Any]], Any], complaint: str) -> None:
    with pytest.raises(KnowledgeError) as caught:
        build(detector=changed(DETECTOR, change))
    assert str(caught.value).startswith("detectors/small.yaml: ")
    assert re.search(complaint, str(caught.value))


WALK_FAULTS: list[tuple[str, list[dict[str, Any]], str]] = [
    ("unknown-label", [row("PII.Mail", "CC6.7")], r"rows\[0\]\.label"),
    ("unknown-control", [row("PII", "CC9.9")], r"rows\[0\]\.control.*frameworks/"),
    ("row-twice", [row("PII", "CC6.7"), row("PII", "CC6.7", "subset")], r"rows\[1\].*twice"),
    ("outcome", [row("OTHER.Flagged", "CC6.7")], r"rows\[0\]\.label.*OTHER"),
    ("outcome-branch", [row("OTHER", "CC6.7")], r"rows\[0\]\.label.*OTHER"),
    ("relationship", [row("PII", "CC6.7", "same")], r"rows\[0\]\.relationship.*superset"),
    ("evidence", [{**row("PII", "CC6.7"), "evidence": "none"}], r"rows\[0\]\.evidence"),
    ("strength", [{**row("PII", "CC6.7"), "strength": 11}], r"rows\[0\]\.strength.*0 to 10"),
    ("strength-flag", [{**row("PII", "CC6.7"), "strength": True}], r"rows\[0\]\.strength"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("rows", "complaint"),
    [fault[1:] for fault in WALK_FAULTS],
    ids=[fault[0] for fault in WALK_FAULTS],
)
def test_faults_of_a_crosswalk(rows: list[dict[str, Any]], complaint: str) -> None:
    with pytest.raises(KnowledgeError) as caught:
        build(walk=crosswalk(*rows))
    assert str(caught.value).startswith("crosswalks/soc2.yaml: ")
    assert re.search(complaint, str(caught.value))


def test_faults_of_the_other_files() -> None:
    with pytest.raises(KnowledgeError, match=r"crosswalks/soc2.yaml: edition.*soc2@2022"):
        build(walk=crosswalk(row("PII", "CC6.7"), edition="2022"))
    with pytest.raises(KnowledgeError, match=r"frameworks/soc2.yaml: controls\[2\]\.code.*twice"):
        build(framework=changed(FRAMEWORK, lambda d: d["controls"].append({"code": "CC6.7"})))
    with pytest.raises(KnowledgeError, match=r"taxonomy/2026.11.yaml: labels.OTHER.Safe: missing"):
        build(taxonomy=changed(TAXONOMY, lambda d: d["labels"].pop("OTHER.Safe")))
    with pytest.raises(KnowledgeError, match=r"labels\.PII\.Contact\.Email\.severity"):
        build(
            taxonomy=changed(TAXONOMY, lambda d: d["labels"]["PII.Contact.Email"].pop("severity"))
        )


def test_an_alias_belongs_to_one_label() -> None:
    def clash(taxonomy: dict[str, Any]) -> None:
        for label in ("PII.Contact.Email", "PII.Contact.Phone"):
            taxonomy["labels"][label]["aliases"] = ["contact"]

    clashing = changed(TAXONOMY, clash)
    with pytest.raises(KnowledgeError, match=r"aliases.*belongs to PII\.Contact\.Email already"):
        build(taxonomy=clashing)


def test_files_given_twice_and_names_claimed_twice() -> None:
    with pytest.raises(KnowledgeError, match=r"detectors/small\.yaml: detector: given twice"):
        Knowledge.from_documents(TAXONOMY, [DETECTOR, DETECTOR], [], [])
    other = {**DETECTOR, "detector": "other", "aliases": ["Small"]}
    with pytest.raises(KnowledgeError, match="belongs to small already"):
        Knowledge.from_documents(TAXONOMY, [DETECTOR, other], [], [])
    with pytest.raises(KnowledgeError, match="frameworks/soc2@2017: framework: given twice"):
        Knowledge.from_documents(TAXONOMY, [], [FRAMEWORK, FRAMEWORK], [])
    walks = [crosswalk(row("PII", "CC6.7"))] * 2
    with pytest.raises(KnowledgeError, match="crosswalks/soc2@2017: framework: given twice"):
        Knowledge.from_documents(TAXONOMY, [], [FRAMEWORK], walks)


def test_two_editions_of_a_framework_stand_side_by_side() -> None:
    newer = {**FRAMEWORK, "edition": "2026", "controls": [{"code": "CC6.7:2026"}]}
    walks = [
        crosswalk(row("PII", "CC6.7")),
        crosswalk(row("PII", "CC6.7:2026"), edition="2026", version="2026.11.3"),
    ]
    both = Knowledge.from_documents(TAXONOMY, [], [FRAMEWORK, newer], walks)
    assert both.controls["PII.Contact.Email"] == ("soc2@2017:CC6.7", "soc2@2026:CC6.7:2026")
    assert both.versions.frameworks == ("soc2@2017", "soc2@2026")
    assert both.versions.crosswalks == {"soc2@2017": "2026.11.1", "soc2@2026": "2026.11.3"}


@pytest.mark.parametrize("junk", [None, 3, "text", [], {"edition": 1}, {1: 2}, {"labels": []}])
def test_junk_in_place_of_a_file_is_a_complaint(junk: Any) -> None:
    for position in range(4):
        files: list[Any] = [TAXONOMY, [DETECTOR], [FRAMEWORK], [crosswalk(row("PII", "CC6.7"))]]
        files[position] = junk if position == 0 else [junk]
        with pytest.raises(KnowledgeError, match=r"^\w+/?.*: "):
            Knowledge.from_documents(*files)


def test_documents_are_not_changed() -> None:
    files = [
        document("taxonomy", "2026.11"),
        documents("detectors"),
        documents("frameworks"),
        documents("crosswalks"),
    ]
    before = copy.deepcopy(files)
    Knowledge.from_documents(*files)
    assert files == before


def test_weak_rows_are_left_out_of_answers_but_still_hide_a_branch() -> None:
    strong = {**row("PII", "CC7.2"), "strength": 8}
    weak = {**row("PII.Contact", "CC7.2"), "strength": 2}
    documents_given: list[Any] = [TAXONOMY, [DETECTOR], [FRAMEWORK], [crosswalk(strong, weak)]]
    every = Knowledge.from_documents(*documents_given)
    assert every.controls["PII.Contact.Email"] == ("soc2@2017:CC7.2",)
    found = Knowledge.from_documents(*documents_given, min_strength=5)
    assert found.controls["PII.Health.Other"] == ("soc2@2017:CC7.2",)
    assert "PII.Contact.Email" not in found.controls  # its own, nearer row is the weak one
