"""The second annotation: complete, settled, and measured as docs/quality.md says."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from django.conf import settings

from taxonomy.agreement import Judgement, agreement, by_category, read_judgements
from taxonomy.documents import Document, read_document
from taxonomy.errors import KnowledgeFileError
from taxonomy.management.commands.measure_agreement import tables

FILES = settings.KNOWLEDGE_DIR
NAMES = sorted(path.stem for path in (FILES / "detectors").glob("*.yaml"))


def detectors(directory: Path, *names: str) -> list[Document]:
    return [read_document("detector", directory / "detectors" / f"{n}.yaml") for n in names]


@pytest.fixture(scope="module")
def shipped() -> list[Judgement]:
    return read_judgements(FILES, detectors(FILES, *NAMES))


def test_every_label_was_annotated_twice_and_every_difference_ruled(
    shipped: list[Judgement],
) -> None:
    assert len(shipped) >= 3_500
    assert len({one.detector for one in shipped}) == len(NAMES)
    assert all(one.agreed or one.ruling for one in shipped)


def test_the_page_says_what_the_files_give(shipped: list[Judgement]) -> None:
    page = (Path(settings.REPOSITORY) / "docs" / "quality.md").read_text(encoding="utf-8")
    rows = [line for line in tables(shipped).splitlines() if line]
    missing = [row for row in rows if row not in page]
    assert not missing, "Run manage.py measure_agreement --markdown and put it into the page"
    assert page.count("\n| ") + page.count("\n|---") >= len(rows)


def test_agreement_is_far_beyond_chance(shipped: list[Judgement]) -> None:
    found = by_category(shipped)["all"]
    assert found.kappa is not None
    assert found.kappa > 0.9


def of(*pairs: tuple[str, str]) -> list[Judgement]:
    return [Judgement("d", "c", str(i), (a,), (b,)) for i, (a, b) in enumerate(pairs)]


def test_kappa_of_a_worked_example() -> None:
    """Cohen's own form: 2 x 2 with 20, 5, 10 and 15 of 50 gives 0.4."""
    pairs = [("y", "y")] * 20 + [("y", "n")] * 5 + [("n", "y")] * 10 + [("n", "n")] * 15
    found = agreement(of(*pairs))
    assert found.share == pytest.approx(0.7)
    assert found.kappa == pytest.approx(0.4)


def test_kappa_without_anything_to_disagree_on() -> None:
    assert agreement(of(("y", "y"), ("y", "y"))).kappa is None
    assert agreement([]).kappa is None


@pytest.fixture
def spoil(tmp_path: Path) -> Callable[[str, str], str]:
    """spoil(old, new): edit llama-guard-3's annotation in a copy; the problems it gives."""
    for name in ("detectors/llama-guard-3.yaml", "annotations/llama-guard-3.yaml",
                 "schemas/annotation.schema.json"):  # fmt: skip
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(FILES / name, tmp_path / name)

    def edit(old: str, new: str) -> str:
        path = tmp_path / "annotations/llama-guard-3.yaml"
        text = path.read_text(encoding="utf-8")
        assert old in text
        path.write_text(text.replace(old, new, 1), encoding="utf-8")
        with pytest.raises(KnowledgeFileError) as found:
            read_judgements(tmp_path, detectors(tmp_path, "llama-guard-3"))
        return str(found.value)

    return edit


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("  S1: HARM.CRIME.Violent\n", "", "'S1' of detectors/llama-guard-3.yaml has no second"),
        ("  S1: HARM.CRIME.Violent", "  S1: HARM.CRIME.Other", "nobody has ruled between them"),
        ("  S1: HARM.CRIME.Violent", "  S99: HARM.CRIME.Violent\n  S1: HARM.CRIME.Violent",
         "'S99' is not in"),
        ("    ruling: HARM.CRIME.Cyber", "    ruling: HARM.Other", "the ruling is not what"),
        ("  S1: HARM.CRIME.Violent", "  S1: violent", "annotations/llama-guard-3.yaml:"),
    ],
)  # fmt: skip
def test_an_unsettled_annotation_is_refused(
    spoil: Callable[[str, str], str], old: str, new: str, problem: str
) -> None:
    assert problem in spoil(old, new)


def test_a_missing_annotation_is_named(tmp_path: Path) -> None:
    (tmp_path / "detectors").mkdir()
    shutil.copy(FILES / "detectors/presidio.yaml", tmp_path / "detectors/presidio.yaml")
    with pytest.raises(KnowledgeFileError, match=r"annotations/presidio\.yaml: is missing"):
        read_judgements(tmp_path, detectors(tmp_path, "presidio"))
