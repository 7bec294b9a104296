"""`manage.py lint_detectors`: what each rule finds, and that mending changes no meaning."""

import json
import shutil
from pathlib import Path

import pytest
import yaml
from django.conf import settings
from django.core.management import CommandError, call_command

from mapping.lint import MENDS, UnknownDetectorError, lint
from mapping.lint_rules import RULES

CLEAN = """\
# A detector of this test.
detector: small
vendor: Test
version: "2026.11.1"
category: pii
detector_versions: "any"
sources:
  - "a page"
aliases: [tiny, very-small]
# Comments stay.
recipes:
  - name: list
    read:
      - {each: "[]", label: &name [label, Label]}
      - {each: "items[]", label: *name}
labels:
  # The hash in a text is no comment: #1.
  EMAIL: {canonical: PII.Contact.Email, aliases: [e-mail address, "mail, electronic"]}
  SSN: {canonical: PII.Identifier.SSN, severity: high, meaning: "a US number"}
  NONE: {not_a_finding: "says that all is well"}
"""
SEQUENCE = '[e-mail address, "mail, electronic"]'
# rule, what stands in the clean file, what is put in its place, line, whether it is mended
EMAIL = f"  EMAIL: {{canonical: PII.Contact.Email, aliases: {SEQUENCE}}}\n"
SSN = "{canonical: PII.Identifier.SSN, severity: high,"
LIST = '  - name: list\n    read:\n      - {each: "[]", label: &name [label, Label]}\n'
ITEMS = '      - {each: "items[]", label: *name}\n'
NAMED = '    read:\n      - {each: "items'
HEAD = 'vendor: Test\nversion: "2026.11.1"\n'
BROKEN: list[tuple[str, str, str, int, bool]] = [
    ("line-ends", "vendor: Test\n", "vendor: Test\r\n", 3, True),
    ("trailing-space", "vendor: Test\n", "vendor: Test  \n", 3, True),
    ("trailing-space", "# Comments stay.\n", "# Comments stay. \n", 10, True),
    ("final-newline", 'all is well"}\n', 'all is well"}', 20, True),
    ("final-newline", 'all is well"}\n', 'all is well"}\n\n\n', 23, True),
    ("header", "# A detector of this test.\n", "", 1, False),
    ("file-name", "detector: small", "detector: smaller", 2, False),
    ("version-quotes", '"2026.11.1"', "2026.11.1", 4, True),
    ("version-quotes", '"2026.11.1"', "'2026.11.1'", 4, True),
    ("key-order", HEAD, 'version: "2026.11.1"\nvendor: Test\n', 2, True),
    ("key-order", SSN, "{severity: high, canonical: PII.Identifier.SSN,", 19, True),
    ("key-order", LIST + ITEMS, '  - read: [{label: label}]\n    name: list\n', 12, False),
    ("unused-anchor", '{each: "[]",', '{each: &all "[]",', 14, True),
    ("unused-anchor", '      - {each: "[]"', '      - &all\n        {each: "[]"', 14, True),
    ("duplicate-label", "  NONE:", "  email: {unmapped: other things}\n  NONE:", 20, False),
    ("duplicate-label", "  NONE:", "  E_Mail Address: {unmapped: no idea}\n  NONE:", 20, False),
    ("alias-repeats", SEQUENCE, f"[Email, {SEQUENCE[1:]}", 18, True),
    ("alias-repeats", SEQUENCE, "[E_Mail Address, e-mail address]", 18, True),
    ("alias-repeats", SEQUENCE, "[email]", 18, True),
    (
        "alias-repeats", EMAIL,
        "  EMAIL:\n    canonical: PII.Contact.Email\n    aliases:\n      - email\n", 21, False,
    ),
    ("detector-alias-repeats", "[tiny, very-small]", "[tiny, Small, very-small]", 9, True),
    ("detector-alias-repeats", "[tiny, very-small]", "[small]", 9, True),
    ("detector-alias-repeats", " [tiny, very-small]", "\n  - tiny\n  - Tiny", 11, False),
    ("unused-setting", 'all is well"}', 'all is well", severity: low}', 20, False),
    ("unused-setting", "severity: high,", "confidence: 1.0,", 19, False),
    ("unused-setting", "[tiny, very-small]", "[]", 9, False),
    ("wording", '"says that all is well"', '"Says that all is well"', 20, False),
    ("wording", '"says that all is well"', '"says that all is well."', 20, False),
    ("wording", '"a US number"', '"a  US number"', 19, False),
    ("repeats", '  - "a page"\n', '  - "a page"\n  - "a page"\n', 9, False),
    ("repeats", '      - {each: "items', f'  - name: list\n{NAMED}', 15, False),
    ("lint-ok", "# Comments stay.", "# lint-ok header", 10, False),
    ("lint-ok", "# Comments stay.", "# lint-ok headers: because", 10, False),
]  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with one clean detector and the schema."""
    (tmp_path / "detectors").mkdir()
    (tmp_path / "detectors/small.yaml").write_text(CLEAN, encoding="utf-8")
    shutil.copytree(settings.KNOWLEDGE_DIR / "schemas", tmp_path / "schemas")
    return tmp_path


def write(folder: Path, old: str, new: str) -> Path:
    path = folder / "detectors/small.yaml"
    assert CLEAN.count(old) >= 1, old
    path.write_text(CLEAN.replace(old, new, 1), encoding="utf-8", newline="")
    return path


def read(path: Path) -> str:
    with path.open(encoding="utf-8", newline="") as stream:
        return stream.read()


def test_the_clean_one_is_clean(folder: Path) -> None:
    report = lint(directory=folder, mend=True)
    assert (report.files, report.is_clean, report.mended) == (1, True, {})
    assert read(folder / "detectors/small.yaml") == CLEAN


def test_every_rule_has_a_broken_case() -> None:
    assert {rule for rule, *_ in BROKEN} == {*RULES, "lint-ok"}
    assert {rule for rule, *_, mends in BROKEN if mends} == set(MENDS)


@pytest.mark.parametrize(
    ("rule", "old", "new", "line", "mends"),
    BROKEN,
    ids=[f"{n}-{c[0]}" for n, c in enumerate(BROKEN)],
)
def test_each_rule(folder: Path, rule: str, old: str, new: str, line: int, mends: bool) -> None:
    path = write(folder, old, new)
    before = yaml.safe_load(read(path))
    report = lint(directory=folder)
    found = {one.rule: one for one in report.findings}
    assert str(found[rule]).startswith(f"detectors/small.yaml:{line}: {rule}: ")
    assert read(path) == CLEAN.replace(old, new, 1), "looking must not write"

    report = lint(directory=folder, mend=True)
    after = yaml.safe_load(read(path))
    assert report.is_clean == mends, report.findings
    assert report.mended == ({"detectors/small.yaml": [rule]} if mends else {})
    assert "# Comments stay." in read(path) or rule == "lint-ok"
    if rule.endswith("alias-repeats") and mends:
        assert report.raised == {"detectors/small.yaml": "2026.11.2"}
        assert after["version"] == "2026.11.2"
    else:
        assert report.raised == {}
        assert after == before
        assert list(after["labels"]) == list(before["labels"])


def test_a_mended_file_is_the_clean_one(folder: Path) -> None:
    """Nothing else of the text is touched."""
    for rule, old, new, _line, mends in BROKEN:
        path = write(folder, old, new)
        if not mends or new in {
            "'2026.11.1'",
            "[email]",
            "[small]",
            "[E_Mail Address, e-mail address]",
        }:
            continue
        lint(directory=folder, mend=True)
        text = read(path).replace('"2026.11.2"', '"2026.11.1"')
        assert text.replace("- \n        {", "- {") == CLEAN, rule


def test_the_key_goes_with_its_last_alias(folder: Path) -> None:
    path = write(folder, f", aliases: {SEQUENCE}", ", aliases: [email]")
    lint(directory=folder, mend=True)
    assert "  EMAIL: {canonical: PII.Contact.Email}\n" in read(path)
    path = write(folder, "[tiny, very-small]", "[small]")
    lint(directory=folder, mend=True)
    assert '  - "a page"\n# Comments stay.\n' in read(path)


def test_spaces_inside_of_a_text_stay(folder: Path) -> None:
    path = write(folder, "# Comments stay.\n", "notes: |\n  One.  \n  Two.\n")
    report = lint(directory=folder, mend=True)
    assert [(one.rule, one.line) for one in report.findings] == [("trailing-space", 11)]
    assert "One.  \n" in read(path)


def test_an_alias_that_decides_between_labels_stays(folder: Path) -> None:
    path = write(
        folder,
        "  NONE:",
        "  # lint-ok duplicate-label: the test wants it\n"
        "  e-mail: {not_a_finding: the address, aliases: [E-MAIL]}\n"
        "  # lint-ok duplicate-label: the test wants it\n"
        "  E_MAIL: {canonical: PII.Contact.Email}\n"
        "  NONE:",
    )
    assert lint(directory=folder, mend=True).findings == []
    assert "aliases: [E-MAIL]" in read(path)


def test_comments_excuse_a_line_or_the_file(folder: Path) -> None:
    twice = "  email: {canonical: PII.Contact.Email}"
    excuse = "# lint-ok duplicate-label: both are sent"
    for text in (f"  {excuse}\n  # More.\n{twice}", f"{twice} {excuse}"):
        write(folder, "  NONE:", f"{text}\n  NONE:")
        assert lint(directory=folder).is_clean
    path = write(folder, "  NONE:", f"{twice}\n  NONE:")
    assert not lint(directory=folder).is_clean
    path.write_text(read(path).replace("test.\n", f"test.\n{excuse}\n", 1), encoding="utf-8")
    assert lint(directory=folder).is_clean


def test_a_file_that_does_not_fit_the_schema_is_named_and_left(folder: Path) -> None:
    path = write(folder, "category: pii", "category: everything ")
    report = lint(directory=folder, mend=True)
    assert report.findings == []
    assert report.problems[0].startswith("detectors/small.yaml:5: category: ")
    assert "everything \n" in read(path)
    write(folder, "category: pii", "category: [")
    assert "detectors/small.yaml:" in lint(directory=folder).problems[0]


def test_unknown_names(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UnknownDetectorError, match="holds no file for great"):
        lint(directory=folder, names=["small", "great"])
    with pytest.raises(CommandError, match="any detector") as caught:
        call_command("lint_detectors", directory=tmp_path / "schemas")
    assert caught.value.returncode == 2


def test_the_command(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    call_command("lint_detectors", "small", directory=folder)
    assert capsys.readouterr().out == "1 files are clean.\n"
    write(folder, "[tiny, very-small]", "[tiny, Tiny]")
    with pytest.raises(CommandError, match="1 findings") as caught:
        call_command("lint_detectors", directory=folder, json=True)
    assert caught.value.returncode == 1
    (found,) = json.loads(capsys.readouterr().out)["findings"]
    assert (found["file"], found["line"]) == ("detectors/small.yaml", 9)
    assert found["rule"] == "detector-alias-repeats"
    call_command("lint_detectors", directory=folder, fix=True)
    assert capsys.readouterr().out == (
        "detectors/small.yaml: mended detector-alias-repeats; its content changed: "
        "version 2026.11.2\n1 files are clean.\n"
    )


def test_the_shipped_files_are_clean() -> None:
    report = lint(directory=settings.KNOWLEDGE_DIR)
    assert [str(one) for one in report.findings] == []
    assert report.problems == []
    assert report.files >= 79
