"""The page "Mapping mode" in Chromium: the kill switch turned on and off by hand."""

import os

import pytest

from tests.browser.conftest import Enter
from tests.support.stack import Stack

PAGE = "/admin/switch/modechoice/"
BANNER = "The kill switch is on"
SIZES = ({}, {"width": 390, "height": 800}, {"color_scheme": "dark"})


@pytest.fixture
def may_switch() -> None:
    if os.environ.get("PILLARS_BROWSER_STATE"):
        pytest.skip("It would change the mode of the stack that runs already.")


@pytest.mark.usefixtures("may_switch")
def test_turn_the_kill_switch_on_and_off(live: Stack, enter: Enter) -> None:
    window = enter(live.operator)
    page = window.page
    page.get_by_role("link", name="Mapping mode").first.click()
    window.inspect()
    assert BANNER not in page.locator("#content").inner_text()
    window.press("Turn the kill switch on", role="link")
    window.press("Turn the kill switch on")  # neither reason nor confirmation
    assert page.get_by_text("This field is required").count() == 2
    page.get_by_label("Reason").fill("Wrong labels since noon")
    page.get_by_label("I mean the whole platform").check()
    window.press("Turn the kill switch on")
    text = page.locator("#content").inner_text()
    for words in ("The kill switch is on.", "rules_only", "Wrong labels since noon", "operator"):
        assert words in text, words
    for options in SIZES:
        looker = enter(live.operator, **options)
        for path in ("/admin/", PAGE):
            looker.open(path)
            assert BANNER in looker.page.locator("#content").inner_text()
            assert looker.fits()
    window.press("Turn the kill switch off", role="link")
    page.get_by_label("Reason").fill("The release was taken back")
    page.get_by_label("I mean the whole platform").check()
    window.press("Turn the kill switch off")
    assert BANNER not in window.open("/admin/").locator("#content").inner_text()


def test_who_may_not_finds_nothing_to_press_and_all_fits(live: Stack, enter: Enter) -> None:
    for options in SIZES:
        curator = enter(live.of_platform("curator"), **options)
        page = curator.open(PAGE)
        assert "In force on this platform" in page.locator("#content").inner_text()
        assert not page.get_by_role("link", name="Turn the kill switch on").count()
        assert curator.fits()
        assert curator.status_of(f"{PAGE}choose/") == 403
        operator = enter(live.operator, **options)
        for path in ("choose/", "kill-switch/on/", "kill-switch/off/"):
            operator.open(PAGE + path)
            assert operator.fits(), path
