"""API keys: their form, how they are kept, and how they end."""

import hashlib
import re
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from access.keys import limiter
from access.keys.models import ApiKey, Scope
from access.keys.secrets import KEY_PATTERN, new_secret, prefix_of
from access.keys.selectors import key_context
from access.keys.services import ApiKeyError, IssuedKey, create_key, revoke_key, rotate_key
from audit.models import AuditEntry
from tenants.context import tenant_context
from tests.conftest import DemoTenant

pytestmark = pytest.mark.django_db
Api = Callable[..., Any]
ACTOR = "user:admin"
ITEM = {"detector": "presidio", "output": [{"entity_type": "US_SSN", "score": 0.85}]}


@pytest.fixture
def issue(acme: DemoTenant) -> Callable[..., IssuedKey]:
    def create(*scopes: str, **more: Any) -> IssuedKey:
        chosen = scopes or (Scope.MAP_WRITE,)
        return create_key(tenant=acme.tenant, name="gateway", scopes=chosen, actor=ACTOR, **more)

    return create


def status(api: Api, secret: str) -> tuple[int, str]:
    answer = api("POST", "/map", secret, json=ITEM)
    return answer.status_code, answer.json().get("code", "")


OK = (200, "")
REFUSED = (401, "invalid_credentials")


class TestForm:
    def test_can_be_found_by_a_scanner(self) -> None:
        secrets = [new_secret() for _ in range(200)]
        for prefix, secret in secrets:
            assert re.fullmatch(r"plr_[0-9A-Za-z]{10}_[0-9A-Za-z]{36}", secret)
            assert prefix_of(secret) == prefix
        assert len({secret for _, secret in secrets}) == 200
        assert len({prefix for prefix, _ in secrets}) == 200

    @pytest.mark.parametrize(
        "text",
        ["", "plr_", "plr_abc_def", "PLR_0123456789_" + "a" * 36, "plr_0123456789_" + "a" * 37,
         "plr_012345678é_" + "a" * 36, " plr_0123456789_" + "a" * 36,
         "plr_0123456789_" + "a" * 36 + "\n", "plr_0123456789_" + "٣" * 36],
    )  # fmt: skip
    def test_anything_else_is_no_key(self, text: str) -> None:
        assert prefix_of(text) is None
        assert key_context(text) is None

    def test_the_scanners_are_told(self) -> None:
        from django.conf import settings

        text = (settings.REPOSITORY / "platform/access/keys/secrets.py").read_text()
        assert "plr_[0-9A-Za-z]{10}_[0-9A-Za-z]{36}" in text
        assert KEY_PATTERN.pattern.startswith("plr_")


class TestStorage:
    def test_only_the_hash_is_kept(self, issue: Callable[..., IssuedKey]) -> None:
        issued = issue()
        random_part = issued.secret.rsplit("_", 1)[1]
        stored = ApiKey.objects.get(pk=issued.key.pk)
        assert bytes(stored.secret_hash) == hashlib.sha256(issued.secret.encode()).digest()
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT (to_jsonb(k) || jsonb_build_object('raw', encode(secret_hash, 'escape')))"
                "::text FROM keys_apikey k WHERE id = %s",
                [issued.key.pk],
            )
            assert random_part not in cursor.fetchone()[0]
        with tenant_context(issued.key.tenant):
            for entry in AuditEntry.objects.all():
                assert random_part not in str(entry.detail)

    def test_creation_is_written_down_in_the_tenant(self, issue: Callable[..., IssuedKey]) -> None:
        issued = issue(Scope.EVENTS_READ)
        with tenant_context(issued.key.tenant):
            entry = AuditEntry.objects.get(target=str(issued.key.pk))
        assert (entry.action, entry.actor) == ("key.created", ACTOR)
        assert entry.detail == {
            "name": "gateway", "scopes": ["events:read"], "prefix": issued.key.prefix,
        }  # fmt: skip

    @pytest.mark.parametrize("scopes", [[], ["map:read"], ["map:write", "all"]])
    def test_unknown_scopes(self, acme: DemoTenant, scopes: list[str]) -> None:
        with pytest.raises(ApiKeyError, match="map:write"):
            create_key(tenant=acme.tenant, name="x", scopes=scopes, actor=ACTOR)

    def test_no_name(self, acme: DemoTenant) -> None:
        with pytest.raises(ApiKeyError, match="name"):
            create_key(tenant=acme.tenant, name="  ", scopes=["map:write"], actor=ACTOR)


class TestScopes:
    CALLS = {
        "map:write": (("POST", "/map"), ("POST", "/map/batch")),
        "events:read": (("GET", "/events"), ("GET", "/versions")),
        "reports:read": (("GET", "/reports"),),
    }

    @pytest.mark.parametrize("scope", Scope.values)
    def test_each_opens_its_own_and_admin_all(
        self, api: Api, issue: Callable[..., IssuedKey], scope: str
    ) -> None:
        secret = issue(scope).secret
        for needed, calls in self.CALLS.items():
            for method, path in calls:
                body = {"requests": [ITEM]} if path == "/map/batch" else ITEM
                answer = api(method, path, secret, json=body if method == "POST" else None)
                if scope in (needed, "admin"):
                    assert answer.status_code == 200, (scope, path)
                else:
                    assert answer.status_code == 403
                    assert answer.json()["code"] == "insufficient_scope"
                    assert f"`{needed}`" in answer.json()["detail"]


class TestEnd:
    def test_expiry(self, api: Api, issue: Callable[..., IssuedKey]) -> None:
        soon = issue(expires_at=timezone.now() + timedelta(seconds=0.3))
        assert status(api, soon.secret) == OK
        time.sleep(0.31)
        assert status(api, soon.secret) == REFUSED  # although it is in the cache
        assert soon.key.state == "expired"
        past = issue(expires_at=timezone.now())
        assert status(api, past.secret) == REFUSED
        with pytest.raises(ApiKeyError, match="expired"):
            rotate_key(key=past.key, actor=ACTOR)

    def test_revocation_counts_from_the_next_request_on(
        self, api: Api, issue: Callable[..., IssuedKey]
    ) -> None:
        issued = issue()
        assert status(api, issued.secret) == OK
        revoke_key(key=issued.key, actor=ACTOR)
        limiter.forget_keys()  # what on_commit does
        assert status(api, issued.secret) == REFUSED
        first = ApiKey.objects.get(pk=issued.key.pk).revoked_at
        assert revoke_key(key=issued.key, actor=ACTOR).revoked_at == first
        with tenant_context(issued.key.tenant):
            trail = AuditEntry.objects.filter(target=str(issued.key.pk), action="key.revoked")
            assert trail.count() == 1
        with pytest.raises(ApiKeyError, match="revoked"):
            rotate_key(key=issued.key, actor=ACTOR)

    def test_rotation_with_grace(self, api: Api, issue: Callable[..., IssuedKey]) -> None:
        old = issue()
        new = rotate_key(key=old.key, actor=ACTOR, grace=timedelta(seconds=0.5))
        limiter.forget_keys()
        assert new.key.pk == old.key.pk
        assert status(api, old.secret) == status(api, new.secret) == OK
        time.sleep(0.51)
        assert status(api, old.secret) == REFUSED
        assert status(api, new.secret) == OK

    def test_rotation_without_grace(self, api: Api, issue: Callable[..., IssuedKey]) -> None:
        old = issue()
        assert status(api, old.secret) == OK
        new = rotate_key(key=old.key, actor=ACTOR, grace=timedelta(0))
        limiter.forget_keys()
        assert status(api, old.secret) == REFUSED
        assert status(api, new.secret) == OK

    def test_two_rotations_leave_two_secrets(
        self, api: Api, issue: Callable[..., IssuedKey]
    ) -> None:
        first = issue()
        second = rotate_key(key=first.key, actor=ACTOR)
        third = rotate_key(key=second.key, actor=ACTOR)
        limiter.forget_keys()
        assert status(api, first.secret) == REFUSED
        assert status(api, second.secret) == status(api, third.secret) == OK

    def test_revocation_ends_the_old_secret_too(
        self, api: Api, issue: Callable[..., IssuedKey]
    ) -> None:
        old = issue()
        new = rotate_key(key=old.key, actor=ACTOR)
        revoke_key(key=new.key, actor=ACTOR)
        limiter.forget_keys()
        assert status(api, old.secret) == status(api, new.secret) == REFUSED

    def test_a_secret_with_a_known_prefix_is_not_enough(
        self, api: Api, issue: Callable[..., IssuedKey]
    ) -> None:
        old = issue()
        new = rotate_key(key=old.key, actor=ACTOR)
        for issued in (old, new):
            forged = issued.secret[:-36] + "a" * 36
            assert status(api, forged) == REFUSED
        # the new prefix with the old random part, and the other way round
        mixed = new.secret[:15] + old.secret[15:]
        assert status(api, mixed) == REFUSED
