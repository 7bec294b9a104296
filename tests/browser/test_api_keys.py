"""API keys in a tenant's admin: shown once, used, rotated, revoked; for administrators alone."""

import json
import re

from tests.browser.conftest import Enter
from tests.browser.visitor import Visitor
from tests.support.stack import Stack

KEYS = "/admin/keys/apikey/"
SECRET = re.compile(r"plr_[0-9A-Za-z]{10}_[0-9A-Za-z]{36}")


def _create(window: Visitor, name: str) -> tuple[str, str]:
    """Make a key by the form: (secret, path of its page)."""
    page = window.open(f"{KEYS}add/")
    page.get_by_label("Name").fill(name)
    page.get_by_label("Read mapped events (events:read)").check()
    window.press("Create key")
    secret = page.locator("#secret").inner_text()
    assert SECRET.fullmatch(secret)
    # The page has taken the address of the key, so that a reload does not post again.
    return secret, page.url.removeprefix(window.base)


def test_a_key_is_shown_once_then_works_until_it_is_revoked(live: Stack, enter: Enter) -> None:
    window = enter(live.person("admin"))
    secret, path = _create(window, "browser-test")
    assert live.map(secret).status == 200

    page = window.page
    page.reload()
    window.inspect()
    assert secret not in page.content()
    page.get_by_role("link", name="Revoke").click()
    window.inspect()
    assert live.map(secret).status == 200  # asking is not doing
    window.press("Revoke")
    assert "browser-test is revoked" in page.content()
    refused = live.map(secret)
    assert (refused.status, refused.body["code"]) == (401, "invalid_credentials")
    page = window.open(path)
    assert page.get_by_role("link", name="Rotate").count() == 0


def test_a_secret_is_left_nowhere_in_the_browser(live: Stack, enter: Enter) -> None:
    window = enter(live.person("admin"))
    secret, _ = _create(window, "left-nowhere")
    assert secret not in window.page.url
    assert secret not in json.dumps(window.context.storage_state())
    window.page.go_back()
    assert secret not in window.page.content()
    window.page.go_forward()
    assert secret not in window.page.content()
    for path in (KEYS, "/admin/audit/auditentry/", "/admin/"):
        assert secret not in window.open(path).content()


def test_the_answer_with_a_secret_may_not_be_stored(live: Stack, enter: Enter) -> None:
    window = enter(live.person("admin"))
    page = window.open(f"{KEYS}add/")
    page.get_by_label("Name").fill("no-store")
    with page.expect_navigation() as navigation:
        page.get_by_role("button", name="Create key").click()
    assert "no-store" in str(navigation.value.headers["cache-control"])  # type: ignore[union-attr]


def test_copying_puts_the_header_line_on_the_clipboard(live: Stack, enter: Enter) -> None:
    window = enter(live.person("admin"), permissions=["clipboard-read", "clipboard-write"])
    secret, _ = _create(window, "copied")
    window.page.get_by_role("button", name="Copy header").click()
    window.page.get_by_text("Copied.").wait_for()
    copied = window.page.evaluate("navigator.clipboard.readText()")
    assert copied == f"Authorization: Bearer {secret}"


def test_rotating_gives_a_new_secret_and_the_old_one_its_grace(live: Stack, enter: Enter) -> None:
    window = enter(live.person("admin"))
    old, path = _create(window, "rotated")
    window.open(f"{path.removesuffix('change/')}rotate/")
    window.page.get_by_label("1 hour").check()
    window.press("Rotate")
    new = window.page.locator("#secret").inner_text()
    assert new != old
    assert [live.map(new).status, live.map(old).status] == [200, 200]

    window.open(f"{path.removesuffix('change/')}rotate/")
    window.page.get_by_label("None: the old secret stops working now").check()
    window.press("Rotate")
    newest = window.page.locator("#secret").inner_text()
    assert [live.map(key).status for key in (newest, new, old)] == [200, 401, 401]


def test_the_form_says_what_is_missing(live: Stack, enter: Enter) -> None:
    window = enter(live.person("admin"))
    page = window.open(f"{KEYS}add/")
    page.get_by_label("Map detector outputs (map:write)").uncheck()
    page.get_by_label("Expires on").fill("2001-01-01")
    window.press("Create key")
    text = page.locator("#content").inner_text()
    for sentence in ("Nothing was done yet", "Choose what the key may do.", "Choose a day after"):
        assert sentence in text


def test_an_officer_neither_sees_nor_reaches_keys(live: Stack, enter: Enter) -> None:
    admin = enter(live.person("admin"))
    secret, path = _create(admin, "not-for-officers")
    officer = enter(live.person("officer"))
    assert "API keys" not in officer.navigation()
    assert "not-for-officers" not in officer.page.content()
    base = path.removesuffix("change/")
    for hidden in (KEYS, f"{KEYS}add/", path, f"{base}rotate/", f"{base}revoke/"):
        assert officer.status_of(hidden) == 403, hidden
        assert officer.status_of(hidden, form={"name": "x", "grace": "0"}) == 403, hidden
    assert live.map(secret).status == 200


def test_another_tenants_key_does_not_exist(live: Stack, enter: Enter) -> None:
    secret, path = _create(enter(live.person("admin")), "of-the-first-tenant")
    other = enter(live.person("admin", tenant=1))
    assert "of-the-first-tenant" not in other.open(KEYS).content()
    base = path.removesuffix("change/")
    for foreign in (path, f"{base}rotate/", f"{base}revoke/"):
        assert other.status_of(foreign) == 404, foreign
        assert other.status_of(foreign, form={"grace": "0"}) in (403, 404), foreign
    assert live.map(secret).status == 200
