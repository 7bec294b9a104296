"""Who calls: both headers, and everything that names a tenant must agree with the key."""

from collections.abc import Callable
from typing import Any

import pytest

from access.keys.secrets import new_secret
from mapping.models import MappingEvent
from tenants.context import PUBLIC, current_schema, tenant_context
from tests.conftest import DemoTenant

pytestmark = pytest.mark.django_db
Api = Callable[..., Any]
ITEM = {"detector": "presidio", "output": [{"entity_type": "US_SSN", "score": 0.85}]}
PATHS = [
    ("POST", "/map", ITEM),
    ("POST", "/map/batch", {"requests": [ITEM]}),
    ("GET", "/events", None),
    ("GET", "/reports", None),
    ("POST", "/api/v1/map", ITEM),
]


def code(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.json().get("code", "")


def count(demo: DemoTenant) -> int:
    with tenant_context(demo.tenant):
        return MappingEvent.objects.count()


class TestHeaders:
    @pytest.mark.parametrize(
        "header", ["Bearer {}", "bearer {}", "BEARER  {}", "Bearer {} "], ids=repr
    )
    def test_bearer(self, api: Api, acme: DemoTenant, header: str) -> None:
        answer = api("POST", "/map", json=ITEM, authorization=header.format(acme.key))
        assert answer.status_code == 200

    def test_own_header(self, api: Api, acme: DemoTenant) -> None:
        assert api("POST", "/map", json=ITEM, x_api_key=acme.key).status_code == 200

    @pytest.mark.parametrize(("method", "path", "body"), PATHS)
    def test_none(self, api: Api, method: str, path: str, body: Any) -> None:
        answer = api(method, path, json=body)
        assert code(answer) == (401, "missing_credentials")
        assert answer.headers["WWW-Authenticate"] == 'Bearer realm="pillars"'

    @pytest.mark.parametrize(
        "header",
        ["Basic {}", "Token {}", "{}", "Bearer", "Bearer {}x", "Bearer x{}", "Bearer {} {}",
         "Bearer plr_é", "Bearer null", "Bearer '; drop schema t_acme --"],
        ids=repr,
    )  # fmt: skip
    def test_not_accepted(self, api: Api, acme: DemoTenant, header: str) -> None:
        answer = api("POST", "/map", json=ITEM, authorization=header.replace("{}", acme.key))
        assert code(answer) == (401, "invalid_credentials")
        assert acme.key not in answer.content.decode()

    def test_a_key_that_nobody_issued(self, api: Api) -> None:
        assert code(api("POST", "/map", new_secret()[1], json=ITEM)) == (401, "invalid_credentials")

    def test_elsewhere_it_does_not_count(self, api: Api, acme: DemoTenant) -> None:
        for path in (f"/events?api_key={acme.key}", f"/events?access_token={acme.key}"):
            assert api("GET", path).status_code == 401
        answer = api("POST", "/map", json={**ITEM, "api_key": acme.key}, cookie=f"key={acme.key}")
        assert answer.status_code == 401

    def test_a_session_of_the_admin_is_no_credential(self, client: Any, acme: DemoTenant) -> None:
        from tests.conftest import PASSWORD

        with tenant_context(acme.tenant):
            assert client.login(username="admin", password=PASSWORD)
        answer = client.get("/events", headers={"host": acme.host})
        assert code(answer) == (401, "missing_credentials")

    def test_a_refusal_comes_before_the_body_is_read(self, api: Api) -> None:
        big = {"detector": "x", "output": "y" * 9_000_000}
        assert api("POST", "/map", json=big).status_code == 401


class TestAgreement:
    @pytest.mark.parametrize(("method", "path", "body"), PATHS)
    def test_host_of_another_tenant(
        self, api: Api, acme: DemoTenant, globex: DemoTenant, method: str, path: str, body: Any
    ) -> None:
        answer = api(method, path, acme.key, json=body, host=globex.host)
        assert code(answer) == (403, "tenant_mismatch")
        assert (count(acme), count(globex)) == (0, 0)

    @pytest.mark.parametrize(("method", "path", "body"), PATHS)
    def test_header_of_another_tenant(
        self, api: Api, acme: DemoTenant, globex: DemoTenant, method: str, path: str, body: Any
    ) -> None:
        for named in (globex.tenant.slug, str(globex.tenant.id), "nobody", "acme,globex", "*"):
            answer = api(method, path, acme.key, json=body, x_tenant_id=named)
            assert code(answer) == (403, "tenant_mismatch"), named

    @pytest.mark.parametrize("named", ["globex", "nobody", "GLOBEX", "*", "t_acme", "%"])
    def test_body_of_another_tenant(
        self, api: Api, acme: DemoTenant, globex: DemoTenant, named: str
    ) -> None:
        answer = api("POST", "/map", acme.key, json={**ITEM, "tenant_id": named})
        assert code(answer) == (403, "tenant_mismatch")
        answer = api("POST", "/map/batch", acme.key, json={"requests": [
            {**ITEM, "tenant_id": named}, ITEM, {**ITEM, "tenant_id": str(globex.tenant.id)},
        ]})  # fmt: skip
        assert answer.status_code == 200
        errors = answer.json()["errors"]
        assert [(e["index"], e["code"]) for e in errors] == [
            (0, "tenant_mismatch"), (2, "tenant_mismatch"),
        ]  # fmt: skip
        assert (count(acme), count(globex)) == (1, 0)

    def test_everything_that_agrees(self, api: Api, acme: DemoTenant) -> None:
        for named in (acme.tenant.slug, str(acme.tenant.id), str(acme.tenant.id).upper()):
            answer = api(
                "POST", "/map", acme.key, json={**ITEM, "tenant_id": named},
                host=acme.host, x_tenant_id=f" {named} ",
            )  # fmt: skip
            assert answer.status_code == 200
            assert answer.json()["provenance"]["tenant_id"] == "acme"
        assert count(acme) == 3

    @pytest.mark.parametrize(
        "host", ["acme.localhost:8800", "ACME.localhost", "localhost:8800", "127.0.0.1"]
    )
    def test_hosts_of_the_tenant_and_of_the_platform(
        self, api: Api, acme: DemoTenant, host: str
    ) -> None:
        assert api("POST", "/map", acme.key, json=ITEM, host=host).status_code == 200

    @pytest.mark.parametrize(
        "host",
        ["nobody.localhost", "acme.localhost.evil.example", "evil.example", "acme", "",
         "acme.localhost/x", "a b", "[::1]", "acme.localhost@evil.example", "xn--acme.localhost",
         "acme.localhost\x00"],
        ids=repr,
    )  # fmt: skip
    def test_unknown_hosts(self, api: Api, acme: DemoTenant, host: str) -> None:
        answer = api("POST", "/map", acme.key, json=ITEM, host=host)
        assert code(answer) == (404, "unknown_host")

    def test_forwarded_hosts_are_not_believed(
        self, api: Api, acme: DemoTenant, globex: DemoTenant
    ) -> None:
        answer = api(
            "POST", "/map", acme.key, json=ITEM, host=globex.host,
            x_forwarded_host=acme.host, forwarded=f"host={acme.host}",
        )  # fmt: skip
        assert code(answer) == (403, "tenant_mismatch")


def test_every_request_ends_in_public(
    api: Api, acme: DemoTenant, globex: DemoTenant, client: Any, plain_static: None
) -> None:
    api("POST", "/map", acme.key, json=ITEM)
    assert current_schema() == PUBLIC
    api("POST", "/map", acme.key, json={})
    assert current_schema() == PUBLIC
    api("GET", "/events", globex.key, host=globex.host)
    assert current_schema() == PUBLIC
    client.get("/admin/login/", headers={"host": acme.host})
    assert current_schema() == PUBLIC


def test_events_go_to_the_keys_tenant_alone(api: Api, acme: DemoTenant, globex: DemoTenant) -> None:
    mine = api("POST", "/map", acme.key, json=ITEM).json()["event_id"]
    theirs = api("POST", "/map", globex.key, json=ITEM).json()["event_id"]
    for demo, seen in ((acme, mine), (globex, theirs)):
        page = api("GET", "/events", demo.read_key).json()
        assert [event["event_id"] for event in page["results"]] == [seen]


def test_two_keys_that_disagree_are_refused(api: Api, acme: DemoTenant, globex: DemoTenant) -> None:
    answer = api("POST", "/map", acme.key, json=ITEM, x_api_key=globex.key)
    assert code(answer) == (401, "invalid_credentials")
    assert api("POST", "/map", acme.key, json=ITEM, x_api_key=acme.key).status_code == 200


def test_answers_are_not_kept_by_caches(api: Api, acme: DemoTenant) -> None:
    for answer in (api("GET", "/events", acme.key), api("GET", "/events")):
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
