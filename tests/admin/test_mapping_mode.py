"""The page "Mapping mode" of the platform's admin, and the banner of its start page."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.test import Client
from django.urls import NoReverseMatch, reverse

from access.users.roles import APPROVER, CURATOR, OPERATOR
from mapping.mode import forget_mode, read_mode
from mapping.switch.models import ModeChoice
from mapping.switch.services import change_mode, turn_kill_switch_on
from tests.admin.conftest import SignIn
from tests.conftest import PASSWORD, DemoTenant

pytestmark = pytest.mark.django_db
PAGE = "/admin/switch/modechoice/"
SENT = {"reason": "It errs", "confirm": "on"}
BANNER = "The kill switch is on: rules alone map, for every tenant."


@pytest.fixture(autouse=True)
def _forgetful() -> Iterator[None]:
    forget_mode()
    yield
    forget_mode()


@pytest.fixture
def enter(plain_static: None) -> Callable[[str], Client]:
    """A function that lets somebody with a role in at the platform."""
    from access.users.services import ensure_roles, ensure_user

    def log_in(role: str) -> Client:
        ensure_roles()
        name = role.lower().replace(" ", "-")
        ensure_user(username=name, password=PASSWORD, role=role, actor="system:tests")
        client = Client(headers={"host": "localhost"})
        form = {"username": name, "password": PASSWORD}
        assert client.post("/admin/login/?next=/admin/", form).status_code == 302
        return client

    return log_in


def text_of(answer: Any) -> str:
    assert answer.status_code == 200
    return str(answer.content.decode())


def test_the_kill_switch_on_and_off(operator: Client) -> None:
    change_mode(mode="model_first", reason="As before", actor="user:ann")
    page = text_of(operator.get(PAGE))
    assert "model_first" in page
    assert "As before" in page
    assert "kill-switch/on/" in page
    assert BANNER not in text_of(operator.get("/admin/"))

    assert operator.post(f"{PAGE}kill-switch/on/", SENT).status_code == 302
    found = read_mode()
    assert (found.kill_switch, found.by, found.reason) == (True, "user:operator", "It errs")
    page = text_of(operator.get(PAGE))
    assert "The kill switch is on." in page
    assert "kill-switch/off/" in page
    assert "kill-switch/on/" not in page
    start = text_of(operator.get("/admin/"))
    assert BANNER in start
    assert "It errs" in start

    assert "model_first" in text_of(operator.get(f"{PAGE}kill-switch/off/"))
    answer = operator.post(f"{PAGE}kill-switch/off/", SENT)
    assert answer.status_code == 302
    assert (read_mode().mode, read_mode().kill_switch) == ("model_first", False)
    assert BANNER not in text_of(operator.get("/admin/"))
    assert text_of(operator.get(PAGE)).count("It errs") >= 2


@pytest.mark.parametrize("mode", ["hybrid", "model_first", "rules_only"])
def test_choose_a_mode_and_the_file_again(operator: Client, mode: str) -> None:
    assert operator.post(f"{PAGE}choose/", {**SENT, "mode": mode}).status_code == 302
    assert (read_mode().mode, read_mode().source) == (mode, "database")
    assert operator.post(f"{PAGE}choose/", {**SENT, "mode": "file"}).status_code == 302
    assert read_mode().source == "file"


@pytest.mark.parametrize(
    "sent",
    [
        {"reason": ""}, {"reason": "x"}, {"confirm": "on"}, {"reason": "x" * 301, "confirm": "on"},
        {"mode": "hybrid", "reason": "x"}, {"mode": "magic", **SENT}, {"mode": "", **SENT},
    ],
)  # fmt: skip
def test_without_reason_and_confirmation_nothing_is_chosen(
    operator: Client, sent: dict[str, str]
) -> None:
    pages = ["choose/"] if "mode" in sent else ["choose/", "kill-switch/on/", "kill-switch/off/"]
    for page in pages:
        assert "Nothing was done yet" in text_of(operator.post(PAGE + page, sent))
    assert not ModeChoice.objects.exists()


def test_what_the_service_refuses_is_said(operator: Client) -> None:
    assert "not on" in text_of(operator.post(f"{PAGE}kill-switch/off/", SENT))
    turn_kill_switch_on(reason="", actor="user:ann")
    assert "on already" in text_of(operator.post(f"{PAGE}kill-switch/on/", SENT))
    refused = text_of(operator.post(f"{PAGE}choose/", {**SENT, "mode": "hybrid"}))
    assert "Turn it off first" in refused
    assert ModeChoice.objects.count() == 1


def test_a_mapping_operator_may(enter: Callable[[str], Client]) -> None:
    client = enter(OPERATOR)
    assert "Turn the kill switch on" in text_of(client.get(PAGE))
    assert client.post(f"{PAGE}kill-switch/on/", SENT).status_code == 302
    assert read_mode().by == "user:mapping-operator"
    assert client.get("/admin/tenants/tenant/").status_code == 403


@pytest.mark.parametrize("role", [CURATOR, APPROVER])
def test_who_works_on_the_knowledge_may_look(enter: Callable[[str], Client], role: str) -> None:
    client = enter(role)
    page = text_of(client.get(PAGE))
    assert "In force on this platform" in page
    assert "Turn the kill switch on" not in page
    for path in ("choose/", "kill-switch/on/", "kill-switch/off/"):
        assert client.get(PAGE + path).status_code == 403
        assert client.post(PAGE + path, {**SENT, "mode": "hybrid"}).status_code == 403
    assert not ModeChoice.objects.exists()


def test_a_tenant_has_no_such_page(sign_in: SignIn, acme: DemoTenant) -> None:
    admin = sign_in(acme)
    for path in ("", "choose/", "kill-switch/on/"):
        assert admin.post(PAGE + path, SENT).status_code == 404
    with pytest.raises(NoReverseMatch):
        reverse("tenant_admin:switch_modechoice_changelist", urlconf="pillars.urls.tenant")
    assert not ModeChoice.objects.exists()
