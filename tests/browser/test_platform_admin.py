"""The platform's admin in Chromium: a tenant's life, and keys that an operator makes."""

import secrets

from tests.browser.conftest import Enter
from tests.support.stack import Login, Stack

TENANTS = "/admin/tenants/tenant/"


def test_every_page_of_the_sidebar_opens_clean(live: Stack, enter: Enter) -> None:
    window = enter(live.operator)
    pages = window.navigation()
    assert {"Overview", "Tenants", "API keys", "Detectors", "Operators", "Audit trail"} <= set(
        pages
    )
    assert "Events" not in pages
    for path in pages.values():
        page = window.open(path, axe=path != "/docs")
        first = page.locator("#result_list tbody a[href]").first
        if first.count():
            window.open(str(first.get_attribute("href")))


def test_the_start_page_tells_the_state_of_the_platform(live: Stack, enter: Enter) -> None:
    text = enter(live.operator).page.locator("#content").inner_text()
    for words in ("Active", "Database", "Worker", "Taxonomy", "SOC 2", "audit trail"):
        assert words in text, words
    assert "Does not work" not in text


def test_a_tenants_life(live: Stack, enter: Enter) -> None:
    slug = f"t-{secrets.token_hex(4)}"
    window = enter(live.operator)
    page = window.open(f"{TENANTS}add/")
    page.get_by_label("Name", exact=True).fill("Initech")
    page.get_by_label("Short name").fill(slug)
    window.press("Add tenant")
    path = page.url.removeprefix(window.base)
    # The page follows the set-up by itself.
    page.get_by_text("Served since").wait_for(timeout=60_000)

    page = window.open("/admin/keys/apikey/add/")
    page.get_by_label("Tenant", exact=True).select_option(label="Initech")
    page.get_by_label("Name", exact=True).fill("by-operator")
    window.press("Create key")
    key = page.locator("#secret").inner_text()
    assert live.map(key).body["provenance"]["tenant_id"] == slug

    window.open(path)
    window.press("Suspend", role="link")
    window.press("Suspend")  # without a reason
    assert "This field is required" in page.content()
    page.get_by_label("Reason").fill("The contract has ended")
    window.press("Suspend")
    assert "The contract has ended" in page.content()
    assert live.map(key).status == 403
    visitor = enter(Login(live.url.replace("localhost", f"{slug}.localhost"), "", ""), log_in=False)
    assert visitor.status_of("/admin/") == 403

    window.press("Resume", role="link")
    window.press("Resume")
    page.get_by_text("Served since").wait_for()
    assert live.map(key).status == 200


def test_a_tenant_that_cannot_be_made_is_refused_in_words(live: Stack, enter: Enter) -> None:
    window = enter(live.operator)
    page = window.open(f"{TENANTS}add/")
    for slug, words in (
        ("admin", "reserved"),
        ("No Good", "3 to 40 of a-z"),
        (live.credentials["tenants"][0]["slug"], "already"),
    ):
        page.get_by_label("Name", exact=True).fill("Refused")
        page.get_by_label("Short name").fill(slug)
        window.press("Add tenant")
        assert words in page.locator("#content").inner_text(), slug


def test_a_tenant_is_neither_changed_nor_deleted_by_a_form(live: Stack, enter: Enter) -> None:
    window = enter(live.operator)
    page = window.open(TENANTS)
    path = str(page.locator("#result_list tbody a").first.get_attribute("href"))
    assert window.open(path).locator("#content input:not([type=hidden])").count() == 0
    assert window.status_of(path, form={"name": "Other", "slug": "other"}) == 403
    assert window.status_of(path.replace("/change/", "/delete/")) == 403
    assert window.status_of(path.replace("/change/", "/delete/"), form={"post": "yes"}) == 403
