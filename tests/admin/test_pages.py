"""What the admin's pages promise beyond their looks."""

from collections.abc import Callable

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from mapping import admin as event_admin
from tenants.context import tenant_context
from tests.admin.conftest import SignIn
from tests.conftest import DemoTenant

Send = Callable[..., str]
EVENTS = "/admin/mapping/mappingevent/"
KEYS = "/admin/keys/apikey/"
SSN = [{"entity_type": "US_SSN", "start": 0, "end": 11, "score": 0.85}]


@pytest.mark.parametrize("query", ["", "?q=PII.Identifier.SSN", "?severity__exact=high&p=2"])
def test_the_event_list_never_counts_the_table(
    acme: DemoTenant, sign_in: SignIn, send: Send, query: str
) -> None:
    send(acme, "presidio", SSN)
    client = sign_in(acme)
    with CaptureQueriesContext(
        connection,
    ) as queries:
        assert client.get(EVENTS + query).status_code == 200
    on_events = [q["sql"] for q in queries if 'FROM "mapping_mappingevent"' in q["sql"]]
    assert on_events
    for sql in on_events:
        assert "COUNT(" not in sql
        assert "LIMIT" in sql


def test_a_search_that_takes_too_long_is_stopped_with_advice(
    acme: DemoTenant, sign_in: SignIn, send: Send, monkeypatch: pytest.MonkeyPatch
) -> None:
    send(acme, "presidio", SSN)
    client = sign_in(acme)
    events = event_admin.events
    monkeypatch.setattr(event_admin, "QUERY_MILLISECONDS", 50)
    monkeypatch.setattr(
        event_admin,
        "events",
        lambda: events().extra(
            where=["pg_sleep(CASE WHEN severity = 'high' THEN 1 ELSE 0 END) IS NOT NULL"]
        ),
    )
    answer = client.get(f"{EVENTS}?severity__exact=high")
    assert (answer.status_code, answer.headers["location"]) == (302, f"{EVENTS}?period=1h")
    monkeypatch.undo()
    assert "took too long" in client.get(f"{EVENTS}?period=1h").content.decode()


def test_an_event_is_found_by_its_id_and_by_its_request_id(
    acme: DemoTenant, sign_in: SignIn, send: Send
) -> None:
    event_id = send(acme, "presidio", SSN)
    from mapping.models import MappingEvent

    with tenant_context(acme.tenant):
        request_id = MappingEvent.objects.get(pk=event_id).request_id
    client = sign_in(acme)
    for term in (event_id, request_id):
        assert event_id in client.get(EVENTS, {"q": term}).content.decode()
    assert event_id not in client.get(EVENTS, {"q": "SECRET"}).content.decode()


def test_an_events_strong_controls_are_those_that_the_api_answered(
    acme: DemoTenant, sign_in: SignIn
) -> None:
    answer = (
        Client()
        .post(
            "/map",
            {"detector": "presidio", "output": SSN},
            content_type="application/json",
            headers={"host": "localhost", "authorization": f"Bearer {acme.key}"},
        )
        .json()
    )
    page = sign_in(acme).get(f"{EVENTS}{answer['event_id']}/change/")
    shown = {
        f"{framework['id']}:{control['code']}"
        for framework in page.context["controls"]
        if framework["answered"]
        for kind in framework["kinds"]
        for control in kind["controls"]
        if control["strength"] >= page.context["min_strength"]
    }
    assert shown == set(answer["controls"])
    assert shown


def test_the_secret_of_a_new_key_is_in_no_table(acme: DemoTenant, sign_in: SignIn) -> None:
    client = sign_in(acme)
    page = client.post(f"{KEYS}add/", {"name": "nowhere", "scopes": ["map:write"]})
    secret = page.context["issued"].secret
    assert secret.encode() in page.content
    assert page.headers["Cache-Control"].startswith("no-store")
    assert secret not in "".join(f"{m.value}" for m in client.cookies.values())
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT schemaname, tablename FROM pg_tables "
            "WHERE schemaname = 'public' OR schemaname LIKE 't\\_%'"
        )
        tables = cursor.fetchall()
        for schema, table in tables:
            cursor.execute(
                f'SELECT count(*) FROM "{schema}"."{table}" t WHERE t::text LIKE %s',
                [f"%{secret[16:]}%"],
            )
            assert cursor.fetchone()[0] == 0, (schema, table)


def test_an_operators_key_is_recorded_in_the_tenant_as_the_platforms(
    acme: DemoTenant, operator: Client
) -> None:
    from audit.models import AuditEntry

    page = operator.post(
        f"{KEYS}add/", {"tenant": str(acme.tenant.id), "name": "ops", "scopes": ["map:write"]}
    )
    key = page.context["issued"].key
    with tenant_context(acme.tenant):
        entry = AuditEntry.objects.get(action="key.created", target=str(key.id))
    assert entry.actor == "user:operator@platform"


def test_keys_and_events_of_the_other_tenant_are_not_found(
    acme: DemoTenant, globex: DemoTenant, sign_in: SignIn, send: Send
) -> None:
    from access.keys.models import ApiKey

    key = ApiKey.objects.filter(tenant=acme.tenant).latest("created_at")
    event_id = send(acme, "presidio", SSN)
    stranger = sign_in(globex)
    base = f"{KEYS}{key.pk}/"
    for path in (
        f"{base}change/",
        f"{base}rotate/",
        f"{base}revoke/",
        f"{EVENTS}{event_id}/change/",
    ):
        assert stranger.get(path).status_code == 404, path
    for path in (f"{base}rotate/", f"{base}revoke/"):
        assert stranger.post(path, {"grace": "0"}).status_code == 404, path
    key.refresh_from_db()
    assert key.state == "active"
    assert str(key.pk) not in stranger.get(KEYS).content.decode()


@pytest.mark.parametrize("path", ["add/", "{key}/rotate/", "{key}/revoke/", "{key}/change/", ""])
def test_officers_are_refused_at_every_page_of_keys(
    acme: DemoTenant, sign_in: SignIn, path: str
) -> None:
    from access.keys.models import ApiKey

    key = ApiKey.objects.filter(tenant=acme.tenant).latest("created_at")
    officer = sign_in(acme, "officer")
    address = KEYS + path.format(key=key.pk)
    assert officer.get(address).status_code == 403
    assert (
        officer.post(address, {"name": "x", "scopes": ["admin"], "grace": "0"}).status_code == 403
    )


@pytest.mark.parametrize(
    ("form", "words"),
    [
        ({"name": "A", "slug": "www"}, "reserved"),
        ({"name": "A", "slug": "Bad_Slug"}, "3 to 40 of a-z"),
        ({"name": "A", "slug": "fine-slug", "domain": "http://x"}, "without https://"),
        ({"name": "", "slug": "fine-slug"}, "required"),
    ],
)
def test_a_tenant_that_cannot_be_made_is_refused_in_words(
    operator: Client, form: dict[str, str], words: str
) -> None:
    from tenants.models import Tenant

    page = operator.post("/admin/tenants/tenant/add/", form)
    assert page.status_code == 200
    assert words in page.content.decode()
    assert not Tenant.objects.filter(slug=form["slug"]).exists()
