"""The page "Knowledge version" in Chromium: choose a release and take it back, by hand."""

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page

from tests.browser.conftest import Enter
from tests.support.knowledge import edit, folder, version_of
from tests.support.stack import Stack

__all__ = ["edit", "folder"]
PAGE = "/admin/mapping/knowledgepin/"


@pytest.fixture
def newer(live: Stack, folder: Path, edit: Callable[[str, str, str], None]) -> None:
    """A further release in the stack, which may hold releases of other tests."""
    if os.environ.get("PILLARS_BROWSER_STATE"):
        pytest.skip("It would change the knowledge of the stack that runs already.")
    shipped = version_of("presidio")
    # Far ahead: change sets of other tests publish the next versions in the same stack.
    ahead = f"{shipped.rpartition('.')[0]}.900"
    edit("detectors/presidio.yaml", f'version: "{shipped}"', f'version: "{ahead}"')
    ssn = "  US_SSN: {canonical: PII.Identifier.SSN"
    edit("detectors/presidio.yaml", ssn, f"  ZZ_BADGE{ssn[8:]}}}\n{ssn}, severity: critical")
    live.manage("load_config", "--directory", str(folder), "--discard-published")


def newest(page: Page) -> int:
    """The serial in the first row of the releases."""
    row = page.get_by_role("group", name="Releases").locator("tbody th").first
    return int(row.inner_text().split()[0])


@pytest.mark.usefixtures("newer")
def test_choose_a_release_and_take_it_back(live: Stack, enter: Enter) -> None:
    live.map(live.api_key())
    window = enter(live.person("admin"))
    page = window.open(PAGE)
    assert "follows the newest" in page.locator("#content").inner_text()
    newer = newest(page)
    older = newer - 1
    page.get_by_role("link", name=f"Preview release {older}").click()
    window.inspect()
    text = page.locator("#content").inner_text()
    for words in ("presidio: US_SSN", "critical", "removed", "presidio: ZZ_BADGE", "older than"):
        assert words in text, words
    assert re.search(r"A detector.s label\s+[1-9]", text)
    with page.expect_download() as download:
        page.get_by_role("link", name="Download the whole difference").click()
    assert download.value.suggested_filename == f"pillars-knowledge-{newer}-to-{older}.json"
    page.get_by_label("Note").fill("Until the audit is over")
    window.press(f"Apply release {older}")
    text = page.locator("#content").inner_text()
    for words in ("pinned", "Until the audit is over", f"The newest is release {newer}"):
        assert words in text, words
    window.press("Follow the newest", role="link")
    window.press("Follow the newest release")
    window.press("Undo the last choice", role="link")
    window.press(f"Go back to release {older}")
    assert "pinned" in page.locator("#content").inner_text()
    window.open("/admin/")
    assert f"Release {older} is in force here, pinned." in page.locator("#content").inner_text()


@pytest.mark.usefixtures("newer")
def test_an_officer_finds_nothing_to_press_and_all_fits(live: Stack, enter: Enter) -> None:
    for options in ({}, {"width": 390, "height": 800}, {"color_scheme": "dark"}):
        officer = enter(live.person("officer", tenant=1), **options)
        page = officer.open(PAGE)
        assert not page.get_by_role("link", name=re.compile("^(Pin|Follow|Undo)")).count()
        assert officer.fits()
        officer.open(f"{PAGE}preview/{newest(page) - 1}/")
        assert not page.get_by_role("button", name=re.compile("^Apply")).count()
        assert officer.fits()
