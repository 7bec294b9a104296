"""The review queue in Chromium, by the keyboard alone."""

import re

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Enter
from tests.browser.visitor import Visitor
from tests.support.names import fresh
from tests.support.stack import Stack

QUEUE = "/admin/mapping/reviewitem/"
DECISIONS = "/admin/mapping/labeldecision/"
WAIT = 90_000  # milliseconds: the worker counts every half minute


def _detector(live: Stack, *labels: str) -> str:
    """A new detector without a file, whose labels wait; the first came most often."""
    name = fresh("guard-")
    for times, label in enumerate(reversed(labels), 1):
        for _ in range(times):
            assert live.map(live.api_key(), name, [{"label": label, "score": 0.9}]).status == 200
    return name


def _queue(window: Visitor, detector: str, many: int) -> Page:
    """The queue of that detector, once its labels are counted."""
    page = window.open(f"{QUEUE}?detector={detector}", axe=False)
    for _ in range(WAIT // 1000):
        if page.locator("#result_list tbody tr").count() >= many:
            break
        page.wait_for_timeout(1_000)
        page.reload()
    window.inspect()
    return page


def _goes(window: Visitor, *keys: str) -> None:
    """Press keys; the last one leads to another page, which is looked at."""
    for key in keys[:-1]:
        window.page.keyboard.press(key)
    with window.page.expect_navigation():
        window.page.keyboard.press(keys[-1])
    window.inspect()


def _label(page: Page) -> str:
    return page.locator("[data-pl-focus]").inner_text()


def test_the_queue_by_keyboard_alone(live: Stack, enter: Enter) -> None:
    names = ("email_addr", "staff_badge", "noise", "later_one", "put_aside")
    detector = _detector(live, *names)
    window = enter(live.person("admin"))
    page = _queue(window, detector, len(names))
    listed = page.locator("#result_list tbody .field-label_shown, #result_list tbody th")
    assert [text.strip() for text in listed.all_inner_texts()] == list(names)

    # Down, down, up: the focus is seen on the first row; Enter opens it.
    page.keyboard.press("ArrowDown")
    page.keyboard.press("j")
    page.keyboard.press("k")
    focused = page.locator(":focus")
    assert focused.inner_text().strip() == names[0]
    assert focused.evaluate("e => getComputedStyle(e).outlineStyle") == "solid"
    _goes(window, "Enter")
    assert _label(page) == names[0]
    assert page.locator(":focus").inner_text() == names[0]

    # The first candidate, by its number, twice: chosen and not chosen; then again, and saved.
    page.keyboard.press("1")
    first = page.locator("[data-pl-candidate='1']")
    name = first.get_attribute("value")
    expect(page.locator("[data-pl-chosen]")).to_have_text(f"Chosen: {name}.")
    page.keyboard.press("1")
    expect(page.locator("[data-pl-chosen]")).to_have_text("Nothing is chosen yet.")
    _goes(window, "1", "Enter")
    assert f"Saved: {names[0]} → {name}." in page.locator("body").inner_text()
    assert _label(page) == names[1]

    # By the search: what is typed there is no command; Enter takes the first, Enter saves.
    page.keyboard.press("/")
    page.keyboard.type("licence of a profession")
    page.keyboard.press("Escape")
    page.keyboard.press("/")
    page.keyboard.type("professional license")
    expect(page.locator("#found")).to_have_text(re.compile(r"^[1-9]\d* of \d+ labels match\.$"))
    page.keyboard.press("Enter")
    chosen = "PII.Identifier.ProfessionalLicense"
    expect(page.locator("[data-pl-chosen]")).to_have_text(f"Chosen: {chosen}.")
    page.keyboard.press("ArrowDown")
    assert page.locator(":focus").get_attribute("type") == "checkbox"
    _goes(window, "Enter")
    assert _label(page) == names[2]

    # Not a finding takes back what was chosen before.
    if page.locator("[data-pl-candidate='1']").count():
        page.keyboard.press("1")
    page.keyboard.press("n")
    expect(page.locator("[data-pl-chosen]")).to_have_text("Chosen: not a finding.")
    _goes(window, "Enter")
    assert _label(page) == names[3]

    # On, back, skipped; then one is put aside.
    _goes(window, "j")
    assert _label(page) == names[4]
    _goes(window, "k")
    assert _label(page) == names[3]
    _goes(window, "s")
    assert _label(page) == names[4]
    _goes(window, "d")
    assert f"Dismissed: {names[4]}." in page.locator("body").inner_text()
    assert _label(page) == names[3]

    for label, wanted in ((names[0], name), (names[1], chosen), (names[2], "OTHER.Safe")):
        _becomes(window, live, detector, label, str(wanted))


def _becomes(window: Visitor, live: Stack, detector: str, label: str, wanted: str) -> None:
    """Every process knows within seconds."""
    found: list[str] = []
    for _ in range(60):
        body = live.map(live.api_key(), detector, [{"label": label, "score": 0.9}]).body
        found = body["taxonomy"]
        if found == [wanted]:
            return
        window.page.wait_for_timeout(250)
    pytest.fail(f"/map answers {found}, not {wanted}")


def test_keys_can_be_turned_off_and_errors_are_said(live: Stack, enter: Enter) -> None:
    detector = _detector(live, "one_label", "another_label")
    window = enter(live.person("admin"))
    page = _queue(window, detector, 2)
    _goes(window, "ArrowDown", "Enter")
    _goes(window, "Enter")
    assert page.get_by_role("alert").inner_text().startswith("Choose at least one label")
    box = page.get_by_label("Keys without Ctrl or Alt")
    box.focus()
    page.keyboard.press("Space")
    page.keyboard.press("n")
    page.keyboard.press("s")
    assert not page.locator("#not_a_finding").is_checked()
    page.reload()
    assert not page.get_by_label("Keys without Ctrl or Alt").is_checked()
    page.get_by_label("Keys without Ctrl or Alt").check()
    page.keyboard.press("n")
    assert page.locator("#not_a_finding").is_checked()


def test_several_at_once_and_on_a_small_screen(live: Stack, enter: Enter) -> None:
    detector = _detector(live, "first_label", "second_label", "third_label")
    window = enter(live.person("admin"), width=390, height=844)
    page = _queue(window, detector, 3)
    assert window.fits()
    page.keyboard.press("j")
    page.keyboard.press("x")
    page.keyboard.press("j")
    page.keyboard.press("x")
    assert page.locator("input.action-select:checked").count() == 2
    page.locator("select[name=action]").select_option("decide_chosen")
    with page.expect_navigation():
        page.locator("button[name=index]").first.click()
    window.inspect()
    assert window.fits()
    assert page.locator("input[name=item]").count() == 2
    page.keyboard.press("n")
    with page.expect_navigation():
        page.keyboard.press("Enter")
    window.inspect()
    assert _label(page) == "third_label"
    assert window.fits()
    window.open(DECISIONS)
    page.locator("#result_list tbody a").first.click()
    window.inspect()
    assert window.fits()
    window.press("Withdraw", role="link")
    window.press("Withdraw the decision")
    window.open(f"{QUEUE}?detector={detector}")
    assert page.locator("#result_list tbody tr").count() == 2


def test_an_officer_only_reads(live: Stack, enter: Enter) -> None:
    detector = _detector(live, "only_to_read")
    window = enter(live.person("officer"))
    page = _queue(window, detector, 1)
    _goes(window, "j", "Enter")
    assert page.locator("form#decide").count() == 0
    assert page.get_by_role("button", name=re.compile("Save")).count() == 0


def test_a_suggestion_from_tenant_to_change_set(live: Stack, enter: Enter) -> None:
    label = fresh("staff_")
    assert (
        live.map(live.api_key(), "presidio", [{"entity_type": label, "score": 0.9}]).status == 200
    )
    admin, curator = enter(live.person("admin")), enter(live.of_platform("curator"))
    page = admin.page
    for _ in range(WAIT // 1000):
        admin.open(f"{QUEUE}?q={label}", axe=False)
        if page.locator("#result_list tbody tr").count():
            break
        page.wait_for_timeout(1_000)
    _goes(admin, "j", "Enter")
    page.keyboard.press("/")
    page.keyboard.type("PII.Identifier.Other")
    page.keyboard.press("Enter")
    _goes(admin, "Enter")
    admin.open(f"{DECISIONS}?q={label}")
    page.locator("#result_list tbody a").first.click()
    admin.inspect()
    admin.press("Propose for everybody", role="link")
    page.get_by_label("Note").fill("As in the manual")
    admin.press("Propose")
    curator.open(f"/admin/changes/suggestion/?q={label}")
    curator.page.locator("#result_list tbody a").first.click()
    curator.inspect()
    assert "Acme Health" in curator.page.locator("#content").inner_text()
    curator.press("Make a change set of it")
    assert f"presidio: {label}" in curator.page.locator("#content").inner_text()
    curator.press("Withdraw", role="link")
    curator.press("Withdraw")
