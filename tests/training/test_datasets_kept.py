"""Data sets on disk: verified, never changed, and refused when somebody has tampered with them."""

import hashlib
import json
import resource
import shutil
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.core.management import CommandError, call_command

from tests.training.small_set import small_knowledge, small_set
from training.datasets import store
from training.datasets.build import Built
from training.datasets.check import check
from training.datasets.findings import Finding
from training.datasets.sources import SourceError, encoder_dataset, read_knowledge
from training.datasets.store import Stored, StoreError
from training.datasets.validate import blocking, validate

Row = dict[str, Any]


@pytest.fixture(scope="module")
def built() -> Built:
    return small_set()


@pytest.fixture(scope="module")
def knowledge_folder() -> Path:
    return small_knowledge()


@pytest.fixture
def kept(built: Built, tmp_path: Path) -> Stored:
    return store.save(tmp_path / "datasets", built.files, built.manifest)


def test_a_set_is_kept_by_its_content(kept: Stored, built: Built) -> None:
    assert kept.folder.name == kept.digest[:16]
    assert sorted(path.name for path in kept.folder.iterdir()) == sorted(
        [*built.files, "manifest.json"]
    )
    before = (kept.folder / "manifest.json").stat().st_mtime_ns
    again = store.save(kept.folder.parent, built.files, built.manifest)
    assert again == kept
    assert (kept.folder / "manifest.json").stat().st_mtime_ns == before
    assert [path.name for path in kept.folder.parent.iterdir()] == [kept.folder.name]
    assert store.find(kept.folder.parent, kept.digest[:8]) == kept.folder
    assert store.find(kept.folder.parent, "default") == kept.folder


@pytest.mark.parametrize("name", ["train.jsonl", "dataset.json", "taxonomy.json", "README.md"])
def test_a_changed_file_is_refused(kept: Stored, name: str) -> None:
    with (kept.folder / name).open("ab") as file:
        file.write(b" ")
    with pytest.raises(StoreError, match=f"{name}: was changed"):
        store.load(kept.folder)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda m: m.update(format=2), "another format"),
        (lambda m: m.update(seed=5), "digest is not"),
        (lambda m: m["splits"]["train"].update(file="../train.jsonl"), "members"),
        (lambda m: m.update(more=1), "members"),
        (lambda m: m.pop("card"), "members"),
    ],
)
def test_a_changed_manifest_is_refused(
    kept: Stored, change: Callable[[Any], Any], problem: str
) -> None:
    path = kept.folder / "manifest.json"
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))
    with pytest.raises(StoreError, match=problem):
        store.load(kept.folder)


def test_a_full_disk_leaves_nothing(built: Built, tmp_path: Path) -> None:
    """The limit on a file's size stands for the disk's: the kernel refuses the write."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))
    try:
        with pytest.raises(StoreError, match="Make room"):
            store.save(tmp_path / "datasets", built.files, built.manifest)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list((tmp_path / "datasets").iterdir()) == []


def test_the_card_tells_what_is_in_it(built: Built) -> None:
    header, text = built.files["README.md"].decode().removeprefix("---\n").split("\n---\n", 1)
    metadata = yaml.safe_load(header)
    assert metadata["license"] == "apache-2.0"
    assert [one["split"] for one in metadata["configs"][0]["data_files"]] == list(
        built.manifest["splits"]
    )
    for fact in (
        built.manifest["digest"],
        f"| **all** |  | {built.manifest['splits']['train']['rows']} |",
        "Not for judging content",
        "Invented labels: 2 for each answer",
        built.manifest["sources"]["detectors"],
    ):
        assert fact in text


def test_a_set_as_it_was_built_may_be_trained_on(kept: Stored, knowledge_folder: Path) -> None:
    assert list(blocking(check(kept, knowledge_folder))) == []


def _has_other(row: Row) -> bool:
    return any(_is_other(name, row) for name in row["names"])


def _is_other(name: str, row: Row) -> bool:
    return name not in row["answers"] and name.startswith("PII.") and name.count(".") > 1


def _answer_something_else(row: Row) -> None:
    """With letters and completion that agree with it."""
    wrong = next(name for name in row["names"] if _is_other(name, row))
    letter = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"[row["names"].index(wrong)]
    row.update(answers=[wrong], letters=[letter])
    row["completion"][0]["content"] = letter


def _say(text: str) -> Callable[[Row], None]:
    def change(row: Row) -> None:
        old = row["description"]
        row["prompt"][1]["content"] = row["prompt"][1]["content"].replace(old, text)
        row["description"] = text

    return change


def _swap_letters(row: Row) -> None:
    row["letters"] = ["A" if row["letters"] != ["A"] else "B"]
    row["completion"][0]["content"] = row["letters"][0]


TAMPERED: list[tuple[store.Side, str, Callable[[Row], Any], str]] = [
    ("train", "detector", _answer_something_else, "poisoned"),
    ("train", "synthetic", _answer_something_else, "poisoned"),
    ("train", "detector", _say("number of a bank account"), "poisoned"),
    ("train", "detector", _say("write to jane.doe@corp.test"), "raw"),
    ("train", "detector", _say("bell \x07 here"), "control"),
    ("train", "detector", _swap_letters, "letters"),
    ("train", "detector", lambda row: row.update(answers=["PII.Nothing"]), "target"),
    ("train", "detector", lambda row: row.update(variation="1"), "format"),
    ("train", "detector", lambda row: row.update(source="NOT_THERE"), "source"),
    ("train", "detector", lambda row: row["prompt"][0].update(content="Obey."), "prompt"),
    ("test", "detector", lambda row: row.update(kind="alias"), "invented"),
]


def forge(kept: Stored) -> Stored:
    """A sample for each kind of tampering, and every hash made anew by somebody who knows how."""
    manifest = json.loads((kept.folder / "manifest.json").read_text())
    for side in store.SIDES:
        rows = list(kept.rows(side))
        fit = [
            row
            for row in rows
            if row["description"] and row["label"] == row["source"] and _has_other(row)
        ]
        unchanged = {
            kind: iter([row for row in fit if row["kind"] == kind])
            for kind in ("detector", "synthetic")
        }
        for where, kind, change, _ in TAMPERED:
            if where == side:
                change(next(unchanged[kind]))
        path = kept.folder / f"{side}.jsonl"
        path.write_text("".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows))
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        manifest["splits"][side]["sha256"] = manifest["files"][path.name] = sha256
    manifest["digest"] = store.digest_of(manifest)
    (kept.folder / "manifest.json").write_text(json.dumps(manifest))
    return store.load(kept.folder)


def test_tampering_is_found_also_when_the_hashes_agree(
    kept: Stored, knowledge_folder: Path
) -> None:
    found = {one.code: one for one in check(forge(kept), knowledge_folder)}
    for code in {code for *_, code in TAMPERED}:
        assert found[code].level == "error"
        assert found[code].count >= sum(code == other for *_, other in TAMPERED), code
    # What was said is nowhere quoted.
    assert "jane" not in repr(found)


def test_a_detector_on_two_sides_is_found(kept: Stored, knowledge_folder: Path) -> None:
    rows = {side: list(kept.rows(side)) for side in store.SIDES}
    taken = next(row for row in rows["train"] if row["kind"] == "detector")
    rows["test"].append({**taken, "id": "another"})
    rows["test"].append(taken)
    known = read_knowledge(knowledge_folder, "2026.11")
    findings = validate(rows, known, encoder_dataset(known), None, kept.manifest["splits"])
    found = {one.code: one for one in findings if one.level == "error"}
    assert found.keys() == {"identity", "leakage", "manifest"}
    assert f"vendor {taken['vendor']}" in found["leakage"].examples


def test_an_answer_that_the_files_no_longer_give_is_found(
    kept: Stored, knowledge_folder: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "knowledge"
    shutil.copytree(knowledge_folder, folder)
    path = folder / "detectors" / "detoxify.yaml"
    content = yaml.safe_load(path.read_text())
    content["labels"]["insult"]["canonical"] = "HARM.SPEECH.Threat"
    path.write_text(yaml.safe_dump(content))
    found = {one.code: one for one in check(kept, folder)}
    assert any("insult" in identity for identity in found["poisoned"].examples)
    with (folder / "taxonomy" / "2026.11.yaml").open("a") as file:
        file.write("# ")
    check(kept, folder)  # a comment is no change
    with (folder / "taxonomy" / "2026.11.yaml").open("a") as file:
        file.write('\n  X.New: {meaning: "something new", severity: low, aliases: []}\n')
    with pytest.raises(SourceError, match="restore it"):
        check(kept, folder)


def test_warnings_name_what_is_thin(built: Built) -> None:
    found: dict[str, Finding] = {one.code: one for one in built.findings}
    assert {one.level for one in built.findings} == {"warning"}
    assert found["unseen"].count > 20
    assert found["untested"].count > 20
    assert "unlearnt" not in found  # the invented labels have every answer


def run(*arguments: Any) -> str:
    out = StringIO()
    call_command(*arguments, stdout=out, stderr=out)
    return out.getvalue()


def test_commands(knowledge_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "datasets"
    assert "None is kept" in run("show_datasets", "--out", out)
    made = run(
        "build_dataset", "--out", out, "--directory", knowledge_folder, "--name", "small",
        "--synthetic", 1, "--variations", 1, "--hold-out", "detoxify", "--no-scores",
    )  # fmt: skip
    assert "test: " in made
    (known,) = json.loads(run("show_datasets", "--out", out, "--json"))
    assert known["name"] == "small"
    assert known["digest"] in made
    assert "--hold-out detoxify" in (store.find(out, "small") / "README.md").read_text()
    checked = run("validate_dataset", "small", "--out", out, "--directory", knowledge_folder)
    assert "may be trained on" in checked
    with (store.find(out, "small") / "test.jsonl").open("ab") as file:
        file.write(b"{}\n")
    with pytest.raises(CommandError, match="was changed"):
        run("validate_dataset", "small", "--out", out)
    with pytest.raises(CommandError, match="no such data set"):
        run("validate_dataset", "other", "--out", out)
    with pytest.raises(CommandError, match="no such edition"):
        run("build_dataset", "--out", out, "--edition", "1999.01")
