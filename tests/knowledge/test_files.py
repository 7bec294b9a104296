"""The shipped taxonomy, frameworks and crosswalks: valid, complete and free of known mistakes."""

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

ROOT = Path(__file__).resolve().parents[2] / "pillars-detectors"
TAXONOMY_FILES = sorted((ROOT / "taxonomy").glob("*.yaml"))
FRAMEWORK_FILES = sorted((ROOT / "frameworks").glob("*.yaml"))
CROSSWALK_FILES = sorted((ROOT / "crosswalks").glob("*.yaml"))
SCHEMA_FILES = [ROOT / "schema.json", *sorted((ROOT / "schemas").glob("*.schema.json"))]

# Numbers of controls: of a complete edition the publisher states them; of the others (HIPAA, GDPR,
# CCPA, EU AI Act, MITRE ATLAS, PCI DSS, SP 800-53) they are what was selected.
CONTROLS = {
    "soc2@2017": 61, "iso27001@2022": 93, "hipaa@2013": 128, "gdpr@2016": 42, "ccpa@2026": 35,
    "eu-ai-act@2026": 47, "nist-ai-rmf@1.0": 72, "nist-ai-600-1@2024": 12, "iso42001@2023": 38,
    "owasp-llm@2025": 10, "owasp-llm@2026": 10, "owasp-agentic@2026": 10,
    "mitre-atlas@2026.07": 115, "pci-dss@4.0.1": 68, "nist-csf@2.0": 106, "nist-800-53@r5": 80,
}  # fmt: skip
COMPLETE = {
    "soc2@2017", "iso27001@2022", "nist-ai-rmf@1.0", "nist-ai-600-1@2024", "iso42001@2023",
    "owasp-llm@2025", "owasp-llm@2026", "owasp-agentic@2026", "nist-csf@2.0",
}  # fmt: skip
COPYRIGHTED = {"soc2@2017", "iso27001@2022", "iso42001@2023", "pci-dss@4.0.1"}
# Controls of a part of an edition, as its publisher counts them.
PARTS = {
    "nist-ai-rmf@1.0": (r"[A-Z]+", {"GOVERN": 19, "MAP": 18, "MEASURE": 22, "MANAGE": 13}),
    "nist-csf@2.0": (r"[A-Z]+", {"GV": 31, "ID": 21, "PR": 22, "DE": 11, "RS": 13, "RC": 8}),
    "iso42001@2023": (
        r"A\.[0-9]+",
        {"A.2": 3, "A.3": 2, "A.4": 5, "A.5": 4, "A.6": 9, "A.7": 5, "A.8": 4, "A.9": 3, "A.10": 3},
    ),
}
ISO_THEMES = {"A.5": 37, "A.6": 8, "A.7": 14, "A.8": 34}
# Ten times as fast where PyYAML has been built with it: these files are read while tests are found.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
SOC2_CATEGORIES = {"CC": 33, "A": 3, "C": 2, "PI": 5, "P": 18}


def load(path: Path) -> dict[str, Any]:
    document = yaml.load(path.read_text(encoding="utf-8"), _LOADER)
    assert isinstance(document, dict), path
    return document


def schema(name: str) -> Draft202012Validator:
    document = json.loads((ROOT / "schemas" / f"{name}.schema.json").read_text(encoding="utf-8"))
    return Draft202012Validator(document, format_checker=Draft202012Validator.FORMAT_CHECKER)


def branches(label: str) -> list[str]:
    """The label and the branches above it, nearest first."""
    parts = label.split(".")
    return [".".join(parts[:length]) for length in range(len(parts), 0, -1)]


def nearest_rows(crosswalk: dict[str, Any], label: str) -> dict[str, dict[str, Any]]:
    """Control code to the row that holds for `label`."""
    rows: dict[str, dict[str, Any]] = {}
    for branch in branches(label):
        for row in crosswalk["rows"]:
            if row["label"] == branch:
                rows.setdefault(row["control"], row)
    return rows


TAXONOMY = load(ROOT / "taxonomy" / "2026.11.yaml")
LABELS = TAXONOMY["labels"]
BRANCHES = {branch for label in LABELS for branch in branches(label)}
FRAMEWORKS = {f"{f['framework']}@{f['edition']}": f for f in map(load, FRAMEWORK_FILES)}
CROSSWALKS = {f"{c['framework']}@{c['edition']}": c for c in map(load, CROSSWALK_FILES)}


@pytest.mark.parametrize("path", SCHEMA_FILES, ids=lambda path: path.name)
def test_schema_is_a_valid_closed_schema(path: Path) -> None:
    document = json.loads(path.read_text(encoding="utf-8"))
    Draft202012Validator.check_schema(document)
    assert document["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert document["$id"].startswith("urn:pillars:schema:")
    open_objects = [node for node in _object_nodes(document) if "additionalProperties" not in node]
    assert open_objects == []


def _object_nodes(node: Any) -> list[dict[str, Any]]:
    """Every subschema that describes an object by its properties."""
    found = []
    if isinstance(node, dict):
        if node.get("type") in ("object", ["object", "null"]):
            found.append(node)
        for value in node.values():
            found += _object_nodes(value)
    elif isinstance(node, list):
        for value in node:
            found += _object_nodes(value)
    return found


@pytest.mark.parametrize(
    ("name", "path"),
    [("taxonomy", path) for path in TAXONOMY_FILES]
    + [("framework", path) for path in FRAMEWORK_FILES]
    + [("crosswalk", path) for path in CROSSWALK_FILES],
    ids=lambda value: str(getattr(value, "name", value)),
)
def test_file_keeps_to_its_schema(name: str, path: Path) -> None:
    problems = [
        f"{path.name}: {'/'.join(map(str, error.absolute_path))}: {error.message}"
        for error in schema(name).iter_errors(load(path))
    ]
    assert problems == []


def test_files_are_named_after_what_they_hold() -> None:
    assert [load(path)["edition"] for path in TAXONOMY_FILES] == [p.stem for p in TAXONOMY_FILES]
    for paths in (FRAMEWORK_FILES, CROSSWALK_FILES):
        found = {path.stem: load(path) for path in paths}
        editions = Counter(document["framework"] for document in found.values())
        for stem, document in found.items():
            name = document["framework"]
            assert stem == (name if editions[name] == 1 else f"{name}-{document['edition']}")


class TestTaxonomy:
    def test_size_and_roots(self) -> None:
        assert len(LABELS) == 168
        assert {label.split(".")[0] for label in LABELS} == {
            *("PII", "SECRET", "PROMPT_INJECTION", "JAILBREAK", "HARM", "BIAS", "QUALITY", "IP"),
            *("SECURITY", "AGENT", "POLICY", "OTHER"),
        }

    def test_no_label_is_also_a_branch(self) -> None:
        parents = {branch for label in LABELS for branch in branches(label)[1:]}
        assert parents & set(LABELS) == set()

    def test_aliases_name_one_label(self) -> None:
        count = Counter(alias for label in LABELS.values() for alias in label["aliases"])
        assert [alias for alias, times in count.items() if times > 1] == []

    def test_every_label_has_an_alias(self) -> None:
        assert [name for name, label in LABELS.items() if not label["aliases"]] == []

    def test_no_alias_is_the_name_of_another_label(self) -> None:
        names = {name.lower().replace(".", " ").replace("_", " "): name for name in LABELS}
        wrong = [
            (name, alias)
            for name, label in LABELS.items()
            for alias in label["aliases"]
            if names.get(alias, name) != name
        ]
        assert wrong == []

    def test_meanings_are_unique(self) -> None:
        count = Counter(label["meaning"].casefold() for label in LABELS.values())
        assert [meaning for meaning, times in count.items() if times > 1] == []

    def test_boundaries_point_at_other_labels(self) -> None:
        for name, label in LABELS.items():
            named = set(re.findall(r"[A-Z][A-Z_]+(?:\.[A-Za-z_]+)+", label.get("boundary", "")))
            assert named <= set(LABELS) - {name}, name
            assert bool(named) == ("boundary" in label), name

    def test_only_safe_has_no_severity(self) -> None:
        assert [n for n, label in LABELS.items() if label["severity"] == "none"] == ["OTHER.Safe"]

    @pytest.mark.parametrize(
        ("label", "least"),
        [
            ("SECRET.PrivateKey", "critical"),
            ("SECRET.CloudCredential", "critical"),
            ("HARM.SEXUAL.ChildExploitation", "critical"),
            ("HARM.WEAPONS.CBRN", "critical"),
            ("PII.Identifier.SSN", "high"),
            ("PII.Financial.CreditCard", "high"),
            ("PII.Health.Condition", "high"),
        ],
    )
    def test_grave_findings_are_grave_by_default(self, label: str, least: str) -> None:
        order = ["none", "info", "low", "medium", "high", "critical"]
        assert order.index(LABELS[label]["severity"]) >= order.index(least)


class TestFrameworks:
    def test_editions_and_their_sizes(self) -> None:
        assert {name: len(f["controls"]) for name, f in FRAMEWORKS.items()} == CONTROLS

    @pytest.mark.parametrize("name", CONTROLS)
    def test_complete_editions_have_the_official_number(self, name: str) -> None:
        framework = FRAMEWORKS[name]
        assert framework["complete"] == (name in COMPLETE)
        if framework["complete"]:
            assert len(framework["controls"]) == framework["official_count"]

    @pytest.mark.parametrize("name", PARTS)
    def test_parts_have_the_official_number(self, name: str) -> None:
        part, counts = PARTS[name]
        codes = [control["code"] for control in FRAMEWORKS[name]["controls"]]
        assert Counter(re.match(part, code).group() for code in codes) == counts  # type: ignore[union-attr]

    def test_a_replaced_edition_names_one_that_is_there(self) -> None:
        replaced = {n: f["superseded_by"] for n, f in FRAMEWORKS.items() if "superseded_by" in f}
        assert replaced == {"owasp-llm@2025": "owasp-llm@2026"}

    def test_editions_of_owasp_share_no_code_and_eight_titles_moved(self) -> None:
        titles = [
            {c["title"]: c["code"] for c in FRAMEWORKS[f"owasp-llm@{edition}"]["controls"]}
            for edition in ("2025", "2026")
        ]
        assert set(titles[0].values()) & set(titles[1].values()) == set()
        stayed = [t for t, code in titles[0].items() if titles[1].get(t, "")[:5] == code[:5]]
        assert stayed == ["Prompt Injection", "Sensitive Information Disclosure"]

    def test_duties_of_the_ai_act_have_a_day(self) -> None:
        """Regulation (EU) 2026/1744 moved Chapter III sections 1 to 3 to 2027-12-02."""
        days = {c["code"]: c["applies_from"] for c in FRAMEWORKS["eu-ai-act@2026"]["controls"]}
        assert (days["Art.15"], days["Art.26"]) == ("2027-12-02", "2027-12-02")
        assert (days["Art.5"], days["Art.5(1)(bb)"]) == ("2025-02-02", "2026-12-02")
        assert (days["Art.50"], days["Art.55"]) == ("2026-08-02", "2025-08-02")

    def test_themes_of_iso_and_categories_of_soc2(self) -> None:
        iso = Counter(c["code"].rsplit(".", 1)[0] for c in FRAMEWORKS["iso27001@2022"]["controls"])
        assert iso == ISO_THEMES
        soc2 = Counter(
            re.match("[A-Z]+", c["code"]).group()  # type: ignore[union-attr]
            for c in FRAMEWORKS["soc2@2017"]["controls"]
        )
        assert soc2 == SOC2_CATEGORIES

    def test_hipaa_matrix(self) -> None:
        """45 CFR 164 subpart C, Appendix A: 18 standards and 36 specifications in 308-312."""
        controls = [
            control
            for control in FRAMEWORKS["hipaa@2013"]["controls"]
            if control["code"].startswith(("164.308", "164.310", "164.312"))
        ]
        kinds = Counter(control["kind"] for control in controls)
        flags = Counter(c["flag"] for c in controls if c["kind"] == "specification")
        assert kinds["standard"] == 18
        assert kinds["specification"] == 36
        assert flags == {"required": 14, "addressable": 22}

    @pytest.mark.parametrize("name", CONTROLS)
    def test_codes_are_unique_and_of_this_edition(self, name: str) -> None:
        framework = FRAMEWORKS[name]
        codes = [control["code"] for control in framework["controls"]]
        assert [code for code, times in Counter(codes).items() if times > 1] == []
        assert [c for c in codes if not re.search(framework["code_pattern"], c)] == []

    @pytest.mark.parametrize(
        ("name", "code"),
        [
            ("iso27001@2022", "A.12.4.1"),
            ("iso27001@2022", "A.8.2.1"),
            ("iso27001@2022", "A.9.2"),
            ("iso27001@2022", "A.5.38"),
            ("iso27001@2022", "A.18.1"),
            ("soc2@2017", "PP1.1"),
            ("soc2@2017", "CC7.6"),
            ("soc2@2017", "CC10.1"),
            ("hipaa@2013", "164.308(a)(1)(i)(A)(1)"),
            ("hipaa@2013", "164.509"),
            ("hipaa@2013", "308(a)"),
            ("gdpr@2016", "Art. 5(1)(a)"),
            ("gdpr@2016", "Art.5(1)(g)"),
            ("gdpr@2016", "Art.100"),
            ("ccpa@2026", "1798.199.100"),
            ("ccpa@2026", "1798.81.5"),
            ("eu-ai-act@2026", "Art.52"),  # transparency in the proposal of 2021
            ("eu-ai-act@2026", "Art.62"),  # serious incidents there
            ("eu-ai-act@2026", "Art.69"),  # voluntary codes there
            ("eu-ai-act@2026", "Art.5(1)(i)"),
            ("nist-ai-rmf@1.0", "GOVERN 1.1"),
            ("nist-ai-rmf@1.0", "MEASURE-2.14"),
            ("nist-ai-600-1@2024", "2.13"),
            ("iso42001@2023", "A.2.1"),
            ("iso42001@2023", "A.5.1"),
            ("iso42001@2023", "A.6.2.1"),
            ("iso42001@2023", "A.8.28"),  # of ISO/IEC 27001
            ("owasp-llm@2025", "LLM06"),
            ("owasp-llm@2025", "LLM06:2026"),
            ("owasp-llm@2026", "LLM06:2025"),
            ("owasp-llm@2026", "LLM11:2026"),
            ("owasp-agentic@2026", "ASI11"),
            ("owasp-agentic@2026", "T1"),
            ("mitre-atlas@2026.07", "AML.T0019"),
            ("mitre-atlas@2026.07", "AML.T0058"),
            ("mitre-atlas@2026.07", "AML.T0104"),
            ("mitre-atlas@2026.07", "AML.TA0010"),
            ("pci-dss@4.0.1", "1.2.5.17"),
            ("pci-dss@4.0.1", "6.6"),  # of 3.2.1
            ("pci-dss@4.0.1", "A1.1"),
            ("nist-csf@2.0", "PR.DS-5"),
            ("nist-csf@2.0", "PR.AC-1"),
            ("nist-csf@2.0", "PR.DS-05"),
            ("nist-csf@2.0", "DE.CM-04"),
            ("nist-csf@2.0", "ID.AM-06"),
            ("nist-800-53@r5", "AC-06"),
            ("nist-800-53@r5", "AC-6 (1)"),
            ("nist-800-53@r5", "ac-6.1"),
            ("nist-800-53@r5", "AR-1"),  # a privacy family of Revision 4
        ],
    )
    def test_codes_of_other_editions_are_refused(self, name: str, code: str) -> None:
        assert not re.search(FRAMEWORKS[name]["code_pattern"], code)
        assert code not in {control["code"] for control in FRAMEWORKS[name]["controls"]}

    def test_titles_are_unique_within_a_group(self) -> None:
        for name, framework in FRAMEWORKS.items():
            count = Counter((c["group"], c["title"]) for c in framework["controls"])
            assert [key for key, times in count.items() if times > 1] == [], name

    def test_copyrighted_frameworks_ship_no_official_text(self) -> None:
        for name, framework in FRAMEWORKS.items():
            assert framework["licence"]["official_text_shipped"] == (name not in COPYRIGHTED), name


class TestCrosswalks:
    def test_one_for_each_framework(self) -> None:
        assert set(CROSSWALKS) == set(FRAMEWORKS)

    def test_version_names_the_taxonomy_edition(self) -> None:
        for crosswalk in CROSSWALKS.values():
            assert crosswalk["version"].rsplit(".", 1)[0] == TAXONOMY["edition"]

    @pytest.mark.parametrize("name", CONTROLS)
    def test_labels_and_controls_exist(self, name: str) -> None:
        codes = {control["code"] for control in FRAMEWORKS[name]["controls"]}
        rows = CROSSWALKS[name]["rows"]
        assert [row["label"] for row in rows if row["label"] not in BRANCHES] == []
        assert [row["control"] for row in rows if row["control"] not in codes] == []

    @pytest.mark.parametrize("name", CONTROLS)
    def test_rows_are_unique(self, name: str) -> None:
        count = Counter((row["label"], row["control"]) for row in CROSSWALKS[name]["rows"])
        assert [key for key, times in count.items() if times > 1] == []

    @pytest.mark.parametrize("name", CONTROLS)
    def test_a_row_below_a_branch_changes_something(self, name: str) -> None:
        """A row that only repeats what the branch above says would be noise."""
        crosswalk = CROSSWALKS[name]
        for row in crosswalk["rows"]:
            for branch in branches(row["label"])[1:]:
                above = nearest_rows(crosswalk, branch).get(row["control"])
                if above:
                    keys = ("relationship", "evidence", "strength")
                    assert [row[key] for key in keys] != [above[key] for key in keys], row
        lost = [
            row
            for row in crosswalk["rows"]
            if row["relationship"] == "not_related"
            and not any(
                r["control"] == row["control"] and r["label"] in branches(row["label"])[1:]
                for r in crosswalk["rows"]
            )
        ]
        assert lost == [], "not_related is for a label whose branch has the control"

    @pytest.mark.parametrize("name", CONTROLS)
    def test_every_label_reaches_a_control_and_other_none(self, name: str) -> None:
        for label in LABELS:
            rows = nearest_rows(CROSSWALKS[name], label).values()
            related = any(row["relationship"] != "not_related" for row in rows)
            silent = {entry["label"] for entry in CROSSWALKS[name].get("no_controls", [])}
            if label.startswith("OTHER."):
                assert not related, label
                assert not silent & set(branches(label)), label
            else:
                assert related or silent & set(branches(label)), label

    @pytest.mark.parametrize("name", CONTROLS)
    def test_what_has_no_controls_is_said_once_and_truly(self, name: str) -> None:
        silent = [entry["label"] for entry in CROSSWALKS[name].get("no_controls", [])]
        rows = CROSSWALKS[name]["rows"]
        related = {row["label"] for row in rows if row["relationship"] != "not_related"}
        assert len(silent) == len(set(silent))
        for branch in silent:
            assert branch in BRANCHES
            assert not related & set(branches(branch)), f"{branch} has rows"
            below = [label for label in LABELS if branch in branches(label)]
            assert any(not related & set(branches(label)) for label in below), branch

    @pytest.mark.parametrize("name", CONTROLS)
    def test_no_control_answers_for_everything_alone(self, name: str) -> None:
        """Most labels bear on controls beyond the ones that every finding bears on."""
        reached = {
            label: {
                code
                for code, row in nearest_rows(CROSSWALKS[name], label).items()
                if row["relationship"] != "not_related"
            }
            for label in LABELS
        }
        reached = {label: codes for label, codes in reached.items() if codes}
        everywhere = set.intersection(*reached.values())
        assert len(everywhere) <= 6
        assert sum(len(codes - everywhere) > 0 for codes in reached.values()) >= 0.4 * len(reached)

    def test_personal_data_is_direct_evidence_for_hipaa_only_about_health(self) -> None:
        direct = {
            row["label"]
            for row in CROSSWALKS["hipaa@2013"]["rows"]
            if row["label"].startswith("PII") and row["evidence"] == "direct"
        }
        assert direct
        assert all(label.startswith("PII.Health") for label in direct)

    def test_every_identifier_of_the_safe_harbor_has_a_label(self) -> None:
        """45 CFR 164.514(b)(2)(i) lists 18 identifiers, (A) to (R)."""
        prefix = "164.514(b)(2)(i)("
        letters = {
            row["control"].removeprefix(prefix)[0]
            for row in CROSSWALKS["hipaa@2013"]["rows"]
            if row["control"].startswith(prefix)
        }
        assert letters == set("ABCDEFGHIJKLMNOPQR")

    def test_text_never_says_compliant(self) -> None:
        pattern = re.compile(r"\b(non-?)?compliant\b|\bsatisf(y|ies)\b", re.IGNORECASE)
        for crosswalk in CROSSWALKS.values():
            said = [*crosswalk["rows"], *crosswalk.get("no_controls", [])]
            assert [entry for entry in said if pattern.search(entry["rationale"])] == []

    @pytest.mark.parametrize(
        ("label", "control"),
        [
            ("SECRET.ApiKey", "soc2@2017:CC6.1"),
            ("PII.Identifier.SSN", "soc2@2017:CC6.7"),
            ("PROMPT_INJECTION.Indirect", "soc2@2017:CC6.6"),
            ("SECURITY.Malware", "soc2@2017:CC6.8"),
            ("SECURITY.ResourceAbuse", "soc2@2017:A1.1"),
            ("QUALITY.Hallucination", "soc2@2017:PI1.4"),
            ("PII.Contact.Email", "iso27001@2022:A.5.34"),
            ("PII.Financial.CreditCard", "iso27001@2022:A.8.11"),
            ("IP.Confidential", "iso27001@2022:A.8.12"),
            ("IP.Copyright", "iso27001@2022:A.5.32"),
            ("SECRET.Password", "iso27001@2022:A.5.17"),
            ("SECURITY.Code.Injection", "iso27001@2022:A.8.28"),
            ("PII.Contact.Email", "hipaa@2013:164.514(b)(2)(i)(F)"),
            ("PII.Health.Condition", "hipaa@2013:164.402"),
            ("SECRET.Password", "hipaa@2013:164.308(a)(5)(ii)(D)"),
            ("PROMPT_INJECTION.Direct", "owasp-llm@2025:LLM01:2025"),
            ("AGENT.ExcessiveAgency", "owasp-llm@2025:LLM06:2025"),
            ("AGENT.ExcessiveAgency", "owasp-llm@2026:LLM03:2026"),
            ("SECURITY.ResourceAbuse", "owasp-llm@2026:LLM06:2026"),
            ("SECURITY.OutputHandling", "owasp-llm@2026:LLM10:2026"),
            ("AGENT.GoalHijack", "owasp-agentic@2026:ASI01"),
            ("AGENT.MemoryPoisoning", "owasp-agentic@2026:ASI06"),
            ("HARM.WEAPONS.CBRN", "nist-ai-600-1@2024:2.1"),
            ("QUALITY.Hallucination", "nist-ai-600-1@2024:2.2"),
            ("IP.Copyright", "nist-ai-600-1@2024:2.10"),
            ("BIAS.Gender", "nist-ai-rmf@1.0:MEASURE-2.11"),
            ("PII.Contact.Email", "nist-ai-rmf@1.0:MEASURE-2.10"),
            ("PII.Health.Condition", "gdpr@2016:Art.9"),
            ("PII.Special.Criminal", "gdpr@2016:Art.10"),
            ("QUALITY.Hallucination", "gdpr@2016:Art.5(1)(d)"),
            ("PII.Identifier.SSN", "ccpa@2026:1798.140(ae)"),
            ("PII.Location.Coordinates", "ccpa@2026:1798.121"),
            ("HARM.SEXUAL.ChildExploitation", "eu-ai-act@2026:Art.5(1)(bb)"),
            ("PROMPT_INJECTION.Direct", "eu-ai-act@2026:Art.15(5)"),
            ("JAILBREAK.Persona", "iso42001@2023:A.9.4"),
            ("JAILBREAK.Persona", "mitre-atlas@2026.07:AML.T0054"),
            ("PROMPT_INJECTION.Indirect", "mitre-atlas@2026.07:AML.T0051.001"),
            ("PII.Financial.CreditCard", "pci-dss@4.0.1:3.4.1"),
            ("PII.Financial.CardSecurity", "pci-dss@4.0.1:3.3.1.2"),
            ("SECRET.Password", "pci-dss@4.0.1:8.6.2"),
            ("SECURITY.ResourceAbuse", "nist-csf@2.0:PR.IR-04"),
            ("PII.Identifier.SSN", "nist-800-53@r5:PT-7(1)"),
            ("SECURITY.Malware", "nist-800-53@r5:SI-3"),
        ],
    )
    def test_well_known_pairs(self, label: str, control: str) -> None:
        framework, code = control.split(":", 1)
        assert nearest_rows(CROSSWALKS[framework], label)[code]["relationship"] != "not_related"

    @pytest.mark.parametrize(
        ("label", "control"),
        [
            ("PII.Financial.CreditCard", "gdpr@2016:Art.9"),  # money is no special category
            ("PII.Special.Criminal", "gdpr@2016:Art.9"),
            ("PII.Special.Political", "ccpa@2026:1798.140(ae)"),  # not in the definition
            ("PII.Special.Criminal", "ccpa@2026:1798.140(ae)"),
            ("PII.Contact.Email", "pci-dss@4.0.1:3.4.1"),  # of cards alone
            ("IP.Confidential", "eu-ai-act@2026:Art.53(1)(c)"),  # of copyright alone
            ("HARM.WEAPONS.Conventional", "nist-ai-600-1@2024:2.1"),
            ("PII.Contact.Email", "nist-800-53@r5:PT-7(1)"),
        ],
    )
    def test_well_known_mistakes(self, label: str, control: str) -> None:
        framework, code = control.split(":", 1)
        row = nearest_rows(CROSSWALKS[framework], label).get(code)
        assert row is None or row["relationship"] == "not_related"


def test_the_first_edition_is_whole() -> None:
    """35 labels, each once; the newest edition is another file and in force."""
    document = yaml.safe_load((ROOT / "taxonomy" / "2025.09.yaml").read_text(encoding="utf-8"))
    assert (document["edition"], len(document["labels"])) == ("2025.09", 35)
