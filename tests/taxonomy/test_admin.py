"""The knowledge in the admin: every page opens, searches and filters, and offers no change."""

from typing import Any

import pytest
from django.urls import reverse

from pillars.sites import platform_site, tenant_site
from taxonomy import models

PAGES = sorted(
    (model for model in platform_site._registry if model._meta.app_label == "taxonomy"),
    key=lambda model: model.__name__,
)
pytestmark = pytest.mark.django_db


@pytest.fixture
def browser(client: Any, settings: Any) -> Any:
    """A superuser of the platform."""
    from django.contrib.auth import get_user_model

    settings.STORAGES = {  # no collected files, hence no manifest of them
        **settings.STORAGES,
        "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
    }
    user = get_user_model().objects.create_superuser("curator")
    client.defaults["HTTP_HOST"] = "localhost"
    client.force_login(user)
    return client


def address(model: Any, page: str, *args: Any) -> str:
    name = f"platform_admin:taxonomy_{model._meta.model_name}_{page}"
    return reverse(name, urlconf="pillars.urls.platform", args=args)


def test_both_sites_show_the_same_pages() -> None:
    assert len(PAGES) == 10
    assert set(PAGES) <= set(tenant_site._registry)


@pytest.mark.parametrize("model", PAGES, ids=lambda model: model.__name__)
class TestEveryPage:
    def test_list_search_and_filter(
        self, browser: Any, model: Any, django_assert_max_num_queries: Any
    ) -> None:
        with django_assert_max_num_queries(30):
            response = browser.get(address(model, "changelist"))
        assert response.status_code == 200
        assert response.context["cl"].result_list
        response = browser.get(address(model, "changelist"), {"q": "no such thing anywhere"})
        assert response.status_code == 200
        assert not response.context["cl"].result_list

    def test_page_shows_the_row_and_no_way_to_change_it(self, browser: Any, model: Any) -> None:
        row = model.objects.first()
        response = browser.get(address(model, "change", row.pk))
        assert response.status_code == 200
        assert 'name="_save"' not in response.content.decode()
        assert "deletelink" not in response.content.decode()

    def test_changes_are_refused(self, browser: Any, model: Any) -> None:
        row = model.objects.first()
        assert browser.get(address(model, "add")).status_code == 403
        assert browser.post(address(model, "add"), {}).status_code == 403
        assert browser.post(address(model, "change", row.pk), {}).status_code == 403
        assert browser.post(address(model, "delete", row.pk), {"post": "yes"}).status_code == 403
        assert model.objects.filter(pk=row.pk).exists()


def test_a_label_shows_its_controls(browser: Any) -> None:
    label = models.Label.objects.get(name="PII.Contact.Email", edition__edition="2026.11")
    page = browser.get(address(models.Label, "change", label.pk)).content.decode()
    assert "hipaa@2013:164.514(b)(2)(i)(F)" in page
    assert "iso27001@2022:A.5.34" in page
    outcome = models.Label.objects.get(name="OTHER.Safe")
    assert (
        "soc2@2017" not in browser.get(address(models.Label, "change", outcome.pk)).content.decode()
    )


def test_a_label_of_an_earlier_edition_has_no_controls(browser: Any) -> None:
    label = models.Label.objects.get(name="PII.Contact.Email", edition__edition="2025.09")
    page = browser.get(address(models.Label, "change", label.pk)).content.decode()
    assert "None: edition 2025.09 is not in force" in page
    assert "hipaa@2013" not in page


def test_labels_by_branch(browser: Any) -> None:
    response = browser.get(address(models.Label, "changelist"), {"branch": "SECRET"})
    names = {label.name for label in response.context["cl"].result_list}
    assert len(names) == 9
    assert all(name.startswith("SECRET.") for name in names)


def test_a_release_lists_its_editions(browser: Any) -> None:
    release = models.KnowledgeRelease.objects.first()
    page = browser.get(address(models.KnowledgeRelease, "change", release.pk)).content.decode()
    for text in ("soc2@2017", "iso27001@2022 2026.11.1", "presidio"):
        assert text in page


def test_a_crosswalk_can_be_downloaded_for_oscal(browser: Any) -> None:
    crosswalk = models.CrosswalkEdition.objects.filter(framework__framework="hipaa").first()
    assert crosswalk is not None
    file = address(models.CrosswalkEdition, "oscal", crosswalk.pk)
    page = browser.get(address(models.CrosswalkEdition, "change", crosswalk.pk))
    assert f'href="{file}"' in page.content.decode()
    response = browser.get(file)
    assert response.headers["Content-Disposition"] == (
        f'attachment; filename="hipaa@2013-{crosswalk.version}.oscal.json"'
    )
    metadata = response.json()["mapping-collection"]["metadata"]
    assert metadata["version"] == crosswalk.version
    unknown = address(models.CrosswalkEdition, "oscal", models.Label.objects.first().pk)
    assert browser.get(unknown).status_code == 404
    browser.logout()
    assert browser.get(file).status_code == 302
