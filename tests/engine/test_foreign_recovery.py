"""How much of the golden outputs is read without their files, as docs/quality.md says."""

import pytest

from tests.bench.foreign import Tally, half_of, measure, table
from tests.engine.support import FILES, NAMES, document

PAGE = FILES.parent / "docs" / "quality.md"
MARK = "<!-- bench.foreign --sums: {} -->"


@pytest.fixture(scope="module")
def tallies() -> dict[str, Tally]:
    return {name: measure(name) for name in NAMES}


def test_the_page_has_the_figures(tallies: dict[str, Tally]) -> None:
    page = PAGE.read_text(encoding="utf-8")
    shown = page.split(MARK.format("begin"))[1].split(MARK.format("end"))[0].strip()
    assert shown.splitlines() == list(table(tallies))[:5], "python -m tests.bench.foreign --sums"


def test_no_output_of_the_seen_half_is_called_safe_against_its_file(
    tallies: dict[str, Tally],
) -> None:
    seen = {
        n: t for n, t in tallies.items() if half_of(document("detectors", n)["vendor"]) == "seen"
    }
    assert {name: tally.false_safe for name, tally in seen.items() if tally.false_safe} == {}
