"""The pages of versions in the platform's admin."""

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from access.users.roles import MODEL_APPROVER, MODEL_ENGINEER, OPERATOR
from tests.support import model_versions as made
from tests.training.conftest import FolderServer
from training import promotion, requests
from training.models import ModelVersion, PromotionRequest

pytestmark = pytest.mark.django_db
LIST = "/admin/training/modelversion/"
SENT = {"reason": "Sound", "confirm": "on"}


@pytest.fixture(autouse=True)
def _on_this_server(server: FolderServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(promotion, "deployer_of_settings", lambda: server)


@pytest.fixture
def browse(plain_static: None) -> Callable[[Any], Client]:
    def log_in(person: Any) -> Client:
        client = Client(headers={"host": "localhost"})
        client.force_login(person)
        return client

    return log_in


def text_of(answer: Any) -> str:
    assert answer.status_code == 200
    return str(answer.content.decode())


def page(version: ModelVersion, step: str = "change") -> str:
    return f"{LIST}{version.pk}/{step}/"


def carried_out(version: ModelVersion) -> PromotionRequest:
    """What a worker does with the request."""
    found = requests.carry_out(request_id=version.requests.get(state="waiting").pk)
    assert found is not None
    return found


def test_an_empty_list_says_how_the_first_version_is_made(browse: Any, ann: Any) -> None:
    shown = text_of(browse(ann).get(LIST))
    assert "No version has been registered yet" in shown
    assert "manage.py evaluate --by USERNAME" in shown
    assert "No results found" not in shown
    assert 'href="/admin/runs/trainingrun/">Training runs</a>' in shown
    shown = text_of(browse(ann).get(f"{LIST}?q=nothing"))
    assert "Nothing matches the search" in shown
    assert "No version has been registered yet" not in shown


def test_from_registered_to_live_and_back(
    register: Callable[..., Any], browse: Any, ann: Any, bob: Any
) -> None:
    version = register("0.2.0")
    author, approver = browse(ann), browse(bob)
    assert "mapper-lora@v0.2.0" in text_of(author.get(LIST))
    shown = text_of(author.get(page(version)))
    assert "/approve/" not in shown  # ann made it
    assert version.manifest["files"]["adapter_model.safetensors"]["sha256"] in shown
    assert "0.850 [0.820, 0.880]" in shown
    answer = author.post(page(version, "approve"), SENT)
    assert "Somebody else approves it" in text_of(answer)

    assert "/approve/" in text_of(approver.get(page(version)))
    assert (
        approver.post(page(version, "approve"), {"reason": "x"}).status_code == 200
    )  # unconfirmed
    version.refresh_from_db()
    assert version.state == "evaluated"
    assert approver.post(page(version, "approve"), SENT).status_code == 302
    assert author.post(page(version, "promote"), SENT).status_code == 302
    version.refresh_from_db()
    assert version.state == "approved"
    shown = text_of(author.get(page(version)))
    assert "It is being promoted." in shown
    assert "ann asked for it at" in shown
    assert "/withdraw/" not in shown
    assert author.get(page(version, "promotion")).status_code == 204
    answer = text_of(author.post(page(version, "promote"), SENT))
    assert "Another promotion is under way, or waits for a worker." in answer
    assert carried_out(version).state == "done"
    assert author.get(page(version, "promotion")).headers["HX-Refresh"] == "true"
    version.refresh_from_db()
    assert version.state == "live"
    shown = text_of(author.get(page(version)))
    assert "as they were when it was promoted" in shown
    assert "/roll-back/" in shown
    assert "/roll-back/" in text_of(author.get(LIST))
    assert author.post(page(version, "roll-back"), SENT).status_code == 302
    version.refresh_from_db()
    assert version.state == "approved"
    assert author.post(page(version, "retire"), SENT).status_code == 302
    assert "not checked: it is retired" in text_of(author.get(page(version)))


def test_beside_the_live_version_and_its_gates(
    approved: Callable[..., Any], browse: Any, ann: Any, server: FolderServer
) -> None:
    promotion.promote(version=approved("0.2.0"), reason="", actor="user:ann", deployer=server)
    figures = made.evaluation()
    figures["by_detector"]["garak"]["accepted"] = 0.7
    worse = approved("0.3.0", figures=figures, seed=1)
    shown = text_of(browse(ann).get(page(worse)))
    assert "beside mapper-lora@v0.2.0" in shown
    assert "\u221210.0" in shown
    assert "garak (10.0)" in shown
    assert "1 gate fails: it cannot be promoted as it is." in shown
    assert browse(ann).post(page(worse, "promote"), SENT).status_code == 302
    assert carried_out(worse).state == "refused"
    shown = text_of(browse(ann).get(page(worse)))
    assert "It was not promoted</strong> when ann asked for it" in shown
    assert "<p>no detector worse: " in shown
    assert "/promote/" in shown
    worse.refresh_from_db()
    assert worse.state == "approved"


def test_each_role_may_what_it_is_for(
    approved: Callable[..., Any], browse: Any, person: Any, register: Callable[..., Any]
) -> None:
    waiting, ready = register("0.2.0"), approved("0.3.0", seed=1)
    engineer, approver, operator, nobody = (
        browse(person(f"p{number}", *roles))
        for number, roles in enumerate(((MODEL_ENGINEER,), (MODEL_APPROVER,), (OPERATOR,), ()))
    )
    for client, step, version, status in (
        (engineer, "approve", waiting, 403), (engineer, "promote", ready, 200),
        (approver, "approve", waiting, 200), (approver, "retire", waiting, 200),
        (operator, "promote", ready, 403), (operator, "roll-back", ready, 200),
        (operator, "approve", waiting, 403), (nobody, "roll-back", ready, 403),
        (nobody, "change", ready, 403),
    ):  # fmt: skip
        assert client.get(page(version, step)).status_code == status, (step, status)
    assert engineer.post(page(waiting, "approve"), SENT).status_code == 403
    for client in (engineer, approver):
        assert client.post(f"{LIST}add/", {}).status_code == 403
        assert client.post(page(ready, "delete"), {"post": "yes"}).status_code == 403
