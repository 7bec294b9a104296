"""Two people in two browsers take a change from draft to published to rolled back."""

import re
import secrets

import psycopg
import pytest

from tests.browser.conftest import Enter
from tests.browser.visitor import Visitor
from tests.support.stack import Stack

CHANGES = "/admin/changes/changeset/"
US_SSN = [{"entity_type": "US_SSN", "start": 0, "end": 11, "score": 0.9}]


def _number(window: Visitor) -> int:
    found = re.search(r"/changeset/(\d+)/", window.page.url)
    assert found
    return int(found.group(1))


def _start(window: Visitor, title: str) -> int:
    """Start a draft from the list."""
    window.open(CHANGES)
    window.press("Start change set", role="link")
    window.page.get_by_label("Title").fill(title)
    window.page.get_by_label("Reason").fill("A number cannot be changed once it has leaked.")
    window.press("Start change set")
    return _number(window)


def _rule(window: Visitor, number: int, severity: str) -> None:
    """Propose another severity for presidio's US_SSN, from the rule's own page."""
    page = window.open("/admin/taxonomy/detectorlabel/?q=US_SSN&detector_map__detector=presidio")
    page.locator("#result_list tbody a[href]").first.click()
    window.inspect()
    window.press("Propose a change", role="link")
    draft = window.page.get_by_role("link", name=re.compile(rf"^#{number} "))
    with window.page.expect_navigation():
        draft.click()
    window.inspect()
    window.page.get_by_label("Severity").select_option(label=severity)
    window.press("Put into the change set")


def _severity(live: Stack) -> str:
    return str(live.map(live.api_key(), "presidio", US_SSN).body["severity"])


def _becomes(window: Visitor, live: Stack, severity: str) -> None:
    """Running processes see a release within seconds."""
    for _ in range(60):
        if _severity(live) == severity:
            return
        window.page.wait_for_timeout(250)
    pytest.fail(f"/map did not answer {severity}")


def test_a_change_from_draft_to_rolled_back(live: Stack, enter: Enter) -> None:
    title = f"US_SSN is critical {secrets.token_hex(3)}"
    curator, approver = enter(live.of_platform("curator")), enter(live.of_platform("approver"))
    before = _severity(live)
    assert before != "critical"

    number = _start(curator, title)
    _rule(curator, number, "Critical")
    text = curator.page.locator("#content").inner_text()
    assert "presidio: US_SSN" in text
    assert "critical" in text
    with curator.page.expect_navigation():
        curator.page.get_by_role("button", name="Count the impact").click()
    curator.press("Submit for approval", role="link")
    curator.press("Submit for approval")
    assert "Waiting for approval" in curator.page.locator("#content").inner_text()

    # The author has no button, and the address behind it refuses.
    assert curator.page.get_by_role("link", name="Approve", exact=True).count() == 0
    assert curator.status_of(f"{CHANGES}{number}/approve/", {"revision": "2"}) == 403

    # The approver finds it on the start page, asks, and approves.
    approver.open("/admin/")
    with approver.page.expect_navigation():
        approver.page.get_by_role("link", name=f"#{number} {title}").click()
    approver.inspect()
    approver.page.get_by_label("Comment").fill("Is high not enough?")
    approver.press("Comment")
    approver.press("Approve", role="link")
    approver.press("Approve")
    assert "1 of 1" in approver.page.locator("#content").inner_text()
    assert _severity(live) == before

    page = curator.open(f"{CHANGES}{number}/change/")
    assert "Is high not enough?" in page.locator("#content").inner_text()
    curator.press("Publish now", role="link")
    curator.press("Publish now")
    assert "Intact" in page.locator("#content").inner_text()
    _becomes(curator, live, "critical")

    approver.open(f"{CHANGES}{number}/change/")
    approver.press("Roll back", role="link")
    approver.page.get_by_label("Reason").fill("Too many alarms.")
    approver.press("Roll back")
    assert "Rolled back" in approver.page.locator("#content").inner_text()
    _becomes(approver, live, before)


def test_a_stale_draft_and_a_second_open_change_set_are_refused(live: Stack, enter: Enter) -> None:
    curator, approver = enter(live.of_platform("curator")), enter(live.of_platform("approver"))
    operator = enter(live.operator)
    first = _start(curator, f"First {secrets.token_hex(3)}")
    _rule(curator, first, "Low")

    # A second open change set on the same thing, of somebody else.
    second = _start(operator, f"Second {secrets.token_hex(3)}")
    _rule(operator, second, "Medium")
    said = operator.page.get_by_role("alert").inner_text()
    assert f"stands in the open change set #{first} of curator" in said
    operator.open(f"{CHANGES}{second}/change/")
    operator.press("Withdraw", role="link")
    operator.press("Withdraw")

    # A form that was opened before the draft changed: the approver saw another revision.
    curator.open(f"{CHANGES}{first}/change/")
    curator.press("Submit for approval", role="link")
    curator.press("Submit for approval")
    approver.open(f"{CHANGES}{first}/change/")
    approver.press("Approve", role="link")
    curator.press("Send back", role="link")
    curator.page.get_by_label("Reason").fill("I forgot something.")
    curator.press("Send back")
    _rule(curator, first, "Info")
    curator.press("Submit for approval", role="link")
    curator.press("Submit for approval")
    approver.press("Approve")
    said = approver.page.get_by_role("alert").inner_text()
    assert "has been changed since you opened it" in said
    assert "0 of 1" in approver.open(f"{CHANGES}{first}/change/").locator("#content").inner_text()
    approver.press("Send back", role="link")
    approver.page.get_by_label("Reason").fill("Not now.")
    approver.press("Send back")
    curator.open(f"{CHANGES}{first}/change/")
    curator.press("Withdraw", role="link")
    curator.press("Withdraw")
    assert "Withdrawn" in curator.page.locator("#content").inner_text()


def test_the_database_refuses_what_goes_around_the_pages(live: Stack, enter: Enter) -> None:
    """As the application's own role, on the stack that the browsers use."""
    curator = enter(live.of_platform("curator"))
    number = _start(curator, f"By SQL {secrets.token_hex(3)}")
    _rule(curator, number, "Low")
    curator.press("Submit for approval", role="link")
    curator.press("Submit for approval")
    for statement, words in (
        ("UPDATE changes_changeset SET state = 'approved' WHERE number = %s", "0 of 1 approvals"),
        ("UPDATE changes_edit SET after = '{}' WHERE change_set_id = %s", "was submitted"),
        ("INSERT INTO changes_approval (id, change_set_id, revision, approver_id, at) "
         "SELECT gen_random_uuid(), number, revision, author_id, now() "
         "FROM changes_changeset WHERE number = %s", "wrote in"),
    ):  # fmt: skip
        with (
            pytest.raises(psycopg.Error, match=words),
            psycopg.connect(live.database_url) as connection,
        ):
            connection.execute(statement, [number])
    curator.open(f"{CHANGES}{number}/change/")
    curator.press("Withdraw", role="link")
    curator.press("Withdraw")
