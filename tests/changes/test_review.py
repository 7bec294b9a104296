"""From draft to approval: who may do what, and what is refused."""

from typing import Any

import pytest

from taxonomy.changes import services
from taxonomy.changes.errors import ChangeError, InvalidChangeSetError, StaleChangeSetError
from taxonomy.changes.models import Edit, State
from taxonomy.changes.publishing import publish
from taxonomy.changes.selectors import stale_keys, waiting_for
from taxonomy.objects import ObjectKey, ObjectKind
from tests.changes.conftest import EMAIL_KEY, ROW_KEY, SSN_KEY, in_force

pytestmark = pytest.mark.django_db


def test_from_draft_to_approved(draft: Any, alice: Any, bob: Any) -> None:
    assert draft.state == State.DRAFT
    submitted = services.submit(number=draft.number, editor=alice, revision=draft.revision)
    assert (submitted.state, submitted.approvals_required) == (State.SUBMITTED, 1)
    approved = services.approve(number=draft.number, approver=bob, revision=submitted.revision)
    assert approved.state == State.APPROVED
    assert in_force(SSN_KEY) != {"canonical": "PII.Identifier.SSN", "severity": "critical"}
    said = [(entry.actor, entry.verb) for entry in approved.entries.all()]
    assert said == [
        ("user:alice", "created"), ("user:alice", "submitted"), ("user:bob", "approved"),
    ]  # fmt: skip


def test_nobody_approves_their_own(submitted: Any, alice: Any) -> None:
    with pytest.raises(ChangeError, match="somebody else has to approve it"):
        services.approve(number=submitted.number, approver=alice, revision=submitted.revision)
    submitted.refresh_from_db()
    assert submitted.state == State.SUBMITTED


def test_whoever_edited_does_not_approve_even_if_the_edit_was_taken_out(
    draft: Any, alice: Any, bob: Any
) -> None:
    label = {**(in_force(EMAIL_KEY) or {}), "severity": "high"}
    made = services.edit(number=draft.number, key=EMAIL_KEY, after=label, editor=bob)
    draft.refresh_from_db()
    services.drop_edit(number=draft.number, edit_id=made.pk, editor=alice, revision=draft.revision)
    draft.refresh_from_db()
    services.submit(number=draft.number, editor=alice, revision=draft.revision)
    with pytest.raises(ChangeError, match="somebody else"):
        services.approve(number=draft.number, approver=bob, revision=draft.revision)


@pytest.mark.parametrize("deed", ["drop", "describe", "refresh", "submit"])
def test_whoever_shaped_it_otherwise_does_not_approve_either(
    draft: Any, alice: Any, bob: Any, deed: str
) -> None:
    label = {**(in_force(EMAIL_KEY) or {}), "severity": "high"}
    made = services.edit(number=draft.number, key=EMAIL_KEY, after=label, editor=alice)
    draft.refresh_from_db()
    of_bob: dict[str, Any] = {"number": draft.number, "editor": bob, "revision": draft.revision}
    match deed:
        case "drop":
            services.drop_edit(edit_id=made.pk, **of_bob)
        case "describe":
            services.describe(title="Other", reason="Other.", effective_at=None, **of_bob)
        case "refresh":
            services.refresh(**of_bob)
        case "submit":
            services.submit(**of_bob)
    draft.refresh_from_db()
    if deed != "submit":
        services.submit(number=draft.number, editor=alice, revision=draft.revision)
    assert draft not in waiting_for(bob)
    with pytest.raises(ChangeError, match="somebody else"):
        services.approve(number=draft.number, approver=bob, revision=draft.revision)


def test_frameworks_want_two_approvers(alice: Any, bob: Any, carol: Any) -> None:
    change_set = services.start(title="Weaker row", reason="It says too much.", author=alice)
    row = {**(in_force(ROW_KEY) or {}), "strength": 6}
    services.edit(number=change_set.number, key=ROW_KEY, after=row, editor=alice)
    change_set.refresh_from_db()
    revision = change_set.revision
    waiting = services.submit(number=change_set.number, editor=alice, revision=revision)
    assert waiting.approvals_required == 2
    once = services.approve(number=change_set.number, approver=bob, revision=revision)
    assert once.state == State.SUBMITTED
    with pytest.raises(ChangeError, match="approved this revision already"):
        services.approve(number=change_set.number, approver=bob, revision=revision)
    with pytest.raises(ChangeError, match="this is for one that is approved"):
        publish(number=change_set.number, person=bob, revision=revision)
    twice = services.approve(number=change_set.number, approver=carol, revision=revision)
    assert twice.state == State.APPROVED


def test_one_open_change_set_a_thing(draft: Any, bob: Any) -> None:
    other = services.start(title="Another", reason="The same thing again.", author=bob)
    with pytest.raises(ChangeError, match=rf"open change set #{draft.number} of alice \(draft\)"):
        services.edit(
            number=other.number, key=SSN_KEY, after={"unmapped": "not wanted"}, editor=bob
        )
    assert not other.edits.exists()
    services.withdraw(number=draft.number, person=bob, revision=draft.revision)
    services.edit(number=other.number, key=SSN_KEY, after={"unmapped": "not wanted"}, editor=bob)
    assert other.edits.count() == 1


def test_sent_back_and_approved_again(submitted: Any, alice: Any, bob: Any) -> None:
    number, revision = submitted.number, submitted.revision
    with pytest.raises(ChangeError, match="Say what is to be changed"):
        services.send_back(number=number, text=" ", person=bob, revision=revision)
    back = services.send_back(number=number, text="High is enough.", person=bob, revision=revision)
    assert (back.state, back.revision) == (State.DRAFT, revision + 1)
    assert back in waiting_for(alice)
    services.edit(
        number=number, key=SSN_KEY, after={"canonical": "PII.Identifier.SSN", "severity": "high"},
        editor=alice,
    )  # fmt: skip
    back.refresh_from_db()
    again = services.submit(number=number, editor=alice, revision=back.revision)
    with pytest.raises(StaleChangeSetError, match="changed since you opened it"):
        services.approve(number=number, approver=bob, revision=revision)
    services.approve(number=number, approver=bob, revision=again.revision)


def test_an_approval_is_void_after_sending_back(approved: Any, alice: Any, bob: Any) -> None:
    back = services.send_back(
        number=approved.number, text="Wait.", person=bob, revision=approved.revision
    )
    again = services.submit(number=back.number, editor=alice, revision=back.revision)
    assert again.state == State.SUBMITTED
    assert not again.approvals.filter(revision=again.revision).exists()


def test_a_form_that_was_opened_before_a_change_is_refused(draft: Any, alice: Any) -> None:
    services.describe(
        number=draft.number, title="Other title", reason="Other reason.", effective_at=None,
        editor=alice, revision=draft.revision,
    )  # fmt: skip
    with pytest.raises(StaleChangeSetError, match="Nothing was done"):
        services.submit(number=draft.number, editor=alice, revision=draft.revision)


class TestAStaleDraft:
    """Its thing changed in force, by another change set, since it was drafted."""

    @pytest.fixture
    def stale(self, draft: Any, alice: Any, bob: Any) -> Any:
        """The draft with a `before` that was in force before a change that went around it."""
        Edit.objects.filter(change_set=draft).update(before={"canonical": "PII.Other"})
        return draft

    def test_is_refused(self, stale: Any, alice: Any) -> None:
        assert stale_keys(stale) == [SSN_KEY]
        with pytest.raises(StaleChangeSetError, match="presidio: US_SSN"):
            services.submit(number=stale.number, editor=alice, revision=stale.revision)

    def test_can_be_brought_up_to_date(self, stale: Any, alice: Any) -> None:
        assert services.refresh(number=stale.number, editor=alice, revision=stale.revision) == [
            SSN_KEY
        ]
        stale.refresh_from_db()
        assert stale.edits.get().before == in_force(SSN_KEY)
        services.submit(number=stale.number, editor=alice, revision=stale.revision)


@pytest.mark.parametrize(
    ("key", "after", "problem"),
    [
        (SSN_KEY, {"canonical": "PII.Nothing"}, "PII.Nothing is not in taxonomy"),
        (SSN_KEY, {"canonical": "PII.Other", "colour": "red"}, "colour"),
        (EMAIL_KEY, None, "PII.Contact.Email is not in taxonomy"),
        (ROW_KEY, {"relationship": "equal", "evidence": "none", "strength": 0, "rationale": "x"},
         "too short|not one of"),
        (ObjectKey(ObjectKind.LABEL, "", "PII.Contact"),
         {"meaning": "A way to reach somebody.", "severity": "low", "aliases": []},
         "is a label and a branch"),
    ],
)  # fmt: skip
def test_what_breaks_a_rule_is_not_submitted(
    alice: Any, key: ObjectKey, after: Any, problem: str
) -> None:
    change_set = services.start(title="Broken", reason="To see it refused.", author=alice)
    services.edit(number=change_set.number, key=key, after=after, editor=alice)
    change_set.refresh_from_db()
    with pytest.raises(InvalidChangeSetError, match=problem):
        services.submit(number=change_set.number, editor=alice, revision=change_set.revision)


def test_nothing_is_proposed_that_changes_nothing(alice: Any) -> None:
    change_set = services.start(title="Nothing", reason="To see it refused.", author=alice)
    with pytest.raises(ChangeError, match="would not change"):
        services.edit(number=change_set.number, key=SSN_KEY, after=in_force(SSN_KEY), editor=alice)
    with pytest.raises(ChangeError, match="is empty"):
        services.submit(number=change_set.number, editor=alice, revision=1)


def test_the_work_list(submitted: Any, alice: Any, bob: Any, carol: Any, person: Any) -> None:
    assert list(waiting_for(bob)) == [submitted]
    assert not waiting_for(alice).exists()
    assert not waiting_for(person("dave")).exists()
    services.approve(number=submitted.number, approver=bob, revision=submitted.revision)
    assert not waiting_for(carol).exists()
    assert list(waiting_for(alice)) == [submitted]  # approved: to be published


def test_who_is_told(bob: Any, submitted: Any, mailoutbox: Any) -> None:
    from taxonomy.changes.notices import send_notices

    services.comment(number=submitted.number, text="Why not high?", person=bob)
    assert send_notices() == 2
    told = [(mail.to, mail.subject) for mail in mailoutbox]
    number = submitted.number
    assert told == [
        (["bob@example.org"], f"[Pillars] #{number} US_SSN is critical: alice submitted it for "
         "approval"),
        (["alice@example.org"], f"[Pillars] #{number} US_SSN is critical: bob commented"),
    ]  # fmt: skip
    assert "Why not high?" in mailoutbox[1].body
    assert f"/admin/changes/changeset/{number}/change/" in mailoutbox[0].body
    assert send_notices() == 0


def test_an_approver_who_wrote_in_it_is_not_asked(
    draft: Any, alice: Any, bob: Any, carol: Any, person: Any, mailoutbox: Any
) -> None:
    from taxonomy.changes.notices import send_notices

    person("dave")  # may not approve
    label = {**(in_force(EMAIL_KEY) or {}), "severity": "high"}
    services.edit(number=draft.number, key=EMAIL_KEY, after=label, editor=bob)
    draft.refresh_from_db()
    services.submit(number=draft.number, editor=alice, revision=draft.revision)
    assert send_notices() == 1
    assert mailoutbox[0].to == [carol.email]


def test_mail_that_fails_is_sent_again(bob: Any, submitted: Any, settings: Any) -> None:
    from taxonomy.changes.models import Notice
    from taxonomy.changes.notices import send_notices

    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", 9  # nobody listens there
    assert send_notices() == 0
    notice = Notice.objects.get()
    assert notice.attempts == 1
    assert "mail server did not take it" in notice.error
    settings.EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"
    assert send_notices() == 1


def test_everything_is_in_the_audit_trail_and_in_the_history(approved: Any) -> None:
    from django.apps import apps

    from audit.models import AuditEntry

    trail = AuditEntry.objects.filter(target=str(approved.number)).order_by("id")
    assert [entry.action for entry in trail] == [
        "change_set.created", "change_set.submitted", "change_set.approved",
    ]  # fmt: skip
    events = apps.get_model("changes", "ChangeSetEvent").objects.filter(number=approved.number)
    states = list(events.order_by("pgh_id").values_list("state", flat=True))
    assert states == ["draft", "draft", "submitted", "approved"]
    assert events.last().pgh_context.metadata == {"actor": "user:bob"}


def test_a_title_of_two_lines_neither_breaks_nor_forges_an_email(
    alice: Any, bob: Any, mailoutbox: Any
) -> None:
    from taxonomy.changes.notices import send_notices

    change_set = services.start(
        title="A change\nBcc: everybody@example.org", reason="For a test.", author=alice
    )
    assert change_set.title == "A change Bcc: everybody@example.org"
    services.comment(number=change_set.number, text="Look.", person=bob)
    assert send_notices() == 1
    assert "\n" not in mailoutbox[0].subject


def test_an_email_that_cannot_be_sent_does_not_hold_up_the_others(
    draft: Any, alice: Any, bob: Any, mailoutbox: Any
) -> None:
    from taxonomy.changes.models import Notice
    from taxonomy.changes.notices import send_notices

    services.comment(number=draft.number, text="First.", person=bob)
    Notice.objects.update(subject="Two\nlines")
    services.comment(number=draft.number, text="Second.", person=bob)
    assert send_notices() == 1
    assert Notice.objects.get(sent_at=None).attempts == 1
