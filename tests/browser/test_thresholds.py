"""The page "Thresholds" of a tenant's admin in Chromium."""

from tests.browser.conftest import Enter
from tests.support.stack import Stack

PAGE = "/admin/mapping/thresholdoverride/"
SIZES = ({}, {"width": 390, "height": 800}, {"color_scheme": "dark"})


def test_set_a_threshold_and_take_it_away(live: Stack, enter: Enter) -> None:
    window = enter(live.person("admin"))
    page = window.page
    page.get_by_role("link", name="Thresholds").first.click()
    window.inspect()
    window.press("For a label or branch", role="link")
    window.press("Set")  # nothing chosen
    assert page.get_by_text("This field is required").count() == 2
    page.get_by_label("Label or branch").select_option("HARM.SPEECH")
    page.get_by_label("Threshold", exact=True).fill("0.8")
    page.get_by_label("Note").fill("Fewer false alarms")
    window.press("Set")
    text = page.locator("#content").inner_text()
    for words in ("HARM.SPEECH", "0.8", "Fewer false alarms", "admin"):
        assert words in text, words
    for options in SIZES:
        looker = enter(live.person("admin"), **options)
        for path in ("", "set/every-label/", "set/detector/", "set/branch/"):
            looker.open(PAGE + path)
            assert looker.fits(), path
    window.press("Take away HARM.SPEECH", role="link")
    window.press("Take away")
    assert "None: the platform's hold." in page.locator("#content").inner_text()


def test_an_officer_finds_nothing_to_press(live: Stack, enter: Enter) -> None:
    officer = enter(live.person("officer"))
    page = officer.open(PAGE)
    assert not page.get_by_role("link", name="For a label or branch").count()
    assert officer.status_of(f"{PAGE}set/branch/") == 403
