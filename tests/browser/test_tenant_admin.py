"""A tenant's admin in Chromium: every page of the sidebar, events, reports, narrow and dark."""

import re

import pytest

from tests.browser.conftest import Enter
from tests.support.stack import Stack

EVENTS = "/admin/mapping/mappingevent/"
# Swagger UI's own markup, which is not ours to mend.
_NOT_OURS = ("/docs",)


@pytest.mark.parametrize("role", ["admin", "officer"])
def test_every_page_of_the_sidebar_opens_clean(live: Stack, enter: Enter, role: str) -> None:
    window = enter(live.person(role))
    pages = window.navigation()
    assert {"Overview", "Events", "Reports", "Labels", "Detectors", "Controls"} <= set(pages)
    for path in pages.values():
        page = window.open(path, axe=path not in _NOT_OURS)
        first = page.locator("#result_list tbody a[href]").first
        if first.count():
            window.open(str(first.get_attribute("href")))


def test_the_login_page_says_whose_it_is(live: Stack, enter: Enter) -> None:
    for tenant, name in ((0, "Acme Health"), (1, "Globex Bank")):
        window = enter(live.person("admin", tenant=tenant), log_in=False)
        page = window.open("/admin/")
        assert (
            f"You are logging in to {name}"
            in page.locator("#login-form ~ *, .pl-notice").first.inner_text()
        )
        assert name in page.title()


def test_a_wrong_password_is_refused_in_words(live: Stack, enter: Enter) -> None:
    window = enter(live.person("admin"), log_in=False)
    page = window.open("/admin/login/")
    page.get_by_label("Username").fill("admin")
    page.get_by_label("Password").fill("wrong")
    page.get_by_role("button", name="Log in").click()
    window.inspect()
    assert "correct username and password" in page.content()


def test_an_event_tells_its_findings_controls_and_versions(live: Stack, enter: Enter) -> None:
    raw = "078-05-1120 belongs to nobody"
    output = [{"entity_type": "US_SSN", "start": 0, "end": 11, "score": 0.85, "text": raw}]
    event_id = live.map(live.api_key(), output=output).body["event_id"]
    window = enter(live.person("officer"))
    page = window.open(f"{EVENTS}?q={event_id}")
    page.locator("#result_list tbody a").first.click()
    window.inspect()
    text = page.locator("#content").inner_text()
    for words in ("US_SSN", "PII.Identifier.SSN", "SOC 2", "ISO 27001", "HIPAA", event_id):
        assert words in text, words
    assert "The raw output is not stored" in text
    assert raw not in page.content()
    assert "078-05" not in page.content()


def test_filters_narrow_the_events(live: Stack, enter: Enter) -> None:
    live.map(live.api_key(), detector="bandit", output="not a bandit report at all {")
    window = enter(live.person("admin"))
    page = window.open(EVENTS)
    page.get_by_role("button", name="Filters").press("Enter")
    page.locator("#filter-form").get_by_label("By decision").select_option("mapped")
    page.locator("#filter-form").get_by_label("By label or branch").fill("PII")
    page.get_by_role("button", name="Apply Filters").click()
    window.inspect()
    rows = page.locator("#result_list tbody tr")
    assert rows.count() > 0
    for row in rows.all_inner_texts():
        assert re.search(r"Mapped", row), row
        assert re.search(r"\bPII\.", row), row
    assert "No results found" in window.open(f"{EVENTS}?label=NO.SUCH").content()


@pytest.mark.parametrize(
    "query", ["?q=%00", "?q='%22--", "?period=x&detector=%27", "?label=%25&p=2", "?p=99999", "?o=1"]
)
def test_odd_queries_get_a_page(live: Stack, enter: Enter, query: str) -> None:
    window = enter(live.person("admin"))
    assert window.status_of(EVENTS + query) in (200, 302, 400)


def test_a_newcomer_is_told_the_first_command(live: Stack, enter: Enter) -> None:
    # The demo posts to the first tenant alone.
    window = enter(live.person("admin", tenant=1))
    if live.credentials["tenants"][1]["slug"] not in window.base:
        pytest.fail("The second tenant is not where it should be")
    page = window.open("/admin/")
    command = page.locator("#first-event")
    if command.count() == 0:
        pytest.skip("The second tenant has events already: this stack was used before")
    assert f"curl -sS {window.base}/map" in command.inner_text()


def test_a_report_is_asked_for_and_downloaded(live: Stack, enter: Enter) -> None:
    window = enter(live.person("officer"))
    window.open("/admin/reporting/report/add/")
    page = window.press("Request report")
    page.get_by_text("Done", exact=True).first.wait_for(timeout=90_000)
    window.inspect()
    with page.expect_download() as download:
        page.get_by_role("link", name="PDF").first.click()
    assert download.value.path().read_bytes().startswith(b"%PDF-")
    assert page.get_by_text("Latest reports").count() == 0
    window.open("/admin/")
    assert window.page.get_by_role("heading", name="Latest reports").count() == 1


@pytest.mark.parametrize(
    "path", ["/admin/", EVENTS, "/admin/keys/apikey/", "/admin/keys/apikey/add/"]
)
def test_pages_fit_a_telephone(live: Stack, enter: Enter, path: str) -> None:
    window = enter(live.person("admin"), width=375, height=700)
    window.open(path)
    assert window.fits()


def test_the_navigation_opens_by_keyboard_on_a_telephone(live: Stack, enter: Enter) -> None:
    window = enter(live.person("admin"), width=375, height=700)
    events = window.page.locator("#nav-sidebar").get_by_role("link", name="Events")
    assert not events.is_visible()
    window.page.get_by_role("button", name="Open the navigation").press("Enter")
    events.wait_for(state="visible")
    assert events.get_attribute("href") == EVENTS


@pytest.mark.parametrize("path", ["/admin/", EVENTS, "/admin/keys/apikey/add/"])
def test_the_dark_theme_is_readable(live: Stack, enter: Enter, path: str) -> None:
    window = enter(live.person("admin"), color_scheme="dark")
    window.open(path)
    assert "dark" in str(window.page.locator("html").get_attribute("class"))


def test_the_first_tab_stop_leads_past_the_navigation(live: Stack, enter: Enter) -> None:
    window = enter(live.person("admin"))
    window.page.keyboard.press("Tab")
    focused = window.page.evaluate("document.activeElement.textContent")
    assert focused == "Skip to the content"
