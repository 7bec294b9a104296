"""The page "Thresholds" of a tenant's admin."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.test import Client
from django.urls import NoReverseMatch, reverse

from mapping.models import ThresholdOverride, ThresholdScope
from mapping.overrides import set_threshold
from mapping.thresholds import forget_thresholds, overrides_in_force
from tenants.context import tenant_context
from tests.admin.conftest import SignIn
from tests.conftest import DemoTenant

pytestmark = pytest.mark.django_db
PAGE = "/admin/mapping/thresholdoverride/"


@pytest.fixture(autouse=True)
def _forgetful() -> Iterator[None]:
    forget_thresholds()
    yield
    forget_thresholds()


@pytest.fixture
def admin(sign_in: SignIn, acme: DemoTenant) -> Client:
    return sign_in(acme)


def text_of(answer: Any) -> str:
    assert answer.status_code == 200
    return str(answer.content.decode())


def in_force(tenant: DemoTenant) -> dict[str, float | None]:
    with tenant_context(tenant.tenant):
        return {one.subject: one.value for one in overrides_in_force()}


def test_set_and_take_away(admin: Client, acme: DemoTenant, globex: DemoTenant) -> None:
    page = text_of(admin.get(PAGE))
    assert "None: the platform&#x27;s hold." in page or "None: the platform's hold." in page
    for path, form in (
        ("branch", {"branch": "HARM.SPEECH"}),
        ("detector", {"detector": "presidio"}),
        ("every-label", {}),
    ):
        assert "The first that says something wins" in text_of(admin.get(f"{PAGE}set/{path}/"))
        sent = {**form, "value": "0.8", "note": f"Why {path}"}
        assert admin.post(f"{PAGE}set/{path}/", sent).status_code == 302
    sent = {"other": "My Own", "value": "1", "note": ""}
    assert admin.post(f"{PAGE}set/detector/", sent).status_code == 302
    assert in_force(acme) == {"": 0.8, "HARM.SPEECH": 0.8, "presidio": 0.8, "my-own": 1.0}
    assert in_force(globex) == {}
    page = text_of(admin.get(PAGE))
    for words in ("HARM.SPEECH", "presidio", "every label", "Why branch", "0.6"):
        assert words in page, words

    with tenant_context(acme.tenant):
        row = next(one for one in overrides_in_force() if one.subject == "presidio")
        assert row.made_by == "user:admin"
    path = f"{PAGE}{row.pk}/take-away/"
    assert "presidio" in text_of(admin.get(path))
    assert admin.post(path, {"note": "No longer"}).status_code == 302
    assert "presidio" not in in_force(acme)
    page = text_of(admin.get(PAGE))
    assert "taken away" in page
    assert "No longer" in page
    assert "There is nothing to do" in text_of(admin.post(path, {"note": "x"}, follow=True))


@pytest.mark.parametrize(
    ("path", "sent", "words"),
    [
        ("every-label", {"value": "1.01"}, "less than or equal to 1"),
        ("every-label", {"value": "-0.1"}, "greater than or equal to 0"),
        ("every-label", {"value": "nan"}, "Enter a number"),
        ("every-label", {"value": ""}, "This field is required"),
        ("every-label", {"value": "0.5", "note": "n" * 301}, "at most 300"),
        ("branch", {"value": "0.5", "branch": "NOTHING"}, "Select a valid choice"),
        ("branch", {"value": "0.5"}, "This field is required"),
        ("detector", {"value": "0.5"}, "one of both"),
        ("detector", {"value": "0.5", "detector": "presidio", "other": "x"}, "one of both"),
        ("detector", {"value": "0.5", "detector": "nobody"}, "Select a valid choice"),
        ("detector", {"value": "0.5", "other": "John Smith, 12 Main St"}, "no name of a detector"),
    ],
)
def test_what_cannot_be_is_refused_in_words(
    admin: Client, acme: DemoTenant, path: str, sent: dict[str, str], words: str
) -> None:
    assert words in text_of(admin.post(f"{PAGE}set/{path}/", sent))
    assert in_force(acme) == {}


def test_an_officer_may_look_and_not_choose(sign_in: SignIn, acme: DemoTenant) -> None:
    with tenant_context(acme.tenant):
        row = set_threshold(
            scope=ThresholdScope.BRANCH, subject="PII", value=0.7, actor="user:ann", note="Why"
        )
    officer = sign_in(acme, "officer")
    page = text_of(officer.get(PAGE))
    assert "Why" in page
    assert "take-away" not in page
    assert "For a label or branch" not in page
    for path in ("set/every-label/", "set/detector/", "set/branch/", f"{row.pk}/take-away/"):
        assert officer.get(PAGE + path).status_code == 403
        assert officer.post(PAGE + path, {"value": "0.1", "branch": "PII"}).status_code == 403
    with tenant_context(acme.tenant):
        assert ThresholdOverride.objects.count() == 1


def test_another_tenants_choice_is_not_found(
    admin: Client, acme: DemoTenant, globex: DemoTenant
) -> None:
    with tenant_context(globex.tenant):
        row = set_threshold(scope=ThresholdScope.BRANCH, subject="PII", value=0.7, actor="user:bob")
    for method in (admin.get, admin.post):
        assert method(f"{PAGE}{row.pk}/take-away/").status_code == 404
    assert in_force(globex) == {"PII": 0.7}


def test_the_platform_has_no_such_page(operator: Client) -> None:
    assert operator.get(PAGE).status_code == 404
    with pytest.raises(NoReverseMatch):
        reverse(
            "platform_admin:mapping_thresholdoverride_changelist", urlconf="pillars.urls.platform"
        )
