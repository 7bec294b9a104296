"""Who is logged in to one tenant is a stranger everywhere else."""

from tests.browser.conftest import Enter
from tests.support.stack import Stack


def test_a_session_of_one_tenant_gets_the_login_page_elsewhere(live: Stack, enter: Enter) -> None:
    acme = enter(live.person("admin"))
    cookies = acme.context.cookies()
    assert {"sessionid"} <= {cookie["name"] for cookie in cookies}
    for place in (live.person("admin", tenant=1), live.operator):
        stranger = enter(place, log_in=False)
        host = place.base.split("//")[1].split(":")[0]
        stranger.context.add_cookies([{**cookie, "domain": host} for cookie in cookies])
        page = stranger.open("/admin/")
        assert page.locator("#login-form").count() == 1
        assert stranger.status_of("/admin/mapping/mappingevent/") in (302, 404)
        assert stranger.status_of("/admin/keys/apikey/") == 302


def test_an_event_of_one_tenant_is_not_found_at_the_other(live: Stack, enter: Enter) -> None:
    event_id = live.map(live.api_key()).body["event_id"]
    other = enter(live.person("admin", tenant=1))
    path = f"/admin/mapping/mappingevent/{event_id}/change/"
    assert other.status_of(path) == 404
    assert (
        event_id
        not in other.open(f"/admin/mapping/mappingevent/?q={event_id}")
        .locator("#content")
        .inner_text()
    )
    assert enter(live.person("admin")).status_of(path) == 200


def test_an_operators_password_opens_no_tenant(live: Stack, enter: Enter) -> None:
    operator = live.operator
    window = enter(live.person("admin"), log_in=False)
    page = window.open("/admin/login/")
    page.get_by_label("Username").fill(operator.username)
    page.get_by_label("Password").fill(operator.password)
    page.get_by_role("button", name="Log in").click()
    window.inspect()
    assert page.locator("#login-form").count() == 1
