"""The page "Knowledge version" of a tenant's admin."""

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.test import Client
from django.urls import NoReverseMatch, reverse

from mapping.models import KnowledgePin
from mapping.pins import apply_release, tenant_knowledge
from mapping.release_impact import release_impact
from mapping.selectors import forget_engine
from taxonomy.models import Label
from taxonomy.objects import Difference, ObjectKey, ObjectKind, compare
from taxonomy.selectors import documents_of
from tenants.context import tenant_context
from tests.admin.conftest import SignIn
from tests.conftest import DemoTenant
from tests.support.releases import EMAIL, ROW, SSN, second_release

pytestmark = pytest.mark.django_db
PAGE = "/admin/mapping/knowledgepin/"
Send = Callable[..., str]


@pytest.fixture(autouse=True)
def _fresh_engines() -> Iterator[None]:
    """What a test releases and pins must not outlive it in this process."""
    forget_engine()
    yield
    forget_engine()


@pytest.fixture
def releases(db: None) -> tuple[int, int]:
    """The serials of the shipped release and of a newer one."""
    return second_release()


@pytest.fixture
def admin(sign_in: SignIn, acme: DemoTenant) -> Client:
    """acme's administrator."""
    return sign_in(acme)


def text_of(answer: Any) -> str:
    return " ".join(answer.content.decode().split())


def fields(page: Any) -> dict[str, Any]:
    """What the hidden fields of a page's form would send."""
    form = page.context["form"]
    return {name: form[name].value() for name in ("seen", "newest")}


def in_force(tenant: DemoTenant) -> tuple[int, bool]:
    with tenant_context(tenant.tenant):
        now = tenant_knowledge()
    return now.effective, now.pinned


def test_pin_preview_apply_follow_and_undo(
    admin: Client, acme: DemoTenant, globex: DemoTenant, releases: tuple[int, int]
) -> None:
    """The whole way, by the pages' own links and forms."""
    old, new = releases
    page = text_of(admin.get(PAGE))
    assert "follows the newest" in page
    assert f"Pin release {new}" in page
    form = admin.get(f"{PAGE}pin/")
    answer = admin.post(f"{PAGE}pin/", {**fields(form), "note": "Audit"}, follow=True)
    assert f"From now on: release {new}." in text_of(answer)
    assert in_force(acme) == (new, True)

    preview = admin.get(f"{PAGE}preview/{old}/")
    assert f"Apply release {old}" in text_of(preview)
    admin.post(f"{PAGE}preview/{old}/", {**fields(preview), "note": "Back"})
    assert in_force(acme) == (old, True)
    page = text_of(admin.get(PAGE))
    for words in ("pinned", "Back", "Audit", f"The newest is release {new}", "Undo the last"):
        assert words in page, words

    follow = admin.get(f"{PAGE}follow/")
    admin.post(f"{PAGE}follow/", {**fields(follow), "note": ""})
    assert in_force(acme) == (new, False)

    undo = admin.get(f"{PAGE}undo/")
    assert f"Go back to release {old}" in text_of(undo)
    admin.post(f"{PAGE}undo/", {**fields(undo), "note": ""})
    assert in_force(acme) == (old, True)
    assert in_force(globex) == (new, False)
    assert "no choice that could be undone" in text_of(admin.get(f"{PAGE}undo/", follow=True))


def test_the_preview_names_what_differs_field_by_field(
    admin: Client, acme: DemoTenant, releases: tuple[int, int]
) -> None:
    old, new = releases
    with tenant_context(acme.tenant):
        apply_release(serial=old, seen=new, actor="user:ann")
    answer = admin.get(f"{PAGE}preview/{new}/")
    page = text_of(answer)
    groups = {group.kind: group for group in answer.context["groups"]}
    assert groups[ObjectKind.DETECTOR_LABEL].counts == "1 added, 1 changed"
    assert groups[ObjectKind.CROSSWALK_ROW].counts == "1 changed"
    for words in ("presidio: US_SSN", "Severity", "critical", "soc2@2017: PII → CC6.7", "ZZ_BADGE"):
        assert words in page, words
    download = admin.get(answer.context["whole_url"])
    assert download.headers["Content-Disposition"].startswith("attachment")
    whole = json.loads(download.content)
    assert (whole["from"], whole["to"]) == (old, new)
    assert [one["name"] for one in whole["differences"]] == ["US_SSN", "ZZ_BADGE", "PII → CC6.7"]
    assert whole["differences"][0]["after"]["severity"] == "critical"


def test_impact_is_counted_over_this_tenants_events_alone(
    acme: DemoTenant, globex: DemoTenant, send: Send, releases: tuple[int, int]
) -> None:
    old, new = releases
    send(acme, "presidio", [{"entity_type": "US_SSN", "score": 0.9}])
    send(acme, "presidio", [{"entity_type": "EMAIL_ADDRESS", "score": 0.9}])
    send(acme, "presidio", [{"entity_type": "ZZ_BADGE", "score": 0.9}])
    send(acme, "detoxify", {"toxicity": 0.99})
    for _ in range(5):
        send(globex, "presidio", [{"entity_type": "US_SSN", "score": 0.9}])
    found = compare(documents_of(old), documents_of(new))
    by_key = {one.key: one for one in found}
    whole = Difference(ObjectKey(ObjectKind.DETECTOR, "detoxify", ""), {"threshold": 0.5}, {})
    email = Difference(EMAIL, {"severity": "low"}, {"severity": "high"})
    with tenant_context(acme.tenant):

        def count(*differences: Difference) -> Any:
            return release_impact(differences, documents_of(old))

        start = count()
        assert (start.touched, start.counted_since) == (0, None)
        assert start.events >= 4
        assert count(by_key[SSN]).by_detector_label == 1
        assert count(*found).by_detector_label == 2  # the badge came as an unknown label
        assert count(by_key[ROW]).by_row == 3 == count(by_key[ROW]).touched  # PII of any kind
        assert count(email).by_label == 1
        assert count(whole).by_detector == 1
        assert count(*found, email, whole).touched == 4


def test_a_stale_form_is_refused_and_shows_what_is_in_force_now(
    admin: Client, acme: DemoTenant, releases: tuple[int, int]
) -> None:
    old, new = releases
    preview = admin.get(f"{PAGE}preview/{old}/")
    with tenant_context(acme.tenant):
        apply_release(serial=old, seen=new, actor="user:bob")
    answer = admin.post(f"{PAGE}preview/{old}/", {**fields(preview), "note": "My reason"})
    page = text_of(answer)
    assert answer.status_code == 200
    assert f"Release {old} is in force by now, not {new}" in page
    assert fields(answer)["seen"] == str(old)
    with tenant_context(acme.tenant):
        assert KnowledgePin.objects.count() == 1


@pytest.mark.parametrize(
    "sent", [{}, {"seen": "x", "newest": "y"}, {"note": "n" * 301}, {"seen": 10**30, "newest": 1}]
)
def test_a_form_that_cannot_be_read_changes_nothing(
    admin: Client, acme: DemoTenant, releases: tuple[int, int], sent: dict[str, Any]
) -> None:
    old, new = releases
    before = {"seen": new, "newest": new, "note": ""} if "note" in sent else {}
    answer = admin.post(f"{PAGE}preview/{old}/", {**before, **sent})
    assert answer.status_code == 200
    assert "Nothing was done yet" in text_of(answer) or "Look again" in text_of(answer)
    assert in_force(acme) == (new, False)


def test_an_officer_may_look_and_not_choose(
    sign_in: SignIn, acme: DemoTenant, releases: tuple[int, int]
) -> None:
    old, new = releases
    officer = sign_in(acme, "officer")
    page = text_of(officer.get(PAGE))
    assert f"Release {new}" in page
    assert f"Pin release {new}" not in page
    preview = officer.get(f"{PAGE}preview/{old}/")
    assert preview.status_code == 200
    assert f"Apply release {old}" not in text_of(preview)
    assert officer.get(f"{PAGE}preview/{old}/difference.json").status_code == 200
    form = {"seen": new, "newest": new, "note": ""}
    for page in ("pin/", "follow/", "undo/", f"preview/{old}/"):
        assert officer.post(f"{PAGE}{page}", form).status_code == 403
    for page in ("pin/", "follow/", "undo/"):
        assert officer.get(f"{PAGE}{page}").status_code == 403
    assert in_force(acme) == (new, False)


def test_what_is_not_there_is_not_found(admin: Client, releases: tuple[int, int]) -> None:
    for path in ("preview/99999/", "preview/99999/difference.json", "preview/x/"):
        assert admin.get(f"{PAGE}{path}").status_code in (302, 404)
    assert admin.get(f"{PAGE}add/").status_code == 403
    assert "in force here already" in text_of(admin.get(f"{PAGE}preview/{releases[1]}/"))


def test_label_pages_speak_of_the_tenants_release(
    admin: Client, sign_in: SignIn, acme: DemoTenant, globex: DemoTenant, releases: tuple[int, int]
) -> None:
    old, new = releases
    with tenant_context(acme.tenant):
        apply_release(serial=old, seen=new, actor="user:ann")
    label = Label.objects.get(name="PII.Contact.Email", edition__edition="2026.11")
    other = sign_in(globex)
    path = f"/admin/taxonomy/label/{label.pk}/change/"
    for browser, strength in ((admin, 8), (other, 9)):
        row = re.search(r"soc2@2017:CC6\.7</td>.*?</tr>", text_of(browser.get(path)))
        assert row is not None
        assert f"Direct, {strength}" in row[0]


def test_the_platform_has_no_such_page(operator: Client) -> None:
    assert operator.get(PAGE).status_code == 404
    with pytest.raises(NoReverseMatch):
        reverse("platform_admin:mapping_knowledgepin_changelist", urlconf="pillars.urls.platform")


def test_the_start_page_names_the_release(
    admin: Client, acme: DemoTenant, send: Send, releases: tuple[int, int]
) -> None:
    send(acme, "presidio", [{"entity_type": "US_SSN", "score": 0.9}])
    with tenant_context(acme.tenant):
        apply_release(serial=releases[0], seen=releases[1], actor="user:ann")
    page = text_of(admin.get("/admin/"))
    assert f"Release {releases[0]} is in force here, pinned." in page
    assert f"{PAGE}preview/{releases[1]}/" in page
