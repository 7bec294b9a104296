"""The pages of change sets: what each person is offered, and what a form does."""

import re
from typing import Any

import pytest
from django.test import Client

from taxonomy.changes import services
from taxonomy.changes.models import ChangeSet, State
from taxonomy.changes.publishing import publish
from taxonomy.models import CrosswalkRow, DetectorLabel, KnowledgeRelease, Label
from tests.changes.conftest import EMAIL_KEY, SSN_KEY, in_force

pytestmark = pytest.mark.django_db
LIST = "/admin/changes/changeset/"


def page(client: Client, change_set: ChangeSet) -> str:
    """The page of a change set."""
    answer = client.get(f"{LIST}{change_set.number}/change/")
    assert answer.status_code == 200
    return answer.content.decode()


def offered(html: str) -> list[str]:
    """The steps on a page."""
    return re.findall(r'class="pl-button[^"]*" href="[^"]*/([a-z-]+)/\?revision=\d+"', html)


def test_a_draft_is_written_with_forms(browse: Any, alice: Any) -> None:
    client = browse(alice)
    row = DetectorLabel.objects.filter(detector_map__detector="presidio", label="US_SSN").first()
    assert row
    answer = client.get(f"/admin/taxonomy/detectorlabel/{row.pk}/propose/", follow=True)
    assert "Propose a change: presidio: US_SSN" in answer.content.decode()
    start = re.search(r'href="(/admin/changes/changeset/add/[^"]*)"', answer.content.decode())
    assert start
    address = start.group(1).replace("&amp;", "&")
    answer = client.post(
        address, {"title": "US_SSN is critical", "reason": "It cannot be changed."}, follow=True
    )
    html = answer.content.decode()
    assert 'name="canonical"' in html
    assert '<option value="PII.Identifier.SSN" selected>' in html
    edit = answer.redirect_chain[-1][0]
    fields = {"disposition": "mapped", "canonical": ["PII.Identifier.SSN"], "revision": "1"}
    answer = client.post(edit, {**fields, "severity": "critical"}, follow=True)
    html = answer.content.decode()
    assert "presidio: US_SSN" in html
    assert "critical" in html
    made = ChangeSet.objects.get()
    assert made.edits.get().after == {**(in_force(SSN_KEY) or {}), "severity": "critical"}
    assert offered(html) == ["submit", "withdraw"]


def test_a_form_says_what_is_refused(browse: Any, alice: Any, draft: Any) -> None:
    client = browse(alice)
    address = f"{LIST}{draft.number}/edit/?kind=label&name=PII.Contact.Email"
    label = in_force(EMAIL_KEY) or {}
    fields = {
        "meaning": label["meaning"], "boundary": label.get("boundary", ""),
        "severity": label["severity"], "aliases": ", ".join(label["aliases"]),
    }  # fmt: skip
    answer = client.post(address, {**fields, "revision": str(draft.revision)})
    assert "PII.Contact.Email would not change" in answer.content.decode()
    answer = client.post(address, {**fields, "severity": "high", "revision": "1"})
    assert "has been changed since you opened it" in answer.content.decode()
    assert draft.edits.count() == 1
    rule = f"{LIST}{draft.number}/edit/?kind=detector_label"
    answer = client.post(
        rule, {"detector": "presidio", "label": "NEW", "disposition": "unmapped", "reason": ""}
    )
    assert "Say why it is not mapped" in answer.content.decode()


def test_an_address_that_somebody_made_up(browse: Any, draft: Any, alice: Any) -> None:
    for revision in ("9" * 5_000, "-1", "x"):
        answer = browse(alice).get(f"{LIST}{draft.number}/submit/?revision={revision}")
        assert f'value="{draft.revision}"' in answer.content.decode()


def test_without_any_knowledge_a_page_says_what_to_do(
    browse: Any, alice: Any, monkeypatch: Any
) -> None:
    change_set = services.start(title="Early", reason="Before the first load.", author=alice)
    monkeypatch.setattr("taxonomy.selectors.current_serial", lambda: None)
    answer = browse(alice).get(f"{LIST}{change_set.number}/edit/?kind=label", follow=True)
    assert "manage.py load_config" in answer.content.decode()


def test_a_removal_needs_no_other_field(browse: Any, alice: Any, draft: Any) -> None:
    address = f"{LIST}{draft.number}/edit/?kind=detector_label&document=presidio&name=US_ITIN"
    answer = browse(alice).post(address, {"remove": "on", "revision": str(draft.revision)})
    assert answer.status_code == 302
    assert draft.edits.get(name="US_ITIN").after is None


def test_steps_by_person_and_state(
    browse: Any, submitted: Any, alice: Any, bob: Any, person: Any
) -> None:
    assert offered(page(browse(alice), submitted)) == ["send-back", "withdraw"]
    assert offered(page(browse(bob), submitted)) == ["approve", "send-back"]
    stranger = person("dave")
    assert browse(stranger).get(f"{LIST}{submitted.number}/change/").status_code == 403
    assert browse(stranger).get("/admin/").status_code == 200
    for step in ("submit", "approve", "publish", "roll-back", "withdraw", "edit", "describe"):
        address = f"{LIST}{submitted.number}/{step}/"
        assert browse(stranger).post(address).status_code == 403, step


def test_the_authors_own_approval_is_refused_on_the_page_too(
    browse: Any, submitted: Any, alice: Any
) -> None:
    address = f"{LIST}{submitted.number}/approve/"
    answer = browse(alice).post(address, {"revision": submitted.revision, "text": ""})
    assert "You wrote in this change set" in answer.content.decode()
    submitted.refresh_from_db()
    assert submitted.state == State.SUBMITTED


def test_to_published_and_rolled_back(browse: Any, submitted: Any, bob: Any) -> None:
    client, number = browse(bob), submitted.number
    sent = {"revision": submitted.revision, "text": ""}
    client.post(f"{LIST}{number}/approve/", sent)
    html = page(client, submitted)
    assert offered(html) == ["send-back", "publish"]
    assert "1 of 1" in html
    before = KnowledgeRelease.objects.count()
    client.post(f"{LIST}{number}/publish/", sent)
    html = page(client, submitted)
    assert KnowledgeRelease.objects.count() == before + 1
    assert "Intact" in html
    manifest = client.get(f"{LIST}{number}/manifest/")
    assert manifest.json()["author"] == "user:alice"
    assert offered(html) == ["roll-back"]
    answer = client.post(f"{LIST}{number}/roll-back/", sent)
    assert "This field is required" in answer.content.decode()
    client.post(f"{LIST}{number}/roll-back/", {**sent, "text": "Too many alarms."})
    html = page(client, submitted)
    assert "Too many alarms." in html
    assert offered(html) == []


def test_a_stale_draft_says_so(browse: Any, draft: Any, alice: Any) -> None:
    draft.edits.update(before={"canonical": "PII.Other"})
    html = page(browse(alice), draft)
    assert "Stale: in force" in html
    assert offered(html) == ["submit", "refresh", "withdraw"]
    answer = browse(alice).post(f"{LIST}{draft.number}/submit/", {"revision": draft.revision})
    assert "Changed in force since this was drafted: presidio: US_SSN" in answer.content.decode()


def test_problems_are_shown_before_submitting(browse: Any, alice: Any) -> None:
    change_set = services.start(title="Broken", reason="To see it.", author=alice)
    services.edit(
        number=change_set.number, key=SSN_KEY, after={"canonical": "PII.Nothing"}, editor=alice
    )
    html = page(browse(alice), change_set)
    assert "It cannot be submitted as it is" in html
    assert "PII.Nothing is not in taxonomy" in html


def test_history_shows_what_went_around_the_application(
    browse: Any, approved: Any, bob: Any
) -> None:
    publish(number=approved.number, person=bob, revision=approved.revision)
    html = page(browse(bob), approved)
    assert "Change set, revision 2, published" in html
    assert "user:alice" in html


def test_the_list_and_its_filters(browse: Any, submitted: Any, bob: Any, alice: Any) -> None:
    for client, work, there in (
        (bob, "mine", True),
        (alice, "mine", False),
        (alice, "author", True),
    ):
        html = browse(client).get(f"{LIST}?work={work}").content.decode()
        assert (submitted.title in html) is there
    start = browse(bob).get("/admin/").content.decode()
    assert f"#{submitted.number} US_SSN is critical" in start
    assert browse(bob).get(f"{LIST}?q=US_SSN").status_code == 200


def test_comments_describe_drop_and_impact(browse: Any, draft: Any, alice: Any, bob: Any) -> None:
    address = f"{LIST}{draft.number}"
    browse(bob).post(f"{address}/comment/", {"text": "Is <b>high</b> enough?"})
    assert "Is &lt;b&gt;high&lt;/b&gt; enough?" in page(browse(alice), draft)
    client = browse(alice)
    described = {
        "title": "Other title", "reason": "Other reason.", "effective_at_0": "2030-01-01",
        "effective_at_1": "12:00", "revision": draft.revision,
    }  # fmt: skip
    assert client.post(f"{address}/describe/", described).status_code == 302
    draft.refresh_from_db()
    assert (draft.title, draft.effective_at.year) == ("Other title", 2030)
    assert client.post(f"{address}/impact/").status_code == 302
    edit = draft.edits.get()
    assert client.get(f"{address}/drop/?edit=nonsense").status_code == 404
    answer = client.post(f"{address}/drop/?edit={edit.pk}", {"revision": draft.revision})
    assert answer.status_code == 302
    assert not draft.edits.exists()


@pytest.mark.parametrize("model", [Label, CrosswalkRow])
def test_every_kind_can_be_proposed(browse: Any, alice: Any, draft: Any, model: Any) -> None:
    row = model.objects.filter(**(
        {"edition__edition": "2026.11", "name": "PII.Contact.Email"} if model is Label
        else {"crosswalk__framework__framework": "soc2"}
    )).first()  # fmt: skip
    name = model._meta.model_name
    answer = browse(alice).get(f"/admin/taxonomy/{name}/{row.pk}/propose/", follow=True)
    link = re.search(rf'href="({LIST}{draft.number}/edit/[^"]*)"', answer.content.decode())
    assert link
    assert browse(alice).get(link.group(1).replace("&amp;", "&")).status_code == 200


def test_tenants_have_no_change_sets(sign_in_tenant: Any) -> None:
    assert sign_in_tenant.get(LIST).status_code == 404
    row = Label.objects.first()
    assert row
    assert sign_in_tenant.get(f"/admin/taxonomy/label/{row.pk}/propose/").status_code in (404, 302)


@pytest.fixture
def sign_in_tenant(plain_static: None, acme: Any) -> Client:
    """A superuser of a tenant."""
    from access.users.models import User
    from tenants.context import tenant_context

    with tenant_context(acme.tenant):
        chief = User.objects.create_superuser("chief")
        client = Client(headers={"host": acme.host})
        client.force_login(chief)
    return client
