"""The pages of the review queue, of decisions and of suggestions, without a browser."""

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from django.contrib.auth.models import Group
from django.test import Client

from access.users.models import User
from access.users.roles import CURATOR, REVIEWER
from access.users.services import ensure_roles, ensure_user
from audit.models import AuditEntry
from mapping.models import LabelDecision, ReviewItem
from mapping.review import selectors
from mapping.review.sweep import sweep
from taxonomy.changes.models import ChangeSet, Suggestion
from tenants.context import tenant_context
from tests.admin.conftest import SignIn, sign_in
from tests.conftest import PASSWORD, DemoTenant
from tests.review.conftest import Waiting
from tests.support.reviews import event, finding, keep

__all__ = ["sign_in"]
QUEUE = "/admin/mapping/reviewitem/"
DECISIONS = "/admin/mapping/labeldecision/"
OTHER, EMAIL = "PII.Identifier.Other", "PII.Contact.Email"


@pytest.fixture
def reviewer(acme: DemoTenant, sign_in: SignIn) -> Client:
    """Somebody of acme who decides and does nothing else."""
    with tenant_context(acme.tenant):
        ensure_roles()
        ensure_user(username="rita", password=PASSWORD, role=REVIEWER, actor="system:tests")
    return sign_in(acme, "rita")


def text(answer: Any) -> str:
    return re.sub(r"\s+", " ", answer.content.decode())


def labels(answer: Any) -> list[str]:
    return [row.label for row in answer.context["cl"].result_list]


def decide(person: Client, *items: ReviewItem, **more: Any) -> Any:
    form = {"item": [str(item.pk) for item in items], "canonical": [OTHER], **more}
    return person.post(f"{QUEUE}decide/", form)


class TestTheQueue:
    def test_what_comes_often_and_is_uncertain_stands_first(
        self, acme: DemoTenant, reviewer: Client, waiting: Waiting
    ) -> None:
        guess = {"canonical": EMAIL, "method": "model", "confidence": 0.5}
        waiting(acme, "SELDOM")
        with tenant_context(acme.tenant):
            keep(*(event(finding("GUESSED", **guess), decision="review") for _ in range(3)))
            keep(event(finding("OFTEN")), event(finding("OFTEN")))
            sweep()
        page = reviewer.get(QUEUE)
        assert labels(page) == ["OFTEN", "GUESSED", "SELDOM"]
        assert page.context["title"] == "Review queue"
        assert labels(reviewer.get(f"{QUEUE}?reason=review")) == ["GUESSED"]
        assert labels(reviewer.get(f"{QUEUE}?q=seld")) == ["SELDOM"]
        assert labels(reviewer.get(f"{QUEUE}?detector=presidio&reason=fallback")) == [
            "OFTEN", "SELDOM",
        ]  # fmt: skip
        assert labels(reviewer.get(f"{QUEUE}?detector=nobody")) == []

    def test_states(self, acme: DemoTenant, reviewer: Client, waiting: Waiting) -> None:
        one, two, _ = waiting(acme, "ONE", "TWO", "THREE")
        decide(reviewer, one)
        reviewer.post(f"{QUEUE}{two.pk}/dismiss/")
        shown = {
            state: labels(reviewer.get(f"{QUEUE}?state={state}"))
            for state in ("", "decided", "dismissed", "all")
        }
        assert shown == {
            "": ["THREE"], "decided": ["ONE"], "dismissed": ["TWO"],
            "all": ["ONE", "TWO", "THREE"],
        }  # fmt: skip

    def test_it_says_what_came_beyond_its_limits(
        self, acme: DemoTenant, reviewer: Client, waiting: Waiting
    ) -> None:
        (one,) = waiting(acme, "ONE")
        assert "further times a label came" not in text(reviewer.get(QUEUE))
        with tenant_context(acme.tenant):
            one.pk, one.label, one.events = None, "", 1234
            one.save(force_insert=True)
        page = reviewer.get(QUEUE)
        assert "1,234 further times a label came" in text(page)
        assert labels(page) == ["ONE"]


class TestALabel:
    def test_its_page_offers_candidates_and_every_label(
        self, acme: DemoTenant, reviewer: Client, waiting: Waiting
    ) -> None:
        (item,) = waiting(acme, "customer_email_address")
        page = reviewer.get(f"{QUEUE}{item.pk}/change/")
        choices = page.context["choices"]
        assert choices.candidates[0].name == EMAIL
        assert choices.candidates[0].meaning
        names = [option.name for option in (*choices.candidates, *choices.others)]
        assert len(names) == len(set(names)) == choices.count > 150
        assert "OTHER.Unknown" not in names
        assert text(page).count('name="canonical"') == choices.count

    def test_the_candidates_of_a_model_go_first(
        self, acme: DemoTenant, reviewer: Client, waiting: Waiting
    ) -> None:
        named = [[OTHER, 0.55], ["PII.No.More", 0.2], [EMAIL, 0.1], ["not_a_finding", 0.08]]
        with tenant_context(acme.tenant):
            keep(event(finding("customer_email", candidates=named)))
            sweep()
            item = ReviewItem.objects.get()
        page = reviewer.get(f"{QUEUE}{item.pk}/change/")
        found = [(o.name, o.percent, o.why) for o in page.context["choices"].candidates]
        assert found == [(OTHER, 55, "model"), (EMAIL, 10, "model")]
        assert "8 %, model" in text(page)

    def test_save_and_next(self, acme: DemoTenant, reviewer: Client, waiting: Waiting) -> None:
        one, two, three = waiting(acme, "ONE", "TWO", "THREE")
        filters = {"_changelist_filters": "reason=fallback"}
        answer = decide(reviewer, one, canonical=[OTHER, EMAIL], note="as in the manual", **filters)
        after = urlsplit(answer["Location"])
        assert after.path == f"{QUEUE}{two.pk}/change/"
        assert parse_qs(after.query) == {"_changelist_filters": ["reason=fallback"]}
        page = reviewer.get(answer["Location"])
        assert f"Saved: ONE → {OTHER}, {EMAIL}." in text(page)
        with tenant_context(acme.tenant):
            made = LabelDecision.objects.get()
            assert AuditEntry.objects.get(action="label.decided").actor == "user:rita"
        assert (made.canonical, made.note, made.decided_by) == (
            [OTHER, EMAIL], "as in the manual", "user:rita",
        )  # fmt: skip
        decide(reviewer, two, canonical=[], not_a_finding="on")
        last = decide(reviewer, three)
        assert last["Location"] == QUEUE
        assert labels(reviewer.get(QUEUE)) == []

    def test_the_next_is_of_the_same_filter(
        self, acme: DemoTenant, reviewer: Client, waiting: Waiting
    ) -> None:
        (one,) = waiting(acme, "ONE", detector="guard")
        waiting(acme, "TWO", "TWO")
        (three,) = waiting(acme, "THREE", detector="guard")
        filters = {"_changelist_filters": "detector=guard&state="}
        assert str(three.pk) in decide(reviewer, one, **filters)["Location"]
        answer = reviewer.post(f"{QUEUE}{three.pk}/dismiss/", filters)
        assert answer["Location"] == f"{QUEUE}?detector=guard&state="

    @pytest.mark.parametrize(
        ("form", "said"),
        [
            ({"canonical": []}, "Choose at least one label"),
            ({"not_a_finding": "on"}, "not both"),
            ({"canonical": ["PII.No.Such"]}, "PII.No.Such: no label of taxonomy"),
            ({"note": "x" * 301}, "at most 300 characters"),
        ],
    )
    def test_what_is_wrong_is_said_and_what_was_chosen_stays(
        self, acme: DemoTenant, reviewer: Client, waiting: Waiting, form: dict[str, Any], said: str
    ) -> None:
        (one,) = waiting(acme, "ONE")
        answer = decide(reviewer, one, **form)
        assert answer.status_code == 200
        assert said in text(answer)
        assert 'role="alert"' in text(answer)
        if "canonical" not in form:
            assert f'value="{OTHER}" checked' in text(answer)

    def test_in_its_version_alone(
        self, acme: DemoTenant, reviewer: Client, waiting: Waiting
    ) -> None:
        (one,) = waiting(acme, "ONE", detector_version="2.1")
        (two,) = waiting(acme, "TWO", detector_version="hmac:" + "d" * 32)
        assert "Only in version 2.1" in text(reviewer.get(f"{QUEUE}{one.pk}/change/"))
        assert "Only in version" not in text(reviewer.get(f"{QUEUE}{two.pk}/change/"))
        decide(reviewer, one, this_version="on")
        decide(reviewer, two, this_version="on")
        with tenant_context(acme.tenant):
            made = dict(LabelDecision.objects.values_list("label", "detector_version"))
        assert made == {"ONE": "2.1", "TWO": None}

    def test_decide_anew_what_one_has_seen(
        self, acme: DemoTenant, reviewer: Client, waiting: Waiting
    ) -> None:
        (one,) = waiting(acme, "ONE")
        decide(reviewer, one)
        assert "decided meanwhile" in text(decide(reviewer, one, canonical=[EMAIL]))
        page = reviewer.get(f"{QUEUE}{one.pk}/change/")
        seen = re.search(r'name="replaces" value="(\d+)"', text(page))
        assert seen is not None
        answer = decide(reviewer, one, canonical=[EMAIL], replaces=seen.group(1))
        assert answer.status_code == 302
        with tenant_context(acme.tenant):
            assert [d.canonical for d in selectors.approved_decisions()] == [[EMAIL]]


class TestSeveralAtOnce:
    def test_decide_for_all(self, acme: DemoTenant, reviewer: Client, waiting: Waiting) -> None:
        items = waiting(acme, "ONE", "TWO", "THREE")
        chosen = [str(item.pk) for item in items[:2]]
        answer = reviewer.post(QUEUE, {"action": "decide_chosen", "_selected_action": chosen})
        page = reviewer.get(answer["Location"])
        assert "Decide for 2 labels" in text(page)
        assert sorted(re.findall(r'name="item" value="([^"]+)"', text(page))) == sorted(chosen)
        decide(reviewer, *items[:2])
        assert labels(reviewer.get(QUEUE)) == ["THREE"]

    def test_dismiss_and_reopen(self, acme: DemoTenant, reviewer: Client, waiting: Waiting) -> None:
        chosen = [str(item.pk) for item in waiting(acme, "ONE", "TWO")]
        for action, left in (("dismiss_chosen", 0), ("reopen_chosen", 2)):
            where = f"{QUEUE}?state=all"
            reviewer.post(where, {"action": action, "_selected_action": chosen})
            assert len(labels(reviewer.get(QUEUE))) == left

    def test_nothing_chosen_or_nonsense(self, acme: DemoTenant, reviewer: Client) -> None:
        for query in ("", "?item=x", "?item=00000000-0000-0000-0000-000000000000"):
            answer = reviewer.get(f"{QUEUE}decide/{query}", follow=True)
            assert "Choose labels of the queue first." in text(answer)


class TestDecisions:
    def test_history_and_withdrawal(
        self, acme: DemoTenant, reviewer: Client, waiting: Waiting
    ) -> None:
        (one,) = waiting(acme, "ONE")
        decide(reviewer, one)
        with tenant_context(acme.tenant):
            made = LabelDecision.objects.get()
        assert "in force" in text(reviewer.get(DECISIONS))
        address = f"{DECISIONS}{made.pk}/"
        assert "Withdraw" in text(reviewer.get(f"{address}change/"))
        answer = reviewer.post(f"{address}withdraw/", {"note": "too soon"})
        assert answer["Location"] == DECISIONS
        listed = text(reviewer.get(DECISIONS))
        assert "withdrawal" in listed
        assert "not in force" in listed
        assert "/withdraw/" not in text(reviewer.get(f"{address}change/"))
        assert "not in force any more" in text(reviewer.post(f"{address}withdraw/"))
        assert labels(reviewer.get(QUEUE)) == ["ONE"]

    def test_an_officer_reads_and_no_more(
        self, acme: DemoTenant, reviewer: Client, sign_in: SignIn, waiting: Waiting
    ) -> None:
        one, two = waiting(acme, "ONE", "TWO")
        decide(reviewer, one)
        with tenant_context(acme.tenant):
            ensure_roles()
            made = LabelDecision.objects.get()
        officer = sign_in(acme, "officer")
        page = reviewer.get(f"{QUEUE}{two.pk}/change/")
        assert "<form" in text(page).split("<main")[-1]
        page = officer.get(f"{QUEUE}{two.pk}/change/")
        assert page.status_code == 200
        assert 'id="decide"' not in text(page)
        assert "decide_chosen" not in text(officer.get(QUEUE))
        shown = text(officer.get(f"{DECISIONS}{made.pk}/change/"))
        assert "/withdraw/" not in shown
        assert "/suggest/" not in shown
        assert decide(officer, two).status_code == 403
        item, decision = f"{QUEUE}{two.pk}", f"{DECISIONS}{made.pk}"
        for address in (f"{item}/dismiss/", f"{item}/reopen/", f"{decision}/withdraw/",
                        f"{decision}/suggest/"):  # fmt: skip
            assert officer.post(address).status_code == 403
        chosen = {"action": "dismiss_chosen", "_selected_action": [str(two.pk)]}
        officer.post(QUEUE, chosen)
        with tenant_context(acme.tenant):
            assert ReviewItem.objects.get(pk=two.pk).state == "open"


@pytest.fixture
def curator(db: None, plain_static: None) -> Client:
    """Somebody of the platform who writes change sets."""
    ensure_roles()
    user = User.objects.create_user("cora", "cora@example.org", is_staff=True)
    user.groups.set(Group.objects.filter(name=CURATOR))
    client = Client(headers={"host": "localhost"})
    client.force_login(user)
    return client


class TestSuggestions:
    SUGGESTIONS = "/admin/changes/suggestion/"

    @pytest.fixture
    def suggested(
        self, acme: DemoTenant, reviewer: Client, waiting: Waiting
    ) -> Callable[..., Suggestion]:
        """suggested(label, canonical, detector): offered by acme."""

        def make(label: str = "BADGE_NO", **more: Any) -> Suggestion:
            (item,) = waiting(acme, label, detector=more.pop("detector", "presidio"))
            decide(reviewer, item, **more)
            with tenant_context(acme.tenant):
                made = LabelDecision.objects.get(label=label)
            address = f"{DECISIONS}{made.pk}/suggest/"
            assert "nothing else" in text(reviewer.get(address))
            answer = reviewer.post(address, {"note": "as its manual says"})
            assert answer["Location"] == f"{DECISIONS}{made.pk}/change/"
            assert "Proposed for everybody" in text(reviewer.get(answer["Location"]))
            return Suggestion.objects.get(label=label)

        return make

    def test_one_click_makes_a_change_set_of_it(
        self, suggested: Callable[..., Suggestion], curator: Client, reviewer: Client
    ) -> None:
        found = suggested(canonical=[OTHER, EMAIL])
        page = text(curator.get(f"{self.SUGGESTIONS}{found.pk}/change/"))
        for said in ("BADGE_NO", "presidio", OTHER, EMAIL, "Acme Health", "as its manual says"):
            assert said in page
        assert "rita" not in page
        answer = curator.post(f"{self.SUGGESTIONS}{found.pk}/adopt/")
        change_set = ChangeSet.objects.get()
        assert answer["Location"] == f"/admin/changes/changeset/{change_set.pk}/change/"
        edit = change_set.edits.get()
        assert (edit.document, edit.name, edit.after) == (
            "presidio", "BADGE_NO", {"canonical": [OTHER, EMAIL]},
        )  # fmt: skip
        assert change_set.author.username == "cora"
        found.refresh_from_db()
        assert (found.state, found.change_set) == ("adopted", change_set)
        assert AuditEntry.objects.filter(action="suggestion.adopted", actor="user:cora").exists()
        again = curator.post(f"{self.SUGGESTIONS}{found.pk}/adopt/", follow=True)
        assert "answered already" in text(again)
        assert ChangeSet.objects.count() == 1

    def test_a_detector_without_a_file_is_refused_with_advice(
        self, suggested: Callable[..., Suggestion], curator: Client
    ) -> None:
        found = suggested(detector="in-house-guard")
        answer = curator.post(f"{self.SUGGESTIONS}{found.pk}/adopt/", follow=True)
        assert "Use “Add a detector”" in text(answer)
        assert ChangeSet.objects.count() == 0
        found.refresh_from_db()
        assert found.state == "open"

    def test_a_label_that_has_a_rule_by_now(
        self, suggested: Callable[..., Suggestion], curator: Client
    ) -> None:
        found = suggested()
        Suggestion.objects.update(label="us ssn")
        answer = curator.post(f"{self.SUGGESTIONS}{found.pk}/adopt/", follow=True)
        assert "presidio: US_SSN has a rule already" in text(answer)

    def test_not_a_finding(self, suggested: Callable[..., Suggestion], curator: Client) -> None:
        found = suggested(canonical=[], not_a_finding="on")
        curator.post(f"{self.SUGGESTIONS}{found.pk}/adopt/")
        assert ChangeSet.objects.get().edits.get().after == {"not_a_finding": "as its manual says"}

    def test_declined_with_a_reason_that_the_tenant_reads(
        self, suggested: Callable[..., Suggestion], curator: Client, reviewer: Client,
        acme: DemoTenant,
    ) -> None:  # fmt: skip
        found = suggested()
        address = f"{self.SUGGESTIONS}{found.pk}/decline/"
        assert "This field is required" in text(curator.post(address, {"answer": " "}))
        curator.post(address, {"answer": "It depends on the customer"})
        with tenant_context(acme.tenant):
            made = LabelDecision.objects.get()
        page = text(reviewer.get(f"{DECISIONS}{made.pk}/change/"))
        assert "It depends on the customer" in page
        assert reviewer.post(f"{DECISIONS}{made.pk}/suggest/").status_code == 302

    def test_once_at_a_time(
        self, suggested: Callable[..., Suggestion], reviewer: Client, acme: DemoTenant
    ) -> None:
        suggested()
        with tenant_context(acme.tenant):
            made = LabelDecision.objects.get()
        assert "is suggested already" in text(reviewer.post(f"{DECISIONS}{made.pk}/suggest/"))

    def test_what_is_not_plainly_a_label_stays(
        self, acme: DemoTenant, reviewer: Client, waiting: Waiting
    ) -> None:
        with tenant_context(acme.tenant):
            keep(event(finding(None, source_digest="d" * 32)),
                 event(finding("BADGE_NO"), detector="unrecordable"))  # fmt: skip
            sweep()
            items = list(ReviewItem.objects.all())
        decide(reviewer, *items)
        with tenant_context(acme.tenant):
            rows = list(LabelDecision.objects.all())
        assert len(rows) == 2
        for row in rows:
            answer = text(reviewer.post(f"{DECISIONS}{row.pk}/suggest/"))
            assert "so it stays here" in answer
            assert "/suggest/" not in text(reviewer.get(f"{DECISIONS}{row.pk}/change/"))
        assert Suggestion.objects.count() == 0

    def test_another_tenant_sees_nothing_of_it(
        self, suggested: Callable[..., Suggestion], globex: DemoTenant, sign_in: SignIn,
        waiting: Waiting,
    ) -> None:  # fmt: skip
        suggested()
        with tenant_context(globex.tenant):
            ensure_roles()
        (item,) = waiting(globex, "BADGE_NO")
        stranger = sign_in(globex)
        decide(stranger, item)
        with tenant_context(globex.tenant):
            made = LabelDecision.objects.get()
        page = text(stranger.get(f"{DECISIONS}{made.pk}/change/"))
        assert "Proposed for everybody" not in page
        assert "as its manual says" not in page
        assert stranger.get(self.SUGGESTIONS).status_code == 404
